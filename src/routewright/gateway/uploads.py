"""The body of a request to one of the HTTP doors, read within limits of size and time."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from starlette.types import Receive

from routewright.gateway.settings import Clients


@dataclass(frozen=True, slots=True)
class Unread:
    """Why there is no body."""

    code: Literal["gone", "too_large", "request_timeout"]
    """``gone``: the client left. The others are of the closed set ``code`` of `telemetry`."""
    more: bool = True
    """Whether more of the body may come."""


async def read_body(
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    max_bytes: int,
    clients: Clients,
) -> bytes | Unread:
    """All of a request's body, or why not.

    Args:
        receive: of the request.
        headers: of the request, names in lower case.
        max_bytes: a larger body is given up, at once if its length is stated.
        clients: how slowly the body may come.
    """
    if _declared_length(headers) > max_bytes:
        return Unread("too_large")
    loop = asyncio.get_running_loop()
    now = loop.time()
    end = now + clients.body_timeout_s
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(min(end, now + clients.idle_timeout_s)) as limit:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Unread("gone", more=False)
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                more = message.get("more_body", False)
                if size > max_bytes:
                    return Unread("too_large", more)
                if not more:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                limit.reschedule(min(end, loop.time() + clients.idle_timeout_s))
    except TimeoutError:
        return Unread("request_timeout")


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The body's size if the client says it, else 0; the HTTP parser has checked it."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
