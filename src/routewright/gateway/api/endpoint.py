"""One request of the API: its body read within limits, its answer counted and timed.

A client that goes away takes its texts out of the queue. What fails is answered in one shape;
nothing of a request reaches a log or a metric.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from routewright.errors import RoutewrightError
from routewright.gateway.api.failures import (
    HEADERS_MESSAGE,
    INTERNAL_MESSAGE,
    SLOW_MESSAGE,
    Failure,
    failure,
)
from routewright.gateway.api.requests import parse_request
from routewright.gateway.engine import Engine
from routewright.gateway.json_bytes import in_thread, parse_json
from routewright.gateway.settings import GatewaySettings
from routewright.gateway.uploads import read_body

logger = logging.getLogger(__name__)

T = TypeVar("T")
Serve = Callable[[Request], Awaitable[Response]]

_GONE = 499
"""Status of an answer that nobody waits for; it is not sent."""


def endpoint(engine: Engine, name: str, serve: Serve) -> Serve:
    """`serve` with errors answered, and counted as `name` of the closed set ``endpoint``."""

    async def counted(request: Request) -> Response:
        started = perf_counter()
        telemetry = engine.telemetry
        telemetry.gauge("in_flight_requests", 1, door="api")
        outcome = "aborted"
        try:
            response = await _answered(request, serve)
            outcome = _outcome(request, response)
            if isinstance(response, Failure):
                telemetry.count("errors_total", door="api", code=response.code)
        finally:
            duration_s = perf_counter() - started
            telemetry.gauge("in_flight_requests", -1, door="api")
            telemetry.count("requests_total", door="api", endpoint=name, outcome=outcome)
            telemetry.observe("request_seconds", duration_s, door="api", endpoint=name)
        response.headers["server-timing"] = f"total;dur={duration_s * 1000:.3f}"
        return response

    return counted


def posted(engine: Engine, cls: type[T], serve: Callable[[T], Awaitable[bytes]]) -> Serve:
    """`serve` for bodies that are a valid `cls`; it answers JSON."""

    async def with_body(request: Request) -> Response:
        body = await _body(request, engine.settings)
        if isinstance(body, Failure):
            return body
        parsed = await in_thread(len(body), _parse, cls, body)
        answer = await _unless_gone(request, serve(parsed))
        if answer is None:
            return Response(status_code=_GONE)
        return Response(answer, media_type="application/json")

    return with_body


def overdue_answer(engine: Engine) -> bytes:
    """What a client hears that does not finish its headers; counted."""
    engine.telemetry.count("errors_total", door="api", code="request_timeout")
    return bytes(Failure("request_timeout", SLOW_MESSAGE).body)


def oversized_answer(engine: Engine) -> bytes:
    """What a client hears whose headers take too much room; counted."""
    engine.telemetry.count("errors_total", door="api", code="too_large")
    return bytes(Failure("headers_too_large", HEADERS_MESSAGE).body)


async def _answered(request: Request, serve: Serve) -> Response:
    try:
        return await serve(request)
    except ClientDisconnect:
        return Response(status_code=_GONE)
    except RoutewrightError as exc:
        answer = failure(exc)
        if answer.code == "internal":
            logger.exception("api request failed")
        return answer
    except Exception:  # whatever it is, the client gets an answer and the log its place
        logger.exception("api request failed")
        return Failure("internal", INTERNAL_MESSAGE)


def _outcome(request: Request, response: Response) -> str:
    """One of the closed set ``outcome``."""
    if response.status_code == _GONE:
        return "aborted"
    if not isinstance(response, Failure):  # not being ready is an answer too
        return "answered" if request.method == "POST" else "done"
    return "refused" if response.status_code < 500 else "failed"


async def _body(request: Request, settings: GatewaySettings) -> bytes | Failure:
    """The whole body, or what is wrong with it.

    Raises:
        ClientDisconnect: there is nobody to answer.
    """
    limit = settings.max_body_bytes
    body = await read_body(
        request.receive,
        request.scope["headers"],
        max_bytes=limit,
        clients=settings.clients,
    )
    if isinstance(body, bytes):
        return body
    if body.code == "gone":
        raise ClientDisconnect
    said = SLOW_MESSAGE
    if body.code == "too_large":
        said = f"the body has more than {limit} bytes, the gateway's limit; send less"
    return Failure(body.code, said, headers={"connection": "close"})


def _parse(cls: type[T], body: bytes) -> T:
    parsed: Any = parse_json(body)
    return parse_request(cls, parsed)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The result of `work`; None, and `work` cancelled, if the client goes away before it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for one in (task, gone):
            one.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
