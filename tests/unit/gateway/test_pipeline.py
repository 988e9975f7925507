"""What happens to a request, door or no door: route, guard, mask, block, offer tools."""

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.gateway_parts import (
    ATTACK,
    CALCULATION,
    EVERYBODY,
    MATH,
    NEUTRAL,
    UNSURE,
    Asked,
    Gateway,
    broken_classifier,
    chat,
    classifier,
    deployment,
    make_gateway,
    run,
)

from routewright.decoding import FloatArray
from routewright.errors import OverloadedError, RequestError, UnknownModelError
from routewright.gateway.exchange import BodyHandling, Outcome, ResponsePlan
from routewright.runtime.classifier import Classifier


def test_a_domain_routes_and_says_so() -> None:
    async def scene() -> None:
        asked = await make_gateway(large="key-of-large").ask(chat(MATH))
        assert asked.forward.model == "large"
        assert asked.forward.set_headers["x-selected-model"] == "large"
        assert asked.forward.set_headers["x-vsr-destination-endpoint"] == "127.0.0.1:9"
        assert asked.forward.set_headers["authorization"] == "Bearer key-of-large"
        assert asked.body["model"] == "large"
        assert asked.body["chat_template_kwargs"] == {"enable_thinking": True}
        assert asked.body["messages"][0] == {"role": "system", "content": "Show every step."}
        told = await asked.told()
        assert told["x-vsr-selected-category"] == "math"
        assert told["x-vsr-selected-decision"] == "maths"
        assert told["x-vsr-selected-model"] == "large"
        assert told["x-vsr-selected-reasoning"] == "on"
        assert told["x-vsr-injected-system-prompt"] == "true"
        assert told["x-vsr-matched-domains"] == "math"

    run(scene())


def test_an_unsure_domain_does_not_route() -> None:
    async def scene() -> None:
        asked = await make_gateway().ask(chat(UNSURE))
        assert asked.forward.model == "small"
        told = await asked.told()
        assert told["x-routewright-decision"] == "abstained"
        assert told["x-routewright-abstained"] == "category"
        assert "x-vsr-selected-category" not in told

    run(scene())


@pytest.mark.parametrize(
    "body",
    [
        chat(ATTACK),
        chat(ATTACK, model="large"),
        chat(ATTACK, "I will not", NEUTRAL),
        chat(NEUTRAL, ATTACK, NEUTRAL),
        {"model": "auto", "messages": [
            {"role": "system", "content": ATTACK}, {"role": "user", "content": NEUTRAL}]},
        {"model": "auto", "messages": [{"role": "user", "content": [
            {"type": "text", "text": ATTACK}, {"type": "text", "text": "please"}]}]},
        {"model": "auto", "messages": [
            {"role": "user", "content": NEUTRAL},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "1", "type": "function", "function": {
                    "name": "f", "arguments": json.dumps({"a": ATTACK})}}]},
            {"role": "tool", "tool_call_id": "1", "content": "done"}]},
        chat(("word " * 4000) + ATTACK * 3),
    ],
)  # fmt: skip
def test_an_attack_is_blocked_wherever_it_stands(body: dict[str, Any]) -> None:
    async def scene() -> None:
        guards = {"jailbreak": {"threshold": 0.5, "roles": EVERYBODY}}
        gateway = make_gateway({"guards": guards})
        asked = await gateway.ask(body)
        assert asked.immediate.status == 200
        assert asked.body["choices"][0]["finish_reason"] == "content_filter"
        assert asked.body["id"].startswith("chatcmpl-jailbreak-blocked-")
        assert asked.immediate.headers["x-vsr-jailbreak-blocked"] == "true"
        asked.handler.on_end(Outcome.COMPLETE)
        assert gateway.records[0].outcome == "blocked"
        assert 'routewright_guards_total{action="blocked",guard="jailbreak"' in (
            gateway.telemetry.render().decode()
        )

    run(scene())


def test_a_streamed_request_is_blocked_by_a_stream() -> None:
    async def scene() -> None:
        asked = await make_gateway().ask(chat(ATTACK, stream=True))
        assert asked.immediate.headers["content-type"] == "text/event-stream"
        assert (asked.immediate.body or b"").endswith(b"data: [DONE]\n\n")

    run(scene())


def test_shadow_lets_pass_and_counts() -> None:
    async def scene() -> None:
        gateway = make_gateway({"guards": {"jailbreak": {"mode": "shadow", "threshold": 0.5}}})
        asked = await gateway.ask(chat(ATTACK))
        assert asked.forward.model == "small"
        assert (await asked.told())["x-routewright-jailbreak-guard"] == "would-block"
        asked.handler.on_end(Outcome.COMPLETE)
        assert 'action="would_block"' in gateway.telemetry.render().decode()

    run(scene())


def test_personal_data_stays_and_comes_back() -> None:
    async def scene() -> None:
        asked = await make_gateway().ask(chat("call 5551234 or 5559876, no: 5551234"))
        content = asked.body["messages"][0]["content"]
        assert content == "call [PHONE_NUMBER_1] or [PHONE_NUMBER_2], no: [PHONE_NUMBER_1]"
        assert asked.forward.set_headers["accept-encoding"] == "identity"
        plan = await asked.handler.on_response_headers(
            {":status": "200", "content-type": "application/json"}
        )
        assert isinstance(plan, ResponsePlan)
        assert plan.body is BodyHandling.WHOLE
        assert plan.set_headers["x-routewright-masked"] == "PHONE_NUMBER"
        answer = {"choices": [{"message": {"content": "I call [PHONE_NUMBER_2] now"}}]}
        raw = await asked.handler.on_response_chunk(json.dumps(answer).encode(), end=True)
        assert json.loads(raw)["choices"][0]["message"]["content"] == "I call 5559876 now"

    run(scene())


def test_values_come_back_in_a_stream_cut_anywhere() -> None:
    pieces = ("I call [PH", "ONE_NUM", "BER_1", "] now")
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks)

    async def answered(gateway: Gateway, cut: int) -> str:
        asked = await gateway.ask(chat("call 5551234", stream=True))
        await asked.handler.on_response_headers(
            {":status": "200", "content-type": "text/event-stream; charset=utf-8"}
        )
        out = await asked.handler.on_response_chunk(events[:cut], end=False)
        out += await asked.handler.on_response_chunk(events[cut:], end=False)
        out += await asked.handler.on_response_chunk(b"", end=True)
        lines = [line[6:] for line in out.decode().splitlines() if line.startswith("data: ")]
        deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
        return "".join(delta.get("content", "") for delta in deltas)

    async def scene() -> None:
        gateway = make_gateway()
        for cut in range(0, len(events), 7):
            assert await answered(gateway, cut) == "I call 5551234 now"

    run(scene())


def test_the_gateways_own_prompt_is_not_masked() -> None:
    rule = {"name": "all", "models": ["small"], "system_prompt": "Call 5550000 for help."}

    async def scene() -> None:
        asked = await make_gateway({"decisions": [rule]}).ask(chat("I am 5551234"))
        texts = [message["content"] for message in asked.body["messages"]]
        assert texts == ["Call 5550000 for help.", "I am [PHONE_NUMBER_1]"]

    run(scene())


def test_a_blocked_type_is_named_and_its_value_is_not() -> None:
    guards = {"pii": {"default": "mask", "types": {"PHONE_NUMBER": "block"}}}

    async def scene() -> None:
        asked = await make_gateway({"guards": guards}).ask(chat("call 5551234"))
        assert asked.body["id"].startswith("chatcmpl-pii-violation-")
        assert asked.immediate.headers["x-vsr-pii-violation"] == "true"
        assert asked.immediate.headers["x-vsr-pii-types"] == "PHONE_NUMBER"
        assert b"5551234" not in (asked.immediate.body or b"")

    run(scene())


@pytest.mark.parametrize("guard", ["jailbreak", "pii"])
def test_a_failed_guard_blocks_or_passes_as_configured(guard: str) -> None:
    async def scene(on_error: str, model: Classifier, **limits: Any) -> Asked:
        guards = {guard: {"on_error": on_error, **limits}}
        gateway = make_gateway({"guards": guards}, model, {"remembered_texts": 0})
        asked = await gateway.ask(chat(MATH))
        asked.handler.on_end(Outcome.COMPLETE)
        metrics = gateway.telemetry.render().decode()
        action = "timed_out" if limits else f"failed_{on_error}"
        assert f'action="{action}",guard="{guard}"' in metrics
        return asked

    for limits in ({}, {"latency_budget_s": 1e-9}):
        model = classifier() if limits else broken_classifier()
        closed = run(scene("closed", model, **limits))
        assert closed.immediate.status == 503
        assert closed.body["error"]["code"] == "guard_failed"
        opened = run(scene("open", model, **limits))
        assert opened.forward.model == "small"


def test_a_guard_whose_task_the_model_lacks_is_not_clean() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        whole = classifier()
        heads = {name: head for name, head in whole.heads.items() if name != "pii"}
        less = Classifier(whole.encoder, heads, whole.backend)
        gateway.engine.swap(deployment({"guards": {}}, less))
        object.__setattr__(
            gateway.engine.deployment, "policy", deployment().policy
        )  # as if it had not been checked
        asked = await gateway.ask(chat("call 5551234"))
        assert asked.immediate.status == 503

    run(scene())


def test_tools_are_chosen_only_when_the_choice_is_left_to_us() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        chosen = await gateway.ask(chat(CALCULATION, tool_choice="auto"))
        assert [t["function"]["name"] for t in chosen.body["tools"]] == ["calculator"]
        assert (await chosen.told())["x-routewright-tools"] == "calculator"
        none = await gateway.ask(chat(NEUTRAL, tool_choice="auto"))
        assert "tools" not in none.body
        assert "tool_choice" not in none.body
        assert "x-routewright-tools" not in await none.told()
        left = await gateway.ask(chat(CALCULATION))
        assert "tools" not in left.body
        own = [{"type": "function", "function": {"name": "mine"}}]
        kept = await gateway.ask(chat(CALCULATION, tool_choice="auto", tools=own))
        assert kept.body["tools"] == own

    run(scene())


def test_who_stands_by_takes_over_with_its_own_guards() -> None:
    models: dict[str, Any] = {
        "small": {"endpoints": "http://127.0.0.1:9", "guards": {"pii": {"default": "allow"}}},
        "large": {"endpoints": "http://127.0.0.1:9"},
        "strict": {"endpoints": "http://127.0.0.1:9", "guards": {"pii": {"default": "block"}}},
    }
    rule = {
        "name": "maths", "rules": {"domain": "math"},
        "models": ["large", "strict", {"model": "small", "reasoning": False}],
    }  # fmt: skip

    async def scene() -> None:
        gateway = make_gateway({"models": models, "decisions": [rule]})
        asked = await gateway.ask(chat(f"{MATH} 5551234"))
        assert "[PHONE_NUMBER_1]" in asked.body["messages"][0]["content"]
        following = await asked.handler.on_unavailable()
        other = Asked(asked.handler, following)  # type: ignore[arg-type]
        assert other.forward.model == "small"
        assert "5551234" in other.body["messages"][0]["content"]
        assert (await other.told())["x-vsr-selected-model"] == "small"
        assert await asked.handler.on_unavailable() is None

    run(scene())


def test_mistakes_of_the_client_are_its_own() -> None:
    async def scene() -> None:
        gateway = make_gateway(settings={"max_texts": 2})
        with pytest.raises(UnknownModelError):
            await gateway.ask(chat(NEUTRAL, model="nobody"))
        with pytest.raises(RequestError, match="texts"):
            await gateway.ask(chat("a", "b", "c"))
        with pytest.raises(RequestError):
            await gateway.ask({"model": "auto"})
        unknown = await gateway.ask({}, path="/v1/audio/speech")
        assert unknown.immediate.status == 404
        handler = gateway.pipeline.handler("http")
        listed = await handler.on_request({":path": "/v1/models", ":method": "GET"}, b"")
        names = [m["id"] for m in json.loads(Asked(handler, listed).immediate.body)["data"]]
        assert names == ["auto", "MoM", "small", "large"]

    run(scene())


def test_places_where_parts_meet_count_as_texts() -> None:
    def parts(num: int) -> dict[str, Any]:
        part = {"type": "text", "text": "a" * 300}  # long enough for a place of its own
        messages = [{"role": "user", "content": [part] * num}]
        return {"model": "auto", "messages": messages}

    async def scene() -> None:
        gateway = make_gateway(settings={"max_texts": 5})
        assert (await gateway.ask(parts(3))).forward
        with pytest.raises(RequestError, match="7 texts"):
            await gateway.ask(parts(4))
        with pytest.raises(RequestError, match="6 texts"):
            await gateway.ask(parts(6))
        unguarded = make_gateway({"guards": {}}, settings={"max_texts": 5})
        assert (await unguarded.ask(parts(4))).forward

    run(scene())


def test_an_overload_is_not_a_guard_failure() -> None:
    async def scene() -> None:
        settings = {"batching": {"max_queue_tokens": 1}, "remembered_texts": 0}
        gateway = make_gateway(settings=settings)
        asked = await asyncio.gather(
            *(gateway.ask(chat(f"{NEUTRAL} {'ab' * i}")) for i in range(20)),
            return_exceptions=True,
        )
        refused = [a for a in asked if isinstance(a, OverloadedError)]
        assert refused
        assert all(isinstance(a, Asked | OverloadedError) for a in asked)

    run(scene())


class SlowBackend:
    """The tiny model, in no hurry."""

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        time.sleep(0.02)
        return classifier().backend.run(input_ids_BT, attention_mask_BT)


def test_the_deadline_is_that_of_the_whole_request() -> None:
    async def scene() -> None:
        whole = classifier()
        slow = Classifier(whole.encoder, whole.heads, SlowBackend())
        settings = {"batching": {"max_batch_tokens": 1}, "deadline_s": 0.2}
        gateway = make_gateway(model=slow, settings=settings)
        started = time.monotonic()
        asked = await gateway.ask(chat(*(f"text {'ab' * n}" for n in range(320))))
        assert asked.immediate.status == 503
        assert time.monotonic() - started < 1.5

    run(scene())


@pytest.mark.parametrize("charset", ["utf-7", '"UTF-16"', "utf-8;charset=utf-7"])
def test_a_charset_that_servers_may_read_otherwise_is_refused(charset: str) -> None:
    async def scene() -> None:
        gateway = make_gateway()
        kind = f"application/json; charset={charset}"
        with pytest.raises(RequestError, match="UTF-8"):
            await gateway.ask(chat(NEUTRAL), content_type=kind)
        usual = await gateway.ask(chat(NEUTRAL), content_type="application/json; charset=utf-8")
        assert usual.forward.model == "small"

    run(scene())


def test_a_swap_in_the_middle_changes_nothing_about_a_request() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        asking = asyncio.create_task(gateway.ask(chat(MATH)))
        await asyncio.sleep(0)
        gateway.engine.swap(deployment({"decisions": []}, broken_classifier()))
        assert (await asking).forward.model == "large"

    run(scene())


def test_the_same_text_is_classified_once() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        await gateway.ask(chat(MATH, NEUTRAL, CALCULATION))
        before = gateway.engine.batcher.counters.num_texts
        await gateway.ask(chat(MATH, NEUTRAL, CALCULATION, "b", "c"))
        # The two new ones, and the user's last messages as one.
        assert gateway.engine.batcher.counters.num_texts == before + 3

    run(scene())
