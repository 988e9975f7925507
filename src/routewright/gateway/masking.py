"""Values out of a prompt and back into the answer, one `Masker` a request.

Knows spans and text; knows nothing of HTTP. There is no state outside the objects, so nothing
of one request can show up in another.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from os.path import commonprefix
from typing import Any

from routewright.labels import Span

_LOOKS_LIKE_ONE = re.compile(r"\[[A-Z0-9_]+\]")
_DISTINCTIVE = re.compile(r"[\d@\s]")
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9]+")
_MAX_NAME = 48
"""Characters of a label in a placeholder: what a stream may hold back is a little more."""
_MAX_SOUGHT = 128
"""Characters of a value that is looked for in texts: each place of a text may be compared with
so many, and each may be a group in a group, of which `re` reads some 300 and no more."""
_MAX_BRANCHES = 64
"""Alternatives that are tried one after the other."""


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
        self._known: tuple[int, re.Pattern[str] | None] = 0, None
        """Number of values it was made of, and what finds them again."""

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
        cannot be ordinary words count: 6 to 128 characters, with a digit, an ``@`` or a space.

        Args:
            text: masked before, if it is among those of the request.
            is_value: whether it is a single value and no prose: one that is as a whole what was
                masked elsewhere is replaced too, though it be an ordinary word.
        """
        if is_value and (placeholder := self._placeholders.get(text)) is not None:
            return placeholder
        if self._known[0] != self.num_values:
            sought = [
                value
                for value in self._placeholders
                if 6 <= len(value) <= _MAX_SOUGHT and _DISTINCTIVE.search(value)
            ]
            self._known = self.num_values, _finder(sought) if sought else None
        if (known := self._known[1]) is None:
            return text
        return known.sub(lambda found: self._placeholders.get(found[0], found[0]), text)

    def in_pattern(self, pattern: str) -> str:
        """A regular expression, masked before, with its placeholders escaped.

        Bare, ``[PERSON_1]`` is any one of these characters.
        """

        def literal(match: re.Match[str]) -> str:
            return re.escape(match[0]) if match[0] in self._values else match[0]

        return _LOOKS_LIKE_ONE.sub(literal, pattern)

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


def _finder(values: Iterable[str]) -> re.Pattern[str]:
    """Finds each of `values`, the longest where several begin, none within a word.

    And all that looks like a placeholder, within which no value begins. What values begin with
    together is compared once, so that they are many makes no search longer.
    """
    any_of = _any_of(sorted(values), 0)
    finder = re.compile(rf"{_LOOKS_LIKE_ONE.pattern}|(?<!\w)(?:{any_of})(?!\w)")
    # `re` keeps what it compiled: personal data must not outlive its request.
    re.purge()
    return finder


def _any_of(values: Sequence[str], start: int) -> str:
    """A pattern of what `values` go on with at `start`: sorted, and the same up to there."""
    branches = []
    for first, following in groupby(values, key=lambda value: value[start]):
        group = list(following)
        end = len(commonprefix([group[0], group[-1]]))  # noqa: RUF071  characters are meant
        branch = re.escape(group[0][start:end])
        if ends_here := len(group[0]) == end:
            del group[0]
        if group:
            # The empty alternative comes last: longer values are tried first.
            branch += f"(?:{_any_of(group, end)}{'|' if ends_here else ''})"
        branches.append((first, first, branch))
    while len(branches) > _MAX_BRANCHES:
        starts = range(0, len(branches), _MAX_BRANCHES)
        branches = [_guarded(branches[n : n + _MAX_BRANCHES]) for n in starts]
    return "|".join(branch for _, _, branch in branches)


def _guarded(branches: Sequence[tuple[str, str, str]]) -> tuple[str, str, str]:
    """One branch of several, tried only at a character between their first and their last."""
    first, last = branches[0][0], branches[-1][1]
    any_of = "|".join(branch for _, _, branch in branches)
    return first, last, f"(?=[{re.escape(first)}-{re.escape(last)}])(?:{any_of})"


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
