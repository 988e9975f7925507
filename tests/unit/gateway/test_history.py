"""Which model a conversation keeps, and what its earlier turns must not be mixed with."""

from typing import Any

import pytest
from tests.gateway_parts import MATH, NEUTRAL, Asked, chat, make_gateway, run

from routewright.gateway.exchange import BodyHandling, ResponsePlan


def test_a_tool_loop_and_a_session_keep_their_model() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    own = [{"type": "function", "function": {"name": "f"}}]
    loop = [
        {"role": "user", "content": NEUTRAL},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]

    async def scene() -> None:
        gateway = make_gateway()
        first = await gateway.ask(chat(MATH), x_session_id="s")
        assert first.forward.model == "large"
        second = await gateway.ask(chat(MATH, "4", NEUTRAL), x_session_id="s")
        assert second.forward.model == "large"
        assert (await second.told())["x-routewright-decision"] == "kept"
        other = await gateway.ask(chat(MATH, "4", NEUTRAL), x_session_id="other")
        assert other.forward.model == "small"

        await gateway.ask(chat(NEUTRAL, model="large", tools=own))
        body = {"model": "auto", "messages": loop, "tools": own}
        assert (await gateway.ask(body)).forward.model == "large"
        elsewhere = await gateway.ask(body, authorization="Bearer of another client")
        assert elsewhere.forward.model == "small"

    run(scene())


def test_a_session_moves_when_its_model_is_down_and_stays_there() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        assert (await gateway.ask(chat(MATH), x_session_id="s")).forward.model == "large"
        kept = await gateway.ask(chat(NEUTRAL), x_session_id="s")
        assert kept.forward.model == "large"
        following = await kept.handler.on_unavailable()
        assert Asked(kept.handler, following).forward.model == "small"  # type: ignore[arg-type]
        after = await gateway.ask(chat(NEUTRAL), x_session_id="s")
        assert after.forward.model == "small"

    run(scene())


RESPONSES = "/v1/responses"


def response(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "input": text, **fields}


async def answered(asked: Asked, answer: bytes, kind: str = "application/json") -> bytes:
    """The model's server answers so; what the client gets."""
    headers = {":status": "200", "content-type": kind, "content-length": str(len(answer))}
    plan = await asked.handler.on_response_headers(headers)
    assert isinstance(plan, ResponsePlan)
    if plan.body is BodyHandling.PASS:
        return answer
    half = len(answer) // 2 if plan.body is BodyHandling.STREAM else 0
    pieces = [(answer[:half], False)] * bool(half) + [(answer[half:], True)]
    return b"".join([await asked.handler.on_response_chunk(p, end=e) for p, e in pieces])


CREATED = b'data: {"type": "response.created", "response": {"id": "resp_1"}}\n\n'


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"id": "resp_1", "output": []}', "application/json"),
        (CREATED + b"data: {}\n\n", "text/event-stream; charset=utf-8"),
    ],
)
def test_what_goes_on_from_an_answer_stays_with_its_model(answer: bytes, kind: str) -> None:
    async def scene() -> None:
        gateway = make_gateway()
        first = await gateway.ask(response(MATH), path=RESPONSES)
        assert first.forward.model == "large"
        assert first.forward.set_headers["accept-encoding"] == "identity"
        assert await answered(first, answer, kind) == answer
        body = response(NEUTRAL, previous_response_id="resp_1")
        second = await gateway.ask(body, path=RESPONSES)
        assert second.forward.model == "large"
        assert (await second.told())["x-routewright-decision"] == "kept"
        assert await second.handler.on_unavailable() is None  # no other server has the answer
        for headers, more in (
            ({"authorization": "Bearer of another"}, {}),
            ({}, {"previous_response_id": "resp_2"}),
        ):
            other = await gateway.ask({**body, **more}, path=RESPONSES, **headers)
            assert other.forward.model == "small"

    run(scene())


def test_a_conversation_that_the_server_keeps_stays_with_its_model() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        body = response(MATH, conversation={"id": "conv_1"})
        assert (await gateway.ask(body, path=RESPONSES)).forward.model == "large"
        for conversation, model in (("conv_1", "large"), ("conv_2", "small")):
            again = response(NEUTRAL, conversation=conversation)
            assert (await gateway.ask(again, path=RESPONSES)).forward.model == model

    run(scene())


@pytest.mark.parametrize(
    ("policy", "fields"),
    [({}, {"store": False}), ({"conversation": {"keep_by_response_id": False}}, {})],
)
def test_answers_that_nothing_goes_on_from_pass_unread(
    policy: dict[str, Any], fields: dict[str, Any]
) -> None:
    async def scene() -> None:
        gateway = make_gateway(policy)
        asked = await gateway.ask(response(MATH, **fields), path=RESPONSES)
        plan = await asked.handler.on_response_headers(
            {":status": "200", "content-type": "application/json"}
        )
        assert plan.body is BodyHandling.PASS
        assert "accept-encoding" not in asked.forward.set_headers

    run(scene())


def test_ids_come_through_masked_answers_too() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        first = await gateway.ask(response(f"{MATH} 5551234"), path=RESPONSES)
        answer = b'{"id": "resp_1", "output": "[PHONE_NUMBER_1]"}'
        assert b"5551234" in await answered(first, answer)
        again = response(NEUTRAL, previous_response_id="resp_1")
        assert (await gateway.ask(again, path=RESPONSES)).forward.model == "large"

    run(scene())


@pytest.mark.parametrize(
    "kept",
    [
        {"previous_response_id": "resp-1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
    ],
)
def test_placeholders_do_not_meet_those_that_the_server_remembers(kept: dict[str, Any]) -> None:
    async def scene() -> None:
        body = {"model": "small", "input": "call 5551234", **kept}
        asked = await make_gateway().ask(body, path="/v1/responses")
        number = int(asked.body["input"].removeprefix("call [PHONE_NUMBER_").removesuffix("]"))
        assert number >= 1000

    run(scene())
