"""One ext_proc stream, that is one HTTP request with its answer, without gRPC."""

from routewright.gateway._proto.ext_proc_pb2 import ProcessingRequest, ProtocolConfiguration
from routewright.gateway.exchange import Outcome, RequestHandler
from routewright.gateway.ext_proc_halves import (
    BodyModes,
    Gathered,
    Replies,
    RequestHalf,
    ResponseHalf,
)
from routewright.gateway.ext_proc_messages import (
    common,
    read_headers,
    response_headers,
)
from routewright.gateway.guarded import FAILURE, GuardedHandler, OnError

_REFUSALS = {"408": "request_timeout", "413": "too_large"}
"""Codes of errors, by the status that Envoy answers to a request it has not got in full."""


class ExtProcStream:
    """Replies to Envoy's messages about one request, in their order."""

    def __init__(
        self,
        handler: RequestHandler,
        *,
        on_error: OnError,
        max_body_bytes: int,
        may_leave: bool = False,
    ) -> None:
        """Drive `handler`; a body over `max_body_bytes` is refused.

        With `may_leave` Envoy adds to answers what `Forward.answer` says, and need not be
        listened to any more; see `left`.
        """
        self.handler = GuardedHandler(handler, on_error)
        modes = BodyModes()
        self._modes = modes
        self._request = RequestHalf(
            self.handler, modes, Gathered(max_body_bytes), may_leave=may_leave
        )
        self._response = ResponseHalf(
            self.handler, self._request, modes, Gathered(max_body_bytes)
        )
        self._answered = False

    @property
    def left(self) -> bool:
        """Whether the answer is Envoy's alone, and nothing more is to be heard of it here."""
        return self._request.left

    def decides(self, message: ProcessingRequest) -> bool:
        """Whether the handler may think about this message, so that an abort matters."""
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            return message.request_headers.end_of_stream
        return kind in ("request_body", "request_trailers")

    async def answer(self, message: ProcessingRequest) -> Replies:
        """The replies to `message`, perhaps none; never raises but when cancelled."""
        if self._answered:
            return []
        if message.HasField("protocol_config"):
            self._configure(message.protocol_config)
        try:
            replies = await self._dispatch(message)
        except Exception as exc:  # noqa: BLE001 - the boundary; there is nothing sound to pass on
            self.handler.fail("protocol", exc)
            replies = self._request.own(FAILURE)
        self._answered = bool(replies) and replies[-1].HasField("immediate_response")
        return replies

    def _configure(self, config: ProtocolConfiguration) -> None:
        self._modes.request = config.request_body_mode
        self._modes.response = config.response_body_mode

    async def _dispatch(self, message: ProcessingRequest) -> Replies:
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            return await self._request.on_headers(message.request_headers)
        if kind == "request_body":
            return await self._request.on_body(message.request_body)
        if kind == "request_trailers":
            return await self._request.on_trailers()
        if kind == "response_headers" and not self._request.decided:
            # Envoy answers by itself, say 408 or 413, before the request was whole.
            headers = read_headers(message.response_headers.headers)
            status = headers.get(":status", "")
            if status.startswith("2"):
                raise ValueError("a model answered a request that was not asked about")
            self._request.refused = _REFUSALS.get(status, "error")
            return [response_headers(common())]
        if kind == "response_headers":
            return await self._response.on_headers(message.response_headers)
        if kind == "response_body":
            return await self._response.on_body(message.response_body)
        if kind == "response_trailers":
            return await self._response.on_trailers()
        return []

    def close(self) -> None:
        """The stream is over: tell the handler whether its answer was, or that it was left."""
        if self.left:
            self.handler.leave()
            return
        refused, unanswered = self._request.refused, self._response.unanswered
        complete = self._answered or self._response.ended or refused is not None
        outcome = Outcome.COMPLETE if complete else Outcome.ABORTED
        self.handler.end(Outcome.BROKEN if unanswered else outcome, refused or unanswered)
