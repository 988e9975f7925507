"""The id of a model's answer, read as the answer passes: its next turn may go on from it.

Source: https://platform.openai.com/docs/api-reference/responses (``previous_response_id``).
"""

import json
import re
from collections.abc import Callable
from typing import Any

_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]{1,256})"')
"""An answer whose first key is its id, as servers write it."""
_FIRST_BYTES = 4096
"""How much of an answer is looked at for that; a later id is read once all has come."""
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_BORDER_BYTES = 3
"""An end of an event may begin so many bytes before the piece that completes it."""
MAX_BYTES = 1 << 20
"""Where the search ends; the first event repeats the request's instructions and tools."""


class AnswerId:
    """Finds the id in the bytes of one answer and tells it once; changes nothing."""

    def __init__(self, tell: Callable[[str], None], *, events: bool) -> None:
        """Call `tell` with the id; `events` says whether the answer is a stream of them."""
        self._tell = tell
        self._events = events
        self._held: bytearray | None = bytearray()
        """Of what is not yet read; None once nothing more is looked for."""
        self._num_bytes = 0
        self._searched = 0
        """How much of what is held has been looked at; nothing is looked at anew."""

    def feed(self, chunk: bytes, *, end: bool) -> None:
        """Look at what has arrived."""
        held = self._held
        if held is None:
            return
        held += chunk
        self._num_bytes += len(chunk)
        found = self._in_events(held) if self._events else self._in_whole(held, end=end)
        if found is not None:
            self._tell(found)
        if found is not None or end or self._num_bytes > MAX_BYTES:
            self._held = None

    def _in_whole(self, held: bytearray, *, end: bool) -> str | None:
        if self._searched < _FIRST_BYTES:
            self._searched = len(held)
            if (first := _FIRST.match(held[:_FIRST_BYTES])) is not None:
                return first[1].decode("utf-8", "replace")
        return _text(_parsed(held), "id") if end else None

    def _in_events(self, held: bytearray) -> str | None:
        begins, found = 0, None
        position = max(0, self._searched - _BORDER_BYTES)
        while found is None and (border := _EVENT_END.search(held, position)) is not None:
            found = _id_in_event(held[begins : border.start()])
            begins = position = border.end()
        del held[:begins]
        self._searched = len(held)
        return found


def _id_in_event(event: bytearray) -> str | None:
    if b"data:" not in event:
        return None
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    data = _parsed(b"\n".join(line.removeprefix(b"data:") for line in lines))
    return _text(data.get("response") if isinstance(data, dict) else None, "id")


def _parsed(data: bytes | bytearray) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _text(holder: Any, name: str) -> str | None:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, str) and found else None
