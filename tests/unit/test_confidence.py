"""Beta calibration: which answers keep their label, and when a curve is worth having."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from routewright.confidence import BetaCalibration, fit_confidence
from routewright.metrics import expected_calibration_error

IDENTITY = BetaCalibration(a=1, b=1, c=0)


def random_probabilities(
    rng: np.random.Generator, num: int, scale: float
) -> NDArray[np.float64]:
    scores = np.exp(scale * rng.normal(size=(num, 5)))
    shares: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return shares


@given(
    a=st.floats(0, 5), b=st.floats(0, 5), c=st.floats(-20, 20),
    scale=st.sampled_from([0.01, 1.0, 30.0]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_no_answer_changes_and_the_others_keep_their_ratios(
    a: float, b: float, c: float, scale: float, seed: int
) -> None:
    before = random_probabilities(np.random.default_rng(seed), 20, scale)
    after = BetaCalibration(a=a, b=b, c=c).apply(before)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert (after >= 0).all()
    top = before.argmax(axis=1)
    assert (after.argmax(axis=1) == top).all()
    others = np.arange(5) != top[:, None]
    lowest, highest = np.sort(np.where(others, before, np.nan))[:, [0, 3]].T
    after_lowest, after_highest = np.sort(np.where(others, after, np.nan))[:, [0, 3]].T
    np.testing.assert_allclose(after_lowest * highest, after_highest * lowest, atol=1e-9)


def test_powers_of_one_change_nothing_and_higher_ones_follow_their_odds() -> None:
    before = np.array([[0.8, 0.15, 0.05], [0.4, 0.35, 0.25]])
    np.testing.assert_allclose(IDENTITY.apply(before), before, atol=1e-9)
    odds = 0.8**2 / (1 - 0.8) ** 0.5 * np.e
    after = BetaCalibration(a=2, b=0.5, c=1).apply(before)[0]
    np.testing.assert_allclose(
        after, [odds / (1 + odds), *(np.array([0.75, 0.25]) / (1 + odds))]
    )


@pytest.mark.parametrize("power", [(-0.1, 1), (1, -0.1), (float("nan"), 1), (1, float("inf"))])
def test_a_curve_that_could_fall_is_refused(power: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="a >= 0"):
        BetaCalibration(a=power[0], b=power[1], c=0)


def test_a_curve_is_found_again_and_mends_what_it_was_fitted_for() -> None:
    rng = np.random.default_rng(1)
    true = BetaCalibration(a=1.3, b=0.5, c=0.6)
    probabilities = random_probabilities(rng, 20_000, 2.5)
    honest = true.apply(probabilities).max(axis=1)
    is_right = rng.random(len(honest)) < honest
    found = fit_confidence(probabilities.max(axis=1), is_right)
    assert found is not None
    mended = found.apply(probabilities).max(axis=1)
    assert np.abs(mended - honest).max() < 0.03
    before = expected_calibration_error(probabilities.max(axis=1), is_right)
    after = expected_calibration_error(mended, is_right)
    assert before is not None
    assert after is not None
    assert after < before / 2


def test_confidences_that_are_right_or_few_are_left_alone() -> None:
    rng = np.random.default_rng(2)
    confidence = random_probabilities(rng, 2000, 2.5).max(axis=1)
    assert fit_confidence(confidence, rng.random(2000) < confidence) is None
    assert fit_confidence(confidence[:9], np.zeros(9, dtype=bool)) is None
    assert fit_confidence(np.ones(100), np.ones(100, dtype=bool)) is None


def test_few_confidences_that_are_right_get_a_curve_by_chance() -> None:
    rng = np.random.default_rng(4)
    kept = 0
    for _ in range(200):
        confidence = random_probabilities(rng, 500, 2.5).max(axis=1)
        kept += fit_confidence(confidence, rng.random(500) < confidence) is not None
    assert kept <= 6  # 2 expected of a test at 1 %


def test_a_power_that_would_be_negative_is_none() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.3, 1, 3000)
    found = fit_confidence(confidence, rng.random(3000) < 0.9 - 0.5 * confidence)
    assert found is not None
    assert found.a == 0 or found.b == 0
    assert min(found.a, found.b) >= 0
