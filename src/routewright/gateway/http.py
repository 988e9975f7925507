"""The standalone door: an OpenAI-compatible reverse proxy over HTTP/1.1, with a drain.

Every path goes to the handler but two: ``/healthz`` says that the process lives, ``/readyz``
whether requests shall come here. Speaks ASGI itself, without an application framework, because
every step between the sockets is part of the latency that the gateway adds.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from routewright.errors import ClosedError, ConfigError
from routewright.gateway.bodies.failures import HttpAnswer, error_answer
from routewright.gateway.exchange import HandlerFactory
from routewright.gateway.http_exchange import (
    CLOSE,
    CLOSING,
    DOOR,
    REQUEST_TIMEOUT,
    HttpExchange,
    Surroundings,
)
from routewright.gateway.http_headers import REQUEST_ID, answer_id, as_mapping, encoded
from routewright.gateway.listening import AsgiDoor
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.upstream import Upstreams

HEALTHY = HttpAnswer(200, b'{"status":"ok"}')
READY = HttpAnswer(200, b'{"status":"ready"}')
NOT_READY = HttpAnswer(503, b'{"status":"not ready"}')
HEADERS_TOO_LARGE = error_answer(
    431, "the request's headers are larger than allowed", code="headers_too_large"
)
DRAINING = HttpAnswer(CLOSING.status, CLOSING.body)
SERVER_LOG = "uvicorn.error"
BROKEN_OFF = "ASGI callable returned without completing response."
"""What uvicorn logs as an error when it closes a connection in the middle of an answer. An
application has no other way to have it closed, and ours has told the reason already."""


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
            if own is DRAINING:
                self._around.telemetry.count("errors_total", door=DOOR, code=ClosedError.code)
                sent = as_mapping(scope["headers"], {})
                own = replace(own, headers={REQUEST_ID: answer_id(sent)})
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
        *encoded(answer.headers),
    ]
    headers += CLOSE if close else []
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _is_new(line: logging.LogRecord) -> bool:
    """Whether uvicorn says what the door has not said itself."""
    return line.msg != BROKEN_OFF


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
        self._drain_s = settings.drain_s
        self._upstreams = Upstreams(settings.upstream, telemetry)
        around = Surroundings(settings=settings, upstreams=self._upstreams, telemetry=telemetry)
        self._app = HttpApp(new_handler, around, ready)

        def overdue() -> bytes:
            telemetry.count("errors_total", door=DOOR, code="request_timeout")
            return REQUEST_TIMEOUT.body

        def oversized() -> bytes:
            telemetry.count("errors_total", door=DOOR, code="too_large")
            return HEADERS_TOO_LARGE.body

        self._door = AsgiDoor(
            self._app,
            settings.http or Listen(),
            "gateway.http",
            settings.clients,
            overdue,
            oversized,
        )

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        self._upstreams.start()
        try:
            port = await self._door.start()
        except ConfigError:
            await self._upstreams.close()
            raise
        logging.getLogger(SERVER_LOG).addFilter(_is_new)
        return port

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new requests, wait for those that run, end the rest.

        Args:
            drain_s: how long to wait; None takes that of the settings.
        """
        limit_s = self._drain_s if drain_s is None else drain_s
        await asyncio.gather(self._app.drain(limit_s), self._door.stop(limit_s))
        await self._upstreams.close()
