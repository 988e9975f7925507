"""What is counted of requests, and how far two counts are apart.

A count is numbers alone: of each task of a bundle, how often each label, confidence or entity
type was the answer. Knows neither requests nor time nor files.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from routewright.runtime.heads import Head
from routewright.runtime.work import Classified

CONFIDENCE_BORDERS = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
"""Of the ten bins of a probability; each lower border belongs to its bin. Narrow at both ends,
where nearly all answers are: the scores of a detector could become several times what they were
within one tenth of the whole, and ten equal bins would not show it."""
NUM_TOKEN_BINS = 18
"""0, 1, 2 to 3, 4 to 7 and so on; the last bin is 65,536 and more."""
_SMOOTHING = 0.5
"""Requests added to each bin, so that an empty one has a logarithm."""

Of = Literal["label", "confidence", "entities", "tokens"]


class Measure(NamedTuple):
    """One distribution that is watched."""

    task: str
    """``none`` for the length of the text, which no task answers."""
    of: Of


TOKENS = Measure("none", "tokens")


@dataclass(frozen=True, slots=True)
class _SequenceBins:
    """Where the answers of a sequence task are counted."""

    task: str
    positive: str | None
    label: Measure
    confidence: Measure
    ids: Mapping[str, int]
    """Of the labels; the bin after theirs is for abstained answers."""


@dataclass(frozen=True, slots=True)
class _TokenBins:
    """Where the entities of a token task are counted."""

    task: str
    entities: Measure
    ids: Mapping[str, int]
    """Of the entity types; the bin after theirs is for texts without any."""


class Layout:
    """Which bins a bundle needs: the same for two bundles with equal tasks."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        """`heads` are those of the classifier, by task."""
        sequence, token = [], []
        self.sizes: dict[Measure, int] = {TOKENS: NUM_TOKEN_BINS}
        """Number of bins of everything that is watched."""
        for name, head in heads.items():
            ids = {label: number for number, label in enumerate(head.task.labels)}
            if head.decoder is not None:
                entities = Measure(name, "entities")
                token.append(_TokenBins(name, entities, ids))
                self.sizes[entities] = len(ids) + 1
                continue
            label, confidence = Measure(name, "label"), Measure(name, "confidence")
            sequence.append(_SequenceBins(name, head.task.positive, label, confidence, ids))
            self.sizes[label] = len(ids) + 1
            self.sizes[confidence] = len(CONFIDENCE_BORDERS) + 1
        self.sequence: tuple[_SequenceBins, ...] = tuple(sequence)
        self.token: tuple[_TokenBins, ...] = tuple(token)


class Counts:
    """How the answers about some requests are distributed."""

    __slots__ = ("_layout", "bins", "num_requests")

    def __init__(self, layout: Layout) -> None:
        """Nothing counted yet."""
        self._layout = layout
        self.num_requests = 0
        self.bins: dict[Measure, list[float]] = {
            measure: [0.0] * size for measure, size in layout.sizes.items()
        }
        """Each adds up to `num_requests`."""

    def add(self, found: Classified) -> None:
        """Count the answer about one text.

        A text with several types of entities is shared out among them, so that a request counts
        for one everywhere.
        """
        answers, bins = found.answer, self.bins
        for of in self._layout.sequence:
            answer = answers.sequence[of.task]
            bins[of.label][len(of.ids) if answer.abstained else of.ids[answer.label]] += 1
            score = (
                answer.confidence if of.positive is None else answer.probabilities[of.positive]
            )
            bins[of.confidence][bisect_right(CONFIDENCE_BORDERS, score)] += 1
        for kind in self._layout.token:
            types = {span.label for span in answers.spans[kind.task]}
            entities = bins[kind.entities]
            if not types:
                entities[len(kind.ids)] += 1
            for label in types:
                entities[kind.ids[label]] += 1 / len(types)
        bins[TOKENS][min(found.num_tokens.bit_length(), NUM_TOKEN_BINS - 1)] += 1
        self.num_requests += 1


def total(layout: Layout, counts: Iterable[Counts]) -> Counts:
    """All `counts`, which have this `layout`, as one."""
    summed = Counts(layout)
    for part in counts:
        summed.num_requests += part.num_requests
        for measure, bins in part.bins.items():
            into = summed.bins[measure]
            for number, count in enumerate(bins):
                into[number] += count
    return summed


def population_stability_index(one: Sequence[float], other: Sequence[float]) -> float:
    """How far two histograms with the same bins are apart: sum of (p - q) ln(p / q), >= 0.

    Where both are samples of one distribution it is about (bins - 1) * (1/n + 1/m) for samples
    of n and m. Half a request is added to each bin.

    Raises:
        ValueError: they have not equally many bins.

    Source: B. Yurdakul, Statistical Properties of Population Stability Index, 2018,
    https://scholarworks.wmich.edu/dissertations/3208.
    """
    sum_one = math.fsum(one) + _SMOOTHING * len(one)
    sum_other = math.fsum(other) + _SMOOTHING * len(other)
    terms = []
    for a, b in zip(one, other, strict=True):
        p, q = (a + _SMOOTHING) / sum_one, (b + _SMOOTHING) / sum_other
        terms.append((p - q) * math.log(p / q))
    return math.fsum(terms)
