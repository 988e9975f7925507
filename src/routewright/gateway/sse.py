"""Server-sent events of a streamed answer, with the masked values put back on the way.

Bytes in, bytes out. An event leaves as soon as it is complete; of its text at most the
beginning of a placeholder is held back, until the next event or the end. Events that hold no
placeholder and those that are not understood leave as they came, byte for byte. Where a text
ends in what was held back, an event is put in, and numbered events behind it count one more.

Source of the format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from routewright.gateway.json_bytes import dump_json
from routewright.gateway.masking import Masker, unmask_answer

_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_BORDER_BYTES = 3
"""An end of an event may begin so many bytes before the piece that completes it."""
_DELTA_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")

Channel = tuple[Any, ...]
"""Names one text that arrives in pieces; see `_slots` and `SseUnmasker._typed`."""


class SseUnmasker:
    """Unmasks one response stream of chat completions, completions or responses."""

    def __init__(
        self, masker: Masker, *, json_content: bool = False, max_event_bytes: int = 4 << 20
    ) -> None:
        """Begin a stream.

        Args:
            masker: the one of the request.
            json_content: as for `unmask_answer`.
            max_event_bytes: longer events pass unread, so memory stays bounded.
        """
        self._masker = masker
        self._json_content = json_content
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._overlong = False
        self._held: dict[Channel, str] = {}
        self._template: dict[str, Any] = {}
        self._num_added = 0
        """Events put in so far between those that are numbered."""
        self._number: int | None = None
        """Of the last numbered event, as the client has it."""
        self._is_named = False
        """Whether the last event of the responses API had an ``event:`` line."""

    def feed(self, piece: bytes) -> bytes:
        """The events that `piece` completes."""
        if not self._masker.num_values:
            return piece
        # What was read goes once a piece: a copy of the rest for each event, or of the whole
        # for each piece of a long one, would add up to seconds.
        self._buffer += piece
        done, start = [], 0
        while (end := self._event_end(start)) is not None:
            event = bytes(self._buffer[start:end])
            start = self._searched = end
            passes = self._overlong or len(event) > self._max_event_bytes
            done.append(event if passes else self._event(event))
            self._overlong = False
        del self._buffer[:start]
        self._searched -= start
        if self._overlong or len(self._buffer) > self._max_event_bytes:
            keep = len(self._buffer) - _BORDER_BYTES
            done.append(bytes(self._buffer[:keep]))
            del self._buffer[:keep]
            self._overlong, self._searched = True, 0
        return b"".join(done)

    def finish(self) -> bytes:
        """What is left when the stream has ended."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        event = rest if self._overlong or not rest else self._event(rest)
        left = b"".join(self._added(value, b"\n") for value in self._left_over())
        if event and left and not event.endswith((b"\n", b"\r")):
            event += b"\n\n"
        return event + left

    def _event_end(self, start: int) -> int | None:
        """Where in the buffer the event ends that begins at `start`."""
        match = _EVENT_END.search(self._buffer, max(start, self._searched - _BORDER_BYTES))
        self._searched = len(self._buffer)
        if match is None:
            return None
        if match.end() == len(self._buffer) and self._buffer.endswith(b"\r"):
            return None  # the line feed of this end may still come
        return match.end()

    def _event(self, raw: bytes) -> bytes:
        lines = raw.splitlines()
        data = b"\n".join(
            line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")
        )
        ending = b"\r\n" if b"\r\n" in raw else b"\n" if b"\n" in raw else b"\r"
        if data.strip() == b"[DONE]":
            return b"".join([*(self._added(v, ending) for v in self._left_over()), raw])
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return raw
        if not isinstance(event, dict):
            return raw
        kept = [line + ending for line in lines if line and not line.startswith(b"data:")]
        whole = unmask_answer(event, self._masker, json_content=self._json_content)
        before = b""
        if isinstance(event.get("choices"), list):
            self._chat(event, whole)
        elif isinstance(event.get("type"), str):
            self._is_named = any(line.startswith(b"event:") for line in kept)
            before = b"".join(self._added(v, ending) for v in self._typed(event, whole))
            if isinstance(number := event.get("sequence_number"), int):
                self._number = whole["sequence_number"] = number + self._num_added
        rewritten = raw if whole == event else b"".join([*kept, _data(whole, ending)])
        return before + rewritten

    def _added(self, value: dict[str, Any], ending: bytes) -> bytes:
        """An event put in, in the form of its neighbours."""
        kind = value.get("type")
        if not isinstance(kind, str):
            return _data(value, ending)
        if self._number is not None:
            self._number += 1
            self._num_added += 1
            value = {**value, "sequence_number": self._number}
        name = b"event: " + kind.encode("utf-8", "replace") + ending if self._is_named else b""
        return name + _data(value, ending)

    def _chat(self, event: dict[str, Any], whole: dict[str, Any]) -> None:
        """Put into `whole`, unmasked at once, the texts of `event` that come in pieces."""
        skipped = {"choices", "usage"}
        self._template = {k: v for k, v in whole.items() if k not in skipped}
        for choice, filled in zip(event["choices"], whole["choices"], strict=True):
            if not isinstance(choice, dict):
                continue
            for (channel, old, name), (_, new, _) in zip(
                _slots(choice), _slots(filled), strict=True
            ):
                new[name] = self._piece(channel, old[name])
            if filled.get("finish_reason") is not None:
                index = _number(filled, 0)
                for channel in [c for c in self._held if c[0] == index]:
                    _append(filled, channel, self._held.pop(channel))

    def _typed(self, event: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
        """Treat an event of the responses API; what has to come before it.

        ``<stem>.delta`` brings a piece, ``<stem>.done`` the whole text.
        """
        stem, _, kind = event["type"].rpartition(".")
        places = ("item_id", "output_index", "content_index", "summary_index")
        known = [(name, event.get(name)) for name in places]
        channel = (stem, *((n, place) for n, place in known if isinstance(place, str | int)))
        if kind == "delta" and isinstance(event.get("delta"), str):
            whole["delta"] = self._piece(channel, event["delta"])
        held = self._held.pop(channel, "") if kind == "done" else ""
        return [_typed_delta(channel, held)] if held else []

    def _piece(self, channel: Channel, piece: str) -> str:
        text, held = self._masker.unmask_piece(
            self._held.pop(channel, "") + piece, json_string=self._is_json(channel)
        )
        if held:
            self._held[channel] = held
        return text

    def _is_json(self, channel: Channel) -> bool:
        if isinstance(channel[0], str):
            is_arguments, is_text = "arguments" in channel[0], "output_text" in channel[0]
        else:
            is_arguments = channel[1] in {"tool_calls", "function_call"}
            is_text = channel[1] in {"content", "text"}
        return is_arguments or (self._json_content and is_text)

    def _left_over(self) -> Iterator[dict[str, Any]]:
        """Events with the texts still held back, which then are not."""
        held, self._held = self._held, {}
        for channel, text in held.items():
            if isinstance(channel[0], str):
                yield _typed_delta(channel, text)
            else:
                choice: dict[str, Any] = {"index": channel[0], "finish_reason": None}
                _append(choice, channel, text)
                yield {**self._template, "choices": [choice]}


def _slots(choice: dict[str, Any]) -> Iterator[tuple[Channel, dict[str, Any], str]]:
    """Where a choice holds pieces of text: the channel, and the mapping and key it is at."""
    index = _number(choice, 0)
    if isinstance(choice.get("text"), str):
        yield (index, "text"), choice, "text"
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return
    for name in _DELTA_TEXTS:
        if isinstance(delta.get(name), str):
            yield (index, name), delta, name
    call = delta.get("function_call")
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        yield (index, "function_call"), call, "arguments"
    calls = delta.get("tool_calls")
    for position, call in enumerate(calls if isinstance(calls, list) else []):
        for kind, name in (("function", "arguments"), ("custom", "input")):
            inner = call.get(kind) if isinstance(call, dict) else None
            if isinstance(inner, dict) and isinstance(inner.get(name), str):
                channel = "tool_calls" if kind == "function" else "custom_calls"
                yield (index, channel, _number(call, position)), inner, name


def _number(holder: dict[str, Any], default: int) -> int:
    index = holder.get("index")
    return index if isinstance(index, int) else default


def _append(choice: dict[str, Any], channel: Channel, text: str) -> None:
    """Put `text` at the end of what `choice` brings for `channel`."""
    for other, holder, name in _slots(choice):
        if other == channel:
            holder[name] += text
            return
    if channel[1] == "text":
        choice["text"] = text
        return
    delta = choice["delta"] = choice.get("delta") or {}
    if channel[1] == "function_call":
        delta["function_call"] = {"arguments": text}
    elif channel[1] in {"tool_calls", "custom_calls"}:
        inner = {"function": {"arguments": text}}
        if channel[1] == "custom_calls":
            inner = {"custom": {"input": text}}
        calls = delta["tool_calls"] = delta.get("tool_calls") or []
        calls.append({"index": channel[2], **inner})
    else:
        delta[channel[1]] = text


def _typed_delta(channel: Channel, text: str) -> dict[str, Any]:
    stem, *places = channel
    return {"type": f"{stem}.delta", **dict(places), "delta": text}


def _data(value: dict[str, Any], ending: bytes) -> bytes:
    return b"data: " + dump_json(value) + ending + ending
