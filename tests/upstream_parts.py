"""The choice among servers without a door: a request, who stands by, what is said."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from routewright.gateway.exchange import Forward, Immediate
from routewright.gateway.settings import HttpUpstream
from routewright.gateway.telemetry import Telemetry, Vocabulary
from routewright.gateway.upstream import ClientRequest, UpstreamAnswer, Upstreams
from routewright.policy.settings import Endpoint

REFUSING = Endpoint(url="http://127.0.0.1:1")
"""Nobody listens there."""
REQUEST = ClientRequest(method="POST", target="/v1/x?y=%2F", headers=[], body=b"{}")


class Bystanders:
    """The models standing by, and how often they were asked for."""

    def __init__(self, *routes: Forward | Immediate) -> None:
        self.routes: Iterator[Forward | Immediate] = iter(routes)
        self.asked = 0

    async def __call__(self) -> Forward | Immediate | None:
        self.asked += 1
        return next(self.routes, None)


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Upstreams]:
    upstreams = Upstreams(HttpUpstream(**settings), Telemetry(Vocabulary(models=["m"])))
    upstreams.start()
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def said(answer: UpstreamAnswer | Immediate) -> tuple[int, bytes]:
    """Status and body of an answer."""
    if isinstance(answer, Immediate):
        return answer.status, answer.body
    try:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])
    finally:
        answer.close()


async def ask(
    upstreams: Upstreams, route: Forward, stand_by: Bystanders | None = None
) -> tuple[int, bytes]:
    return await said(await upstreams.reach(REQUEST, route, stand_by or Bystanders()))
