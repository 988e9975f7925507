"""Clients of the HTTP doors that take their time, and how long they are given."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict

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
from routewright.gateway.settings import Clients

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
    assert await client.rest() == b""


async def dawdle(parts: Parts, at_once: bytes, slowly: bytes) -> None:
    """A client of its own, which is refused before it is through."""
    client = await parts.running.connect()
    await client.send(at_once)
    sending = asyncio.ensure_future(trickle(client, slowly))
    await is_refused(client)
    assert slowly == b"" or not sending.done()
    sending.cancel()


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
        await asyncio.gather(
            dawdle(parts, b"", HEAD),
            dawdle(parts, b"POST", b""),
            dawdle(parts, b"", b"\r\n" * 20),
            dawdle(parts, HEAD, b"x-a: " + b"b" * 50),
        )
        told = parts.running.telemetry.render().decode()
        assert 'errors_total{code="request_timeout",door="http"} 4.0' in told
        assert not parts.script.seen


def test_headers_of_a_second_request_have_as_much_time(stage: Stage) -> None:
    @stage.exchange(echo, clients=IMPATIENT)
    async def scene(parts: Parts) -> None:
        await parts.client.ask(b"first")
        await parts.client.send(HEAD)
        await is_refused(parts.client)
        assert len(parts.server.requests) == 1


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
