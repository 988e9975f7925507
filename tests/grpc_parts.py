"""A gRPC server in a scene: methods to call, frames byte by byte, and the real client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from hyperframe.frame import (
    Frame,
    HeadersFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from routewright.gateway.grpc_calls import Call
from routewright.gateway.grpc_health import Health
from routewright.gateway.grpc_server import GrpcServer
from routewright.gateway.settings import ExtProcConnections

LIMIT = 1024 * 1024
END_STREAM, ACK, END_HEADERS = 1, 1, 4
SOON_S = 5.0
HEADERS = b"".join(
    b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
    for name, value in ((b":path", b"/t/Echo"), (b"content-type", b"application/grpc"))
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST = 2**31 - 1


def raw(kind: type[Frame], flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame with whatever payload, sound or not."""
    head = len(payload).to_bytes(3, "big") + bytes((kind.type or 0, flags))
    return head + stream_id.to_bytes(4, "big") + payload


def opened(stream_id: int, block: bytes = HEADERS) -> bytes:
    return raw(HeadersFrame, END_HEADERS, stream_id, block)


def window_update(stream_id: int, size: int) -> bytes:
    return raw(WindowUpdateFrame, 0, stream_id, size.to_bytes(4, "big"))


def initial_window(size: int) -> bytes:
    return raw(SettingsFrame, 0, 0, b"\x00\x04" + size.to_bytes(4, "big"))


def message(data: bytes) -> bytes:
    return b"\x00" + len(data).to_bytes(4, "big") + data


class Frames:
    """What a server sends, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.seen: list[Frame] = []
        self._reader = reader

    async def next(self) -> bool:
        """Read one more; False at the end."""
        try:
            frame, length = Frame.parse_frame_header(
                memoryview(await self._reader.readexactly(9))
            )
        except asyncio.IncompleteReadError:
            return False
        frame.parse_body(memoryview(await self._reader.readexactly(length)))
        self.seen.append(frame)
        return True

    def of(self, kind: type[Frame]) -> list[Any]:
        return [f for f in self.seen if isinstance(f, kind) and "ACK" not in f.flags]

    async def until(self, kind: type[Frame], num: int) -> list[Any]:
        while len(self.of(kind)) < num:
            assert await self.next()
        return self.of(kind)


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


def play(scene: Scene, **limits: Any) -> None:
    async def run() -> None:
        methods = Methods()
        server = GrpcServer(
            methods.by_path(),
            max_message_bytes=LIMIT,
            connections=ExtProcConnections(**limits),
        )
        port = await server.start("127.0.0.1", 0)
        try:
            await asyncio.wait_for(scene(methods, server, port), 2 * SOON_S)
        finally:
            await asyncio.wait_for(server.stop(0.0), SOON_S)

    asyncio.run(run())


def channel(port: int) -> Any:
    # Else channels to one address share their connection.
    own = ("grpc.use_local_subchannel_pool", 1)
    given = [("grpc.max_receive_message_length", -1), own]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=given)
