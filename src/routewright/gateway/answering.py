"""A model's answer on its way to the client: what is put back into it, what is read from it."""

import json
from collections.abc import Callable

from routewright.gateway.answer_ids import MAX_BYTES, AnswerId
from routewright.gateway.bodies.failures import error_answer
from routewright.gateway.exchange import BodyHandling, Headers
from routewright.gateway.json_bytes import dump_json, in_thread
from routewright.gateway.masking import Masker, unmask_answer
from routewright.gateway.sse import SseUnmasker

ANSWER_TOO_LARGE = error_answer(
    502,
    "the model's answer is larger than the gateway holds at once (gateway.max_body_bytes); "
    "ask for a shorter one, or for a stream",
    code="answer_too_large",
)
"""Instead of an answer that has to be whole before any of it may go to the client."""


class AnswerReader:
    """Treats one answer: `plan` when its headers are known, then `take` every piece."""

    def __init__(
        self,
        masker: Masker,
        *,
        json_content: bool = False,
        tell_id: Callable[[str], None] | None = None,
        max_body_bytes: int = MAX_BYTES,
    ) -> None:
        """Begin.

        Args:
            masker: the one of the request.
            json_content: as for `unmask_answer`.
            tell_id: called with the answer's id; None if it does not matter.
            max_body_bytes: of an answer that a door gathers; a larger one would fail.
        """
        self._masker = masker
        self._json_content = json_content
        self._tell_id = tell_id
        self._max_body_bytes = max_body_bytes
        self._id: AnswerId | None = None
        self._stream: SseUnmasker | None = None

    @property
    def looks(self) -> bool:
        """Whether the answer's body matters here."""
        return self._masker.num_values > 0 or self._tell_id is not None

    def plan(self, headers: Headers) -> BodyHandling:
        """What this answer's body needs."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        events = kind == "text/event-stream"
        readable = headers.get("content-encoding", "identity") == "identity"
        if not readable or not (events or kind.endswith("json")):
            return BodyHandling.PASS
        unmasks = self._masker.num_values > 0
        if self._tell_id is not None and headers.get(":status") == "200":
            self._id = AnswerId(self._tell_id, events=events)
        elif not unmasks:
            return BodyHandling.PASS
        if events and unmasks:
            self._stream = SseUnmasker(self._masker, json_content=self._json_content)
        # An answer that is only looked at is gathered if it is small, and so keeps its length.
        length = _length(headers)
        small = length is not None and length <= min(MAX_BYTES, self._max_body_bytes)
        whole = not events and (unmasks or small)
        return BodyHandling.WHOLE if whole else BodyHandling.STREAM

    def is_too_large(self, headers: Headers) -> bool:
        """Whether an answer that is planned to be gathered says that it cannot be."""
        length = _length(headers)
        return length is not None and length > self._max_body_bytes

    async def take(self, chunk: bytes, *, end: bool) -> bytes:
        """What the client gets for a piece: the values put back."""
        if self._id is not None:
            self._id.feed(chunk, end=end)
        if not self._masker.num_values:
            return chunk
        if self._stream is not None:
            piece = self._stream.feed(chunk)
            return piece + self._stream.finish() if end else piece
        return await in_thread(len(chunk), self._unmask_whole, chunk)

    def _unmask_whole(self, chunk: bytes) -> bytes:
        try:
            answer = json.loads(chunk)  # as clients read it: NaN and repeated keys pass
        except (ValueError, RecursionError):
            return chunk  # not what it says it is; nothing of ours can be in it in full
        filled = unmask_answer(answer, self._masker, json_content=self._json_content)
        return chunk if filled == answer else dump_json(filled)


def _length(headers: Headers) -> int | None:
    """The body's size in bytes, if the server says it."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None
