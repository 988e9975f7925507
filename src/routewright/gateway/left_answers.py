"""Answers that Envoy was left with, and what its access log says became of them.

Envoy sends its log in batches, beside the requests: nobody waits for it. That is how the
gateway still counts statuses, durations, models that failed and clients that left.
"""

import asyncio
import time
from collections import OrderedDict

from google.protobuf.message import DecodeError

from routewright.gateway._proto.access_log_pb2 import (
    HTTPAccessLogEntry,
    StreamAccessLogsMessage,
)
from routewright.gateway.exchange import AnswerTold, Outcome
from routewright.gateway.grpc_calls import INTERNAL, OK, Call, CallRefused, Method
from routewright.gateway.guarded import GuardedHandler
from routewright.gateway.unwatched import ANSWER_KEY, ANSWER_NAMESPACE, UNANSWERED

ACCESS_LOG = "envoy.service.accesslog.v3.AccessLogService"
"""The service on the wire."""

_FROM_UPSTREAM = "via_upstream"
"""What Envoy says of answers that a server gave, and gave whole."""
_MAX_WAITING = 100_000
_PATIENCE_S = 3600.0
"""What Envoy says later is lost. It says nothing of what it had when it was killed."""
_AT_ONCE = 8
"""Entries read before others get their turn."""


class LeftAnswers:
    """Requests whose answers Envoy was left with, until it says what became of them."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, tuple[float, GuardedHandler]] = OrderedDict()
        self._calls: set[Call] = set()
        self._closing = False

    def methods(self) -> dict[bytes, Method]:
        """By path."""
        return {f"/{ACCESS_LOG}/StreamAccessLogs".encode("ascii"): self._read}

    def leave(self, key: str, handler: GuardedHandler) -> None:
        """Expect an entry with `key`; `handler` is told of the end then, or given up."""
        now_s = time.monotonic()
        self._waiting[key] = (now_s, handler)
        while self._waiting:
            since_s, oldest = next(iter(self._waiting.values()))
            if len(self._waiting) <= _MAX_WAITING and now_s - since_s < _PATIENCE_S:
                break
            self._waiting.popitem(last=False)
            oldest.end(Outcome.UNSEEN)

    def drain(self) -> None:
        """Read the logs no longer than there is something to hear about."""
        self._closing = True
        self._end_if_done()

    def close(self) -> None:
        """Nothing more will be heard."""
        while self._waiting:
            _, (_, handler) = self._waiting.popitem(last=False)
            handler.end(Outcome.UNSEEN)

    async def _read(self, call: Call) -> None:
        """One stream of Envoy's log, of which each of its threads has its own."""
        self._calls.add(call)
        self._end_if_done()
        try:
            while (data := await call.read()) is not None:
                try:
                    message = StreamAccessLogsMessage.FromString(data)
                except DecodeError as exc:
                    raise CallRefused(INTERNAL, "the message cannot be read") from exc
                for number, entry in enumerate(message.http_logs.log_entry, 1):
                    self._tell(entry)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
                self._end_if_done()
            call.write(b"")  # what the service answers, at its end, has no fields
        finally:
            self._calls.discard(call)

    def _end_if_done(self) -> None:
        if self._closing and not self._waiting:
            for call in self._calls:
                call.finish(OK)
                call.receive_end()

    def _tell(self, entry: HTTPAccessLogEntry) -> None:
        fields = entry.common_properties.metadata.filter_metadata[ANSWER_NAMESPACE].fields
        key = fields[ANSWER_KEY].string_value
        _, handler = self._waiting.pop(key, (0.0, None))
        if handler is not None:
            outcome, code = _ending(entry)
            handler.end(outcome, code, _told(entry))


def _told(entry: HTTPAccessLogEntry) -> AnswerTold:
    duration = entry.common_properties.duration
    return AnswerTold(
        status=entry.response.response_code.value or None,
        duration_s=duration.seconds + duration.nanos / 1e9,
    )


def _ending(entry: HTTPAccessLogEntry) -> tuple[Outcome, str | None]:
    """How the answer ended, and the code of the error if no model gave a whole one."""
    flags = entry.common_properties.response_flags
    if flags.downstream_connection_termination or flags.downstream_remote_reset:
        return Outcome.ABORTED, None
    if entry.response.response_code_details == _FROM_UPSTREAM:
        return Outcome.COMPLETE, None
    if flags.stream_idle_timeout:
        return Outcome.BROKEN, "timeout"
    status = str(entry.response.response_code.value)
    return Outcome.BROKEN, UNANSWERED.get(status, "upstream")
