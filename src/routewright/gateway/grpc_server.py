"""A gRPC server in the event loop: listens, drains, ends."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping

from routewright.gateway.grpc_calls import Method
from routewright.gateway.grpc_connection import GrpcConnection
from routewright.gateway.grpc_health import HEALTH_PATH
from routewright.gateway.grpc_keepalive import Patience
from routewright.gateway.settings import ExtProcConnections

logger = logging.getLogger(__name__)

_CLOSING_S = 1.0
"""How long what was written may take to leave the sockets."""
_EXTRA_CONNECTIONS = 16
"""Beyond the limit, for health checks only: who cannot ask a busy gateway restarts it."""


class GrpcServer:
    """Serves methods by path until it is stopped."""

    def __init__(
        self,
        methods: Mapping[bytes, Method],
        *,
        max_message_bytes: int,
        connections: ExtProcConnections | None = None,
    ) -> None:
        """A path is ``/package.Service/Method``; without `connections` defaults hold."""
        self._limits = connections or ExtProcConnections()
        self._is_full = False
        self._methods = methods
        self._max_message_bytes = max_message_bytes
        self._connections: set[GrpcConnection] = set()
        self._extra: set[GrpcConnection] = set()
        """Those of them that are beyond the limit."""
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host or None, port)
        for listener in self._server.sockets:
            # Connections take it over: a client that vanished is noticed some day.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, drain_s: float) -> None:
        """Take no new calls, wait for those that run, end the rest after `drain_s`."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in self._connections:
            connection.drain()
        # Also of an idle connection a call may be on its way.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(drain_s, _CLOSING_S)):
                await self._until(lambda: all(c.refuses for c in self._connections))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._until(lambda: not any(c.calls for c in self._connections))
        tasks = [call.task for c in self._connections for call in c.calls.values() if call.task]
        for connection in list(self._connections):
            connection.cancel_calls()
            connection.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._until(lambda: not self._connections)

    def _connection(self) -> GrpcConnection:
        limits = self._limits
        return GrpcConnection(
            self._methods,
            max_message_bytes=self._max_message_bytes,
            patience=Patience(
                ping_after_s=limits.ping_after_s, ping_timeout_s=limits.ping_timeout_s
            ),
            changed=self._note,
            admits=self._admits,
        )

    def _note(self, connection: GrpcConnection) -> None:
        if connection.closed:
            self._connections.discard(connection)
            self._extra.discard(connection)
        elif connection not in self._connections:
            self._take(connection)
        self._changed.set()

    def _take(self, connection: GrpcConnection) -> None:
        if self._has_room():
            self._connections.add(connection)
        elif len(self._extra) < _EXTRA_CONNECTIONS:
            self._connections.add(connection)
            self._extra.add(connection)
        else:
            self._say_full()
            connection.abort()

    def _admits(self, connection: GrpcConnection, path: bytes) -> bool:
        if connection not in self._extra or path.startswith(HEALTH_PATH):
            return True
        if self._has_room():
            self._extra.discard(connection)
            return True
        self._say_full()
        return False

    def _has_room(self) -> bool:
        has_room = len(self._connections) - len(self._extra) < self._limits.max_connections
        self._is_full &= not has_room
        return has_room

    def _say_full(self) -> None:
        if not self._is_full:  # said once, however many are refused in a row
            limit = self._limits.max_connections
            logger.warning("gRPC connections refused max_connections=%d", limit)
        self._is_full = True

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()
