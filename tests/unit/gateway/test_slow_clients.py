"""Clients of the HTTP doors that take their time, and how long they are given."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest
from tests.api_parts import api
from tests.gateway_parts import run
from tests.http_parts import (
    EVENTS,
    SOON_S,
    Client,
    Parts,
    Received,
    Stage,
    code,
    echo,
    ended,
    says,
)

from routewright.gateway.exchange import Outcome
from routewright.gateway.listening import AsgiDoor
from routewright.gateway.settings import Clients, Listen

GAP_S = 0.04
IMPATIENT = Clients(headers_timeout_s=0.2, body_timeout_s=0.4, idle_timeout_s=0.2)
HEAD = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n"
BODY = HEAD + b"content-length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


async def trickle(client: Client, data: bytes) -> None:
    """A byte at a time, each soon enough after the last."""
    for byte in data:
        await client.send(bytes([byte]))
        await asyncio.sleep(GAP_S)


async def is_refused(client: Client) -> None:
    status, answer = await client.answer()
    assert (status, code(answer)) == (408, "request_timeout")
    assert answer.values("content-type") == [b"application/json"]
    assert answer.values("connection") == [b"close"]
    assert len(answer.values("x-request-id")) == 1
    assert await client.rest() == b""


async def dawdle(parts: Parts, at_once: bytes, slowly: bytes) -> None:
    """A client of its own, which is refused before it is through."""
    client = await parts.running.connect()
    await client.send(at_once)
    sending = asyncio.ensure_future(trickle(client, slowly))
    await is_refused(client)
    # It may have heard already that nobody reads it any more.
    assert slowly == b"" or not sending.done() or sending.exception() is not None
    sending.cancel()


def num_timeouts(parts: Parts) -> float:
    told = parts.running.telemetry.render().decode()
    found = re.search(r'errors_total{code="request_timeout",door="http"} (\S+)', told)
    return float(found[1]) if found else 0.0


def test_a_body_that_does_not_arrive_is_refused(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await dawdle(parts, BODY + b"xx", b"")
        assert await ended(parts.script) is Outcome.COMPLETE
        assert not parts.script.seen
        assert parts.script.codes == ["request_timeout"]


def test_a_body_whose_pieces_never_end_is_refused(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await dawdle(parts, BODY, b"x" * 50)
        assert not parts.script.seen


def test_a_slow_body_within_the_limits_passes(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await parts.client.send(HEAD + b"content-length: 5\r\n\r\n")
        await trickle(parts.client, b"abcde")
        assert (await parts.client.answer())[1].body == b"abcde"


def test_headers_that_do_not_end_are_refused(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        before = num_timeouts(parts)  # the door has served other tests
        await asyncio.gather(
            dawdle(parts, b"", HEAD),
            dawdle(parts, b"POST", b""),
            dawdle(parts, b"", b"\r\n" * 20),
            dawdle(parts, HEAD, b"x-a: " + b"b" * 50),
        )
        assert num_timeouts(parts) == before + 4
        assert not parts.script.seen


def test_headers_of_a_second_request_have_as_much_time(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await parts.client.ask(b"first")
        await parts.client.send(HEAD)
        await is_refused(parts.client)
        assert len(parts.server.requests) == 1


LONG = b"x" * 4_000_000


async def hasty(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads no body."""
    body = LONG if scope["path"] == "/long" else b"no"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def hasty_door(clients: Clients) -> AsyncIterator[tuple[int, list[str]]]:
    """Its port, and what clients were refused for."""
    refusals: list[str] = []

    def overdue() -> bytes:
        refusals.append("request_timeout")
        return b"{}"

    door = AsgiDoor(hasty, Listen(port=0), "http", clients, overdue, bytes)
    port = await door.start()
    try:
        yield port, refusals
    finally:
        await door.stop(0)


def test_the_rest_of_a_body_that_was_answered_early_is_no_new_request() -> None:
    async def scene() -> None:
        async with hasty_door(IMPATIENT) as (port, refusals):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nearl")
                assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 404")
                writer.write(b"late")
                await asyncio.sleep(2 * IMPATIENT.headers_timeout_s)
            assert not refusals
            writer.close()

    run(scene())


def test_an_answer_that_is_read_slowly_but_steadily_is_whole() -> None:
    async def scene() -> None:
        async with hasty_door(IMPATIENT) as (port, _):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n")
                num_read, started = 0, loop.time()
                while num_read < len(LONG):
                    data = await loop.sock_recv(client, 65_536)
                    assert data, f"cut off after {num_read} bytes"
                    num_read += len(data)
                    await asyncio.sleep(0.01)
            assert loop.time() - started > 2 * IMPATIENT.idle_timeout_s

    run(scene())


def test_a_connection_without_a_request_is_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routewright.gateway.listening.KEEP_ALIVE_S", 0.1)

    @stage.exchange(echo, drain_s=0.11)  # a door of its own, which has the patched time
    async def scene(parts: Parts) -> None:
        assert await parts.client.rest() == b""


def test_an_answer_that_is_not_taken_is_broken_off(stage: Stage) -> None:
    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS)
        while True:
            writer.write(b"10000\r\n%s\r\n" % (b"x" * 0x10000))
            await writer.drain()

    @stage.exchange(endless, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        assert await ended(parts.script) is Outcome.ABORTED


def test_an_answer_that_is_read_late_but_in_time_is_whole(stage: Stage) -> None:
    long = b"x" * 8_000_000

    @stage.exchange(says(long), clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        await asyncio.sleep(IMPATIENT.idle_timeout_s / 2)
        assert (await parts.client.answer())[1].body == long


def test_the_api_refuses_a_slow_body_in_its_own_shape() -> None:
    async def scene() -> None:
        async with api(settings={"clients": asdict(IMPATIENT)}) as it:

            async def silent() -> AsyncIterator[bytes]:
                yield b"{"
                await asyncio.sleep(SOON_S)

            response = await it.client.post("/api/v1/classify/intent", content=silent())
            assert response.status_code == 408
            assert response.json()["error"]["code"] == "REQUEST_TIMEOUT"
            assert 'code="request_timeout",door="api"} 1.0' in it.metrics()

    run(scene())


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Clients(idle_timeout_s=0)
