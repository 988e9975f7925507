"""The whole gateway behind real Envoy and by itself, asked by the `openai` client.

The model is the tiny one whose answers are known (`tests.gateway_parts`); the model server is
the stand-in of the examples. Every scene runs through each of `DOORS`.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator

import httpx
import openai
import pytest
from examples.model_server import create_app
from tests.envoy_parts import serving, wait_until
from tests.gateway_parts import (
    ATTACK,
    CALCULATION,
    MATH,
    NEUTRAL,
    UNSURE,
    broken_classifier,
    chat,
    deployment,
)
from tests.whole_parts import DOORS, Whole, ask, whole_gateway

pytestmark = pytest.mark.integration

PHONE = "555-0123-4567"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole_gateway(tmp_path_factory.mktemp("gateway")) as parts:
        yield parts


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def usual_policy(whole: Whole) -> None:
    whole.policy()


def test_a_domain_chooses_the_model(whole: Whole, door: str) -> None:
    answer = whole.openai(door).chat.completions.with_raw_response.create(**chat(MATH))
    assert answer.headers["x-vsr-selected-model"] == "large"
    assert answer.headers["x-vsr-selected-category"] == "math"
    told = answer.parse().choices[0].message.content
    assert told == f"large (large) heard: {MATH}"
    unsure = ask(whole, door, UNSURE)
    assert unsure.headers["x-routewright-decision"] == "abstained"
    assert unsure.headers["x-vsr-selected-model"] == "small"


def test_a_stream_is_the_clients_own(whole: Whole, door: str) -> None:
    with whole.openai(door).chat.completions.create(
        **chat(NEUTRAL),
        stream=True,
    ) as events:
        pieces = [e.choices[0].delta.content or "" for e in events if e.choices]
    assert "".join(pieces) == f"small (small) heard: {NEUTRAL}"
    assert len(pieces) > 3


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_what_goes_on_from_a_response_stays_with_its_model(
    whole: Whole, door: str, streamed: bool
) -> None:
    client = whole.openai(door)
    if streamed:
        with client.responses.create(model="auto", input=MATH, stream=True) as events:
            (told,) = [e.response.id for e in events if e.type == "response.created"]
    else:
        told = client.responses.create(model="auto", input=MATH).id
    following = client.responses.with_raw_response.create(
        model="auto", input=NEUTRAL, previous_response_id=told
    )
    assert following.headers["x-vsr-selected-model"] == "large"
    assert following.headers["x-routewright-decision"] == "kept"


def test_a_model_that_is_down_makes_a_failed_request(whole: Whole, door: str) -> None:
    name = DOORS[door]
    series = (
        ("requests_total", {"door": name, "endpoint": "chat", "outcome": "failed"}),
        ("errors_total", {"door": name, "code": "upstream"}),
    )
    before = [whole.counted(metric, **labels) for metric, labels in series]
    answer = ask(whole, door, NEUTRAL, model="down")
    assert answer.status_code in {502, 503}
    assert answer.json()["error"]["code"] == "upstream"

    def counted_once() -> bool:
        return [whole.counted(m, **labels) for m, labels in series] == [n + 1 for n in before]

    wait_until(counted_once, "the count of the failure")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_values_stay_here_and_come_back_in_pieces_of_any_size(
    whole: Whole, door: str, size: int
) -> None:
    text = f"my number is {PHONE} and again {PHONE}"
    client = whole.openai(door).with_options(default_headers={"x-test-chunk": str(size)})
    whole_answer = client.chat.completions.create(**chat(text))
    assert (whole_answer.choices[0].message.content or "").endswith(f"heard: {text}")
    with client.chat.completions.create(
        **chat(text),
        stream=True,
    ) as events:
        pieces = [e.choices[0].delta.content or "" for e in events if e.choices]
    assert "".join(pieces).endswith(f"heard: {text}")
    heard = json.dumps(whole.heard("small")[-2:])
    assert PHONE not in heard
    assert "[PHONE_NUMBER_1]" in heard


def test_values_come_back_in_the_arguments_of_tool_calls(whole: Whole, door: str) -> None:
    tools = [{"type": "function", "function": {"name": "dial", "parameters": {}}}]
    text = f'please use tool for "{PHONE}"'
    client = whole.openai(door).with_options(default_headers={"x-test-chunk": "3"})
    body = chat(text, tools=tools)
    answer = client.chat.completions.create(**body)
    calls = answer.choices[0].message.tool_calls or []
    assert text in json.dumps(
        json.loads(calls[0].function.arguments), ensure_ascii=False
    ).replace('\\"', '"')
    with client.chat.completions.create(**body, stream=True) as events:
        deltas = [e.choices[0].delta for e in events if e.choices]
    pieces = [c.function.arguments or "" for d in deltas for c in d.tool_calls or []]
    assert PHONE in json.dumps(json.loads("".join(pieces)))
    assert PHONE not in json.dumps(whole.heard("small")[-2:])


def test_an_attack_is_blocked_whatever_model_is_named(whole: Whole, door: str) -> None:
    before = len(whole.heard("small")) + len(whole.heard("large"))
    for model in ("auto", "small", "large"):
        answer = whole.openai(door).chat.completions.create(**chat(ATTACK, model=model))
        assert answer.choices[0].finish_reason == "content_filter"
        assert answer.id.startswith("chatcmpl-jailbreak-blocked-")
    with whole.openai(door).chat.completions.create(**chat(ATTACK, stream=True)) as events:
        reasons = [e.choices[0].finish_reason for e in events]
    assert reasons == ["content_filter"]
    assert len(whole.heard("small")) + len(whole.heard("large")) == before


def test_an_attack_at_the_end_of_20000_characters_is_blocked(whole: Whole, door: str) -> None:
    harmless = "the cat sat on the mat and saw a bird fly by " * 450
    text = harmless[:20_000] + ATTACK
    answer = ask(whole, door, text)
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert ask(whole, door, harmless[:20_000]).headers["x-vsr-selected-model"] == "small"


def test_tools_are_offered_by_intent(whole: Whole, door: str) -> None:
    answer = ask(whole, door, CALCULATION, tool_choice="auto")
    assert answer.headers["x-routewright-tools"] == "calculator"
    assert [t["function"]["name"] for t in whole.heard("small")[-1]["tools"]] == ["calculator"]


def test_the_other_endpoints_are_guarded_and_served(whole: Whole, door: str) -> None:
    client = whole.openai(door)
    response = client.responses.create(model="auto", input=f"call {PHONE}")
    assert PHONE in response.output_text
    with client.responses.create(model="auto", input=f"call {PHONE}", stream=True) as events:
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert PHONE in text
    blocked = client.responses.create(model="auto", input=ATTACK)
    assert blocked.incomplete_details is not None
    completion = client.completions.create(model="auto", prompt=MATH)
    assert completion.choices[0].text.startswith("large")
    assert len(client.embeddings.create(model="small", input="hello").data) == 1
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="small", input=ATTACK)
    assert [m.id for m in client.models.list()] == ["auto", "MoM", "small", "large", "down"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**chat(NEUTRAL, model="no"))


@pytest.mark.parametrize("size", [64 << 10, 1536 << 10])
def test_large_prompts_arrive_whole(whole: Whole, door: str, size: int) -> None:
    text = "ab " * (size // 3)
    answer = ask(whole, door, text, model="small")
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].endswith(text)


def test_a_large_image_arrives_whole_beside_a_guarded_text(whole: Whole, door: str) -> None:
    image = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "A" * (7 << 20)},
    }
    for text, reason in ((NEUTRAL, "stop"), (ATTACK, "content_filter")):
        content = [{"type": "text", "text": text}, image]
        body = {"model": "small", "messages": [{"role": "user", "content": content}]}
        answer = whole.clients[door].post("/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["finish_reason"] == reason
        if reason == "stop":
            assert whole.heard("small")[-1]["messages"] == body["messages"]


def test_a_body_of_one_byte_is_a_clear_error(whole: Whole, door: str) -> None:
    answer = whole.clients[door].post("/v1/chat/completions", content=b"x")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_errors_of_the_model_server_pass_through(whole: Whole, door: str) -> None:
    client = whole.openai(door).with_options(default_headers={"x-test-status": "418"})
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**chat(f"call {PHONE}"))
    assert caught.value.status_code == 418
    assert caught.value.response.headers["x-routewright-masked"] == "PHONE_NUMBER"


def test_a_guard_that_fails_blocks_or_passes_as_configured(whole: Whole, door: str) -> None:
    for on_error, status in (("closed", 503), ("open", 200)):
        models = {n: {"endpoints": f"http://127.0.0.1:{p}"} for n, p in whole.upstreams.items()}
        guards = {"jailbreak": {"on_error": on_error}, "pii": {"on_error": on_error}}
        broken = deployment({"models": models, "guards": guards}, broken_classifier())
        whole.serve(broken)
        answer = ask(whole, door, ATTACK)
        assert answer.status_code == status
        assert "canary" not in answer.text
    counted = 'routewright_guards_total{action="failed_open",guard="jailbreak",mode="block"}'
    telemetry = whole.gateway.telemetry
    wait_until(lambda: counted in telemetry.render().decode(), "the count of the failure")


def test_a_client_that_leaves_ends_its_request(whole: Whole, door: str) -> None:
    series = {"door": DOORS[door], "endpoint": "chat", "outcome": "aborted"}
    before = whole.counted("requests_total", **series)
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.Client(base_url=whole.clients[door].base_url, timeout=0.5) as client,
    ):
        client.post(
            "/v1/chat/completions", json=chat(NEUTRAL), headers={"x-test-delay-ms": "3000"}
        )
    wait_until(
        lambda: whole.counted("requests_total", **series) == before + 1,
        "the count of the request",
    )


def test_events_are_not_held_back(whole: Whole, door: str) -> None:
    """The model server waits between pieces; the first must be here long before the last."""
    app = create_app("slow", token_delay_s=0.1)
    with serving(app, whole.loop) as port:
        models = {"small": {"endpoints": f"http://127.0.0.1:{port}"}} | {
            "large": {"endpoints": f"http://127.0.0.1:{whole.upstreams['large']}"}
        }
        if door != "http":
            pytest.skip("Envoy's clusters are fixed; tests/integration/test_envoy.py has this")
        whole.policy(models=models)
        start = time.monotonic()
        times = []
        body = chat(f"say it, {PHONE}, word by word by word by word by word", stream=True)
        with whole.clients[door].stream("POST", "/v1/chat/completions", json=body) as answer:
            times = [time.monotonic() - start for _ in answer.iter_raw()]
        assert times[-1] - times[0] > 0.5
        assert len(times) > 5


def test_a_hundred_at_once_each_get_their_own_answer(whole: Whole, door: str) -> None:
    async def one(client: httpx.AsyncClient, number: int) -> None:
        tag, stream = f"tag-{number}", number % 2 == 0
        text = f"I am {tag}, call 555-{1000 + number}"
        answer = await client.post(
            "/v1/chat/completions",
            json=chat(text, stream=stream),
            headers={"x-request-tag": tag},
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-request-tag"] == tag
        if stream:
            lines = [line[6:] for line in answer.text.splitlines() if line[:7] == "data: {"]
            deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
            told = "".join(delta.get("content") or "" for delta in deltas)
        else:
            told = answer.json()["choices"][0]["message"]["content"]
        assert told.endswith(f"heard: {text}")

    async def all_of_them() -> None:
        limits = httpx.Limits(max_connections=100)
        base = whole.clients[door].base_url
        async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
            await asyncio.gather(
                *(one(client, n) for n in itertools.islice(itertools.count(), 300))
            )

    asyncio.run(all_of_them())
