"""ASGI applications on sockets of the running event loop; signals are left to its owner."""

import asyncio
import contextlib
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

Overdue = Callable[[], bytes]
"""Told of a client that does not finish its headers; gives the JSON that it is answered."""


class TimedConfig(uvicorn.Config):
    """Uvicorn's settings, and how slow a client may be."""

    def __init__(self, app: ASGIApp, clients: Clients, overdue: Overdue, **given: Any) -> None:
        super().__init__(app, http=TimedConnection, **given)
        self.clients = clients
        self.overdue = overdue


class TimedConnection(HttpToolsProtocol):
    """One client's connection, ended when the client is too slow.

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
        self._completed = False
        super().data_received(data)
        serving = self.cycle is not None and not self.cycle.response_complete
        if serving or self.transport.is_closing():
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
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """They came in time."""
        self._unset_unfinished()
        super().on_headers_complete()

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
        body = self.config.overdue()
        head = (
            "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

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
        self, app: ASGIApp, listen: Listen, key: str, clients: Clients, overdue: Overdue
    ) -> None:
        """`key` of the settings is named when the address cannot be listened on."""
        self._app = app
        self._listen = listen
        self._key = key
        self._clients = clients
        self._overdue = overdue
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
