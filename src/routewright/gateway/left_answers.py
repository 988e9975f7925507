"""How answers ended that Envoy was left with, as its access log tells.

Envoy sends its log in batches, beside the requests: nobody waits for it. An entry has all that
is counted with it, so it need not come to the gateway that decided about its request.
"""

import asyncio
from collections.abc import Callable

from google.protobuf.message import DecodeError

from routewright.gateway._proto.access_log_pb2 import (
    HTTPAccessLogEntry,
    StreamAccessLogsMessage,
)
from routewright.gateway.exchange import EndedAnswer, Outcome
from routewright.gateway.grpc_calls import INTERNAL, OK, Call, CallRefused, Method
from routewright.gateway.unwatched import (
    ANSWER_NAMESPACE,
    ENDPOINT_FIELD,
    REQUEST_ID_FIELD,
    UNANSWERED,
)

ACCESS_LOG = "envoy.service.accesslog.v3.AccessLogService"
"""The service on the wire."""

_FROM_UPSTREAM = "via_upstream"
"""What Envoy says of answers that a server gave, and gave whole."""
_AT_ONCE = 8
"""Entries read before others get their turn."""

AnswerObserver = Callable[[EndedAnswer], None]
"""Told of an answer that has ended."""


class LeftAnswers:
    """Reads Envoy's log, and tells of the answers in it."""

    def __init__(self, observers: tuple[AnswerObserver, ...]) -> None:
        self._observers = observers
        self._calls: set[Call] = set()
        self._closed = False

    def methods(self) -> dict[bytes, Method]:
        """By path."""
        return {f"/{ACCESS_LOG}/StreamAccessLogs".encode("ascii"): self._read}

    def close(self) -> None:
        """End the streams, and those to come: Envoy holds them open, so a drain would wait."""
        self._closed = True
        for call in self._calls:
            _end(call)

    async def _read(self, call: Call) -> None:
        """One stream of Envoy's log, of which each of its threads has its own."""
        self._calls.add(call)
        if self._closed:
            _end(call)
        try:
            while (data := await call.read()) is not None:
                try:
                    message = StreamAccessLogsMessage.FromString(data)
                except DecodeError as exc:
                    raise CallRefused(INTERNAL, "the message cannot be read") from exc
                for number, entry in enumerate(message.http_logs.log_entry, 1):
                    answer = ended_answer(entry)
                    for observe in self._observers if answer.request_id else ():
                        observe(answer)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
            call.write(b"")  # what the service answers, at its end, has no fields
        finally:
            self._calls.discard(call)


def _end(call: Call) -> None:
    call.finish(OK)
    call.receive_end()


def ended_answer(entry: HTTPAccessLogEntry) -> EndedAnswer:
    """What an entry says; without a request id it is about an answer that was not left."""
    common, response = entry.common_properties, entry.response
    fields = common.metadata.filter_metadata[ANSWER_NAMESPACE].fields
    outcome, code = _ending(entry)
    return EndedAnswer(
        endpoint=fields[ENDPOINT_FIELD].string_value,
        request_id=fields[REQUEST_ID_FIELD].string_value,
        outcome=outcome,
        code=code,
        status=response.response_code.value or None,
        duration_s=max(0.0, common.duration.seconds + common.duration.nanos / 1e9),
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
