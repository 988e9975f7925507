"""A text as its reader sees it: ASCII twins for typographic variants, nothing invisible.

An address copied from a web page or a word processor often holds characters without width, and
a letter may be written as a base and combining marks. No form would match those.
"""

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace

from routewright.labels import Span

SPACED_LETTER = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
"""Of scripts that set spaces between words; in others a name would run into its sentence."""


class FoldedText:
    """A text with other digits, dashes, spaces and full-width forms as their ASCII twins.

    Characters without width and combining marks are left out; every other character becomes
    exactly one, so positions are the same where nothing is left out.
    """

    def __init__(self, original: str) -> None:
        self.original = original
        self.text = original if original.isascii() else original.translate(_FOLDING)
        self._places: Sequence[int] | None = None
        """Where the characters of `text` stand in `original`; None if that is the same."""
        if len(self.text) < len(original):
            kept = (i for i, c in enumerate(original) if _FOLDING[ord(c)])
            self._places = array("i", kept)

    @property
    def leaves_out(self) -> bool:
        """Whether `text` is shorter than the original."""
        return self._places is not None

    def with_invisible(self) -> str:
        """`text` with what it leaves out in its place, so of the length of the original."""
        return "".join(_FOLDING[ord(c)] or c for c in self.original)

    def inwards(self, spans: Iterable[Span]) -> list[Span]:
        """`spans` of the original as spans of `text`, without those that have nothing left."""
        if self._places is None:
            return list(spans)
        moved = [
            replace(
                span,
                start=bisect_left(self._places, span.start),
                end=bisect_left(self._places, span.end),
            )
            for span in spans
        ]
        return [span for span in moved if span.start < span.end]

    def outwards(self, spans: Iterable[Span]) -> list[Span]:
        """`spans` of `text` as spans of the original, which end behind marks of their last."""
        if self._places is None:
            return list(spans)
        return [
            replace(span, start=self._places[span.start], end=self._end(span.end - 1))
            for span in spans
        ]

    def _end(self, last: int) -> int:
        """Where the character `last` of `text` ends in the original, its marks included."""
        assert self._places is not None
        end = self._places[last] + 1
        following = self._places[last + 1] if last + 1 < len(self._places) else None
        left_out = self.original[end:following]
        for length in range(len(left_out), 0, -1):
            if unicodedata.category(left_out[length - 1]).startswith("M"):
                return end + length
        return end


class _Folding(dict[int, str | None]):
    """Code point to one character or none, computed once for each that occurs."""

    def __missing__(self, code: int) -> str | None:
        self[code] = folded = _fold(chr(code))
        return folded


def _fold(character: str) -> str | None:
    if character.isascii():
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    category = unicodedata.category(character)
    if category == "Cf" or category.startswith("M"):
        return None
    if category == "Pd":
        return "-"
    if category == "Zs":
        return " "
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 and plain.isascii() else character


_FOLDING = _Folding()
