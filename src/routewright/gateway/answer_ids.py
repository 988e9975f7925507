"""The id of a model's answer, read as the answer passes: its next turn may go on from it.

Source: https://platform.openai.com/docs/api-reference/responses (``previous_response_id``).
"""

import json
import re
from collections.abc import Callable
from typing import Any

_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]{1,256})"')
"""An answer whose first key is its id, as servers write it."""
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
MAX_BYTES = 1 << 20
"""Where the search ends; the first event repeats the request's instructions and tools."""


class AnswerId:
    """Finds the id in the bytes of one answer and tells it once; changes nothing."""

    def __init__(self, tell: Callable[[str], None], *, events: bool) -> None:
        """Call `tell` with the id; `events` says whether the answer is a stream of them."""
        self._tell = tell
        self._events = events
        self._held: bytes | None = b""
        """Of what is not yet read; None once nothing more is looked for."""
        self._num_bytes = 0

    def feed(self, chunk: bytes, *, end: bool) -> None:
        """Look at what has arrived."""
        if self._held is None:
            return
        self._held += chunk
        self._num_bytes += len(chunk)
        found = self._in_events() if self._events else self._in_whole(end=end)
        if found is not None:
            self._tell(found)
        if found is not None or end or self._num_bytes > MAX_BYTES:
            self._held = None

    def _in_whole(self, *, end: bool) -> str | None:
        held = self._held or b""
        if (first := _FIRST.match(held)) is not None:
            return first[1].decode("utf-8", "replace")
        return _text(_parsed(held), "id") if end else None

    def _in_events(self) -> str | None:
        while (border := _EVENT_END.search(self._held or b"")) is not None:
            event, self._held = border.string[: border.start()], border.string[border.end() :]
            lines = (line for line in event.splitlines() if line.startswith(b"data:"))
            data = _parsed(b"\n".join(line.removeprefix(b"data:") for line in lines))
            found = _text(data.get("response") if isinstance(data, dict) else None, "id")
            if found is not None:
                return found
        return None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _text(holder: Any, name: str) -> str | None:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, str) and found else None
