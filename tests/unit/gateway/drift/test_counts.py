"""What is counted of answers, and the index by which two counts are compared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drift_parts import classified, counted, layout, mixed

from routewright.gateway.drift.counts import (
    CONFIDENCE_BORDERS,
    NUM_TOKEN_BINS,
    TOKENS,
    Measure,
    population_stability_index,
    total,
)

CATEGORY = Measure("category", "label")
SCORE = Measure("jailbreak", "confidence")
ENTITIES = Measure("pii", "entities")


def test_the_index_is_that_of_the_formula() -> None:
    # Shares of 41/101 and 60/101 with half a request more in each bin.
    p, q = 40.5 / 101, 60.5 / 101
    by_hand = (p - q) * math.log(p / q) + (q - p) * math.log(q / p)
    assert population_stability_index([40, 60], [60, 40]) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.1589, abs=1e-4)


def test_an_empty_bin_has_a_finite_share_in_it() -> None:
    p, q = 0.5 / 101, 10.5 / 101
    by_hand = (p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q))
    assert population_stability_index([0, 100], [10, 90]) == pytest.approx(by_hand)


def test_histograms_with_other_bins_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        population_stability_index([1, 2], [1, 2, 3])


counts_of_bins = st.lists(st.integers(0, 10_000), min_size=5, max_size=5)


@given(counts_of_bins, counts_of_bins)
def test_the_index_is_never_negative_and_the_same_both_ways(
    one: list[int], other: list[int]
) -> None:
    index = population_stability_index(one, other)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(other, one))
    assert population_stability_index(one, one) == 0


@pytest.mark.parametrize(("num_one", "num_other"), [(5000, 5000), (5000, 4500), (500, 5000)])
@pytest.mark.parametrize("num_bins", [3, 10, 18])
def test_without_drift_it_is_what_the_documentation_says(
    num_bins: int, num_one: int, num_other: int
) -> None:
    """(bins - 1) * (1/n + 1/m), as the mean of many pairs of samples."""
    random = np.random.default_rng(num_bins + num_one)
    shares = random.dirichlet(np.full(num_bins, 8.0))
    found = [
        population_stability_index(
            random.multinomial(num_one, shares).tolist(),
            random.multinomial(num_other, shares).tolist(),
        )
        for _ in range(400)
    ]
    noise = (num_bins - 1) * (1 / num_one + 1 / num_other)
    assert np.mean(found) == pytest.approx(noise, rel=0.15)
    if min(num_one, num_other) >= 4500:  # the default window
        assert max(found) < 0.03


def test_a_changed_mix_is_seen_by_the_rule_of_thumb() -> None:
    def index(share: float) -> float:
        before, after = counted(mixed(2000, math=0.8)), counted(mixed(2000, math=share, seed=1))
        return population_stability_index(before.bins[CATEGORY], after.bins[CATEGORY])

    assert index(0.8) < 0.02
    assert 0.1 < index(0.62) < 0.25
    assert index(0.5) > 0.25


def test_a_detector_that_moves_far_below_its_threshold_is_seen() -> None:
    """In one of ten equal bins both would be the same."""
    before, after = (
        counted(classified(score=score * (1 + n % 2)) for n in range(1000))
        for score in (0.006, 0.02)
    )
    assert population_stability_index(before.bins[SCORE], after.bins[SCORE]) > 0.25


def test_an_abstained_answer_has_a_bin_of_its_own() -> None:
    found = counted([classified("math"), classified("law"), classified("law", abstained=True)])
    assert found.bins[CATEGORY] == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("score", "number"), [(0.0, 0), (0.0099, 0), (0.01, 1), (0.5, 5), (0.99, 9), (1.0, 9)]
)
def test_of_a_detector_the_score_is_counted(score: float, number: int) -> None:
    found = counted([classified(score=score)]).bins[SCORE]
    assert (found.index(1), len(found)) == (number, len(CONFIDENCE_BORDERS) + 1)


def test_a_text_with_several_types_is_shared_out_among_them() -> None:
    types = ["PHONE_NUMBER", "US_SSN", "PHONE_NUMBER"]
    found = counted([classified(types=types), classified(), classified(types=types[:1])])
    assert found.bins[ENTITIES] == [1.5, 0.5, 1]
    assert [sum(bins) for bins in found.bins.values()] == [3] * len(layout().sizes)


@pytest.mark.parametrize(
    ("num_tokens", "number"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11),
                               (65_535, 16), (65_536, 17), (10**9, 17)]
)  # fmt: skip
def test_lengths_are_counted_by_powers_of_two(num_tokens: int, number: int) -> None:
    found = counted([classified(num_tokens=num_tokens)]).bins[TOKENS]
    assert (found.index(1), len(found)) == (number, NUM_TOKEN_BINS)


def test_parts_add_up_to_the_whole() -> None:
    answers = [*mixed(60, math=0.5), *(classified(types=["US_SSN"]) for _ in range(5))]
    parts = [counted(answers[:20]), counted(answers[20:])]
    whole, summed = counted(answers), total(layout(), parts)
    assert (summed.num_requests, summed.bins) == (whole.num_requests, whole.bins)
