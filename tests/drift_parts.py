"""Answers about texts as the bundle of `gateway_parts` might give them, made up."""

from collections.abc import Iterable

import numpy as np

from routewright.gateway.drift.counts import Counts, Layout
from routewright.labels import Span
from routewright.runtime.answers import Answer, SequenceAnswer
from routewright.runtime.work import Classified
from tests.gateway_parts import classifier

MANIFEST, ANOTHER = "a" * 64, "b" * 64
"""Hashes of two bundles."""


def layout() -> Layout:
    return Layout(classifier().heads)


def classified(
    category: str = "math",
    *,
    confidence: float = 0.9,
    score: float = 0.02,
    types: Iterable[str] = (),
    abstained: bool = False,
    num_tokens: int = 10,
) -> Classified:
    """An answer; `confidence` is that of the category, `score` that of the jailbreak."""
    sequence = {
        "category": SequenceAnswer(category, confidence, {}, abstained, None),
        "intent": SequenceAnswer("scheduling", 0.8, {}, abstained=False, flagged=None),
        "jailbreak": SequenceAnswer(
            "benign",
            1 - score,
            {"benign": 1 - score, "jailbreak": score},
            abstained=False,
            flagged=False,
        ),
    }
    spans = [Span(n, n + 1, label) for n, label in enumerate(types)]
    answer = Answer("", sequence, {"pii": spans}, 1)
    return Classified(answer, np.zeros(4), num_tokens)


def mixed(num: int, *, math: float, seed: int = 0) -> list[Classified]:
    """As many answers, of which a share of `math` is mathematics and the rest is law."""
    draws = np.random.default_rng(seed).random(num)
    return [classified("math" if draw < math else "law") for draw in draws]


def counted(found: Iterable[Classified]) -> Counts:
    counts = Counts(layout())
    for one in found:
        counts.add(one)
    return counts
