"""Refuse test data that the training data already contains."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from routewright.data.examples import Example, normalise
from routewright.data.near_duplicates import cluster_near_duplicates
from routewright.errors import LeakError


@dataclass(frozen=True)
class LeakReport:
    """What a leak check found in data that shares no text."""

    name: str
    num_train: int
    num_test: int
    num_near_duplicates: int
    """Test examples that a near duplicate (Jaccard >= 0.8), or a chain of them, links to the
    training examples; a warning: published splits often have some."""


def check_leaks(
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    name: str,
    train_name: str = "the training data",
    near_duplicates: bool = True,
) -> LeakReport:
    """Compare normalised texts of both sides.

    Args:
        train: examples a model learns from.
        test: examples it is measured on.
        name: what the message calls the test data.
        train_name: what it calls the other side.
        near_duplicates: whether to count near duplicates too; seconds for 40,000 texts.

    Raises:
        LeakError: both sides share normalised texts; names how many and the first, by its
            number and the start of its SHA-256, never by its text.
    """
    known = {normalise(example.text) for example in train}
    shared = [i for i, example in enumerate(test) if normalise(example.text) in known]
    if shared:
        digest = hashlib.sha256(normalise(test[shared[0]].text).encode()).hexdigest()[:12]
        raise LeakError(
            f"{name}: {len(shared)} of {len(test)} texts are also in {train_name}, first "
            f"example {shared[0] + 1} (sha256 of its normalised text {digest}...); take them "
            "out of one side, or split anew with `routewright data split`"
        )
    num_near = _count_near(train, test) if near_duplicates else 0
    return LeakReport(name, len(train), len(test), num_near)


def _count_near(train: Sequence[Example], test: Sequence[Example]) -> int:
    clusters = cluster_near_duplicates([e.text for e in train] + [e.text for e in test])
    trained = set(clusters[: len(train)])
    return sum(cluster in trained for cluster in clusters[len(train) :])
