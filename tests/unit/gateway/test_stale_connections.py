"""Kept connections to model servers that were closed meanwhile, and what only looks like it."""

import asyncio
import socket
import struct
from dataclasses import replace

import pytest
from tests.http_parts import (
    Received,
    SocketServer,
    listening,
    play,
    response,
    says,
    to,
)
from tests.upstream_parts import REQUEST, Bystanders, ask, opened

from routewright.errors import UpstreamError
from routewright.policy.settings import Endpoint


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_that_dies_while_idle_is_replaced(reset: bool) -> None:
    async def scene() -> None:
        server: SocketServer

        async def hang_up_when_reused(_: Received, writer: asyncio.StreamWriter) -> None:
            if len(server.requests) == 2:
                if reset:  # a socket that lingers for no time says RST instead of FIN
                    no_time = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, no_time
                    )
                writer.close()
            else:
                writer.write(response(b"ok"))

        async with listening(hang_up_when_reused) as server, opened() as upstreams:
            assert await ask(upstreams, to(server)) == (200, b"ok")
            assert await ask(upstreams, to(server)) == (200, b"ok")
            assert (len(server.requests), server.connections) == (3, 2)

    play(scene)


def test_a_server_that_dies_at_its_work_is_not_asked_again_on_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("routewright.gateway.upstream.STALE_S", 0.02)

    async def scene() -> None:
        server: SocketServer

        async def die_when_reused(_: Received, writer: asyncio.StreamWriter) -> None:
            if len(server.requests) == 1:
                writer.write(response(b"ok"))
            else:
                await asyncio.sleep(0.05)
                writer.close()

        async with listening(die_when_reused) as server, opened() as upstreams:
            stand_by = Bystanders(to(server))
            await ask(upstreams, to(server))
            with pytest.raises(UpstreamError):
                await ask(upstreams, to(server, server), stand_by)
            assert (len(server.requests), server.connections) == (2, 1)
            assert stand_by.asked == 0

    play(scene)


def test_any_number_of_connections_may_have_died_while_idle() -> None:
    async def scene() -> None:
        num_open, together = 4, asyncio.Barrier(4)
        old: set[asyncio.StreamWriter] = set()
        server: SocketServer

        async def hang_up_when_reused(_: Received, writer: asyncio.StreamWriter) -> None:
            if len(server.requests) <= num_open:
                old.add(writer)
                await together.wait()  # so that each has a connection of its own
                writer.write(response(b"ok"))
            elif writer in old:
                writer.close()
            else:
                writer.write(response(b"new"))

        async with listening(hang_up_when_reused) as server, opened() as upstreams:
            await asyncio.gather(*(ask(upstreams, to(server)) for _ in range(num_open)))
            for _ in range(num_open):  # each meets a dead one
                assert await ask(upstreams, to(server)) == (200, b"new")
            assert server.connections == 2 * num_open
            assert await ask(upstreams, to(server)) == (200, b"new")
            assert len(server.requests) == 3 * num_open + 1

    play(scene)


@pytest.mark.parametrize("num_servers", [1, 2])
def test_a_request_that_kills_whatever_takes_it_is_sent_twice_however_many_connections_are_open(
    num_servers: int,
) -> None:
    async def scene() -> None:
        num_open, together = 6, asyncio.Barrier(6)
        poisonous = replace(REQUEST, body=b"poison")

        async def die_of_poison(request: Received, writer: asyncio.StreamWriter) -> None:
            if request.body == b"poison":
                writer.close()
            else:
                await together.wait()
                writer.write(response(b"ok"))

        async with listening(die_of_poison) as server, opened() as upstreams:
            await asyncio.gather(*(ask(upstreams, to(server)) for _ in range(num_open)))
            stand_by = Bystanders(to(server))
            with pytest.raises(UpstreamError):
                await upstreams.reach(poisonous, to(*[server] * num_servers), stand_by)
            assert len(server.requests) == num_open + 2
            assert stand_by.asked == 0

    play(scene)


def test_after_a_kept_connection_failed_the_next_server_is_asked_over_a_new_one_too() -> None:
    async def scene() -> None:
        poisonous = replace(REQUEST, body=b"poison")

        async def die_of_poison(request: Received, writer: asyncio.StreamWriter) -> None:
            if request.body == b"poison":
                first.close()
                writer.close()
            else:
                writer.write(response(b"ok"))

        async with listening(die_of_poison) as second, opened() as upstreams:
            served = SocketServer(die_of_poison)
            first = await asyncio.start_server(served.connected, "127.0.0.1", 0)
            served.port = first.sockets[0].getsockname()[1]
            unlikely = Endpoint(url=second.endpoint.url, weight=1e-9)
            for server in (served, second):
                await ask(upstreams, to(server))
            with pytest.raises(UpstreamError):
                await upstreams.reach(poisonous, to(served, unlikely), Bystanders())
            # Closed at once, no longer listening, then the other's end.
            assert (len(served.requests), len(second.requests)) == (2, 2)
            await served.close()

    play(scene)


def test_connections_are_used_again() -> None:
    async def scene() -> None:
        async with listening(says(b"ok")) as server, opened() as upstreams:
            for _ in range(3):
                await ask(upstreams, to(server))
            assert server.connections == 1

    play(scene)
