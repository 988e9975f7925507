"""Logits to calibrated probabilities and entity spans, used unchanged by training and serving.

Shape letters: B = batch, C = classes, T = tokens, W = words, K = BIO tags, S = stretches of
words.
Token and word axes run over all texts of a call, one after the other.
"""

import math
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routewright.labels import BioScheme, Span
from routewright.tag_search import TagSearch, Transitions

FloatArray = NDArray[np.floating]


def probabilities(logits_BC: FloatArray, *, temperature: float = 1.0) -> FloatArray:
    """Softmax with temperature over the last axis: in [0, 1], each row sums to 1.

    Args:
        logits_BC: raw scores, any number of leading axes.
        temperature: > 0, no unit; fitted on validation data, stored in the bundle.

    Raises:
        ValueError: `temperature` is not positive.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # The ufuncs themselves and in place: for a few classes the calls are what takes time.
    scaled: FloatArray = logits_BC / temperature
    scaled -= np.maximum.reduce(scaled, axis=-1, keepdims=True)
    exp = np.exp(scaled, out=scaled)
    exp /= np.add.reduce(exp, axis=-1, keepdims=True)
    return exp


def combine_windows(
    probabilities_BC: FloatArray, num_tokens_B: Sequence[int], *, positive_id: int | None
) -> FloatArray:
    """Probabilities ``(C,)`` of a whole text from those of its windows.

    With `positive_id` the window with the highest probability of that class speaks for the
    text: an attack stays an attack however much harmless text surrounds it. Without, the
    windows are averaged, weighted by their tokens.
    """
    if len(probabilities_BC) == 1:
        return np.asarray(probabilities_BC[0])
    if positive_id is not None:
        worst: FloatArray = probabilities_BC[probabilities_BC[:, positive_id].argmax()]
        return worst
    weights_B = np.maximum(np.asarray(num_tokens_B, dtype=probabilities_BC.dtype), 1)
    mean: FloatArray = weights_B @ probabilities_BC / weights_B.sum()
    return mean


class SpanDecoder:
    """Finds the best well-formed tag sequence and reads the entities from it.

    Constrained Viterbi over *words*: a word (a run of letters and digits) is wholly inside one
    entity or outside of all, and ``I-X`` only follows ``B-X`` or ``I-X``, so no orphan tag
    exists to repair.
    """

    def __init__(self, scheme: BioScheme, transitions: Transitions | None = None) -> None:
        self.scheme = scheme
        self.transitions = transitions
        self._search = TagSearch(scheme, transitions)

    def decode(
        self,
        text: str,
        offsets: Sequence[tuple[int, int]],
        logits_TK: FloatArray,
        *,
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> list[Span]:
        """Entities of one text; see `decode_all`."""
        scored = ScoredText(text, offsets, logits_TK)
        return self.decode_all([scored], temperature=temperature, threshold=threshold)[0]

    def decode_all(
        self,
        texts: Sequence["ScoredText"],
        *,
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> list[list[Span]]:
        """Entities of each text, sorted, not overlapping, each ``text[start:end]`` exact.

        A text's entities do not depend on the texts beside it; together they cost less.

        Args:
            texts: with their tokens.
            temperature: divides the logits; scores are softmax probabilities after it. With
                the default threshold it changes no entity, only scores.
            threshold: in (0, 1); an entity is preferred to ``O`` from this probability on;
                0.5 is plain decoding, less finds more entities.
        """
        found: list[list[Span]] = [[] for _ in texts]
        visible = [(i, v) for i, t in enumerate(texts) if (v := t.visible()) is not None]
        if not visible:
            return found
        rows = [t.logits_TK for _, t in visible]
        logits_TK = rows[0] if len(rows) == 1 else np.concatenate(rows)
        emissions_TK = _emissions(logits_TK, temperature, threshold)
        starts: list[int] = []
        firsts, num_tokens = [0], 0
        for _, (text, offsets, _) in visible:
            starts += [num_tokens + start for start in word_starts(text, offsets)]
            firsts.append(len(starts))
            num_tokens += len(offsets)
        starts.append(num_tokens)
        starts_W = np.array(starts)
        is_long_W = starts_W[1:] - starts_W[:-1] > 1
        emissions_WK = self._search.word_emissions(emissions_TK, starts_W[:-1], is_long_W)
        tags = self._search.best_tags(emissions_WK, is_long_W, firsts)
        for (i, scored), first, last in zip(visible, firsts, firsts[1:], strict=False):
            if any(tags_W := tags[first:last]):
                token = starts[first]
                bounds = [start - token for start in starts[first : last + 1]]
                found[i] = self._spans(tags_W, bounds, scored, temperature)
        return found

    def outside_words(
        self, part: "ScoredText", *, temperature: float = 1.0, threshold: float = 0.5
    ) -> list[tuple[int, int]]:
        """Words of `part`, as token ranges, that no text around it makes part of an entity.

        The last two words are never among them: of the last one tokens may be missing, and
        those of the other depend on it.

        Args:
            part: of a text, from the beginning of a word on, all its tokens visible.
            temperature: as for `decode_all`.
            threshold: as for `decode_all`.
        """
        starts = word_starts(part.text, part.offsets)
        starts_W = np.array(starts)
        num_tokens_W = np.diff(starts_W, append=len(part.offsets))
        emissions_TK = _emissions(part.logits_TK, temperature, threshold)
        emissions_WK = self._search.word_emissions(emissions_TK, starts_W, num_tokens_W > 1)
        is_outside = self._search.surely_outside(emissions_WK).tolist()
        words = zip(pairwise(starts[:-1]), is_outside, strict=False)
        return [word for word, outside in words if outside]

    def _spans(
        self, tags_W: list[int], bounds: list[int], scored: "ScoredText", temperature: float
    ) -> list[Span]:
        offsets = scored.offsets
        spans: list[Span] = []
        entities = _entities(tags_W, self.scheme)
        seen = slice(bounds[entities[0][0]], bounds[entities[-1][1] + 1])
        of_seen_TK = probabilities(scored.logits_TK[seen], temperature=temperature)
        for first, last in entities:
            begin_id = tags_W[first]
            tokens = slice(bounds[first], bounds[last + 1])
            rows = slice(tokens.start - seen.start, tokens.stop - seen.start)
            of_type = of_seen_TK[rows, begin_id : begin_id + 2]
            score = float(of_type.sum()) / (tokens.stop - tokens.start)
            label = self.scheme.entity_type(begin_id) or ""
            start, end = offsets[tokens.start][0], offsets[tokens.stop - 1][1]
            if spans and start < spans[-1].end:  # two tokens of one split character
                continue
            spans.append(Span(start, end, label, min(score, 1.0)))
        return spans


def _emissions(
    logits_TK: FloatArray, temperature: float, threshold: float
) -> NDArray[np.float64]:
    # Undivided, so that emissions keep the scale the transitions were learned on.
    emissions_TK = logits_TK.astype(np.float64)
    if threshold != 0.5:
        emissions_TK[:, 0] += temperature * math.log(threshold / (1 - threshold))
    return emissions_TK


class ScoredText(NamedTuple):
    """A text with the scores of its tokens."""

    text: str
    offsets: Sequence[tuple[int, int]]
    """Character range of each token; empty ranges are skipped."""
    logits_TK: FloatArray
    """One row for each token."""

    def visible(self) -> "ScoredText | None":
        """The same without the tokens that have no characters; None if none is left."""
        kept = [i for i, (start, end) in enumerate(self.offsets) if start < end]
        if len(kept) == len(self.offsets):
            return self if kept else None
        offsets = [self.offsets[i] for i in kept]
        return ScoredText(self.text, offsets, self.logits_TK[kept]) if kept else None


def word_starts(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the tokens that begin a word, 0 always among them.

    A token continues the word before it when nothing visible lies between them and letters or
    digits meet at the border, when both are parts of one character, or when it begins with a
    combining mark. Scripts written without spaces (CJK, Thai) have one word a token. The rule
    reads only the text, so every tokenizer gives the same words.
    """
    starts = [0]
    for i, ((start, end), (next_start, next_end)) in enumerate(pairwise(offsets), start=1):
        if next_start == end + 1 and text[end] == " ":  # most words of most texts
            starts.append(i)
            continue
        split_character = next_start < end or (next_start, next_end) == (start, end)
        adjacent = next_start == end or _is_invisible(text[end:next_start])
        joined = adjacent and (
            (_joins(text[end - 1]) and _joins(text[next_start])) or _is_mark(text[next_start])
        )
        if not (split_character or joined):
            starts.append(i)
    return starts


def _joins(character: str) -> bool:
    if character.isascii():
        return character.isalnum()
    code = ord(character)
    unspaced = 0x0E00 <= code <= 0x0EFF or 0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF
    # Marks belong to the letter before them, and joiners without width to both sides.
    return not unspaced and (
        character.isalnum() or unicodedata.category(character) == "Cf" or _is_mark(character)
    )


def _is_mark(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character).startswith("M")


def _is_invisible(gap: str) -> bool:
    """Whether a tokenizer that cleans text drops all of it: soft hyphens, joiners, controls."""
    return all(not c.isspace() and unicodedata.category(c).startswith("C") for c in gap)


def _entities(tags: Sequence[int], scheme: BioScheme) -> list[tuple[int, int]]:
    """Inclusive (first, last) positions of the entities in a well-formed tag sequence."""
    entities: list[tuple[int, int]] = []
    for i, tag in enumerate(tags):
        if tag == 0:
            continue
        if scheme.is_begin(tag) or not entities:
            entities.append((i, i))
        else:
            entities[-1] = (entities[-1][0], i)
    return entities
