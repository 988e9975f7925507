"""Clients of the HTTP doors whose headers take much room, and how much they are given."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from tests.gateway_parts import make_gateway
from tests.http_parts import Client, Received, Script, code, open_door, play

from routewright.gateway.api import create_api, oversized_answer
from routewright.gateway.listening import HEADER_ROOM_BYTES, AsgiDoor
from routewright.gateway.settings import Clients, Listen

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n"
LONG = b"x" * (HEADER_ROOM_BYTES - 1000)
"""Fits with a few headers beside it."""
TOO_LONG = b"x" * (2 * HEADER_ROOM_BYTES)
REFUSAL = b'{"error": "too long"}'


@dataclass
class Door:
    """One connection to a door, and what the application behind it was sent."""

    client: Client
    bodies: list[bytes] = field(default_factory=list)
    num_refused: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def refuses(self) -> None:
        """The answer is a refusal, and the last one."""
        status, answer = await self.client.answer()
        assert (status, answer.body) == (431, REFUSAL)
        assert answer.values("content-type") == [b"application/json"]
        assert answer.values("connection") == [b"close"]
        assert len(answer.values("x-request-id")) == 1
        assert await self.client.rest() == b""
        assert self.num_refused == 1


@asynccontextmanager
async def connected() -> AsyncIterator[Door]:
    """To an application that answers each request with the size of its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        it.bodies.append(body)
        if scope["path"] == "/wait":
            await it.may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    def oversized() -> bytes:
        it.num_refused += 1
        return REFUSAL

    door = AsgiDoor(app, Listen(port=0), "http", Clients(), bytes, oversized)
    port = await door.start()
    it = Door(Client(*await asyncio.open_connection("127.0.0.1", port)))
    try:
        yield it
    finally:
        await it.client.close()
        await door.stop(0)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"x-a: " + TOO_LONG,
        HEAD + b"x-a: " + TOO_LONG + b"\r\n\r\n",
        HEAD + b"x-a: b\r\n" * (HEADER_ROOM_BYTES // 4),
        b"POST /" + TOO_LONG,
        b"POST /" + TOO_LONG + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD + b"content-length: 4\r\nx-a: " + TOO_LONG + b"\r\n\r\nbody" + HEAD,
    ],
    ids=["endless", "one", "many", "endless path", "path", "with a body"],
)
@pytest.mark.parametrize("piece_bytes", [10_000, 10_000_000])
def test_headers_that_take_too_much_room_are_refused(sent: bytes, piece_bytes: int) -> None:
    async def scene() -> None:
        async with connected() as it:
            for start in range(0, len(sent), piece_bytes):
                await it.client.send(sent[start : start + piece_bytes])
                await asyncio.sleep(0)
            await it.refuses()
            assert not it.bodies

    play(scene)


@pytest.mark.parametrize("size", [0, 300_000])
def test_long_headers_within_the_limit_are_served_on_one_connection(size: int) -> None:
    line, body = f"x-a: {LONG.decode()}", b"b" * size

    async def scene() -> None:
        async with connected() as it:
            for _ in range(3):
                assert (await it.client.ask(body, line))[0] == 200
            assert it.bodies == [body] * 3
            await it.client.send(HEAD + b"x-a: " + TOO_LONG)
            await it.refuses()

    play(scene)


def test_many_requests_in_the_same_bytes_are_each_measured_alone() -> None:
    async def scene() -> None:
        async with connected() as it:
            await it.client.send((HEAD + b"content-length: 4\r\n\r\nbody") * 4000)
            for _ in range(4000):
                assert (await it.client.answer())[0] == 200

    play(scene)


def test_a_body_in_small_pieces_is_not_taken_for_headers() -> None:
    async def scene() -> None:
        async with connected() as it:
            await it.client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for _ in range(10):
                await it.client.send(b"1\r\nb\r\n" * 3000)
            await it.client.send(b"0\r\n\r\n")
            assert (await it.client.answer())[0] == 200
            assert it.bodies == [b"b" * 30_000]

    play(scene)


@pytest.mark.parametrize(
    ("pause_s", "end"),
    [(0.02, b""), (0.02, b"\r\n\r\n"), (0.0, b"\r\n\r\n")],
    ids=["endless", "whole", "at once"],
)
def test_what_came_before_headers_that_are_too_long_is_answered_and_nothing_after(
    pause_s: float, end: bytes
) -> None:
    async def scene() -> None:
        async with connected() as it:
            await it.client.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(pause_s)
            await it.client.send(HEAD + b"x-a: " + TOO_LONG + end)
            await it.client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.05)
            it.may_answer.set()
            assert (await it.client.answer())[0] == 200
            assert await it.client.rest() == b""
            assert (len(it.bodies), it.num_refused) == (1, 0)

    play(scene)


def test_headers_after_a_body_have_no_more_room() -> None:
    trailers = b"0\r\n" + b"x-a: b\r\n" * HEADER_ROOM_BYTES

    async def scene() -> None:
        async with connected() as it:
            await it.client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nb\r\n")
            await asyncio.sleep(0.01)
            await it.client.send(trailers + b"\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(it.client.rest(), 0.1)
            assert not it.bodies, "its end was read"

    play(scene)


def test_each_door_refuses_in_its_own_shape_and_counts() -> None:
    async def refused(port: int) -> Received:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await client.send(HEAD + b"x-a: " + TOO_LONG)
        status, answer = await client.answer()
        assert status == 431
        await client.close()
        return answer

    async def scene() -> None:
        async with open_door(Script) as standalone:
            answer = await refused(standalone.port)
            assert code(answer) == "headers_too_large"
            told = standalone.telemetry.render().decode()
            assert 'errors_total{code="too_large",door="http"} 1.0' in told
        engine = make_gateway().engine
        answer_api = partial(oversized_answer, engine)
        app = create_api(engine)
        door = AsgiDoor(app, Listen(port=0), "api", Clients(), bytes, answer_api)
        answer = await refused(await door.start())
        assert json.loads(answer.body)["error"]["code"] == "HEADERS_TOO_LARGE"
        told = engine.telemetry.render().decode()
        assert 'errors_total{code="too_large",door="api"} 1.0' in told
        await door.stop(0)
        await engine.close()

    play(scene)
