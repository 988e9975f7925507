"""What the gateway answers itself: with which status and headers, and how it is counted."""

import asyncio
import json
import re
from typing import Any

import pytest
from tests.gateway_parts import ATTACK, chat, make_gateway
from tests.http_parts import (
    EVENTS,
    Client,
    Received,
    Script,
    code,
    listening,
    open_door,
    play,
    response,
    says,
)
from tests.outcome_parts import (
    BODY,
    CHAT,
    HUGE,
    SERVED,
    ended_as,
    header_map,
    standalone,
    told,
)

from routewright.gateway._proto.ext_proc_pb2 import (
    HttpBody,
    ProcessingMode,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from routewright.gateway.exchange import Forward, Immediate, Outcome
from routewright.gateway.ext_proc_stream import ExtProcStream

MASKED = ProcessingRequest(
    request_body=HttpBody(body=json.dumps(chat("call 5551234")).encode(), end_of_stream=True)
)
JSON = {"content-type": "application/json"}
MODES = [
    ProcessingMode.STREAMED,
    ProcessingMode.BUFFERED,
    ProcessingMode.FULL_DUPLEX_STREAMED,
]


def numbers(size: int) -> bytes:
    """An answer to a request for embeddings, of about so many bytes."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5] * (size // 5)}]
    return json.dumps({"object": "list", "data": data}).encode()


@pytest.mark.parametrize("size", [500, 5000])
def test_numbers_pass_whatever_was_masked_and_however_many_there_are(size: int) -> None:
    answer = numbers(size)
    body = json.dumps({"model": "auto", "input": ["call 5551234"]}).encode()

    async def scene() -> None:
        server = says(answer, headers="content-type: application/json\r\n")
        async with standalone(server, max_body_bytes=1000) as (gateway, client):
            status, received = await client.ask(body, path="/v1/embeddings")
            assert (status, received.body) == (200, answer)
            assert received.values("x-routewright-masked") == [b"PHONE_NUMBER"]
            ended_as(gateway, "http", "forwarded", None)

    play(scene)


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
def test_an_answer_too_large_to_put_values_back_says_so(sized: bool) -> None:
    async def much(_: Received, writer: asyncio.StreamWriter) -> None:
        kind = "content-type: application/json\r\n"
        if sized:
            writer.write(response(b"x" * 2000, headers=kind))
        else:
            chunked = f"HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n7d0\r\n"
            writer.write(chunked.encode() + b"x" * 2000 + b"\r\n0\r\n\r\n")

    async def scene() -> None:
        async with standalone(much, max_body_bytes=1000) as (gateway, client):
            body = json.dumps(chat("call 5551234")).encode()
            status, answer = await client.ask(body, path=CHAT)
            assert (status, code(answer)) == (502, "answer_too_large")
            assert b"max_body_bytes" in answer.body
            ended_as(gateway, "http", "failed", "too_large")
            record = gateway.records[-1]
            assert record.status == 502
            assert answer.values("x-request-id") == [record.request_id.encode()]
            assert answer.values("x-routewright-request-id") == [record.request_id.encode()]
            assert answer.values("x-vsr-selected-model") == [b"small"]

    play(scene)


def test_an_answer_too_large_for_a_client_that_knows_no_chunks_says_so_without_a_handler() -> (
    None
):
    async def much(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n")

    async def scene() -> None:
        async with listening(much) as server:
            route = Forward(model="m", endpoints=(server.endpoint,))
            failing = Script(steps=[route], raise_in="request")
            settings: dict[str, Any] = {"max_body_bytes": 1000, "on_error": "open"}
            async with open_door(lambda: failing, **settings) as door:
                client = Client(*await asyncio.open_connection("127.0.0.1", door.port))
                await client.send(b"POST / HTTP/1.0\r\ncontent-length: 0\r\n\r\n")
                status, answer = await client.answer()
                await client.close()
        assert (status, code(answer)) == (502, "answer_too_large")
        assert failing.outcomes == [Outcome.FAILED]

    play(scene)


@pytest.mark.parametrize(
    ("pseudo", "status", "error", "allow"),
    [
        ({":path": "/v1/nothing"}, 404, "not_found", None),
        ({":path": "/v1/models/nobody", ":method": "GET"}, 404, "unknown_model", None),
        ({":path": "/v1/models"}, 405, "request", "GET, HEAD"),
        ({":path": CHAT, ":method": "GET"}, 405, "request", "POST"),
        ({":path": CHAT, "content-encoding": "gzip"}, 415, "request", None),
    ],
)
@pytest.mark.parametrize("door", ["http", "ext_proc"])
def test_a_refusal_by_path_method_or_encoding_is_counted_and_says_what_would_do(
    pseudo: dict[str, str], status: int, error: str, allow: str | None, door: Any
) -> None:
    async def scene() -> None:
        gateway = make_gateway()
        handler = gateway.pipeline.handler(door)
        answer = await handler.on_request({":method": "POST", **pseudo}, BODY)
        assert isinstance(answer, Immediate)
        assert (answer.status, answer.headers.get("allow")) == (status, allow)
        handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()
        ended_as(gateway, door, "refused", error)

    play(scene)


REFUSED: dict[str, tuple[str, bytes, int]] = {
    "blocked": (CHAT, json.dumps(chat(ATTACK)).encode(), 200),
    "malformed": (CHAT, b"{", 400),
    "of a path": ("/v1/nothing", b"", 404),
    "too large": (CHAT, b"x" * 2000, 413),
    "not forwarded": (CHAT, BODY, 502),
}
"""Path and body of requests that the gateway answers itself, and the status."""


@pytest.mark.parametrize("of", REFUSED)
@pytest.mark.parametrize("sent", ["mine ~1", "m" * 128, "m" * 129, "m\xc3\xa9", "m\tm", None])
def test_an_answer_of_the_gateways_own_has_the_clients_request_id_or_a_fresh_one(
    of: str, sent: str | None
) -> None:
    path, body, status = REFUSED[of]
    lines = [] if sent is None else [f"x-request-id: {sent}"]

    async def scene() -> None:
        async with standalone(max_body_bytes=1000) as (_, client):
            received, answer = await client.ask(body, *lines, path=path)
            assert received == status
            (told,) = answer.values("x-request-id")
            if sent in ("mine ~1", "m" * 128):
                assert told.decode() == sent
            else:
                assert re.fullmatch(rb"[0-9a-f]{32}", told)
                assert answer.values("x-routewright-request-id") in ([told], [])

    play(scene)


def test_a_forwarded_answer_keeps_the_request_id_of_its_server() -> None:
    async def scene() -> None:
        server = says(b"{}", headers="x-request-id: theirs\r\n")
        async with standalone(server) as (_, client):
            _, answer = await client.ask(BODY, "x-request-id: mine", path=CHAT)
            assert answer.values("x-request-id") == [b"theirs"]

    play(scene)


def test_a_model_is_found_however_its_name_is_written_in_the_path() -> None:
    models = {name: {"endpoints": "http://127.0.0.1:9"} for name in ("small", "Org/Model-1")}

    async def scene() -> None:
        gateway = make_gateway({"models": models, "decisions": []})
        for written in ("Org%2FModel-1", "Org/Model-1", "Org%2fModel%2D1"):
            handler = gateway.pipeline.handler("http")
            path = {":path": f"/v1/models/{written}", ":method": "GET"}
            answer = await handler.on_request(path, b"")
            assert isinstance(answer, Immediate)
            assert json.loads(answer.body)["id"] == "Org/Model-1"
        await gateway.engine.close()

    play(scene)


async def conversed(
    *messages: ProcessingRequest, outcome: str, error: str | None, status: int | None = None
) -> ProcessingResponse:
    """Envoy's last word from the gateway, whose request was counted so, and has this status."""
    gateway = make_gateway(settings={"max_body_bytes": 1000})
    handler = gateway.pipeline.handler("ext_proc")
    stream = ExtProcStream(handler, on_error="closed", max_body_bytes=1000)
    for message in messages:
        replies = await stream.answer(message)
    stream.close()
    await gateway.engine.close()
    ended_as(gateway, "ext_proc", outcome, error)
    assert status in (None, gateway.records[-1].status)
    return replies[-1]


def headers_of(reply: ProcessingResponse) -> dict[str, bytes]:
    """Those of an answer of the gateway's own."""
    options = reply.immediate_response.headers.set_headers
    return {option.header.key: option.header.raw_value for option in options}


def asked_in(mode: Any, **headers: str) -> ProcessingRequest:
    """Headers of a chat from a filter in this mode for bodies both ways."""
    config = ProtocolConfiguration(request_body_mode=mode, response_body_mode=mode)
    asked = {":path": CHAT, ":method": "POST", **headers}
    return ProcessingRequest(request_headers=header_map(**asked), protocol_config=config)


def test_envoy_hears_that_an_answer_is_too_large_while_it_can_still_say_so() -> None:
    """Once the headers have gone to the client, the answer could only break off."""
    declared = told(200, **JSON, **SERVED, **{"content-length": "1001"})

    async def scene() -> None:
        head = asked_in(ProcessingMode.BUFFERED, **{"x-request-id": "envoys"})
        reply = await conversed(
            head, MASKED, declared, outcome="failed", error="too_large", status=502
        )
        assert reply.immediate_response.status.code == 502
        assert headers_of(reply)["x-request-id"] == b"envoys"
        assert b"answer_too_large" in reply.immediate_response.body

    play(scene)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_turns_out_too_large_to_be_gathered_for_envoy_says_so(mode: Any) -> None:
    body = HttpBody(body=b"x" * 1001, end_of_stream=mode == ProcessingMode.BUFFERED)
    large = ProcessingRequest(response_body=body)
    head = told(200, **JSON, **SERVED)

    async def scene() -> None:
        asked = asked_in(mode, **{"x-request-id": "envoys"})
        reply = await conversed(
            asked, MASKED, head, large, outcome="failed", error="too_large", status=502
        )
        assert reply.immediate_response.status.code == 502
        headers = headers_of(reply)
        assert headers["x-request-id"] == b"envoys"
        assert headers["x-vsr-selected-model"] == b"small"
        assert re.fullmatch(rb"[0-9a-f]{32}", headers["x-routewright-request-id"])
        assert b"answer_too_large" in reply.immediate_response.body

    play(scene)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("body", "outcome", "error"),
    [
        (json.dumps(chat(ATTACK)).encode(), "blocked", None),
        (b"{", "refused", "request"),
        (HUGE.request_body.body, "refused", "too_large"),
    ],
    ids=["blocked", "malformed", "too large"],
)
def test_an_answer_of_the_gateways_own_has_the_request_id_that_envoy_gave(
    mode: Any, body: bytes, outcome: str, error: str | None
) -> None:
    head = asked_in(mode, **{"x-request-id": "envoys"})
    whole = ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True))

    async def scene() -> None:
        reply = await conversed(head, whole, outcome=outcome, error=error)
        assert headers_of(reply)["x-request-id"] == b"envoys"

    play(scene)
