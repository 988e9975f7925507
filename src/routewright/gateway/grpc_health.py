"""gRPC's health check: what gateways and probes ask before they send traffic.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

import asyncio

from google.protobuf.message import DecodeError

from routewright.gateway._proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from routewright.gateway.grpc_calls import INTERNAL, NOT_FOUND, Call, CallRefused, Method

HEALTH_PATH = b"/grpc.health.v1.Health/"
_Status = HealthCheckResponse.ServingStatus


class Health:
    """Whether each service takes requests, for who asks once and for who wants to be told."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._watchers: dict[Call, str] = {}
        self._closed = asyncio.Event()

    def methods(self) -> dict[bytes, Method]:
        """By path."""
        return {HEALTH_PATH + b"Check": self._check, HEALTH_PATH + b"Watch": self._watch}

    def set(self, service: str, *, serving: bool) -> None:
        """Tell whoever watches `service`, and whoever asks from now on."""
        changed = self._serving.get(service) != serving
        self._serving[service] = serving
        for call, name in self._watchers.items():
            if changed and name == service:
                call.write(self._answer(service))

    def close(self) -> None:
        """End the calls of those who watch."""
        self._closed.set()

    async def _check(self, call: Call) -> None:
        service = await _asked(call)
        if service not in self._serving:
            raise CallRefused(NOT_FOUND, "there is no such service")
        call.write(self._answer(service))

    async def _watch(self, call: Call) -> None:
        service = await _asked(call)
        self._watchers[call] = service
        try:
            call.write(self._answer(service))
            await self._closed.wait()
        finally:
            del self._watchers[call]

    def _answer(self, service: str) -> bytes:
        serving = self._serving.get(service)
        status = _Status.SERVING if serving else _Status.NOT_SERVING
        if serving is None:
            status = _Status.SERVICE_UNKNOWN
        return HealthCheckResponse(status=status).SerializeToString()


async def _asked(call: Call) -> str:
    try:
        return HealthCheckRequest.FromString(await call.read() or b"").service
    except DecodeError as exc:
        raise CallRefused(INTERNAL, "the message cannot be read") from exc
