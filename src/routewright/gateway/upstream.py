"""The servers of the models, as the standalone door reaches them: choice, retries, failover.

An endpoint is drawn by weight; one that failed is tried last for a while. Another try follows
when no connection came about, when the server answered with a status meant for it, or when a
kept-alive connection turned out at once to be closed. It does not follow when a server took the
request and then fell silent or broke off: the model may have worked on it already, and what
brought that server down may do the same to the next. As a server that breaks down at once looks
like a connection closed before, that is assumed once a request, and new connections follow.

Why aiohttp and not httpx: docs/decisions/0005.
"""

import asyncio
import errno
import io
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from routewright.errors import UpstreamError, UpstreamTimeoutError
from routewright.gateway.exchange import Forward, Immediate
from routewright.gateway.http_headers import RawHeaders, end_to_end, to_upstream
from routewright.gateway.settings import HttpUpstream
from routewright.gateway.telemetry import Telemetry
from routewright.policy.settings import Endpoint

logger = logging.getLogger(__name__)

NO_MODEL = "none"
HEADER_ROOM_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add; the client's own headers are enough."""
STALE_S = 1.0
"""How soon after its use a kept-alive connection must fail to pass for one closed before: a
server that had closed it says so within a round trip, one that fails later had the request."""

StandBy = Callable[[], Awaitable[Forward | Immediate | None]]
"""See `RequestHandler.on_unavailable`."""

_HANG_UPS = (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientRequest:
    """What a client asked, before a route changes it."""

    method: str
    target: str
    """Path with query, as it came."""
    headers: RawHeaders
    """End to end, names in lower case, values UTF-8."""
    body: bytes


class UpstreamAnswer:
    """A server's answer whose body is still on its way; close it in any case."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = end_to_end(response.raw_headers)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body's bytes as they arrive, encoded as the server sent them.

        Raises:
            UpstreamError: the body broke off, or the server fell silent.
        """
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise translated(exc) from exc

    def close(self) -> None:
        """Give the connection back if the body was read, else end it at once."""
        self._response.close()


@dataclass(slots=True)
class _Connection:
    """What one attempt is sent over."""

    new: bool
    """Whether it has to be one that was never used before."""
    reused_s: float = -math.inf
    """When it was taken from the pool, by `time.perf_counter`; never if it is new."""


@dataclass(slots=True)
class _Try:
    """One attempt: the answer, or how it failed and whether another may follow."""

    answer: UpstreamAnswer | None = None
    error: UpstreamError | None = None
    repeatable: bool = False
    stale: bool = False
    """The kept-alive connection seems to have been closed, so the same server may be asked
    again, over a new one."""


@dataclass(slots=True)
class _Search:
    """What the attempts for one request have come to."""

    left: int
    kept: UpstreamAnswer | None = None
    """The latest answer that asks for another try; passed on if none is better."""
    error: UpstreamError | None = None
    afresh: bool = False
    """A kept-alive connection failed, so only new ones are used: those are never stale, and a
    server that dies of the request gets it twice at most."""
    over: bool = False
    """An attempt failed in a way that forbids another."""

    def keep(self, answer: UpstreamAnswer | None) -> None:
        if self.kept is not None:
            self.kept.close()
        self.kept = answer


class Upstreams:
    """All servers of all models, over one pool of connections; belongs to one event loop."""

    def __init__(self, settings: HttpUpstream, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._ejected_until: dict[str, float] = {}
        self._draw = random.Random()  # noqa: S311 - shares out load, no secret
        self._pooled: aiohttp.ClientSession | None = None
        self._unpooled: aiohttp.ClientSession | None = None
        """Opens a connection for each request: aiohttp's pool cannot be asked for a new one."""

    def start(self) -> None:
        """Open the pool in the running event loop."""
        self._pooled = self._session(pooled=True)
        self._unpooled = self._session(pooled=False)

    def _session(self, *, pooled: bool) -> aiohttp.ClientSession:
        settings = self._settings
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        connector = aiohttp.TCPConnector(limit=settings.max_connections, force_close=not pooled)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=AUTOMATIC,
            trust_env=False,
            read_bufsize=READ_BYTES,
            max_line_size=HEADER_ROOM_BYTES,
            max_field_size=HEADER_ROOM_BYTES,
            trace_configs=[tracing],
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.connect_timeout_s,
                sock_read=settings.idle_timeout_s,
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._pooled, self._unpooled):
            if session is not None:
                await session.close()
        self._pooled = self._unpooled = None

    async def reach(
        self, request: ClientRequest, route: Forward, stand_by: StandBy
    ) -> UpstreamAnswer | Immediate:
        """The first good answer of the servers of `route`, then of the models standing by.

        Without a good one the latest bad one, as its server gave it. The caller closes it.

        Raises:
            UpstreamError: there was no answer at all.
        """
        search = _Search(left=self._settings.max_attempts)
        try:
            while True:
                good = await self._ask(request, route, search)
                if good is not None:
                    search.keep(None)
                    return good
                other = await stand_by() if search.left and not search.over else None
                if other is None:
                    break
                if isinstance(other, Immediate):
                    search.keep(None)
                    return other
                route = other
        except BaseException:
            search.keep(None)
            raise
        if search.kept is not None:
            return search.kept
        raise search.error or UpstreamError("the chosen model has no server")

    async def _ask(
        self, request: ClientRequest, route: Forward, search: _Search
    ) -> UpstreamAnswer | None:
        """Try the endpoints of one model in turn; what fails is noted in `search`."""
        waiting = self.order(route.endpoints)
        model = route.model or NO_MODEL
        while waiting and search.left:
            endpoint = waiting.pop(0)
            search.left -= 1
            connection = _Connection(new=search.afresh)
            found = await self._try(request, route, endpoint, connection)
            if found.answer is not None and not found.repeatable:
                self._ejected_until.pop(endpoint.url, None)
                return found.answer
            if found.stale:
                # No attempt at all, if the server had closed the connection while it was idle.
                search.left += 1
                search.afresh = True
                waiting.insert(0, endpoint)
                continue
            self._eject(endpoint, model, found)
            if found.answer is not None:
                search.keep(found.answer)
            search.error = found.error or search.error
            if not found.repeatable:
                search.over = True
                break
        return None

    def order(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """The endpoints in the order to try them: drawn by weight, ejected ones last."""
        now = time.monotonic()
        weighted = [endpoint for endpoint in endpoints if endpoint.weight > 0]
        if len(weighted) < 2:
            return weighted
        # The smallest of exponential times comes first with a chance in proportion to its
        # rate: Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003.
        return sorted(
            weighted,
            key=lambda e: (
                self._ejected_until.get(e.url, 0.0) > now,
                self._draw.expovariate(e.weight),
            ),
        )

    def _eject(self, endpoint: Endpoint, model: str, found: _Try) -> None:
        self._ejected_until[endpoint.url] = time.monotonic() + self._settings.eject_s
        status = found.answer.status if found.answer is not None else 0
        code = found.error.code if found.error is not None else "none"
        logger.warning("model server failed model=%s status=%d code=%s", model, status, code)

    async def _try(
        self,
        request: ClientRequest,
        route: Forward,
        endpoint: Endpoint,
        connection: _Connection,
    ) -> _Try:
        model = route.model or NO_MODEL
        started = time.perf_counter()
        try:
            response = await self._send(request, route, endpoint, connection)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            self._count(model, "none")
            unconnected = isinstance(
                exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
            )
            stale = time.perf_counter() - connection.reused_s < STALE_S and _hung_up(exc)
            error = translated(exc)
            return _Try(error=error, repeatable=unconnected or stale, stale=stale)
        self._telemetry.observe(
            "upstream_first_byte_seconds", time.perf_counter() - started, model=model
        )
        self._count(model, f"{response.status // 100}xx")
        repeatable = response.status in self._settings.retry_statuses
        return _Try(answer=UpstreamAnswer(response), repeatable=repeatable)

    async def _send(
        self,
        request: ClientRequest,
        route: Forward,
        endpoint: Endpoint,
        connection: _Connection,
    ) -> aiohttp.ClientResponse:
        session = self._unpooled if connection.new else self._pooled
        assert session is not None, "start() comes first"
        body = request.body if route.body is None else route.body
        limits = self._settings
        # aiohttp's own limits do not cover a server that stops reading a large request.
        async with asyncio.timeout(limits.connect_timeout_s + limits.idle_timeout_s):
            return await session.request(
                request.method,
                URL(endpoint.url.rstrip("/") + request.target, encoded=True),
                headers=to_upstream(request.headers, route),
                data=_sent_in_pieces(body),
                allow_redirects=False,
                trace_request_ctx=connection,
            )

    def _count(self, model: str, status_class: str) -> None:
        self._telemetry.count("upstream_requests_total", model=model, status_class=status_class)


def _hung_up(exc: Exception) -> bool:
    """Whether the server closed the connection, or reset it; aiohttp wraps a reset."""
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionError):
        return True
    return isinstance(exc, OSError) and exc.errno in _HANG_UPS


def _sent_in_pieces(body: bytes) -> bytes | io.BytesIO | None:
    """A large body as a file, so that other requests get their turn while it is written."""
    if len(body) > READ_BYTES:
        return io.BytesIO(body)
    return body or None


async def _note_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    connection: _Connection = context.trace_request_ctx
    connection.reused_s = time.perf_counter()


def translated(exc: Exception) -> UpstreamError:
    """An error of the network or of aiohttp as ours; its text names addresses, so it goes."""
    if isinstance(exc, TimeoutError):
        return UpstreamTimeoutError("the model did not answer in time; try again later")
    return UpstreamError("the model cannot be reached, or broke off its answer; try again")
