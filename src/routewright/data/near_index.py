"""Which of many known texts a new one repeats: for rows that come one after the other.

`near_duplicates` compares a whole data set at once; here the same signatures are kept and each
new text is compared with all of them: linear in their number, and quick beside the model that
wrote the text.

Shape letters: N = texts, P = permutations.
"""

from collections.abc import Sequence

import numpy as np

from routewright.data.examples import normalise
from routewright.data.near_duplicates import NUM_PERMUTATIONS, jaccard, minhash_signatures

THRESHOLD = 0.8
"""Jaccard similarity of the 5-gram sets that makes a near duplicate, as in a split."""
# As in `near_duplicates`: three standard deviations of the estimate are let through.
_ESTIMATE_SLACK = 0.11


class NearIndex:
    """Texts with the name of what each of them belongs to."""

    def __init__(self) -> None:
        self._signatures_NP = np.empty((0, NUM_PERMUTATIONS), dtype=np.uint32)
        self._texts: list[str] = []
        self._owners: list[str] = []

    def add(self, texts: Sequence[str], owner: str) -> None:
        """Know these texts too; of several near ones the first added is found."""
        normalised = [normalise(text) for text in texts]
        needed = len(self._texts) + len(normalised)
        if needed > len(self._signatures_NP):
            room = max(needed, 2 * len(self._signatures_NP)) - len(self._signatures_NP)
            more_NP = np.empty((room, NUM_PERMUTATIONS), dtype=np.uint32)
            self._signatures_NP = np.concatenate([self._signatures_NP, more_NP])
        self._signatures_NP[len(self._texts) : needed] = minhash_signatures(normalised)
        self._texts += normalised
        self._owners += [owner] * len(normalised)

    def owner_of(self, text: str) -> str | None:
        """Owner of the first known text that `text` equals or is a near duplicate of."""
        normalised = normalise(text)
        known_NP = self._signatures_NP[: len(self._texts)]
        estimates = (known_NP == minhash_signatures([normalised])).mean(axis=1)
        for i in np.flatnonzero(estimates >= THRESHOLD - _ESTIMATE_SLACK):
            if jaccard(self._texts[i], normalised) >= THRESHOLD:
                return self._owners[i]
        return None
