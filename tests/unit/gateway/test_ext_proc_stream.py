"""Conversations with Envoy, message by message, without gRPC."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.log_lines import our_lines

from routewright.errors import OverloadedError, RequestError
from routewright.gateway._proto.ext_proc_pb2 import (
    HeaderMap,
    HeaderMutation,
    HeaderValue,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingMode,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
    StatusCode,
)
from routewright.gateway.exchange import (
    STATUSES,
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    Outcome,
    ResponsePlan,
)
from routewright.gateway.ext_proc_messages import STREAMED_CHUNK_BYTES, streamed_parts
from routewright.gateway.ext_proc_stream import ExtProcStream
from routewright.gateway.guarded import OnError

Mode = ProcessingMode.BodySendMode
MODES = [Mode.NONE, Mode.STREAMED, Mode.BUFFERED, Mode.FULL_DUPLEX_STREAMED]


@dataclass
class Recorder:
    """Answers as it is told and keeps what it saw."""

    action: Forward | Immediate = field(default_factory=Forward)
    plan: ResponsePlan = field(default_factory=ResponsePlan)
    fail_in: str = ""
    failure: Exception = field(default_factory=lambda: RuntimeError("the canary sings"))
    seen: list[Any] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        self.note("request", dict(headers), body)
        return self.action

    unguarded = staticmethod(Forward)
    on_too_large = staticmethod(lambda: Immediate(status=502))
    on_left = staticmethod(lambda: None)

    async def on_unavailable(self) -> None: ...
    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        self.note("response", dict(headers))
        return self.plan

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        self.note("chunk", chunk, end)
        return chunk.upper() + b"!" * end

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        self.outcomes.append(outcome)

    def note(self, phase: str, *what: Any) -> None:
        self.seen.append((phase, *what))
        if self.fail_in == phase:
            raise self.failure


def header_map(headers: dict[str, str]) -> HeaderMap:
    values = [HeaderValue(key=k, raw_value=v.encode()) for k, v in headers.items()]
    return HeaderMap(headers=values)


def request_headers(
    mode: Any, headers: dict[str, str] | None = None, *, end: bool = False
) -> ProcessingRequest:
    config = ProtocolConfiguration(request_body_mode=mode, response_body_mode=mode)
    head = HttpHeaders(headers=header_map(headers or {}), end_of_stream=end)
    return ProcessingRequest(request_headers=head, protocol_config=config)


def request_body(body: bytes, *, end: bool = True) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end))


def response_headers(**headers: str) -> ProcessingRequest:
    return ProcessingRequest(response_headers=HttpHeaders(headers=header_map(headers)))


def response_body(body: bytes, *, end: bool = True) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end))


REQUEST_TRAILERS = ProcessingRequest(request_trailers=HttpTrailers())
RESPONSE_TRAILERS = ProcessingRequest(response_trailers=HttpTrailers())
REQUEST = (request_headers(Mode.BUFFERED), request_body(b"{}"))


def converse(
    handler: Recorder, *messages: ProcessingRequest, on_error: OnError = "closed"
) -> list[list[ProcessingResponse]]:
    """The replies to each message, and the end of the stream."""
    stream = ExtProcStream(handler, on_error=on_error, max_body_bytes=1000)

    async def talk() -> list[list[ProcessingResponse]]:
        return [await stream.answer(message) for message in messages]

    replies = asyncio.run(talk())
    stream.close()
    return replies


def mutated(mutation: HeaderMutation) -> dict[str, str]:
    return {o.header.key: o.header.raw_value.decode() for o in mutation.set_headers}


def test_a_buffered_request_is_changed_in_the_reply_to_its_body() -> None:
    handler = Recorder(Forward(set_headers={"x-selected-model": "m"}, body=b"longer body"))
    head, body = converse(
        handler,
        request_headers(Mode.BUFFERED, {"content-length": "4"}),
        request_body(b"body"),
    )
    assert not head[0].HasField("mode_override")
    common = body[0].request_body.response
    assert common.body_mutation.body == b"longer body"
    assert common.clear_route_cache
    assert mutated(common.header_mutation) == {"x-selected-model": "m", "content-length": "11"}
    assert handler.seen == [("request", {"content-length": "4"}, b"body")]


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.STREAMED, Mode.BUFFERED_PARTIAL])
def test_a_filter_that_does_not_send_whole_requests_is_asked_to(mode: Any) -> None:
    ((head,), _) = converse(Recorder(), request_headers(mode), request_body(b"body"))
    assert head.mode_override.request_body_mode == Mode.BUFFERED
    assert head.mode_override.response_body_mode == mode


def test_a_filter_that_ignores_the_override_gets_an_error_that_says_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Recorder()
    head = request_headers(Mode.STREAMED, {"x-request-id": "envoys"})
    _, (reply,) = converse(handler, head, request_body(b"bo", end=False))
    assert reply.immediate_response.status.code == StatusCode.InternalServerError
    assert mutated(reply.immediate_response.headers)["x-request-id"] == "envoys"
    assert "allow_mode_override" in caplog.text
    assert (handler.seen, handler.outcomes) == ([], [Outcome.FAILED])


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=8))
def test_a_full_duplex_request_is_decided_on_whole_however_it_arrives(
    chunks: list[bytes],
) -> None:
    handler = Recorder(Forward(set_headers={"x-selected-model": "m"}))
    ends = [False] * (len(chunks) - 1) + [True]
    bodies = [request_body(c, end=e) for c, e in zip(chunks, ends, strict=True)]
    replies = converse(handler, request_headers(Mode.FULL_DUPLEX_STREAMED), *bodies)
    assert handler.seen == [("request", {}, b"".join(chunks))]
    assert [len(r) for r in replies[:-1]] == [0] * len(chunks)
    head, *parts = replies[-1]
    assert mutated(head.request_headers.response.header_mutation) == {"x-selected-model": "m"}
    pieces = [p.request_body.response.body_mutation.streamed_response for p in parts]
    assert b"".join(p.body for p in pieces) == b"".join(chunks)
    assert pieces[-1].end_of_stream


def test_trailers_end_a_full_duplex_request() -> None:
    replies = converse(
        Recorder(),
        request_headers(Mode.FULL_DUPLEX_STREAMED),
        request_body(b"body", end=False),
        REQUEST_TRAILERS,
    )
    kinds = [r.WhichOneof("response") for r in replies[-1]]
    assert kinds == ["request_headers", "request_body", "request_trailers"]
    part = replies[-1][1].request_body.response.body_mutation.streamed_response
    assert (part.body, part.end_of_stream) == (b"body", False)


@pytest.mark.parametrize("mode", [Mode.BUFFERED, Mode.FULL_DUPLEX_STREAMED])
def test_a_second_end_of_the_body_is_not_a_second_request(mode: Any) -> None:
    handler = Recorder(Forward(body=b"new"))
    _, first, second = converse(
        handler, request_headers(mode), request_body(b"body"), request_body(b"body")
    )
    assert len(handler.seen) == 1
    assert second == (first if mode == Mode.BUFFERED else [])


def test_a_body_over_the_limit_is_refused_before_the_handler_sees_it() -> None:
    handler = Recorder()
    _, _, (reply,) = converse(
        handler,
        request_headers(Mode.FULL_DUPLEX_STREAMED),
        request_body(b"x" * 900, end=False),
        request_body(b"x" * 101, end=False),
    )
    assert reply.immediate_response.status.code == StatusCode.PayloadTooLarge
    assert handler.seen == []


@given(st.integers(0, 3 * STREAMED_CHUNK_BYTES), st.booleans())
@example(0, True)
@example(2 * STREAMED_CHUNK_BYTES, True)
def test_streamed_parts_are_the_body_in_chunks_of_the_right_size(
    num_bytes: int, end: bool
) -> None:
    body = (b"0123456" * (num_bytes // 7 + 1))[:num_bytes]
    parts = [p.response.body_mutation.streamed_response for p in streamed_parts(body, end=end)]
    assert b"".join(p.body for p in parts) == body
    assert all(len(p.body) <= STREAMED_CHUNK_BYTES for p in parts)
    assert [p.end_of_stream for p in parts if p.end_of_stream] == [True] * end
    assert not end or parts[-1].end_of_stream


EXPECTED_MODE = {
    (Mode.BUFFERED, BodyHandling.PASS): Mode.NONE,
    (Mode.BUFFERED, BodyHandling.WHOLE): None,
    (Mode.BUFFERED, BodyHandling.STREAM): Mode.STREAMED,
    (Mode.STREAMED, BodyHandling.PASS): Mode.NONE,
    (Mode.STREAMED, BodyHandling.WHOLE): None,
    (Mode.STREAMED, BodyHandling.STREAM): None,
    (Mode.NONE, BodyHandling.PASS): None,
    (Mode.NONE, BodyHandling.WHOLE): Mode.BUFFERED,
    (Mode.NONE, BodyHandling.STREAM): Mode.STREAMED,
    (Mode.FULL_DUPLEX_STREAMED, BodyHandling.PASS): None,
    (Mode.FULL_DUPLEX_STREAMED, BodyHandling.WHOLE): None,
    (Mode.FULL_DUPLEX_STREAMED, BodyHandling.STREAM): None,
}


@pytest.mark.parametrize(("configured", "body"), EXPECTED_MODE)
def test_the_mode_of_the_answer_follows_the_plan(configured: Any, body: BodyHandling) -> None:
    handler = Recorder(plan=ResponsePlan(body=body))
    request = request_headers(configured, end=True)
    _, (reply,) = converse(handler, request, response_headers(**{":status": "200"}))
    expected = EXPECTED_MODE[configured, body]
    assert reply.HasField("mode_override") == (expected is not None)
    if expected is not None:
        assert reply.mode_override.response_body_mode == expected


@pytest.mark.parametrize("body", list(BodyHandling))
@pytest.mark.parametrize("mode", MODES)
def test_every_chunk_gets_what_the_plan_says_in_every_mode(
    mode: Any, body: BodyHandling
) -> None:
    handler = Recorder(plan=ResponsePlan(body=body))
    buffered = body is BodyHandling.WHOLE and mode in (Mode.NONE, Mode.BUFFERED)
    whole = [response_body(b"abcd")]
    pieces = [response_body(b"ab", end=False), response_body(b"cd")]
    chunks = whole if buffered else pieces
    head = response_headers(**{"content-length": "4"})
    replies = converse(handler, request_headers(mode, end=True), head, *chunks)
    client = b"".join(
        received(mode, chunk.response_body.body, reply.response_body.response.body_mutation)
        for chunk, answers in zip(chunks, replies[2:], strict=True)
        for reply in answers
    )
    assert client == (b"abcd" if body is BodyHandling.PASS else b"ABCD!")
    assert handler.outcomes == [Outcome.COMPLETE]
    removed = list(replies[1][0].response_headers.response.header_mutation.remove_headers)
    assert removed == ([] if body is BodyHandling.PASS or buffered else ["content-length"])


def received(mode: Any, sent: bytes, mutation: Any) -> bytes:
    """What Envoy makes of a reply about `sent`."""
    kind = mutation.WhichOneof("mutation")
    if mode == Mode.FULL_DUPLEX_STREAMED:
        assert kind == "streamed_response"
        return bytes(mutation.streamed_response.body)
    assert kind != "streamed_response"
    if kind is None:
        return sent
    return b"" if kind == "clear_body" else bytes(mutation.body)


def test_trailers_flush_what_is_held_back_in_full_duplex_mode() -> None:
    handler = Recorder(plan=ResponsePlan(body=BodyHandling.STREAM))
    *_, last = converse(
        handler,
        request_headers(Mode.FULL_DUPLEX_STREAMED, end=True),
        response_headers(),
        response_body(b"ab", end=False),
        RESPONSE_TRAILERS,
    )
    part = last[0].response_body.response.body_mutation.streamed_response
    assert (part.body, part.end_of_stream) == (b"!", False)
    assert last[1].HasField("response_trailers")


def test_an_answer_of_envoys_own_passes_without_the_handler() -> None:
    handler = Recorder()
    _, (head,), (body,) = converse(
        handler,
        request_headers(Mode.BUFFERED),
        response_headers(**{":status": "408"}),
        response_body(b"too slow"),
    )
    assert head.HasField("response_headers")
    assert not body.response_body.response.HasField("body_mutation")
    answered = converse(handler, REQUEST[0], response_headers(**{":status": "200"}))
    assert (answered[1][0].HasField("immediate_response"), handler.seen) == (True, [])


def test_a_stream_that_ends_before_the_answer_is_an_abort() -> None:
    converse(handler := Recorder(), *REQUEST)
    assert handler.outcomes == [Outcome.ABORTED]


@pytest.mark.parametrize("phase", ["request", "response", "chunk"])
def test_a_failure_is_logged_once_without_its_text_and_ends_the_handlers_part(
    phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Recorder(plan=ResponsePlan(body=BodyHandling.STREAM), fail_in=phase)
    messages = [
        request_headers(Mode.BUFFERED, {"x-request-id": "envoys"}),
        request_body(b"body"),
        response_headers(),
        response_body(b"ab", end=False),
        response_body(b"cd"),
    ]
    with caplog.at_level("INFO"):
        closed = [r for replies in converse(handler, *messages) for r in replies]
    assert closed[-1].immediate_response.status.code == StatusCode.InternalServerError
    assert mutated(closed[-1].immediate_response.headers)["x-request-id"] == "envoys"
    assert b"canary" not in closed[-1].SerializeToString()
    assert (handler.seen[-1][0], handler.outcomes) == (phase, [Outcome.FAILED])
    assert len(our_lines(caplog)) == 1
    assert "canary" not in caplog.text


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_malformed_request_is_the_clients_mistake_whatever_failures_mean(
    on_error: OnError, caplog: pytest.LogCaptureFixture
) -> None:
    failure = RequestError("messages must be an array", param="messages")
    handler = Recorder(fail_in="request", failure=failure)
    _, (reply,) = converse(handler, *REQUEST, on_error=on_error)
    assert reply.immediate_response.status.code == StatusCode.BadRequest
    assert b"messages must be an array" in reply.immediate_response.body
    assert handler.outcomes == [Outcome.COMPLETE]
    assert not our_lines(caplog)


def test_a_busy_engine_says_when_to_come_back() -> None:
    handler = Recorder(fail_in="request", failure=OverloadedError(9, 8, 2.5))
    _, (reply,) = converse(handler, *REQUEST, on_error="open")
    assert reply.immediate_response.status.code == StatusCode.TooManyRequests
    assert mutated(reply.immediate_response.headers)["retry-after"] == "3"
    assert handler.outcomes == [Outcome.FAILED]


def test_an_open_failure_passes_everything_that_follows() -> None:
    handler = Recorder(plan=ResponsePlan(body=BodyHandling.STREAM), fail_in="request")
    replies = converse(
        handler,
        request_headers(Mode.FULL_DUPLEX_STREAMED),
        request_body(b"body"),
        response_headers(),
        response_body(b"answer"),
        on_error="open",
    )
    sent = replies[1][1].request_body.response.body_mutation.streamed_response
    came = replies[3][0].response_body.response.body_mutation.streamed_response
    assert (sent.body, came.body) == (b"body", b"answer")
    assert len(handler.seen) == 1


def test_repeated_headers_are_joined_and_odd_bytes_survive() -> None:
    values = [HeaderValue(key="X-Tag", raw_value=raw) for raw in (b"one", b"tw\xff")]
    head = HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=True)
    converse(handler := Recorder(), ProcessingRequest(request_headers=head))
    assert handler.seen[0][1]["x-tag"].encode("utf-8", "surrogateescape") == b"one,tw\xff"


@pytest.mark.parametrize("value", ["a\r\nx-admin: 1", "a\nb", "a\0b"])
def test_a_header_value_cannot_bring_a_header_of_its_own(value: str) -> None:
    with pytest.raises(ValueError, match="header x-a has"):
        Forward(set_headers={"x-a": value})
    with pytest.raises(ValueError, match="header x-a has"):
        Immediate(status=200, headers={"x-a": value})


def test_every_status_that_can_be_sent_is_one_that_envoy_knows() -> None:
    assert set(StatusCode.values()) >= STATUSES
    with pytest.raises(ValueError, match="status 451"):
        Immediate(status=451)
