"""Envoy's door: an ext_proc v3 server over grpc.aio, with gRPC health and a graceful drain.

The service is registered by its name on the wire; the messages are our own (`_proto`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from routewright.errors import ConfigError
from routewright.gateway._proto.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from routewright.gateway.exchange import HandlerFactory
from routewright.gateway.ext_proc_stream import ExtProcStream
from routewright.gateway.guarded import OnError

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
LIVENESS = "liveness"
READINESS = ("", "readiness", SERVICE)
"""Names under which gateways ask whether to send traffic; "" is the server as a whole."""

HEADER_ROOM_BYTES = 1024 * 1024
"""Room in a gRPC message for headers next to the largest body."""

Context = grpc.aio.ServicerContext[ProcessingRequest, ProcessingResponse]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtProcSettings:
    """Where the server listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = 50051
    """0 takes a free port; `ExtProcServer.start` returns it."""
    on_error: OnError = "closed"
    """What a failing handler means: ``closed`` answers 500, ``open`` lets the rest pass."""
    max_body_bytes: int = 8 * 1024 * 1024
    """Largest request or gathered answer."""
    drain_s: float = 30.0
    """How long `stop` waits for streams to finish before it ends them."""


class ExternalProcessor:
    """The ext_proc service: one handler and one state machine for every stream."""

    def __init__(self, new_handler: HandlerFactory, settings: ExtProcSettings) -> None:
        """Make a handler with `new_handler` for every request."""
        self._new_handler = new_handler
        self._settings = settings

    async def process(
        self, _messages: AsyncIterator[ProcessingRequest], context: Context
    ) -> None:
        """Answer the messages of one HTTP request until Envoy ends the stream."""
        stream = ExtProcStream(
            self._new_handler(),
            on_error=self._settings.on_error,
            max_body_bytes=self._settings.max_body_bytes,
        )
        try:
            await _converse(stream, context)
        finally:
            stream.close()

    def generic_handler(self) -> grpc.GenericRpcHandler:
        """What a server needs to offer the service under Envoy's name for it."""
        process = grpc.stream_stream_rpc_method_handler(
            self.process,
            request_deserializer=ProcessingRequest.FromString,
            response_serializer=ProcessingResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": process})


async def _converse(stream: ExtProcStream, context: Context) -> None:
    """Read, answer, write; end early when Envoy leaves while the handler thinks."""
    reading: asyncio.Task[Any] | None = None
    try:
        while True:
            message = await (reading or context.read())
            reading = None
            if message is grpc.aio.EOF:
                return
            if stream.decides(message):
                reading = asyncio.ensure_future(context.read())
                replies = await _unless_ended(stream, message, reading)
            else:
                replies = await stream.answer(message)
            for reply in replies or ():
                await context.write(reply)
    finally:
        if reading is not None:
            reading.cancel()


async def _unless_ended(
    stream: ExtProcStream, message: ProcessingRequest, reading: asyncio.Task[Any]
) -> list[ProcessingResponse] | None:
    """The replies to `message`; None if `reading` finds the end of the stream before them."""
    answering = asyncio.ensure_future(stream.answer(message))
    try:
        await asyncio.wait({answering, reading}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and reading.result() is not grpc.aio.EOF:
            await asyncio.wait({answering})
        return answering.result() if answering.done() else None
    finally:
        if not answering.done():
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering


class ExtProcServer:
    """The gRPC server: not ready until told so, and drained before it stops."""

    def __init__(self, new_handler: HandlerFactory, settings: ExtProcSettings) -> None:
        """Serve `new_handler`; call `start` in the event loop that shall run it."""
        self._settings = settings
        self._processor = ExternalProcessor(new_handler, settings)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen, alive but not ready; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        # Envoy notices a body over its limit after reading up to as much again; such a
        # message must arrive for the client to get 413 instead of a broken stream.
        limit = 2 * self._settings.max_body_bytes + HEADER_ROOM_BYTES
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.so_reuseport", 0),  # or a second gateway takes half of the traffic
            ]
        )
        server.add_generic_rpc_handlers((self._processor.generic_handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        host = self._settings.host
        address = f"[{host}]" if ":" in host else host
        address = f"{address}:{self._settings.port}"
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as exc:
            raise ConfigError(
                f"cannot listen on {address} for Envoy; is the port taken? choose another"
            ) from exc
        await server.start()
        self._server = server
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(ready=False)
        return port

    async def set_ready(self, *, ready: bool) -> None:
        """Tell whoever checks the health whether requests shall come here."""
        status = health_pb2.HealthCheckResponse
        for name in READINESS:
            await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def stop(self) -> None:
        """Turn unready, take no new streams, wait for those that run, end the rest."""
        if self._server is None:
            return
        await self.set_ready(ready=False)
        await self._server.stop(self._settings.drain_s)
        self._server = None
