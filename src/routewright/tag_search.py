"""The best well-formed tags of words: constrained Viterbi, for many texts at once.

Shape letters: T = tokens, W = words, K = BIO tags, X = entity types, S = stretches of words,
N = words that may be inside an entity. Token and word axes run over all texts, one
after the other.
"""

from collections.abc import Iterator, Sequence, Set
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
        self._allowed: list[list[bool]] = allowed_KK.tolist()
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
        self, emissions_WK: FloatArray, is_long_W: BoolArray, firsts: Sequence[int]
    ) -> list[int]:
        """Best tag of each word's first token; the next word follows the last token's tag.

        Words that are ``O`` in every best sequence cut the texts into stretches that are
        searched by themselves; most texts are nearly all such words.

        Args:
            emissions_WK: of all texts.
            is_long_W: whether a word has several tokens.
            firsts: number of the first word of each text, and of all words.
        """
        tags = [0] * len(emissions_WK)
        open_N = np.flatnonzero(self._may_be_inside(emissions_WK, firsts))
        if not len(open_N):
            return tags
        emissions_NK = emissions_WK[open_N]
        best = emissions_NK.argmax(axis=1).tolist()
        two_best_N2 = np.partition(emissions_NK, -2, axis=1)[:, -2:]
        is_near = (two_best_N2[:, 1] - two_best_N2[:, 0] < self._largest_gain).tolist()
        # From here on few words are left: lists take less time than arrays.
        borders = frozenset(firsts)
        starts: list[int] = []
        stops: list[int] = []
        is_unsure: list[bool] = []
        before = 0
        for word, tag, near in zip(open_N.tolist(), best, is_near, strict=True):
            if not stops or stops[-1] != word or word in borders:
                starts.append(word)
                stops.append(word)
                is_unsure.append(False)
                before = 0
            stops[-1] = word + 1
            is_unsure[-1] |= near or not self._allowed[before][tag]
            tags[word] = before = tag
        unsure = [(s, e) for s, e, u in zip(starts, stops, is_unsure, strict=True) if u]
        is_long = is_long_W.astype(np.intp)
        for first in range(0, len(unsure), _IN_STEP):
            stretches = _Stretches(unsure[first : first + _IN_STEP])
            for start, path in self._viterbi(emissions_WK, is_long, stretches, borders):
                tags[start : start + len(path)] = path
        return tags

    def surely_outside(self, emissions_WK: FloatArray) -> BoolArray:
        """Words, ``(W,)``, of a part of a text that are ``O`` in every best sequence.

        Of the last word it says so only if the text ends there.
        """
        return ~self._may_be_inside(emissions_WK, [0, len(emissions_WK)])

    def _may_be_inside(self, emissions_WK: FloatArray, firsts: Sequence[int]) -> BoolArray:
        """Words, ``(W,)``, that a best sequence may have inside an entity.

        All others would gain by becoming ``O``, whatever stands around them.
        """
        priced_WK = emissions_WK + self._price_K
        inside_WX = np.maximum(priced_WK[:, 1::2], priced_WK[:, 2::2])
        # A next word that continued the entity would have to begin one.
        next_WX = emissions_WK[1:, 2::2] - emissions_WK[1:, 1::2] + self._price_of_beginning_X
        np.maximum(next_WX, 0, out=next_WX)
        if len(firsts) > 2:
            next_WX[np.array(firsts[1:-1]) - 1] = 0
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
        self,
        emissions_WK: FloatArray,
        is_long_W: IndexArray,
        stretches: "_Stretches",
        borders: Set[int],
    ) -> Iterator[tuple[int, list[int]]]:
        """First word and best tags of each stretch, all of them in step.

        Args:
            emissions_WK: of all texts.
            is_long_W: 1 for a word of several tokens, else 0.
            stretches: of words.
            borders: first words of texts, and the number of all words.
        """
        starts, stops = stretches.starts, stretches.stops
        starts_S, outside_K = np.array(starts), self._arriving[0][:, 0]
        score_SK = np.stack([self._start_K if s in borders else outside_K for s in starts])
        score_SK += emissions_WK[starts_S]
        scores = [score_SK]
        for step in range(1, len(stretches.num_longer)):
            num = stretches.num_longer[step]
            words_S = starts_S[:num] + step
            arriving_SKK = self._arriving_after(is_long_W[words_S - 1])
            arriving_SKK = arriving_SKK + score_SK[:num, None, :]
            score_SK = np.maximum.reduce(arriving_SKK, axis=2) + emissions_WK[words_S]
            scores.append(score_SK)
        ending = (self._arriving[:, 0], self._ending)
        last_SK = np.stack(
            [
                scores[stop - start - 1][i] + ending[stop in borders][is_long_W[stop - 1]]
                for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
            ]
        )
        tag_S = last_SK.argmax(axis=1)
        paths = [[tag] for tag in tag_S.tolist()]
        # The way back looks at one column a word, which is less than keeping every argmax.
        for step in range(len(scores) - 2, -1, -1):
            num = stretches.num_longer[step + 1]
            arriving_SK = self._arriving[is_long_W[starts_S[:num] + step], tag_S[:num]]
            tag_S[:num] = (arriving_SK + scores[step][:num]).argmax(axis=1)
            for path, tag in zip(paths, tag_S[:num].tolist(), strict=False):
                path.append(tag)
        return zip(starts, (path[::-1] for path in paths), strict=True)

    def _arriving_after(self, is_long_S: IndexArray) -> FloatArray:
        """``(S, K, K)`` by the tag arrived at; of a single stretch without a copy."""
        table_1KK = self._arriving[int(is_long_S[0])][None]
        arriving_SKK: FloatArray = (
            table_1KK if len(is_long_S) == 1 else self._arriving[is_long_S]
        )
        return arriving_SKK


class _Stretches:
    """Ranges of words that are searched together, longest first."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        by_size = sorted(ranges, key=lambda range_: range_[0] - range_[1])
        self.starts, self.stops = [s for s, _ in by_size], [e for _, e in by_size]
        self.num_longer: list[int] = []
        """By step, how many have a word there."""
        num = len(by_size)
        for step in range(self.stops[0] - self.starts[0]):
            while self.stops[num - 1] - self.starts[num - 1] <= step:
                num -= 1
            self.num_longer.append(num)
