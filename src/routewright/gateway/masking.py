"""Values out of a prompt and back into the answer, one `Masker` a request.

Knows spans and text; knows nothing of HTTP. There is no state outside the objects, so nothing
of one request can show up in another.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from routewright.labels import Span

_LOOKS_LIKE_ONE = re.compile(r"\[[A-Z0-9_]+\]")
_DISTINCTIVE = re.compile(r"[\d@\s]")
_TOKEN = re.compile(r"\w+|\W")
_WORD = re.compile(r"\w")
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9]+")
_MAX_NAME = 48
"""Characters of a label in a placeholder: what a stream may hold back is a little more."""


class Masker:
    """The placeholders of one request: ``[PERSON_1]`` for the first person, and so on.

    The same value has the same placeholder wherever it occurs in the request. Text of the
    client's own that looks like a placeholder is never given out as one, so it stays as it is.
    """

    def __init__(self, texts: Iterable[str], *, first: int = 1) -> None:
        """Take note of placeholder-like text in `texts`: all texts of the request.

        Args:
            texts: none may be masked that is not among them.
            first: number of the first placeholder of each name.
        """
        self._first = first
        self._reserved = {look for text in texts for look in _LOOKS_LIKE_ONE.findall(text)}
        self._placeholders: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._known = 0, _Known(())
        """Number of values it was made of, and those to find again."""

    @property
    def num_values(self) -> int:
        """Different values masked so far."""
        return len(self._values)

    @property
    def longest_placeholder(self) -> int:
        """In characters; 0 when nothing is masked."""
        return max(map(len, self._values), default=0)

    def mask(self, text: str, spans: Sequence[Span]) -> str:
        """`text` with the value of each span replaced.

        Of overlapping spans the first counts, and of the next what is left of it.

        Raises:
            ValueError: a span lies outside, or the text was not among those of the request and
                holds what has become a placeholder.
        """
        if not self._reserved.issuperset(_LOOKS_LIKE_ONE.findall(text)):
            raise ValueError("a Masker must be made with all texts that it shall mask")
        pieces = []
        position = 0
        for span in sorted(spans, key=lambda s: (s.start, -s.end)):
            if not 0 <= span.start < span.end <= len(text):
                raise ValueError(f"span [{span.start}, {span.end}) is empty or outside")
            if span.end <= position:
                continue
            start = max(span.start, position)
            value = text[start : span.end]
            pieces += [text[position:start], self._placeholder(value, span.label)]
            position = span.end
        return "".join([*pieces, text[position:]])

    def mask_again(self, text: str, *, is_value: bool = False) -> str:
        """`text` with values found in other places replaced where they stand in full.

        A classifier may overlook in bare arguments what it saw in a sentence. Only values that
        cannot be ordinary words count: 6 characters or more, with a digit, an ``@`` or a space.

        Args:
            text: masked before, if it is among those of the request.
            is_value: whether it is a single value and no prose: one that is as a whole what was
                masked elsewhere is replaced too, though it be an ordinary word.
        """
        if is_value and (placeholder := self._placeholders.get(text)) is not None:
            return placeholder
        if self._known[0] != self.num_values:
            found = [v for v in self._placeholders if len(v) >= 6 and _DISTINCTIVE.search(v)]
            self._known = self.num_values, _Known(found)
        pieces, position = [], 0
        for start, end in self._known[1].places(text):
            value = text[start:end]
            pieces += [text[position:start], self._placeholders.get(value, value)]
            position = end
        return "".join([*pieces, text[position:]])

    def unmask(self, text: str, *, json_string: bool = False) -> str:
        """`text` with the values put back.

        Args:
            text: what the model wrote.
            json_string: whether `text` is JSON source, as in the arguments of a tool call;
                values are then escaped as the inside of a JSON string.
        """

        def value(match: re.Match[str]) -> str:
            found = self._values.get(match[0])
            if found is None:
                return match[0]
            return json.dumps(found, ensure_ascii=False)[1:-1] if json_string else found

        return _LOOKS_LIKE_ONE.sub(value, text) if self._values else text

    def unmask_piece(self, text: str, *, json_string: bool = False) -> tuple[str, str]:
        """What of a stream's beginning can be passed on, and the end to hold back.

        The end is the beginning of a placeholder, so always shorter than the longest one; put
        the next piece behind it.
        """
        start = text.rfind("[")
        if start < 0 or not self._may_become_one(text[start:]):
            return self.unmask(text, json_string=json_string), ""
        return self.unmask(text[:start], json_string=json_string), text[start:]

    def _may_become_one(self, tail: str) -> bool:
        return any(p.startswith(tail) and p != tail for p in self._values)

    def _placeholder(self, value: str, label: str) -> str:
        if (known := self._placeholders.get(value)) is not None:
            return known
        name = _NOT_IN_A_NAME.sub("_", label.upper())[:_MAX_NAME].strip("_") or "VALUE"
        placeholder = None
        while placeholder is None or self._is_taken(placeholder):
            self._counts[name] = self._counts.get(name, self._first - 1) + 1
            placeholder = f"[{name}_{self._counts[name]}]"
        self._placeholders[value] = placeholder
        self._values[placeholder] = value
        return placeholder

    def _is_taken(self, placeholder: str) -> bool:
        return placeholder in self._reserved or placeholder in self._values


@dataclass(slots=True)
class _Node:
    """Where a value may go on, or has ended."""

    following: dict[str, "_Node"] = field(default_factory=dict)
    is_end: bool = False


class _Known:
    """Values to find in texts; that they are many makes no search longer.

    A value is a path of words and single other characters, so that each position of a text is
    compared with all values at once.
    """

    def __init__(self, values: Collection[str]) -> None:
        self._root = _Node()
        for value in values:
            node = self._root
            for token in _TOKEN.findall(value):
                node = node.following.setdefault(token, _Node())
            node.is_end = True
        first = "".join(re.escape(one) for one in sorted({value[0] for value in values}))
        pattern = rf"{_LOOKS_LIKE_ONE.pattern}|(?<!\w)[{first}]"
        self._beginnings = re.compile(pattern) if values else None

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Begin and end of each, the longest where several begin, none within a word.

        And of all that looks like a placeholder, within which no value begins.
        """
        position = 0
        for found in self._beginnings.finditer(text) if self._beginnings else ():
            start = found.start()
            if start < position:
                continue
            is_placeholder = len(found[0]) > 1
            end = found.end() if is_placeholder else self._longest(text, start)
            if end is not None:
                yield start, end
                position = end

    def _longest(self, text: str, start: int) -> int | None:
        """Where the longest value that begins at `start` ends; None if none does."""
        node, end, position = self._root, None, start
        while (token := _TOKEN.match(text, position)) is not None:
            if (following := node.following.get(token[0])) is None:
                break
            node, position = following, token.end()
            if node.is_end and not _WORD.match(text, position):
                end = position
        return end


class StreamUnmasker:
    """Puts values back into one streamed text, whatever its pieces are."""

    def __init__(self, masker: Masker, *, json_string: bool = False) -> None:
        """`json_string` as for `Masker.unmask`."""
        self.held = ""
        self._masker = masker
        self._json_string = json_string

    def feed(self, piece: str) -> str:
        """What can be passed on now."""
        text, self.held = self._masker.unmask_piece(
            self.held + piece, json_string=self._json_string
        )
        return text

    def flush(self) -> str:
        """What is left when the text has ended."""
        rest, self.held = self.held, ""
        return rest


def unmask_answer(answer: Any, masker: Masker, *, json_content: bool = False) -> Any:
    """A parsed answer of a model with the values put back into every string of it.

    Args:
        answer: JSON of any OpenAI endpoint; not changed.
        masker: the one of its request.
        json_content: whether the request asked for JSON (``response_format``), so that values
            in the text must be escaped; those in ``arguments`` always are.
    """

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, str):
            is_json = key == "arguments" or (json_content and key in {"content", "text"})
            return masker.unmask(value, json_string=is_json)
        if isinstance(value, list):
            return [walk(item, key) for item in value]
        if isinstance(value, dict):
            return {name: walk(item, name) for name, item in value.items()}
        return value

    return walk(answer, "") if masker.num_values else answer
