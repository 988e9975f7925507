"""Logits to calibrated probabilities and entity spans, used unchanged by training and serving.

Shape letters: B = batch, C = classes, T = tokens, W = words, K = BIO tags.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from routewright.labels import BioScheme, Span

FloatArray = NDArray[np.floating]
_IMPOSSIBLE = -1e9


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
    scaled = logits_BC / temperature
    exp = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: FloatArray = exp / exp.sum(axis=-1, keepdims=True)
    return result


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


@dataclass(frozen=True)
class Transitions:
    """Scores of a linear-chain CRF, in log space; `scores_KK[i, j]` is for i before j."""

    start_K: FloatArray
    scores_KK: FloatArray
    end_K: FloatArray


class SpanDecoder:
    """Finds the best well-formed tag sequence and reads the entities from it.

    Constrained Viterbi over *words*: a word (a run of letters and digits) is wholly inside one
    entity or outside of all, and ``I-X`` only follows ``B-X`` or ``I-X``, so no orphan tag
    exists to repair.
    """

    def __init__(self, scheme: BioScheme, transitions: Transitions | None = None) -> None:
        self.scheme = scheme
        self.transitions = transitions
        num_tags = len(scheme.tags)
        ids = range(num_tags)
        allowed_KK = np.array([[scheme.may_follow(i, j) for j in ids] for i in ids])
        starts_K = np.array([scheme.may_start(i) for i in ids])
        zeros_K = np.zeros(num_tags)
        learned_KK = transitions.scores_KK if transitions else np.zeros((num_tags, num_tags))
        self._allowed_KK = allowed_KK
        self._start_K = np.where(
            starts_K, transitions.start_K if transitions else zeros_K, _IMPOSSIBLE
        )
        self._end_K = transitions.end_K if transitions else zeros_K
        scores_KK = np.where(allowed_KK, learned_KK, _IMPOSSIBLE)
        self._inside_K = np.arange(num_tags)
        self._inside_K[1::2] += 1  # a word that begins X goes on with I-X
        # Within a word: from its second token on, and what the second token gets on top.
        self._staying_K = learned_KK[self._inside_K, self._inside_K]
        self._entering_K = learned_KK[ids, self._inside_K] - self._staying_K
        # By the tag arrived at; after a word of one token, and after a longer one.
        self._arriving = (
            np.ascontiguousarray(scores_KK.T),
            np.ascontiguousarray(scores_KK[self._inside_K].T),
        )
        # A word that changes its tag changes two transitions at the most, and maybe an end.
        self._largest_gain = 2 * np.ptp(learned_KK[allowed_KK]) + (
            np.ptp(self._start_K[starts_K]) + np.ptp(self._end_K)
        )

    def decode(
        self,
        text: str,
        offsets: Sequence[tuple[int, int]],
        logits_TK: FloatArray,
        *,
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> list[Span]:
        """Entities of `text`, sorted, not overlapping, each ``text[start:end]`` exact.

        Args:
            text: the text that was tokenised.
            offsets: character range of each token; empty ranges are skipped.
            logits_TK: one row for each token of `offsets`.
            temperature: divides the logits; scores are softmax probabilities after it. With
                the default threshold it changes no entity, only scores.
            threshold: in (0, 1); an entity is preferred to ``O`` from this probability on;
                0.5 is plain decoding, less finds more entities.
        """
        kept = [i for i, (start, end) in enumerate(offsets) if start < end]
        if not kept:
            return []
        if len(kept) < len(offsets):
            offsets = [offsets[i] for i in kept]
            logits_TK = logits_TK[kept]
        # Undivided, so that emissions keep the scale the transitions were learned on.
        emissions_TK = logits_TK.astype(np.float64)
        if threshold != 0.5:
            emissions_TK[:, 0] += temperature * math.log(threshold / (1 - threshold))
        starts = word_starts(text, offsets)
        emissions_WK = self._word_emissions(emissions_TK, starts)
        tags_W = self._best_tags(emissions_WK, np.diff([*starts, len(offsets)]) > 1)
        if not any(tags_W):
            return []
        probabilities_TK = probabilities(logits_TK, temperature=temperature)
        return self._spans(tags_W, starts, offsets, probabilities_TK)

    def _word_emissions(self, emissions_TK: FloatArray, starts: list[int]) -> FloatArray:
        """Score of each word taking a tag: its first token has it, the rest continue it."""
        if len(starts) == len(emissions_TK):
            return emissions_TK
        inside = self._inside_K
        continued_TK = emissions_TK[:, inside]
        continued_TK[starts] = emissions_TK[starts]
        if self.transitions is not None:
            rest = np.ones(len(emissions_TK), dtype=bool)
            rest[starts] = False
            continued_TK[rest] += self._staying_K
            # The second token of a word follows its first, which may have begun the entity.
            rest[1:] &= ~rest[:-1]
            continued_TK[rest] += self._entering_K
        summed: FloatArray = np.add.reduceat(continued_TK, starts, axis=0)
        return summed

    def _best_tags(self, emissions_WK: FloatArray, is_long_W: NDArray[np.bool_]) -> list[int]:
        """Best tag of each word's first token; the next word follows the last token's tag.

        Words that are ``O`` in every best sequence cut the text into stretches that are
        searched by themselves; most texts are nearly all such words.
        """
        best_W = emissions_WK.argmax(axis=1)
        two_best_W2 = np.partition(emissions_WK, -2, axis=1)[:, -2:]
        margins_W = two_best_W2[:, 1] - two_best_W2[:, 0]
        tags: list[int] = best_W.tolist()
        if margins_W.min() >= self._largest_gain and self._is_well_formed(best_W):
            return tags
        is_open_W = np.ones(len(best_W) + 2, dtype=bool)
        is_open_W[[0, -1]] = False
        is_open_W[1:-1] = (best_W != 0) | (margins_W < self._price_of_outside(emissions_WK))
        borders = np.flatnonzero(np.diff(is_open_W)).tolist()
        for start, stop in zip(borders[::2], borders[1::2], strict=True):
            stretch = slice(start, stop)
            certain = margins_W[stretch].min() >= self._largest_gain
            if not (certain and self._is_well_formed(best_W[stretch])):
                edges = (start == 0, stop == len(tags))
                tags[stretch] = self._viterbi(emissions_WK[stretch], is_long_W[stretch], edges)
        return tags

    def _price_of_outside(self, emissions_WK: FloatArray) -> FloatArray:
        """What making a word ``O`` can cost at the most, beside its own emission, ``(W,)``.

        Two transitions change, and a next word that continued an entity has to begin one.
        """
        continued_WX = emissions_WK[:, 2::2] - emissions_WK[:, 1::2]
        price_W = np.full(len(emissions_WK), float(self._largest_gain))
        price_W[:-1] += np.maximum(continued_WX[1:].max(axis=1), 0)
        return price_W

    def _is_well_formed(self, tags_W: NDArray[np.intp]) -> bool:
        follows = self._allowed_KK[tags_W[:-1], tags_W[1:]].all()
        return bool(follows and self._start_K[tags_W[0]] != _IMPOSSIBLE)

    def _viterbi(
        self, emissions_WK: FloatArray, is_long_W: NDArray[np.bool_], edges: tuple[bool, bool]
    ) -> list[int]:
        """Best tags of words between ``O`` or, where `edges` says so, the ends of the text."""
        score_K = (self._start_K if edges[0] else self._arriving[0][:, 0]) + emissions_WK[0]
        scores = [score_K]
        for emissions_K, is_long in zip(emissions_WK[1:], is_long_W[:-1], strict=True):
            arriving_KK = self._arriving[int(is_long)] + score_K
            score_K = arriving_KK.max(axis=1) + emissions_K
            scores.append(score_K)
        end_K = self._end_K if edges[1] else self._arriving[0][0]
        path = [int((score_K + (end_K[self._inside_K] if is_long_W[-1] else end_K)).argmax())]
        # The way back looks at one column a word, which is less than keeping every argmax.
        for score_K, is_long in zip(scores[-2::-1], is_long_W[-2::-1], strict=True):
            path.append(int((self._arriving[int(is_long)][path[-1]] + score_K).argmax()))
        return path[::-1]

    def _spans(
        self,
        tags_W: list[int],
        starts: list[int],
        offsets: Sequence[tuple[int, int]],
        probabilities_TK: FloatArray,
    ) -> list[Span]:
        bounds = [*starts, len(offsets)]
        spans: list[Span] = []
        for first, last in _entities(tags_W, self.scheme):
            begin_id = tags_W[first]
            tokens = slice(bounds[first], bounds[last + 1])
            of_type = probabilities_TK[tokens, begin_id : begin_id + 2]
            score = float(of_type.sum()) / (tokens.stop - tokens.start)
            label = self.scheme.entity_type(begin_id) or ""
            start, end = offsets[tokens.start][0], offsets[tokens.stop - 1][1]
            if spans and start < spans[-1].end:  # two tokens of one split character
                continue
            spans.append(Span(start, end, label, min(score, 1.0)))
        return spans


def word_starts(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the tokens that begin a word, 0 always among them.

    A token continues the word before it when nothing visible lies between them and letters or
    digits meet at the border, or when both are parts of one character. Scripts written without
    spaces (CJK, Thai) have one word a token. The rule reads only the text, so every tokenizer
    gives the same words.
    """
    starts = [0]
    for i, ((start, end), (next_start, next_end)) in enumerate(pairwise(offsets), start=1):
        if next_start == end + 1 and text[end] == " ":  # most words of most texts
            starts.append(i)
            continue
        split_character = next_start < end or (next_start, next_end) == (start, end)
        adjacent = next_start == end or _is_invisible(text[end:next_start])
        joined = adjacent and _joins(text[end - 1]) and _joins(text[next_start])
        if not (split_character or joined):
            starts.append(i)
    return starts


def _joins(character: str) -> bool:
    if character.isascii():
        return character.isalnum()
    code = ord(character)
    unspaced = 0x0E00 <= code <= 0x0EFF or 0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF
    # Combining marks belong to the letter before them.
    return not unspaced and (
        character.isalnum() or unicodedata.category(character).startswith("M")
    )


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
