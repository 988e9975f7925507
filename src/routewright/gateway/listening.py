"""ASGI applications on sockets of the running event loop; signals are left to its owner."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from routewright.errors import ConfigError
from routewright.gateway.settings import Listen

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection, so that the client is the one who closes it;
the other way round, requests get lost."""
_CLOSING_S = 1.0
"""How long ended requests may take to leave the sockets."""


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

    def __init__(self, app: ASGIApp, listen: Listen, key: str) -> None:
        """`key` of the settings is named when the address cannot be listened on."""
        self._app = app
        self._listen = listen
        self._key = key
        self._server: AsgiServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = bound_socket(self._listen, self._key)
        config = uvicorn.Config(
            self._app,
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
