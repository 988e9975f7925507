"""Both doors around a handler that lets every request pass: what the doors alone cost."""

import asyncio
import signal
import sys

import uvloop

from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    Outcome,
    ResponsePlan,
)
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from routewright.gateway.http import HttpDoor
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.gateway.telemetry import Telemetry
from routewright.policy.settings import Endpoint


class Passing:
    """Says CONTINUE to everything."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        return Forward(model="stand-in", endpoints=(self.endpoint,))

    def unguarded(self) -> Forward:
        return Forward(model="stand-in", endpoints=(self.endpoint,))

    async def on_unavailable(self) -> None:
        return None

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        return ResponsePlan(body=BodyHandling.PASS)

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        return chunk

    def on_too_large(self) -> Immediate:
        return Immediate(status=502)

    def on_left(self) -> None: ...

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        pass


async def main(http: int, ext_proc: int, upstream: int) -> None:
    endpoint = Endpoint(url=f"http://127.0.0.1:{upstream}")
    settings = GatewaySettings(http=Listen(port=http))
    grpc = ExtProcServer(lambda: Passing(endpoint), ExtProcSettings(port=ext_proc))
    door = HttpDoor(lambda: Passing(endpoint), settings, Telemetry(), lambda: True)
    await grpc.start()
    await grpc.set_ready(ready=True)
    await door.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await door.stop(1.0)
    await grpc.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `serve` does
        runner.run(main(*map(int, sys.argv[1:4])))
