"""Clusters of near-duplicate texts: MinHash signatures, banded, candidates verified.

Two texts are near duplicates when the Jaccard similarity of their sets of character 5-grams (of
the normalised text) reaches a threshold. MinHash estimates it, banding finds the pairs worth
looking at, and each pair found is verified on the real sets, so every link holds.

Shape letters: N = texts, G = 5-grams of all texts of a chunk, P = permutations.

Source: Broder 1997, "On the resemblance and containment of documents",
https://doi.org/10.1109/SEQUEN.1997.666900; banding as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from routewright.data.examples import normalise

UInt64Array = npt.NDArray[np.uint64]
UInt32Array = npt.NDArray[np.uint32]
IntArray = npt.NDArray[np.intp]

NGRAM = 5
# 21 bands of 6: a pair at Jaccard 0.8 meets in a band with probability 0.998, at 0.5 with 0.28.
NUM_BANDS, BAND_SIZE = 21, 6
NUM_PERMUTATIONS = NUM_BANDS * BAND_SIZE
_CHUNK_CHARS = 1_000_000
# The estimate has a standard deviation of 0.036 at 0.8; three of them are let through.
_ESTIMATE_SLACK = 0.11
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class DisjointSets:
    """Union-find over ``0 .. size - 1``; the root of a set is its smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        """Root of the set that holds `item`."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def union(self, first: int, second: int) -> None:
        """Merge the sets of both."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def roots(self) -> list[int]:
        """Root of each item."""
        return [self.find(i) for i in range(len(self._parent))]


def cluster_near_duplicates(texts: Sequence[str], *, threshold: float = 0.8) -> list[int]:
    """For each text the index of the first text of its cluster.

    Similarity chains: a text joins the cluster of any text it is near to, so the ends of a
    chain need not be near each other. A pair near the threshold is missed with a probability of
    about 0.002.

    Args:
        texts: raw; compared as `normalise` gives them.
        threshold: Jaccard similarity of 5-gram sets in [0.6, 1] that makes a near duplicate;
            below, banding would miss too many pairs.

    Raises:
        ValueError: threshold outside its range.
    """
    if not 0.6 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0.6, 1], got {threshold}")
    normalised = [normalise(text) for text in texts]
    first_of: dict[str, int] = {}
    for i, text in enumerate(normalised):
        first_of.setdefault(text, i)
    if not first_of:
        return []
    roots = _Linker(list(first_of), threshold).roots()
    firsts = list(first_of.values())
    cluster_of = {text: firsts[root] for text, root in zip(first_of, roots, strict=True)}
    return [cluster_of[text] for text in normalised]


def jaccard(first: str, second: str) -> float:
    """Jaccard similarity in [0, 1] of the 5-gram sets of two normalised texts."""
    a, b = np.unique(_ngrams(first)), np.unique(_ngrams(second))
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def minhash_signatures(texts: Sequence[str]) -> UInt32Array:
    """MinHash signatures ``(N, P)``; equal positions estimate the Jaccard similarity."""
    rng = np.random.default_rng(1997)  # fixed: signatures must not differ between runs
    factors = rng.integers(0, 2**64, NUM_PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    shifts = rng.integers(0, 2**64, NUM_PERMUTATIONS, dtype=np.uint64)
    signatures = np.empty((len(texts), NUM_PERMUTATIONS), dtype=np.uint32)
    for start, chunk in _chunks(texts):
        grams = [_ngrams(text) for text in chunk]
        starts = np.cumsum([0] + [len(g) for g in grams[:-1]])
        hashes_G = np.concatenate(grams)
        for p in range(NUM_PERMUTATIONS):
            permuted = ((hashes_G * factors[p] + shifts[p]) >> np.uint64(32)).astype(np.uint32)
            rows = slice(start, start + len(chunk))
            signatures[rows, p] = np.minimum.reduceat(permuted, starts)
    return signatures


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    start = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK_CHARS or i == len(texts) - 1:
            yield start, texts[start : i + 1]
            start, size = i + 1, 0


def _ngrams(text: str) -> UInt64Array:
    """A 64-bit hash of each character 5-gram; a shorter text is one padded 5-gram."""
    padded = text.ljust(NGRAM)
    raw = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = raw.astype(np.uint64)
    size = len(codes) - NGRAM + 1
    hashes = np.zeros(size, dtype=np.uint64)
    for i in range(NGRAM):
        hashes = (hashes + codes[i : i + size] + np.uint64(1)) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _buckets(signatures_NP: UInt32Array, band: int) -> Iterator[list[int]]:
    """Rows that agree in a whole band, at least two at a time."""
    columns = signatures_NP[:, band * BAND_SIZE : (band + 1) * BAND_SIZE]
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, values in enumerate(np.ascontiguousarray(columns)):
        rows_of[values.tobytes()].append(row)
    yield from (rows for rows in rows_of.values() if len(rows) > 1)


class _Linker:
    """Joins near duplicates among distinct normalised texts, bucket by bucket."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._texts = texts
        self._threshold = threshold
        self._signatures_NP = minhash_signatures(texts)
        self._sets = DisjointSets(len(texts))

    def roots(self) -> list[int]:
        """For each text the first one of its cluster."""
        for band in range(NUM_BANDS):
            for bucket in _buckets(self._signatures_NP, band):
                self._link(bucket, band)
        return self._sets.roots()

    def _link(self, bucket: list[int], band: int) -> None:
        """Join each text of a bucket with all earlier ones that it is a near duplicate of.

        One text of each set is asked first. Thousands of near-equal texts are then a single
        set before they are compared with one another, and members of one set never are.
        """
        rows = np.array(bucket)
        roots = np.array([self._sets.find(row) for row in bucket])
        leads = np.zeros(len(bucket), dtype=bool)
        if (roots == roots[0]).all():
            return
        for i in range(1, len(bucket)):
            leads[i - 1] = not (roots[leads] == roots[i - 1]).any()
            for asked in (leads[:i], ~leads[:i]):
                others = np.flatnonzero(asked & (roots[:i] != roots[i]))
                for j in others[self._likely(rows[others], bucket[i], band)]:
                    if roots[j] != roots[i] and self._is_near(bucket[j], bucket[i]):
                        self._sets.union(bucket[j], bucket[i])
                        joined = (roots == roots[j]) | (roots == roots[i])
                        roots[joined] = self._sets.find(bucket[i])

    def _likely(self, others: IntArray, row: int, band: int) -> IntArray:
        """Positions in `others` of what may be near `row`, the most similar first."""
        agree_NP = self._signatures_NP[others] == self._signatures_NP[row]
        # A pair that shares an earlier band was verified there.
        earlier = agree_NP[:, : band * BAND_SIZE].reshape(len(others), band, BAND_SIZE)
        estimates = agree_NP.mean(axis=1) * ~earlier.all(axis=2).any(axis=1)
        likely = np.flatnonzero(estimates >= self._threshold - _ESTIMATE_SLACK)
        return likely[np.argsort(-estimates[likely])]

    def _is_near(self, first: int, second: int) -> bool:
        return jaccard(self._texts[first], self._texts[second]) >= self._threshold
