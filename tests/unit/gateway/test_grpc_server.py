"""Our gRPC server against the real client, and against bytes that no client should send."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from routewright.gateway import grpc_frames as wire
from routewright.gateway.grpc_calls import Call
from routewright.gateway.grpc_frames import Frame
from routewright.gateway.grpc_health import Health
from routewright.gateway.grpc_server import GrpcServer

LIMIT = 1024 * 1024
SOON_S = 5.0
HEADERS = b"".join(
    b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
    for name, value in ((b":path", b"/t/Echo"), (b"content-type", b"application/grpc"))
)
OPENED = wire.frame(wire.HEADERS, wire.END_HEADERS, 1, HEADERS)


class Methods:
    """What is served, and what became of it."""

    def __init__(self) -> None:
        self.health = Health()
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def echo(self, call: Call) -> None:
        while (data := await call.read()) is not None:
            call.write(data)

    async def twice(self, call: Call) -> None:
        data = await call.read() or b""
        call.write(data, data)

    async def fail(self, call: Call) -> None:
        raise RuntimeError(f"quotes {await call.read()!r}")

    async def wait(self, call: Call) -> None:
        call.cancel_at_end = True
        self.waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def by_path(self) -> dict[bytes, Any]:
        own = {"Echo": self.echo, "Twice": self.twice, "Fail": self.fail, "Wait": self.wait}
        paths = {f"/t/{name}".encode(): method for name, method in own.items()}
        return {**paths, **self.health.methods()}


Scene = Callable[[Methods, GrpcServer, int], Awaitable[None]]


def play(scene: Scene) -> None:
    async def run() -> None:
        methods = Methods()
        server = GrpcServer(methods.by_path(), max_message_bytes=LIMIT)
        port = await server.start("127.0.0.1", 0)
        try:
            await asyncio.wait_for(scene(methods, server, port), 2 * SOON_S)
        finally:
            await asyncio.wait_for(server.stop(0.0), SOON_S)

    asyncio.run(run())


def channel(port: int) -> Any:
    given = [("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=given)


async def status_of(call: Any) -> grpc.StatusCode:
    async for _ in call:
        pass
    code: grpc.StatusCode = await call.code()
    return code


def test_large_messages_come_back_whole_through_the_clients_small_windows() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            call = client.stream_stream("/t/Echo")()
            for size in (0, 1, 16_384, LIMIT, 70_000):
                await call.write(bytes([size % 251]) * size)
                assert await call.read() == bytes([size % 251]) * size
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
            total = [part async for part in client.unary_stream("/t/Twice")(b"x" * LIMIT)]
            assert total == [b"x" * LIMIT] * 2

    play(scene)


def test_many_calls_of_one_connection_do_not_mix() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            unary = client.unary_unary("/t/Echo")
            sent = [f"{i}".encode() * (i * 37 % 4000) for i in range(200)]
            assert await asyncio.gather(*(unary(data) for data in sent)) == sent

    play(scene)


@pytest.mark.parametrize(
    ("path", "size", "compression", "code"),
    [
        ("/t/Echo", LIMIT + 1, None, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("/t/Echo", 1000, grpc.Compression.Gzip, grpc.StatusCode.UNIMPLEMENTED),
        ("/t/None", 1, None, grpc.StatusCode.UNIMPLEMENTED),
        ("/t/Fail", 1, None, grpc.StatusCode.INTERNAL),
    ],
)
def test_what_cannot_be_served_ends_with_its_status(
    path: str, size: int, compression: Any, code: grpc.StatusCode
) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            call = client.unary_stream(path)(b"s" * size, compression=compression)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await status_of(call)
            assert raised.value.code() is code
            assert "quotes" not in (raised.value.details() or "")
            assert await client.unary_unary("/t/Echo")(b"next") == b"next"

    play(scene)


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_method_is_cancelled_when_its_client_leaves(how: str) -> None:
    async def scene(methods: Methods, _: GrpcServer, port: int) -> None:
        client = channel(port)
        call = client.stream_stream("/t/Wait")()
        await methods.waiting.wait()
        if how == "cancel":
            call.cancel()
        else:
            await client.close()
        await asyncio.wait_for(methods.cancelled.wait(), SOON_S)
        await client.close()

    play(scene)


def test_who_watches_hears_of_every_change_and_of_services_that_are_not_there() -> None:
    async def scene(methods: Methods, server: GrpcServer, port: int) -> None:
        methods.health.set("a", serving=False)
        async with channel(port) as client:
            stub: Any = health_pb2_grpc.HealthStub(client)
            call = stub.Watch(health_pb2.HealthCheckRequest(service="a"))
            seen = [(await call.read()).status]
            for serving in (True, True, False):
                methods.health.set("a", serving=serving)
            seen += [(await call.read()).status, (await call.read()).status]
            assert seen == [2, 1, 2]
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="b"))
            assert (await unknown.read()).status == 3
            with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
                await stub.Check(health_pb2.HealthCheckRequest(service="b"))
            methods.health.close()
            assert await call.read() is grpc.aio.EOF

    play(scene)


async def said(port: int, data: bytes, until: Callable[[list[Frame]], bool]) -> list[Frame]:
    """What the server sends to a client that sends `data`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire.PREFACE + wire.settings({}) + data)
    frames: list[Frame] = []
    framing = wire.FrameReader()
    list(framing.feed(wire.PREFACE))
    while not until(frames) and (received := await reader.read(65_536)):
        frames += framing.feed(received)
    writer.close()
    return frames


def kinds(frames: list[Frame]) -> set[int]:
    return {frame.kind for frame in frames}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (wire.frame(wire.DATA, 0, 1, b"never opened"), wire.PROTOCOL_ERROR),
        (wire.frame(wire.HEADERS, wire.END_HEADERS, 2, HEADERS), wire.PROTOCOL_ERROR),
        (wire.frame(wire.CONTINUATION, 0, 1, b""), wire.PROTOCOL_ERROR),
        (wire.frame(wire.PUSH_PROMISE, 0, 1, b""), wire.PROTOCOL_ERROR),
        (wire.frame(wire.HEADERS, 0, 1, HEADERS) + OPENED, wire.PROTOCOL_ERROR),
        (wire.frame(wire.HEADERS, wire.END_HEADERS, 1, b"\xff\xff"), wire.COMPRESSION_ERROR),
        (wire.settings({wire.INITIAL_WINDOW_SIZE: 2**31}), wire.FLOW_CONTROL_ERROR),
        (wire.window_update(0, wire.LARGEST_WINDOW), wire.FLOW_CONTROL_ERROR),
        (OPENED + wire.window_update(1, 0), wire.FLOW_CONTROL_ERROR),
        (
            wire.frame(wire.HEADERS, 0, 1, HEADERS)
            + wire.frame(wire.CONTINUATION, 0, 1, b"x" * 60_000) * 2,
            wire.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_a_broken_protocol_ends_the_connection_with_its_code(data: bytes, code: int) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        frames = await said(port, data, lambda _: False)
        assert frames[-1].kind == wire.GOAWAY
        assert int.from_bytes(frames[-1].payload[4:8], "big") == code

    play(scene)


def test_a_browser_is_told_that_this_is_not_for_it() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        plain = b"\x00\x05:path\x01/"
        opened = wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, plain)
        frames = await said(port, opened, lambda f: wire.HEADERS in kinds(f))
        (answer,) = (f for f in frames if f.kind == wire.HEADERS)
        assert b"415" in answer.payload
        assert answer.flags & wire.END_STREAM

    play(scene)


def test_nothing_is_sent_beyond_the_windows_and_the_rest_when_they_open() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        small = wire.settings({wire.INITIAL_WINDOW_SIZE: 10})
        message = wire.frame(wire.DATA, wire.END_STREAM, 1, wire.message(b"abcdefghijklmnop"))
        writer.write(wire.PREFACE + small + OPENED + message)
        framing, frames = wire.FrameReader(), list[Frame]()
        list(framing.feed(wire.PREFACE))

        async def more(size: int) -> bytes:
            while len(data := b"".join(f.payload for f in frames if f.kind == 0)) < size:
                frames.extend(framing.feed(await reader.read(65_536)))
            return data

        assert await more(10) == wire.message(b"abcdefghijklmnop")[:10]
        writer.write(wire.window_update(1, 4))
        assert len(await more(14)) == 14
        writer.write(wire.settings({wire.INITIAL_WINDOW_SIZE: 100}))
        assert await more(21) == wire.message(b"abcdefghijklmnop")
        writer.close()

    play(scene)


def test_a_drain_serves_what_crosses_it_and_refuses_what_comes_later() -> None:
    async def scene(methods: Methods, server: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wait = HEADERS.replace(b"/t/Echo", b"/t/Wait")
        writer.write(wire.PREFACE + wire.settings({}))
        writer.write(wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wait))
        await methods.waiting.wait()
        stopping = asyncio.ensure_future(server.stop(SOON_S))
        framing, frames = wire.FrameReader(), list[Frame]()
        list(framing.feed(wire.PREFACE))

        async def until(kind: int, num: int) -> list[Frame]:
            while len(found := [f for f in frames if f.kind == kind and not f.flags & 1]) < num:
                frames.extend(framing.feed(await reader.read(65_536)))
            return found

        (ping,) = await until(wire.PING, 1)
        writer.write(wire.frame(wire.HEADERS, wire.END_HEADERS, 3, wait))
        writer.write(wire.frame(wire.PING, wire.ACK, 0, ping.payload))
        writer.write(wire.frame(wire.HEADERS, wire.END_HEADERS, 5, wait))
        (refused,) = await until(wire.RST_STREAM, 1)
        first, last = (
            int.from_bytes(f.payload[:4], "big") for f in await until(wire.GOAWAY, 2)
        )
        assert (first, last, refused.stream_id) == (wire.LARGEST_STREAM_ID, 3, 5)
        assert not stopping.done()
        writer.write(wire.reset(1, wire.CANCEL) + wire.reset(3, wire.CANCEL))
        await asyncio.wait_for(stopping, SOON_S)
        writer.close()

    play(scene)
