"""How requests are counted that ended without a model's whole answer, at both doors."""

import asyncio
import json
from typing import Any

import pytest
from tests.gateway_parts import MATH, NEUTRAL, chat, make_gateway
from tests.http_parts import (
    EVENTS,
    Received,
    code,
    echo,
    play,
    says,
)
from tests.outcome_parts import (
    BODY,
    CHAT,
    HEAD,
    HUGE,
    SERVED,
    WHOLE,
    counted,
    ended_as,
    standalone,
    told,
)

from routewright.errors import ServingError
from routewright.gateway._proto.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from routewright.gateway.exchange import Outcome
from routewright.gateway.ext_proc_stream import ExtProcStream
from routewright.gateway.observation import logging_requests

OPEN: dict[str, Any] = {
    "jailbreak": {"threshold": 0.5, "on_error": "open"},
    "pii": {"default": "mask", "on_error": "open"},
}
"""Guards that let pass what they could not check."""


def test_a_model_that_is_down_is_a_failed_request() -> None:
    async def scene() -> None:
        async with standalone() as (gateway, client):
            status, answer = await client.ask(BODY, path=CHAT)
            assert (status, code(answer)) == (502, "upstream")
            ended_as(gateway, "http", "failed", "upstream")

    play(scene)


def test_an_answer_that_breaks_off_is_a_failed_request() -> None:
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"4\r\nhalf\r\n")
        writer.close()

    async def scene() -> None:
        async with standalone(half) as (gateway, client):
            await client.post(BODY, path=CHAT)
            assert b"200 OK" in await client.head()
            await client.rest()
            ended_as(gateway, "http", "failed", "upstream")

    play(scene)


def test_an_answered_request_is_a_forwarded_one_and_no_error() -> None:
    async def scene() -> None:
        async with standalone(echo) as (gateway, client):
            assert (await client.ask(BODY, path=CHAT))[0] == 200
            ended_as(gateway, "http", "forwarded", None)

    play(scene)


@pytest.mark.parametrize(
    ("size", "line", "error"),
    [(2000, "x-a: 1", "too_large"), (20, "x-a: \xff", "request")],
)
def test_what_the_door_itself_refuses_is_counted_once(size: int, line: str, error: str) -> None:
    async def scene() -> None:
        async with standalone(echo, max_body_bytes=1000) as (gateway, client):
            await client.post(b"x" * size, line, path=CHAT)
            assert (await client.answer())[0] in (400, 413)
            await client.rest()
            ended_as(gateway, "http", "refused", error)

    play(scene)


@pytest.mark.parametrize("size", [500, 1000, 1001, 5000])
def test_an_answer_looked_at_for_its_id_alone_may_have_any_size(size: int) -> None:
    start = b'{"id": "resp_1", "output": "'
    answer = start + b"x" * (size - len(start) - 2) + b'"}'
    body = json.dumps({"model": "auto", "input": NEUTRAL}).encode()

    async def scene() -> None:
        server = says(answer, headers="content-type: application/json\r\n")
        async with standalone(server, max_body_bytes=1000) as (gateway, client):
            status, received = await client.ask(body, path="/v1/responses")
            assert (status, received.body) == (200, answer)
            known = gateway.engine.conversations
            assert known.find(known.name(["answer", "resp_1", ""])) is not None
            ended_as(gateway, "http", "forwarded", None)

    play(scene)


async def fail(*_: Any, **__: Any) -> None:
    """Takes the place of the engine's `classify`."""
    raise RuntimeError("canary: the prompt was here")


def test_a_gateway_that_fails_open_asks_the_default_model_and_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        async with standalone(echo, guards=OPEN, on_error="open") as (gateway, client):
            monkeypatch.setattr(gateway.engine, "classify", fail)
            status, answer = await client.ask(json.dumps(chat(MATH)).encode(), path=CHAT)
            assert status == 200
            assert json.loads(answer.body) == {**chat(MATH), "model": "small"}
            ended_as(gateway, "http", "failed", "internal")

    play(scene)


@pytest.mark.parametrize(
    ("guards", "passes"),
    [
        ({}, True),
        ({"jailbreak": {"mode": "shadow"}, "pii": {"mode": "off"}}, True),
        ({**OPEN, "jailbreak": {}}, False),
        ({**OPEN, "pii": {}}, False),
    ],
)
def test_a_gateway_that_fails_open_is_not_more_open_than_a_guard_that_acts(
    guards: dict[str, Any], passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with standalone(echo, guards=guards, on_error="open") as (gateway, client):
            monkeypatch.setattr(gateway.engine, "classify", fail)
            status, answer = await client.ask(BODY, path=CHAT)
            assert status == (200 if passes else 500)
            assert passes or code(answer) == "gateway_error"
            ended_as(gateway, "http", "failed", "internal")

    play(scene)


@pytest.mark.parametrize("of", ["model", "decision"])
def test_a_guard_that_acts_for_one_model_or_decision_alone_lets_nothing_pass_unchecked(
    of: str,
) -> None:
    acts = {"guards": {"jailbreak": {"mode": "block"}}}
    server = {"endpoints": "http://127.0.0.1:9"}
    policy = {
        "models": {"small": server, "large": {**server, **(acts if of == "model" else {})}},
        "decisions": [{"name": "all", "models": ["small"], **(acts if of != "model" else {})}],
    }

    async def scene() -> None:
        for on_error in ("open", "closed"):
            guards = {"jailbreak": {"mode": "shadow", "on_error": on_error}}
            gateway = make_gateway({**policy, "guards": guards})
            handler = gateway.pipeline.handler("http")
            if on_error == "open":
                assert handler.unguarded().model == "small"
            else:
                with pytest.raises(ServingError):
                    handler.unguarded()

    play(scene)


def test_what_a_guard_found_does_not_pass_when_it_cannot_be_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("canary: the prompt was here")

    monkeypatch.setattr("routewright.gateway.pipeline.outgoing", break_down)
    body = json.dumps(chat("call 5551234")).encode()

    async def scene() -> None:
        async with standalone(echo, guards=OPEN, on_error="open") as (_, client):
            assert (await client.ask(BODY, path=CHAT))[0] == 200
            status, answer = await client.ask(body, path=CHAT)
            assert (status, code(answer)) == (500, "gateway_error")

    play(scene)


@pytest.mark.parametrize(
    ("messages", "outcome", "error"),
    [
        ([HEAD, WHOLE, told(200, **SERVED)], "forwarded", None),
        ([HEAD, WHOLE, told(503, **SERVED)], "forwarded", None),
        ([HEAD, WHOLE, told(503)], "failed", "upstream"),
        ([HEAD, WHOLE, told(504)], "failed", "timeout"),
        ([HEAD, HUGE], "refused", "too_large"),
        ([HEAD, told(413)], "refused", "too_large"),
        ([HEAD, told(408)], "refused", "request_timeout"),
        ([HEAD, told(400)], "refused", "error"),
        ([HEAD], "aborted", None),
        ([HEAD, WHOLE], "aborted", None),
    ],
)
def test_envoys_requests_are_counted_by_who_answered(
    messages: list[ProcessingRequest], outcome: str, error: str | None
) -> None:
    async def scene() -> None:
        gateway = make_gateway()
        handler = gateway.pipeline.handler("ext_proc")
        stream = ExtProcStream(handler, on_error="closed", max_body_bytes=1000)
        for message in messages:
            await stream.answer(message)
        stream.close()
        await gateway.engine.close()
        ended_as(gateway, "ext_proc", outcome, error)

    play(scene)


def test_envoy_sends_what_fails_open_to_the_default_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        gateway = make_gateway({"guards": OPEN})
        monkeypatch.setattr(gateway.engine, "classify", fail)
        handler = gateway.pipeline.handler("ext_proc")
        stream = ExtProcStream(handler, on_error="open", max_body_bytes=1000)
        await stream.answer(HEAD)
        (reply,) = await stream.answer(WHOLE)
        assert named(reply) == "small"
        await stream.answer(told(200, **SERVED))
        stream.close()
        await gateway.engine.close()
        ended_as(gateway, "ext_proc", "failed", "internal")

    play(scene)


def named(reply: ProcessingResponse) -> str:
    """The model that Envoy is told."""
    common = reply.request_body.response
    headers = {o.header.key: o.header.raw_value for o in common.header_mutation.set_headers}
    assert json.loads(common.body_mutation.body)["model"] == "small"
    return headers["x-selected-model"].decode()


def test_what_no_guard_has_seen_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    said = {"role": "user", "content": [{"type": "text", "text": NEUTRAL}, image, image]}

    async def scene() -> None:
        gateway = make_gateway()
        asked = await gateway.ask({"model": "auto", "messages": [said]})
        asked.handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()
        assert counted(gateway, "unread_parts_total") == {'{door="http"}': 2.0}
        with caplog.at_level("INFO"):
            logging_requests(gateway.records[0])
        assert caplog.records[-1].__dict__["num_unread"] == 2

    play(scene)
