"""The standalone door itself: its address, its health and its end."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.http_parts import (
    SOON_S,
    Parts,
    Stage,
    code,
    echo,
    ended,
    play,
    silence,
)

from routewright.errors import ConfigError
from routewright.gateway.exchange import (
    Outcome,
)
from routewright.gateway.http import HttpDoor
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.gateway.telemetry import Telemetry


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_draining_waits_for_what_runs_and_refuses_the_rest(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        parts.script.may_decide = asyncio.Event()
        idle, new = await parts.running.connect(), await parts.running.connect()
        await idle.send(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        await idle.answer()
        await parts.client.post(b"last")
        await asyncio.wait_for(parts.script.thinking.wait(), SOON_S)
        stopping = asyncio.ensure_future(parts.running.door.stop(drain_s=SOON_S))
        await asyncio.sleep(0)
        await new.post(b"{}", "x-request-id: mine")
        status, refusal = await new.answer()
        assert (status, code(refusal)) == (503, "closed")
        assert refusal.values("connection") == [b"close"]
        assert refusal.values("x-request-id") == [b"mine"]
        assert await new.rest() == b""
        await asyncio.sleep(0.3)
        assert not stopping.done()
        with pytest.raises(ConnectionError):
            await parts.running.connect()
        parts.script.may_decide.set()
        assert (await parts.client.answer())[1].body == b"last"
        await asyncio.wait_for(stopping, SOON_S)
        assert await ended(parts.script) is Outcome.COMPLETE


def test_draining_does_not_wait_for_ever(stage: Stage) -> None:
    @stage.exchange(silence)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        await asyncio.wait_for(parts.script.thinking.wait(), SOON_S)
        await parts.running.door.stop(drain_s=0.05)
        status, answer = await parts.client.answer()
        assert (status, code(answer)) == (503, "closed")
        await asyncio.wait_for(parts.server.hung_up.wait(), SOON_S)
        assert await ended(parts.script) is Outcome.ABORTED


def test_health_is_always_told_and_readiness_as_it_is(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        async def status(path: str) -> int:
            await parts.client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            return (await parts.client.answer())[0]

        assert (await status("/healthz"), await status("/readyz")) == (200, 200)
        parts.running.state["ready"] = False
        assert (await status("/healthz"), await status("/readyz")) == (200, 503)
        assert not parts.script.seen


def test_a_taken_port_is_an_error_that_names_it(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        settings = GatewaySettings(http=Listen(port=parts.running.port))
        second = HttpDoor(_never, settings, Telemetry(), lambda: True)
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{parts.running.port}.*in use"):
            await second.start()


def _never() -> Any:
    raise AssertionError("no request was sent")


def test_names_that_are_not_of_this_machine_are_an_error() -> None:
    async def scene() -> None:
        settings = GatewaySettings(http=Listen(host="192.0.2.1", port=80))
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
            await HttpDoor(_never, settings, Telemetry(), lambda: True).start()

    play(scene)
