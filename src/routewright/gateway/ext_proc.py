"""Envoy's door: an ext_proc v3 server with gRPC health and a graceful drain.

The service is registered by its name on the wire; messages and server are our own (`_proto`,
`grpc_server`).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from routewright.errors import ConfigError
from routewright.gateway._proto.ext_proc_pb2 import ProcessingRequest
from routewright.gateway.exchange import HandlerFactory
from routewright.gateway.ext_proc_halves import GO_ON, is_go_on_due
from routewright.gateway.ext_proc_stream import ExtProcStream
from routewright.gateway.grpc_calls import OK, Call
from routewright.gateway.grpc_health import Health
from routewright.gateway.grpc_server import GrpcServer
from routewright.gateway.guarded import OnError
from routewright.gateway.left_answers import AnswerObserver, LeftAnswers
from routewright.gateway.settings import ExtProcConnections
from routewright.gateway.unwatched import ANSWERS, UNWATCHED

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
LIVENESS = "liveness"
READINESS = ("", "readiness", SERVICE)
"""Names under which gateways ask whether to send traffic; "" is the server as a whole."""

_ANSWERS, _UNWATCHED = ANSWERS.encode(), UNWATCHED.encode()

_GO_ON = GO_ON.SerializeToString()

_LATER_S = 0.02
"""Until the rest is done for a request that Envoy has got back: on a machine with few cores,
doing it at once takes the core from Envoy, which is sending it on."""

HEADER_ROOM_BYTES = 1024 * 1024
"""Room in a gRPC message for headers next to the largest body."""


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
    connections: ExtProcConnections = field(default_factory=ExtProcConnections)


class ExternalProcessor:
    """The ext_proc service: one handler and one state machine for every stream."""

    def __init__(self, new_handler: HandlerFactory, settings: ExtProcSettings) -> None:
        """Make a handler with `new_handler` for every request."""
        self._new_handler = new_handler
        self._settings = settings
        self._pausing: set[asyncio.Task[Any]] = set()

    async def process(self, call: Call) -> None:
        """Answer the messages of one HTTP request until no more have to be seen."""
        data = await call.read()
        if data is None:
            return
        try:
            message = ProcessingRequest.FromString(data)
        except DecodeError:
            self._new_stream(call).close()  # counted, as any request that came here
            raise
        # Envoy brings the body while the rest is done for the headers.
        is_ahead = is_go_on_due(message)
        if is_ahead:
            call.write(_GO_ON)
        stream = self._new_stream(call)
        try:
            while data is not None:
                # Nobody waits for a decision once Envoy has left.
                call.cancel_at_end = stream.decides(message)
                replies = await stream.answer(message)
                call.cancel_at_end = False
                if not is_ahead or replies != [GO_ON]:
                    call.write(*(reply.SerializeToString() for reply in replies))
                is_ahead = False
                if stream.left:
                    # Now Envoy goes on without a word about the answer. In the same write as
                    # the reply, the end would keep it waiting for .1 ms.
                    call.finish(OK)
                    await self._pause()
                    return
                if (data := await call.read()) is not None:
                    message = ProcessingRequest.FromString(data)
        finally:
            stream.close()

    async def close(self) -> None:
        """Do at once what waits until Envoy is done."""
        pausing = [*self._pausing]
        for task in pausing:
            task.cancel()
        await asyncio.gather(*pausing, return_exceptions=True)

    def _new_stream(self, call: Call) -> ExtProcStream:
        return ExtProcStream(
            self._new_handler(),
            on_error=self._settings.on_error,
            max_body_bytes=self._settings.max_body_bytes,
            may_leave=call.metadata.get(_ANSWERS) == _UNWATCHED,
        )

    async def _pause(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a call is served in a task"
        self._pausing.add(task)
        try:
            await asyncio.sleep(_LATER_S)
        finally:
            self._pausing.discard(task)


class ExtProcServer:
    """The gRPC server: not ready until told so, and drained before it stops."""

    def __init__(
        self,
        new_handler: HandlerFactory,
        settings: ExtProcSettings,
        heard: tuple[AnswerObserver, ...] = (),
    ) -> None:
        """Serve `new_handler`; call `start` in the event loop that shall run it.

        `heard` are told of the ends of answers that were left to Envoy.
        """
        self._settings = settings
        self._answers = LeftAnswers(heard)
        self._processor = ExternalProcessor(new_handler, settings)
        self._health = Health()
        self._server: GrpcServer | None = None

    async def start(self) -> int:
        """Listen, alive but not ready; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        # Envoy notices a body over its limit after reading up to as much again; such a
        # message must arrive for the client to get 413 instead of a broken stream.
        limit = 2 * self._settings.max_body_bytes + HEADER_ROOM_BYTES
        process = f"/{SERVICE}/Process".encode("ascii")
        methods = {
            process: self._processor.process,
            **self._health.methods(),
            **self._answers.methods(),
        }
        server = GrpcServer(
            methods, max_message_bytes=limit, connections=self._settings.connections
        )
        host, port = self._settings.host, self._settings.port
        try:
            port = await server.start(host, port)
        except OSError as exc:
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ConfigError(
                f"cannot listen on {address} for Envoy; is the port taken? choose another"
            ) from exc
        self._server = server
        self._health.set(LIVENESS, serving=True)
        await self.set_ready(ready=False)
        return port

    async def set_ready(self, *, ready: bool) -> None:
        """Tell whoever checks the health whether requests shall come here."""
        for name in READINESS:
            self._health.set(name, serving=ready)

    async def stop(self) -> None:
        """Turn unready, take no new streams, wait for those that run, end the rest."""
        if self._server is None:
            return
        await self.set_ready(ready=False)
        self._health.close()
        self._answers.close()
        await self._server.stop(self._settings.drain_s)
        await self._processor.close()
        self._server = None
