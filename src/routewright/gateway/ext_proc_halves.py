"""The request half and the response half of one ext_proc stream, as state machines.

Each takes Envoy's messages and returns the replies, without gRPC. In the modes NONE, STREAMED
and BUFFERED every message gets exactly one reply; in FULL_DUPLEX_STREAMED any number, in the
order headers, body, trailers, and bodies only as `streamed_response`.

A request is decided on as a whole, and routed by a header that the decision sets. Envoy lets
headers go before it asks about a STREAMED body, so such a filter is asked to send the body
BUFFERED; in FULL_DUPLEX_STREAMED the reply about the headers waits for the body instead.
"""

import logging
from dataclasses import dataclass, field

from routewright.gateway._proto.ext_proc_pb2 import (
    CommonResponse,
    HttpBody,
    HttpHeaders,
    ProcessingMode,
    ProcessingRequest,
    ProcessingResponse,
)
from routewright.gateway.bodies.failures import error_answer
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    ResponsePlan,
)
from routewright.gateway.ext_proc_messages import (
    REQUEST_TRAILERS,
    RESPONSE_TRAILERS,
    answer_metadata,
    common,
    immediate,
    read_headers,
    request_body,
    request_headers,
    response_body,
    response_headers,
    streamed,
    streamed_parts,
)
from routewright.gateway.guarded import GuardedHandler, immediate_answer
from routewright.gateway.http_headers import identified
from routewright.gateway.unwatched import UNANSWERED

logger = logging.getLogger(__name__)

BodySendMode = ProcessingMode.BodySendMode
NONE, STREAMED = BodySendMode.NONE, BodySendMode.STREAMED
BUFFERED, FULL_DUPLEX = BodySendMode.BUFFERED, BodySendMode.FULL_DUPLEX_STREAMED

Replies = list[ProcessingResponse]

TOO_LARGE = immediate_answer(
    error_answer(413, "the request body is larger than allowed", code="request_too_large")
)

ANSWERED_BY = "x-envoy-upstream-service-time"
"""Header that Envoy puts into every answer of a server, and into none of its own."""


GO_ON = request_headers(CommonResponse())
"""About request headers before the body is known."""


def is_go_on_due(message: ProcessingRequest) -> bool:
    """Whether `GO_ON` is the reply to the first message of a stream, whatever the request."""
    headers, mode = message.request_headers, message.protocol_config.request_body_mode
    is_first = message.HasField("request_headers") and message.HasField("protocol_config")
    return is_first and mode == BUFFERED and not headers.end_of_stream


@dataclass(slots=True)
class BodyModes:
    """How Envoy sends bodies: as the filter is configured, then as it was overridden."""

    request: BodySendMode = NONE
    response: BodySendMode = BUFFERED

    def override(
        self, *, request: BodySendMode | None = None, response: BodySendMode | None = None
    ) -> ProcessingMode:
        """Change a mode, and the message that tells Envoy; it must name both."""
        self.request = self.request if request is None else request
        self.response = self.response if response is None else response
        return ProcessingMode(
            request_body_mode=self.request,
            response_body_mode=self.response,
            response_header_mode=ProcessingMode.HeaderSendMode.SEND,
        )


@dataclass(slots=True)
class Gathered:
    """A body arriving in pieces, of at most `limit` bytes."""

    limit: int
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, chunk: bytes) -> bool:
        """Keep a piece; False if the body is now too large."""
        self.chunks.append(chunk)
        self.size += len(chunk)
        return self.size <= self.limit

    def whole(self) -> bytes:
        """All pieces."""
        return b"".join(self.chunks)


@dataclass(slots=True)
class RequestHalf:
    """From request headers to the handler's decision and its replies."""

    handler: GuardedHandler
    modes: BodyModes
    gathered: Gathered
    may_leave: bool = False
    """Whether Envoy itself can do to an answer what `Forward.answer` says."""
    headers: Headers = field(default_factory=dict)
    replies_to_body: Replies = field(default_factory=list)
    overridden: bool = False
    decided: bool = False
    left: bool = False
    """Whether the answer is left to Envoy, so that the stream may end."""
    refused: str | None = None
    """Code of the error for which the body was not read."""

    async def on_headers(self, message: HttpHeaders) -> Replies:
        """Decide if there is no body; else let Envoy send it."""
        self.headers = read_headers(message.headers)
        if message.end_of_stream:
            return self._without_body(await self._decide(b""))
        if self.modes.request == FULL_DUPLEX:
            return []
        if self.modes.request == BUFFERED:
            return [GO_ON]
        self.overridden = True
        return [request_headers(CommonResponse(), self.modes.override(request=BUFFERED))]

    async def on_body(self, message: HttpBody) -> Replies:
        """Decide when the body is whole."""
        duplex = self.modes.request == FULL_DUPLEX
        if self.decided:
            # Envoy may send the end of a large body twice (envoy issue 46237).
            return [] if duplex else self.replies_to_body
        if not self.gathered.add(message.body):
            self.decided, self.refused = True, "too_large"
            return self.own(TOO_LARGE)
        if self.overridden and not message.end_of_stream:
            logger.error(
                "Envoy sends request bodies in pieces although asked for BUFFERED; in its "
                "ext_proc filter set request_body_mode: BUFFERED or allow_mode_override: true"
            )
            raise ValueError("the mode override was ignored")
        if not duplex:
            self.replies_to_body = self._buffered(await self._decide(message.body))
            return self.replies_to_body
        if not message.end_of_stream:
            return []
        return self._duplex(await self._decide(self.gathered.whole()), end=True)

    async def on_trailers(self) -> Replies:
        """Trailers end a full-duplex body; else they pass."""
        if self.decided or self.modes.request != FULL_DUPLEX:
            return [REQUEST_TRAILERS]
        replies = self._duplex(await self._decide(self.gathered.whole()), end=False)
        answered = replies[-1].HasField("immediate_response")
        return replies if answered else [*replies, REQUEST_TRAILERS]

    async def _decide(self, body: bytes) -> Forward | Immediate:
        self.decided = True
        return await self.handler.on_request(self.headers, body)

    def own(self, answer: Immediate) -> Replies:
        """An answer of the gateway's own to this request, at whatever point of it."""
        return [immediate(identified(answer, self.headers))]

    def _without_body(self, action: Forward | Immediate) -> Replies:
        if isinstance(action, Immediate):
            return self.own(action)
        if action.body is not None:
            raise ValueError("the handler set a body on a request that has none")
        return [request_headers(common(action))]

    def _buffered(self, action: Forward | Immediate) -> Replies:
        if isinstance(action, Immediate):
            return self.own(action)
        sized = action.body is not None and "content-length" in self.headers
        length = len(action.body) if sized and action.body is not None else None
        response = common(action, content_length=length, body=action.body)
        if not self.may_leave or action.answer is None:
            return [request_body(response)]
        replies = [request_body(response, answer_metadata(action.answer))]
        self.left = True
        return replies

    def _duplex(self, action: Forward | Immediate, *, end: bool) -> Replies:
        if isinstance(action, Immediate):
            return self.own(action)
        changed = action.body is not None
        body = action.body if action.body is not None else self.gathered.whole()
        head = request_headers(common(action, drop_length=changed))
        return [head, *(request_body(part) for part in streamed_parts(body, end=end))]


@dataclass(slots=True)
class ResponseHalf:
    """From response headers to the last byte the client gets."""

    handler: GuardedHandler
    request: RequestHalf
    modes: BodyModes
    gathered: Gathered
    plan: ResponsePlan = field(default_factory=ResponsePlan)
    replies_to_body: Replies = field(default_factory=list)
    sized: bool = False
    ended: bool = False
    unanswered: str | None = None
    """Code of the error if the client does not get a model's answer, but one of Envoy's."""

    async def on_headers(self, message: HttpHeaders) -> Replies:
        """Ask for the plan and set Envoy's mode for it."""
        headers = read_headers(message.headers)
        if ANSWERED_BY not in headers:
            self.unanswered = UNANSWERED.get(headers.get(":status", ""))
        plan = await self.handler.on_response_headers(headers)
        if isinstance(plan, Immediate):
            self.ended = True
            return self.request.own(plan)
        self.plan = plan
        if message.end_of_stream:
            self.ended = True
            return [response_headers(common(plan))]
        mode = self._override()
        # Without an override nothing more is sent, so this is the end as far as we can see.
        self.ended = self.modes.response == NONE
        # A streamed answer leaves before its new size is known; BUFFERED gets it with the body.
        streams = plan.body is not BodyHandling.PASS and self.modes.response != BUFFERED
        self.sized = "content-length" in headers and not streams
        return [response_headers(common(plan, drop_length=streams), mode)]

    def _override(self) -> ProcessingMode | None:
        """The mode that fits the plan, if it is another than the present one.

        STREAMED and FULL_DUPLEX_STREAMED serve every plan, if need be by gathering here.
        """
        present = self.modes.response
        wanted = {
            BodyHandling.PASS: NONE,
            BodyHandling.WHOLE: BUFFERED,
            BodyHandling.STREAM: STREAMED,
        }[self.plan.body]
        flows = present in (STREAMED, FULL_DUPLEX)
        keep = present == FULL_DUPLEX if wanted == NONE else flows
        if keep or present == wanted:
            return None
        return self.modes.override(response=wanted)

    async def on_body(self, message: HttpBody) -> Replies:
        """Reply to a chunk, or to the whole body in BUFFERED mode."""
        mode = self.modes.response
        if self.ended and self.plan.body is not BodyHandling.PASS:
            if mode == FULL_DUPLEX:
                return []
            return (
                self.replies_to_body if mode == BUFFERED else [response_body(common(body=b""))]
            )
        # Trailers may follow a BUFFERED body, which is the whole of it all the same.
        self.ended = message.end_of_stream or mode == BUFFERED
        chunk = await self._converted(message.body)
        if isinstance(chunk, Immediate):
            self.ended = True
            return self.request.own(chunk)
        if mode == FULL_DUPLEX:
            parts = streamed_parts(chunk, end=self.ended)
            return [response_body(part) for part in parts]
        if chunk == message.body:
            self.replies_to_body = [response_body(CommonResponse())]
        else:
            length = len(chunk) if mode == BUFFERED and self.sized else None
            self.replies_to_body = [response_body(common(content_length=length, body=chunk))]
        return self.replies_to_body

    async def _converted(self, chunk: bytes) -> bytes | Immediate:
        """What the client gets for a chunk, by the plan."""
        if self.plan.body is BodyHandling.PASS:
            return chunk
        if self.plan.body is BodyHandling.STREAM:
            return await self.handler.on_response_chunk(chunk, end=self.ended)
        if not self.gathered.add(chunk):
            return self.handler.on_too_large()
        if not self.ended:
            return b""
        return await self.handler.on_response_chunk(self.gathered.whole(), end=True)

    async def on_trailers(self) -> Replies:
        """Trailers end a body that has not said so itself."""
        if self.ended or self.plan.body is BodyHandling.PASS:
            self.ended = True
            return [RESPONSE_TRAILERS]
        self.ended = True
        rest = await self._converted(b"")
        if isinstance(rest, Immediate):
            return self.request.own(rest)
        if not rest:
            return [RESPONSE_TRAILERS]
        if self.modes.response != FULL_DUPLEX:
            raise ValueError("trailers came before the end of a body that is still held back")
        return [response_body(streamed(rest, end=False)), RESPONSE_TRAILERS]
