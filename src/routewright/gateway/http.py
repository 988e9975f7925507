"""The standalone door: an OpenAI-compatible reverse proxy over HTTP/1.1, with a drain.

Every path goes to the handler but two: ``/healthz`` says that the process lives, ``/readyz``
whether requests shall come here. Speaks ASGI itself, without an application framework, because
every step between the sockets is part of the latency that the gateway adds.
"""

import asyncio
import contextlib
from collections.abc import Callable

import uvicorn
from starlette.types import Receive, Scope, Send

from routewright.gateway.bodies.failures import HttpAnswer
from routewright.gateway.exchange import HandlerFactory
from routewright.gateway.http_exchange import CLOSE, CLOSING, HttpExchange, Surroundings
from routewright.gateway.listening import BACKLOG, AsgiServer, bound_socket
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.upstream import Upstreams

KEEP_ALIVE_S = 75.0
"""Longer than clients keep an idle connection, so that the client is the one who closes it."""
CLOSING_S = 1.0
"""How long ended requests may take to leave the sockets."""

HEALTHY = HttpAnswer(200, b'{"status":"ok"}')
READY = HttpAnswer(200, b'{"status":"ready"}')
NOT_READY = HttpAnswer(503, b'{"status":"not ready"}')
DRAINING = HttpAnswer(CLOSING.status, CLOSING.body)


class HttpApp:
    """The door as an ASGI application; knows the requests it is serving."""

    def __init__(
        self, new_handler: HandlerFactory, around: Surroundings, ready: Callable[[], bool]
    ) -> None:
        self._new_handler = new_handler
        self._around = around
        self._ready = ready
        self._running: set[HttpExchange] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        """Refuse new requests; those that run go on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served here")
        own = self._own_answer(scope)
        if own is not None:
            await _send(own, send, close=self.draining)
            return
        exchange = HttpExchange(self._new_handler(), self._around, scope, receive, send)
        self._running.add(exchange)
        self._idle.clear()
        try:
            await exchange.run()
        finally:
            self._running.discard(exchange)
            if not self._running:
                self._idle.set()

    def _own_answer(self, scope: Scope) -> HttpAnswer | None:
        if scope["method"] in ("GET", "HEAD"):
            if scope["path"] == "/healthz":
                return HEALTHY
            if scope["path"] == "/readyz":
                return READY if self._ready() and not self.draining else NOT_READY
        return DRAINING if self.draining else None

    async def drain(self, drain_s: float) -> None:
        """Wait for the requests under way, at most `drain_s`, then end the rest."""
        self.draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain_s)
        for exchange in list(self._running):
            exchange.stop()


async def _send(answer: HttpAnswer, send: Send, *, close: bool) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    headers += CLOSE if close else []
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class HttpDoor:
    """The application on a socket, in the event loop that starts it."""

    def __init__(
        self,
        new_handler: HandlerFactory,
        settings: GatewaySettings,
        telemetry: Telemetry,
        ready: Callable[[], bool],
    ) -> None:
        """Serve `new_handler` at ``settings.http``; `ready` is what ``/readyz`` tells."""
        self._listen = settings.http or Listen()
        self._drain_s = settings.drain_s
        self._upstreams = Upstreams(settings.upstream, telemetry)
        around = Surroundings(settings=settings, upstreams=self._upstreams, telemetry=telemetry)
        self._app = HttpApp(new_handler, around, ready)
        self._server: AsgiServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = bound_socket(self._listen, "gateway.http")
        port: int = listener.getsockname()[1]
        self._upstreams.start()
        config = uvicorn.Config(
            self._app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(KEEP_ALIVE_S),
            backlog=BACKLOG,
        )
        self._server = AsgiServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0)
        if self._serving.done():
            self._serving.result()
        return port

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new requests, wait for those that run, end the rest.

        Args:
            drain_s: how long to wait; None takes that of the settings.
        """
        if self._server is None or self._serving is None:
            return
        self._app.draining = True
        self._server.should_exit = True
        await self._app.drain(self._drain_s if drain_s is None else drain_s)
        await asyncio.wait({self._serving}, timeout=CLOSING_S)
        if not self._serving.done():
            # A client that does not read keeps its connection open: it has had its time.
            self._server.abort_connections()
        await self._serving
        await self._upstreams.close()
        self._server = self._serving = None
