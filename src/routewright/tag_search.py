"""The best well-formed tags of words: constrained Viterbi, for many texts at once.

Shape letters: T = tokens, W = words, K = BIO tags, X = entity types, S = stretches of words,
B = texts. Token and word axes run over all texts, one after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routewright.labels import BioScheme

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]
_IMPOSSIBLE = -1e9
_IN_STEP = 256
"""Stretches searched together: each needs (K, K) numbers a step, and a text has any number."""


@dataclass(frozen=True)
class Transitions:
    """Scores of a linear-chain CRF, in log space; `scores_KK[i, j]` is for i before j."""

    start_K: FloatArray
    scores_KK: FloatArray
    end_K: FloatArray


class TagSearch:
    """Scores of tags to the best sequence in which words stay whole.

    A word is wholly inside one entity or outside of all, and ``I-X`` only follows ``B-X`` or
    ``I-X``.
    """

    def __init__(self, scheme: BioScheme, transitions: Transitions | None = None) -> None:
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
        self._arriving = np.stack([scores_KK.T, scores_KK[self._inside_K].T])
        self._ending = np.stack([self._end_K, self._end_K[self._inside_K]])
        self._price_K, self._price_of_beginning_X = self._prices()
        # A word that changes its tag changes two transitions at the most, and maybe an end.
        self._largest_gain = 2 * np.ptp(learned_KK[allowed_KK]) + (
            np.ptp(self._start_K[starts_K]) + np.ptp(self._end_K)
        )

    def word_emissions(
        self, emissions_TK: FloatArray, starts_W: IndexArray, is_long_W: BoolArray
    ) -> FloatArray:
        """Score of each word taking a tag: its first token has it, the rest continue it."""
        if len(starts_W) == len(emissions_TK):
            return emissions_TK
        continued_TK = emissions_TK.take(self._inside_K, axis=1)
        if self.transitions is not None:
            continued_TK += self._staying_K
            # The second token of a word follows its first, which may have begun the entity.
            continued_TK[starts_W[is_long_W] + 1] += self._entering_K
        continued_TK[starts_W] = emissions_TK[starts_W]
        summed: FloatArray = np.add.reduceat(continued_TK, starts_W, axis=0)
        return summed

    def best_tags(
        self, emissions_WK: FloatArray, is_long_W: BoolArray, firsts_B: IndexArray
    ) -> list[int]:
        """Best tag of each word's first token; the next word follows the last token's tag.

        Words that are ``O`` in every best sequence cut the texts into stretches that are
        searched by themselves; most texts are nearly all such words.

        Args:
            emissions_WK: of all texts.
            is_long_W: whether a word has several tokens.
            firsts_B: number of the first word of each text, and of all words.
        """
        best_W = emissions_WK.argmax(axis=1)
        is_open_W = self._may_be_inside(emissions_WK, firsts_B)
        begins_W, ends_W = is_open_W.copy(), is_open_W.copy()
        begins_W[1:] &= ~is_open_W[:-1]
        ends_W[:-1] &= ~is_open_W[1:]
        inner = firsts_B[1:-1]
        begins_W[inner] = is_open_W[inner]
        ends_W[firsts_B[1:] - 1] = is_open_W[firsts_B[1:] - 1]
        starts_S = np.flatnonzero(begins_W)
        if not len(starts_S):
            return [0] * len(best_W)
        best_W[~is_open_W] = 0
        tags: list[int] = best_W.tolist()
        two_best_W2 = np.partition(emissions_WK, -2, axis=1)[:, -2:]
        unsure_W = two_best_W2[:, 1] - two_best_W2[:, 0] < self._largest_gain
        unsure_W[1:] |= ~(self._allowed_KK[best_W[:-1], best_W[1:]] | begins_W[1:])
        unsure_W |= begins_W & (self._start_K[best_W] == _IMPOSSIBLE)
        unsure_W &= is_open_W  # so that a stretch may reach to the next one
        is_unsure_S = np.logical_or.reduceat(unsure_W, starts_S)
        if is_unsure_S.any():
            starts_S = starts_S[is_unsure_S]
            stops_S = np.flatnonzero(ends_W)[is_unsure_S] + 1
            is_first_W = np.zeros(firsts_B[-1] + 1, dtype=bool)
            is_first_W[firsts_B] = True
            is_long = is_long_W.astype(np.intp)
            for first in range(0, len(starts_S), _IN_STEP):
                some = slice(first, first + _IN_STEP)
                stretches = _Stretches(starts_S[some], stops_S[some], is_first_W)
                for start, path in self._viterbi(emissions_WK, is_long, stretches):
                    tags[start : start + len(path)] = path
        return tags

    def _may_be_inside(self, emissions_WK: FloatArray, firsts_B: IndexArray) -> BoolArray:
        """Words, ``(W,)``, that a best sequence may have inside an entity.

        All others would gain by becoming ``O``, whatever stands around them.
        """
        priced_WK = emissions_WK + self._price_K
        inside_WX = np.maximum(priced_WK[:, 1::2], priced_WK[:, 2::2])
        # A next word that continued the entity would have to begin one.
        next_WX = emissions_WK[1:, 2::2] - emissions_WK[1:, 1::2] + self._price_of_beginning_X
        np.maximum(next_WX, 0, out=next_WX)
        next_WX[firsts_B[1:-1] - 1] = 0
        inside_WX[:-1] += next_WX
        may_W: BoolArray = np.maximum.reduce(inside_WX, axis=1) >= emissions_WK[:, 0]
        return may_W

    def _prices(self) -> tuple[FloatArray, FloatArray]:
        """The most that transitions can lose, by what a word becomes instead of what it was.

        Returns:
            ``O`` instead of each tag, ``(K,)``; a beginning instead of continuing, ``(X,)``,
            which beside this loses what `_price_K` says if the word before becomes ``O``.
        """
        arriving_2KK, outside = self._arriving, 0
        before_K = (arriving_2KK - arriving_2KK[:, [outside]]).max(axis=(0, 2))
        before_K = np.maximum(before_K, self._start_K - self._start_K[outside])
        instead_K = np.arange(len(before_K))
        instead_K[2::2] -= 1
        after_2KK = arriving_2KK - arriving_2KK[0][instead_K, outside][:, None]
        ends_K = (self._ending - self._ending[0, outside]).max(axis=0)
        price_K = before_K + np.maximum(after_2KK.max(axis=(0, 1)), ends_K)
        beginning_2KX = arriving_2KK[:, :, 2::2] - arriving_2KK[:, :, 1::2]
        ending_2X = self._ending[:, 2::2] - self._ending[:, 1::2]
        return price_K, np.maximum(beginning_2KX.max(axis=(0, 1)), ending_2X.max(axis=0))

    def _viterbi(
        self, emissions_WK: FloatArray, is_long_W: IndexArray, stretches: "_Stretches"
    ) -> Iterator[tuple[int, list[int]]]:
        """First word and best tags of each stretch, all of them in step."""
        starts_S, sizes_S = stretches.starts_S, stretches.sizes_S
        outside_K = self._arriving[0][:, 0]
        score_SK = np.where(stretches.at_start_S[:, None], self._start_K, outside_K)
        score_SK = score_SK + emissions_WK[starts_S]
        scores = [score_SK]
        for step in range(1, len(stretches.num_longer)):
            num = stretches.num_longer[step]
            words_S = starts_S[:num] + step
            arriving_SKK = self._arriving_after(is_long_W[words_S - 1])
            arriving_SKK = arriving_SKK + score_SK[:num, None, :]
            score_SK = np.maximum.reduce(arriving_SKK, axis=2) + emissions_WK[words_S]
            scores.append(score_SK)
        is_long_S = is_long_W[starts_S + sizes_S - 1]
        ending_SK = np.where(
            stretches.at_end_S[:, None], self._ending[is_long_S], self._arriving[is_long_S, 0]
        )
        last_SK = np.stack([scores[size - 1][i] for i, size in enumerate(sizes_S.tolist())])
        tag_S = (last_SK + ending_SK).argmax(axis=1)
        paths = [[tag] for tag in tag_S.tolist()]
        # The way back looks at one column a word, which is less than keeping every argmax.
        for step in range(len(scores) - 2, -1, -1):
            num = stretches.num_longer[step + 1]
            arriving_SK = self._arriving[is_long_W[starts_S[:num] + step], tag_S[:num]]
            tag_S[:num] = (arriving_SK + scores[step][:num]).argmax(axis=1)
            for path, tag in zip(paths, tag_S[:num].tolist(), strict=False):
                path.append(tag)
        return zip(starts_S.tolist(), (path[::-1] for path in paths), strict=True)

    def _arriving_after(self, is_long_S: IndexArray) -> FloatArray:
        """``(S, K, K)`` by the tag arrived at; of a single stretch without a copy."""
        table_1KK = self._arriving[int(is_long_S[0])][None]
        arriving_SKK: FloatArray = (
            table_1KK if len(is_long_S) == 1 else self._arriving[is_long_S]
        )
        return arriving_SKK


class _Stretches:
    """Ranges of words that are searched together, longest first."""

    def __init__(
        self, starts_S: IndexArray, stops_S: IndexArray, is_first_W: BoolArray
    ) -> None:
        sizes_S = stops_S - starts_S
        order_S = np.argsort(-sizes_S, kind="stable")
        self.starts_S, self.sizes_S = starts_S[order_S], sizes_S[order_S]
        self.at_start_S = is_first_W[self.starts_S]
        self.at_end_S = is_first_W[self.starts_S + self.sizes_S]
        steps = np.arange(self.sizes_S[0])
        self.num_longer: list[int] = np.searchsorted(-self.sizes_S, -steps).tolist()
        """By step, how many have a word there."""
