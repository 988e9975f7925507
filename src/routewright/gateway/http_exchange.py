"""One request through the standalone door, from its first byte to the last of its answer.

An answer that cannot be finished is never ended as if it were whole: the connection is closed
in the middle, which every client notices.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from routewright.errors import ClosedError, UpstreamError
from routewright.gateway.bodies.failures import error_answer, failure
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Immediate,
    Outcome,
    RequestHandler,
    ResponsePlan,
)
from routewright.gateway.guarded import FAILURE, GuardedHandler, immediate_answer
from routewright.gateway.http_headers import (
    as_mapping,
    encoded,
    end_to_end,
    first_not_utf8,
    identified,
    to_client,
)
from routewright.gateway.settings import GatewaySettings
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.uploads import Unread, read_body
from routewright.gateway.upstream import ClientRequest, UpstreamAnswer, Upstreams

logger = logging.getLogger(__name__)

DOOR = "http"
LINGER_S = 5.0
"""How long the rest of a refused body is read and thrown away. Closing at once would reset
the connection, and the client might never see the refusal."""

REQUEST_TIMEOUT = error_answer(
    408, "the request did not arrive in time; send it again", code="request_timeout"
)
REFUSALS = {
    "too_large": immediate_answer(
        error_answer(413, "the request body is larger than allowed", code="request_too_large")
    ),
    "request_timeout": immediate_answer(REQUEST_TIMEOUT),
}
"""Answers to requests whose body was not read, by the reason."""
CLOSING = immediate_answer(failure(ClosedError("the gateway is shutting down; try again")))
CLOSE = [(b"connection", b"close")]
NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What all requests of the door share."""

    settings: GatewaySettings
    upstreams: Upstreams
    telemetry: Telemetry


class HttpExchange:
    """Drives the handler of one request; `run` it once."""

    def __init__(
        self,
        handler: RequestHandler,
        around: Surroundings,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._handler = GuardedHandler(handler, around.settings.on_error)
        self._around = around
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = False
        self._outcome = Outcome.ABORTED
        self._code: str | None = None
        """Of an error that the handler does not know of."""
        self._interrupted = False
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End the request now; the gateway cannot wait any longer."""
        self._interrupt()

    async def run(self) -> None:
        """Answer the client; raises nothing but a cancellation from outside."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        except asyncio.CancelledError:
            if not self._interrupted or self._task is None:
                raise
            self._task.uncancel()
            if not self._begun:  # a client that has gone does not mind
                await self._answer(CLOSING, close=True)
                self._outcome = Outcome.ABORTED
        except UpstreamError as exc:
            await self._fail_upstream(exc)
        except Exception as exc:  # noqa: BLE001 - the boundary: its text must not reach a log
            self._handler.fail("protocol", exc)
            if not self._begun:
                await self._answer(FAILURE)
        finally:
            self._handler.end(self._outcome, self._code)

    def _interrupt(self) -> None:
        if self._task is not None and self._outcome is Outcome.ABORTED:
            self._interrupted = True
            self._task.cancel()

    async def _fail_upstream(self, exc: UpstreamError) -> None:
        self._code = exc.code
        if self._begun:
            logger.warning("an answer broke off code=%s", exc.code)
        else:
            await self._answer(immediate_answer(failure(exc)))
        self._outcome = Outcome.BROKEN

    async def _serve(self) -> None:
        headers = end_to_end(self._scope["headers"])
        if (name := first_not_utf8(headers)) is not None:
            said = f"the header {name} is not UTF-8"
            self._code = "request"
            refusal = immediate_answer(error_answer(400, said, code=self._code))
            await self._answer(refusal, close=True)
            return
        body = await self._read_body()
        if body is None:
            return
        watching = asyncio.create_task(self._watch())
        try:
            await self._decide(headers, body)
        finally:
            watching.cancel()

    async def _read_body(self) -> bytes | None:
        """The whole body; None if it was refused, or the client left before its end."""
        settings = self._around.settings
        body = await read_body(
            self._receive,
            self._scope["headers"],
            max_bytes=settings.max_body_bytes,
            clients=settings.clients,
        )
        if isinstance(body, bytes):
            return body
        if body.code != "gone":
            await self._refuse_body(body)
        return None

    async def _refuse_body(self, unread: Unread) -> None:
        """Say why; one whose body is too large is heard out for a while before closing."""
        answer = REFUSALS[unread.code]
        self._code = unread.code
        await self._begin(answer.status, [*self._own_headers(answer), *CLOSE])
        await self._write(answer.body)
        more = unread.more and unread.code == "too_large"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while more:
                    more = (await self._receive()).get("more_body", False)
        await self._finish()

    async def _watch(self) -> None:
        """Interrupt the request when the client leaves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._interrupt()

    async def _decide(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        request = ClientRequest(
            method=self._scope["method"],
            target=_target(self._scope),
            headers=headers,
            body=body,
        )
        authority = dict(headers).get(b"host", b"").decode("latin-1")
        pseudo = {
            ":method": request.method,
            ":path": request.target,
            ":scheme": self._scope.get("scheme", "http"),
            ":authority": authority,
        }
        action = await self._handler.on_request(as_mapping(headers, pseudo), body)
        answer = (
            action if isinstance(action, Immediate) else await self._forward(request, action)
        )
        if answer is not None:
            await self._answer(answer)

    async def _forward(self, request: ClientRequest, route: Forward) -> Immediate | None:
        """Relay the model's answer; what to say instead if it may not be relayed."""
        found = await self._around.upstreams.reach(request, route, self._handler.on_unavailable)
        if isinstance(found, Immediate):
            return found
        try:
            return await self._relay(found)
        finally:
            found.close()

    async def _relay(self, found: UpstreamAnswer) -> Immediate | None:
        status = {":status": str(found.status)}
        plan = await self._handler.on_response_headers(as_mapping(found.headers, status))
        if isinstance(plan, Immediate):
            return plan
        passes = plan.body is BodyHandling.PASS
        if plan.body is BodyHandling.WHOLE or self._must_be_sized(found, passes=passes):
            return await self._relay_whole(found, plan)
        await self._begin(found.status, to_client(found.headers, plan, same_body=passes))
        async with contextlib.aclosing(found.chunks()) as chunks:
            async for chunk in chunks:
                if not await self._relay_chunk(chunk, end=False, passes=passes):
                    return None
        if passes or await self._relay_chunk(b"", end=True, passes=False):
            await self._finish()
        return None

    def _must_be_sized(self, found: UpstreamAnswer, *, passes: bool) -> bool:
        """Whether the client knows no chunks, so that it could not tell where they end."""
        if self._scope["http_version"] != "1.0":
            return False
        return not passes or b"content-length" not in dict(found.headers)

    async def _relay_chunk(self, chunk: bytes, *, end: bool, passes: bool) -> bool:
        """Send what the client gets for `chunk`; False if the answer must break off."""
        out: bytes | Immediate = chunk
        if not passes:
            out = await self._handler.on_response_chunk(chunk, end=end)
        if isinstance(out, Immediate):
            return False
        if out:
            await self._write(out)
        return True

    async def _relay_whole(self, found: UpstreamAnswer, plan: ResponsePlan) -> Immediate | None:
        pieces: list[bytes] = []
        size = 0
        async with contextlib.aclosing(found.chunks()) as chunks:
            async for chunk in chunks:
                pieces.append(chunk)
                size += len(chunk)
                if size > self._around.settings.max_body_bytes:
                    return self._handler.on_too_large()
        whole: bytes | Immediate = b"".join(pieces)
        if plan.body is not BodyHandling.PASS:
            whole = await self._handler.on_response_chunk(b"".join(pieces), end=True)
        if isinstance(whole, Immediate):
            return whole
        headers = to_client(found.headers, plan, same_body=False)
        if found.status not in NO_BODY:
            headers.append((b"content-length", str(len(whole)).encode()))
        await self._begin(found.status, headers)
        await self._finish(whole)
        return None

    async def _answer(self, answer: Immediate, *, close: bool = False) -> None:
        """Answer the client without a model, or instead of one."""
        headers = self._own_headers(answer)
        await self._begin(answer.status, [*headers, *CLOSE] if close else headers)
        await self._finish(answer.body)

    def _own_headers(self, answer: Immediate) -> list[tuple[bytes, bytes]]:
        return _sized(identified(answer, as_mapping(self._scope["headers"], {})))

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self._send(start)

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _finish(self, chunk: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})
        self._outcome = Outcome.COMPLETE


def _sized(answer: Immediate) -> list[tuple[bytes, bytes]]:
    headers = [(n, v) for n, v in encoded(answer.headers) if n != b"content-length"]
    if answer.status not in NO_BODY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    return headers


def _target(scope: Scope) -> str:
    """Path and query as the client wrote them."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")
