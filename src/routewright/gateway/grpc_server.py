"""A gRPC server in the event loop: listens, drains, ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from routewright.gateway.grpc_calls import Method
from routewright.gateway.grpc_connection import GrpcConnection

_CLOSING_S = 1.0
"""How long what was written may take to leave the sockets."""


class GrpcServer:
    """Serves methods by path until it is stopped."""

    def __init__(self, methods: Mapping[bytes, Method], *, max_message_bytes: int) -> None:
        """A path is ``/package.Service/Method``."""
        self._methods = methods
        self._max_message_bytes = max_message_bytes
        self._connections: set[GrpcConnection] = set()
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
        return GrpcConnection(
            self._methods, max_message_bytes=self._max_message_bytes, changed=self._note
        )

    def _note(self, connection: GrpcConnection) -> None:
        if connection.closed:
            self._connections.discard(connection)
        else:
            self._connections.add(connection)
        self._changed.set()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()
