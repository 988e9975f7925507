"""ASGI applications on sockets of the running event loop; signals are left to its owner."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from routewright.errors import ConfigError
from routewright.gateway.settings import Clients, Listen

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection, so that the client is the one who closes it;
the other way round, requests get lost."""
_CLOSING_S = 1.0
"""How long ended requests may take to leave the sockets."""
HEADER_ROOM_BYTES = 64 * 1024
"""Of a request's first line and headers: no client needs more, and Envoy takes 60 KiB."""
_PER_HEADER_BYTES = len(b": \r\n")
_LINGER_S = 5.0
"""How long a client that sends too much may take to read why, before the connection closes."""
_REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}

Refusal = Callable[[], bytes]
"""Told of a client whose headers do not end, or take too much room; gives the JSON that it is
answered."""


class TimedConfig(uvicorn.Config):
    """Uvicorn's settings, and how slow a client may be."""

    def __init__(
        self,
        app: ASGIApp,
        clients: Clients,
        overdue: Refusal,
        oversized: Refusal,
        **given: Any,
    ) -> None:
        super().__init__(app, http=TimedConnection, **given)
        self.clients = clients
        self.overdue = overdue
        self.oversized = oversized


class TimedConnection(HttpToolsProtocol):
    """One client's connection, ended when the client is too slow or its headers are too long.

    Uvicorn has a limit only for the time between two requests. A slow body is the
    application's to refuse (`uploads`).
    """

    config: TimedConfig
    _unfinished: asyncio.TimerHandle | None = None
    """Refuses a request whose headers are not through."""
    _untaken: asyncio.TimerHandle | None = None
    """Ends the connection of a client that does not read its answer."""
    _completed = False
    """Whether the bytes just read ended a request."""
    _num_pending = 0
    """Bytes read that came to nothing yet: no whole headers, no body, no end of a request."""
    _num_around = 0
    """The same, with all bytes that were read together with what they last came to: headers
    under way are no longer than that."""
    _oversized = False
    """Whether headers took too much room; nothing is read after that."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that says nothing is given as long as one between two requests."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._unset_unfinished()
        self._unset_untaken()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Between two requests, any byte begins the time for headers."""
        if self._oversized:
            return
        self._completed = False
        self._num_pending += len(data)
        self._num_around += len(data)
        super().data_received(data)
        if not self._num_pending:
            self._num_around = len(data)
        if self.transport.is_closing():
            return
        serving = self.cycle is not None and not self.cycle.response_complete
        if self._oversized or self._num_pending > HEADER_ROOM_BYTES:
            self._refuse_oversized(serving=serving)
            return
        if serving:
            return
        if self._completed:  # the rest of a body that was answered early
            self._unset_unfinished()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif self._unfinished is None:
            seconds = self.config.clients.headers_timeout_s
            self._unfinished = self.loop.call_later(seconds, self._refuse)

    def on_message_begin(self) -> None:
        """Another request follows."""
        self._completed = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """The request is through."""
        self._completed = True
        self._num_pending = 0
        if not self._oversized:
            super().on_message_complete()

    def on_headers_complete(self) -> None:
        """They came in time; unless there are too many, the request is served."""
        self._unset_unfinished()
        if self._num_around > HEADER_ROOM_BYTES:  # or are these bytes of a body?
            lines = sum(len(n) + len(v) + _PER_HEADER_BYTES for n, v in self.headers)
            self._oversized = self._oversized or len(self.url) + lines > HEADER_ROOM_BYTES
        self._num_pending = 0
        if not self._oversized:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._num_pending = 0
        if not self._oversized:
            super().on_body(body)

    def pause_writing(self) -> None:
        """The client is behind with reading: the time for it to catch up begins."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unset_untaken()
        super().resume_writing()

    def _await_taking(self) -> None:
        left = self.transport.get_write_buffer_size()
        seconds = self.config.clients.idle_timeout_s
        self._untaken = self.loop.call_later(seconds, self._unless_taken, left)

    def _unless_taken(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_taking()
        else:
            self.transport.abort()

    def _refuse(self) -> None:
        self._answer(408, self.config.overdue())
        self.transport.close()

    def _refuse_oversized(self, *, serving: bool) -> None:
        """Say so, and read no more; but what came before is answered first, and nothing after.

        Closing at once would reset the connection, and the client might never see the refusal.
        """
        self._oversized = True
        if serving:
            self.cycle.keep_alive = False
            return
        self._answer(431, self.config.oversized())
        self.transport.write_eof()
        self._unset_unfinished()
        self._unfinished = self.loop.call_later(_LINGER_S, self.transport.close)

    def _answer(self, status: int, body: bytes) -> None:
        # The client's own id may be among the headers that were not read to their end.
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {secrets.token_hex(16)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)

    def _unset_unfinished(self) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None

    def _unset_untaken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None


class AsgiServer(uvicorn.Server):
    """Uvicorn's server without its signal handlers: whoever runs the gateway has those."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def abort_connections(self) -> None:
        """End what is still open, in the middle of whatever it is."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class AsgiDoor:
    """An application that listens until it is stopped."""

    def __init__(
        self,
        app: ASGIApp,
        listen: Listen,
        key: str,
        clients: Clients,
        overdue: Refusal,
        oversized: Refusal,
    ) -> None:
        """`key` of the settings is named when the address cannot be listened on."""
        self._app = app
        self._listen = listen
        self._key = key
        self._clients = clients
        self._overdue = overdue
        self._oversized = oversized
        self._server: AsgiServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = bound_socket(self._listen, self._key)
        config = TimedConfig(
            self._app,
            self._clients,
            self._overdue,
            self._oversized,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        self._server = AsgiServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0)
        if self._serving.done():
            self._serving.result()
        port: int = listener.getsockname()[1]
        return port

    async def stop(self, drain_s: float) -> None:
        """Take no new connections, wait for the requests under way, end the rest."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=drain_s + _CLOSING_S)
        if not self._serving.done():
            self._server.abort_connections()
        await self._serving
        self._server = self._serving = None


def bound_socket(listen: Listen, key: str) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the host is not of this machine, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise _cannot_listen(listen, key, exc) from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise _cannot_listen(listen, key, exc) from exc
    listener.setblocking(False)
    return listener


def _cannot_listen(listen: Listen, key: str, exc: OSError) -> ConfigError:
    reason = (exc.strerror or type(exc).__name__).lower()
    return ConfigError(
        f"{key}: cannot listen on {listen.host}:{listen.port}: {reason}; choose another port"
    )
