"""The gRPC server itself: its names, its health and its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from routewright.errors import ConfigError
from routewright.gateway._proto.ext_proc_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingMode,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from routewright.gateway.exchange import Forward, Headers, Immediate, Outcome, ResponsePlan
from routewright.gateway.ext_proc import (
    LIVENESS,
    READINESS,
    SERVICE,
    ExtProcServer,
    ExtProcSettings,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SOON_S = 5.0

BUFFERED = ProtocolConfiguration(
    request_body_mode=ProcessingMode.BUFFERED, response_body_mode=ProcessingMode.BUFFERED
)
HEADERS = ProcessingRequest(request_headers=HttpHeaders(), protocol_config=BUFFERED)
BODY = ProcessingRequest(request_body=HttpBody(body=b"{}", end_of_stream=True))
ANSWER = ProcessingRequest(response_headers=HttpHeaders(end_of_stream=True))


class Thinker:
    """Decides when it is allowed to, and says when it was interrupted."""

    def __init__(self) -> None:
        self.thinking = asyncio.Event()
        self.may_decide = asyncio.Event()
        self.ended = asyncio.Event()
        self.interrupted = False
        self.outcome: Outcome | None = None

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        self.thinking.set()
        try:
            await self.may_decide.wait()
        except asyncio.CancelledError:
            self.interrupted = True
            raise
        return Forward()

    def unguarded(self) -> Forward:
        return Forward()

    async def on_unavailable(self) -> None:
        return None

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        return ResponsePlan()

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        return chunk

    def on_too_large(self) -> Immediate:
        return Immediate(status=502)

    def on_left(self) -> None: ...

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        self.outcome = outcome
        self.ended.set()


Scene = Callable[[ExtProcServer, grpc.aio.Channel, Thinker], Awaitable[None]]


def play(scene: Scene, **settings: Any) -> None:
    """Start a server with one handler, run the scene, stop."""

    async def run() -> None:
        handler = Thinker()
        server = ExtProcServer(lambda: handler, ExtProcSettings(port=0, **settings))
        port = await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(scene(server, channel, handler), 2 * SOON_S)
        await server.stop()

    asyncio.run(run())


def process(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(
        f"/{SERVICE}/Process",
        request_serializer=ProcessingRequest.SerializeToString,
        response_deserializer=ProcessingResponse.FromString,
    )()


async def health(channel: grpc.aio.Channel, name: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


def test_it_is_alive_at_once_and_ready_when_told_under_every_name() -> None:
    async def scene(server: ExtProcServer, channel: grpc.aio.Channel, _: Thinker) -> None:
        assert await health(channel, LIVENESS) == SERVING
        assert [await health(channel, n) for n in READINESS] == [NOT_SERVING] * 3
        await server.set_ready(ready=True)
        assert [await health(channel, n) for n in READINESS] == [SERVING] * 3

    play(scene)


def test_stopping_waits_for_the_requests_under_way() -> None:
    async def scene(server: ExtProcServer, channel: grpc.aio.Channel, handler: Thinker) -> None:
        call = process(channel)
        await call.write(HEADERS)
        await call.read()
        await call.write(BODY)
        await handler.thinking.wait()
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        handler.may_decide.set()
        assert (await call.read()).HasField("request_body")
        await call.write(ANSWER)
        assert (await call.read()).HasField("response_headers")
        await call.done_writing()
        await asyncio.wait_for(stopping, SOON_S)
        assert handler.outcome is Outcome.COMPLETE

    play(scene)


def test_stopping_does_not_wait_for_ever() -> None:
    async def scene(server: ExtProcServer, channel: grpc.aio.Channel, handler: Thinker) -> None:
        call = process(channel)
        await call.write(HEADERS)
        await call.write(BODY)
        await handler.thinking.wait()
        await asyncio.wait_for(server.stop(), SOON_S)
        await asyncio.wait_for(handler.ended.wait(), SOON_S)
        assert handler.interrupted
        assert handler.outcome is Outcome.ABORTED
        call.cancel()

    play(scene, drain_s=0.1)


@pytest.mark.parametrize("how", ["cancel", "half_close"])
def test_a_decision_ends_when_envoy_leaves(how: str) -> None:
    async def scene(_: ExtProcServer, channel: grpc.aio.Channel, handler: Thinker) -> None:
        call = process(channel)
        await call.write(HEADERS)
        await call.read()
        await call.write(BODY)
        await handler.thinking.wait()
        if how == "cancel":
            call.cancel()
        else:
            await call.done_writing()
        await asyncio.wait_for(handler.ended.wait(), SOON_S)
        assert handler.interrupted
        assert handler.outcome is Outcome.ABORTED

    play(scene)


def test_a_taken_port_is_an_error_that_names_it() -> None:
    async def run() -> None:
        settings = ExtProcSettings(port=0, drain_s=0.0)
        first = ExtProcServer(Thinker, settings)
        port = await first.start()
        second = ExtProcServer(Thinker, ExtProcSettings(port=port))
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            await second.start()
        await first.stop()

    asyncio.run(run())
