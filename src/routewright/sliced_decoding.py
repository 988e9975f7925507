"""Entities of a long text from its tokens slice by slice, in memory that does not grow with it.

Scores of tokens take hundreds of bytes for each character of a text, and decoding several times
as much. A slice ends at a word that is outside of all entities whatever follows, so slices give
what the whole text would give, but for entities and words of half a slice (`SpanReader`). Knows
scores of tokens, not where they come from.

Shape letters: T = tokens, K = BIO tags.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from routewright.decoding import FloatArray, ScoredText, SpanDecoder, word_starts
from routewright.labels import Span

SLICE_TOKENS = 4096
"""Tokens decoded at once; their scores of 35 tags take 0.6 MB in float32."""


class SpanReader:
    """Decodes one text while its tokens come; the same entities however they are fed."""

    def __init__(
        self,
        decoder: SpanDecoder,
        text: str,
        *,
        temperature: float = 1.0,
        threshold: float = 0.5,
        slice_tokens: int = SLICE_TOKENS,
    ) -> None:
        """Begin.

        Args:
            decoder: of the task.
            text: all of it.
            temperature: as for `SpanDecoder.decode_all`.
            threshold: as for `SpanDecoder.decode_all`.
            slice_tokens: decoded at once; an entity longer than half of it may come out in
                pieces, and so may a word longer than it.
        """
        self._decoder = decoder
        self._text = text
        self._temperature = temperature
        self._threshold = threshold
        self._slice_tokens = slice_tokens
        self._offsets: list[tuple[int, int]] = []
        self._pieces: list[FloatArray] = []
        self._spans: list[Span] = []

    def feed(self, offsets: Sequence[tuple[int, int]], logits_TK: FloatArray) -> None:
        """Take the next tokens of the text: their character ranges and their scores."""
        for first in range(0, len(offsets), self._slice_tokens):
            some = slice(first, first + self._slice_tokens)
            part = ScoredText(self._text, offsets[some], logits_TK[some]).visible()
            if part is None:
                continue
            self._offsets += part.offsets
            self._pieces.append(part.logits_TK)
            while len(self._offsets) >= self._slice_tokens:
                self._read_slice()

    def finish(self) -> list[Span]:
        """Entities of the whole text, sorted, not overlapping."""
        if self._offsets:
            self._keep(self._decoded(self._held()))
        return self._spans

    def _held(self) -> ScoredText:
        """All that is not yet read."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return ScoredText(self._text, self._offsets, self._pieces[0])

    def _read_slice(self) -> None:
        """Read a slice up to a word at which the rest can begin anew."""
        part = _first_tokens(self._held(), self._slice_tokens)
        outside = self._decoder.outside_words(
            part, temperature=self._temperature, threshold=self._threshold
        )
        border, end = outside[-1] if outside else (0, 0)
        if border:
            # The word is in both slices, so that neither sees a border of the text there.
            self._keep(self._decoded(_first_tokens(part, end)))
        else:
            border = self._read_up_to_any_word(part)
        self._offsets = self._offsets[border:]
        self._pieces = [self._pieces[0][border:].copy()]

    def _read_up_to_any_word(self, part: ScoredText) -> int:
        """Read a slice full of entities; gives the token from which it is read again."""
        spans = self._decoded(part)
        starts = word_starts(self._text, part.offsets)
        candidates = [start for start in starts if 0 < start <= len(part.offsets) * 3 // 4]
        for token in reversed(candidates):
            position = part.offsets[token][0]
            ended = bisect_right(spans, position, key=lambda span: span.end)
            if ended == len(spans) or spans[ended].start >= position:
                self._keep(spans[:ended])
                return token
        border = candidates[-1] if candidates else len(part.offsets)
        self._keep(self._decoded(_first_tokens(part, border)))
        return border

    def _decoded(self, part: ScoredText) -> list[Span]:
        found = self._decoder.decode_all(
            [part], temperature=self._temperature, threshold=self._threshold
        )
        return found[0]

    def _keep(self, spans: Sequence[Span]) -> None:
        end = self._spans[-1].end if self._spans else 0
        self._spans += [span for span in spans if span.start >= end]


def _first_tokens(part: ScoredText, num: int) -> ScoredText:
    return ScoredText(part.text, part.offsets[:num], part.logits_TK[:num])
