"""A request handler that cannot raise: failures become the configured answer, once.

Guards fail closed unless the operator says otherwise. The log names the exception's type and
the places it passed, never its text, which may hold a prompt.
"""

import logging
import traceback
from dataclasses import dataclass
from typing import Literal

from routewright.errors import RequestError, ServingError
from routewright.gateway.answering import ANSWER_TOO_LARGE
from routewright.gateway.bodies.failures import HttpAnswer, error_answer, failure
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    Outcome,
    RequestHandler,
    ResponsePlan,
)

logger = logging.getLogger(__name__)

OnError = Literal["closed", "open"]

_MAX_FRAMES = 4


def immediate_answer(answer: HttpAnswer) -> Immediate:
    """What a door answers by itself, as a handler would say it."""
    headers = {"content-type": answer.content_type, **answer.headers}
    return Immediate(status=answer.status, headers=headers, body=answer.body)


def _closed(exc: Exception) -> Immediate:
    """A refusal; that of a busy or a closing engine says so, as it may be tried again."""
    return immediate_answer(failure(exc)) if isinstance(exc, ServingError) else FAILURE


FAILURE = immediate_answer(
    error_answer(500, "the gateway could not process this request", code="gateway_error")
)


@dataclass(slots=True)
class GuardedHandler:
    """Wraps the handler of one request; after its first failure it only learns of the end."""

    inner: RequestHandler
    on_error: OnError
    failed: bool = False
    ended: bool = False

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        """The handler's decision; on failure the request is refused.

        With ``on_error: open`` it goes on unguarded, unless a guard forbids that.
        """
        try:
            return await self.inner.on_request(headers, body)
        except RequestError as exc:
            return immediate_answer(failure(exc))
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is, it must not pass
            self.fail("request", exc)
            # A busy engine has not failed; or a flood would open the way around the guards.
            passes = self.on_error == "open" and not isinstance(exc, ServingError)
            return self._unguarded() if passes else _closed(exc)

    def _unguarded(self) -> Forward | Immediate:
        try:
            return self.inner.unguarded()
        except Exception:  # noqa: BLE001 - a guard's refusal too; the failure is noted already
            return FAILURE

    async def on_unavailable(self) -> Forward | Immediate | None:
        """Who stands by; on failure nobody."""
        if self.failed:
            return None
        try:
            return await self.inner.on_unavailable()
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("failover", exc)
            return None

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        """The handler's plan; on failure the answer passes unseen or is replaced."""
        if self.failed:
            return ResponsePlan(body=BodyHandling.PASS)
        try:
            return await self.inner.on_response_headers(headers)
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("response_headers", exc)
            return ResponsePlan() if self.on_error == "open" else _closed(exc)

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes | Immediate:
        """What the client gets; on failure the chunk as it is, or the end of the answer."""
        if self.failed:
            return chunk
        try:
            return await self.inner.on_response_chunk(chunk, end=end)
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("response_body", exc)
            return chunk if self.on_error == "open" else _closed(exc)

    def on_too_large(self) -> Immediate:
        """What the client gets instead of an answer that is too large to be gathered."""
        if self.failed:
            return immediate_answer(ANSWER_TOO_LARGE)
        try:
            return self.inner.on_too_large()
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("response_body", exc)
            return FAILURE

    def fail(self, phase: str, exc: Exception) -> None:
        """Note a failure, here or in the door itself; the first one is logged."""
        if self.failed:
            return
        self.failed = True
        logger.error(
            "request handling failed phase=%s on_error=%s error=%s at=%s",
            phase,
            self.on_error,
            type(exc),
            traceback.extract_tb(exc.__traceback__, limit=-_MAX_FRAMES),
        )

    def leave(self) -> None:
        """Tell the handler that its answer is left alone, which is the end for it."""
        if self.ended:
            return
        self.ended = True
        try:
            self.inner.on_left()
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("end", exc)

    def end(self, outcome: Outcome, code: str | None = None) -> None:
        """Tell the handler how it ended; a failure outweighs what followed it."""
        if self.ended:
            return
        self.ended = True
        try:
            self.inner.on_end(Outcome.FAILED if self.failed else outcome, code)
        except Exception as exc:  # noqa: BLE001 - as above
            self.fail("end", exc)
