"""Temperatures, thresholds and bounds: what they promise on the data they are fitted on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import log_loss

from routewright.calibration import (
    OperatingPoint,
    Target,
    TaskCalibration,
    fit_temperature,
    lower_bound,
    parse_target,
    threshold_for_fpr,
    threshold_for_precision,
    threshold_for_recall,
    upper_bound,
)
from routewright.decoding import probabilities
from routewright.errors import ConfigError, DataError

SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
SCORED = st.lists(st.tuples(SCORES, st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)
GOALS = st.sampled_from([0.0, 0.01, 0.07, 0.3, 0.5, 0.95, 1.0])


def columns(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, flags = zip(*rows, strict=True)
    return np.array(scores), np.array(flags)


def sampled_logits(temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right about their own uncertainty once divided by `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4000, 5)) * 2
    drawn = rng.random((4000, 1)) > probabilities(logits).cumsum(axis=1)
    return logits * temperature, drawn.sum(axis=1).clip(max=4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_logits_is_found(temperature: float) -> None:
    logits, label_ids = sampled_logits(temperature)
    assert fit_temperature(logits, label_ids) == pytest.approx(temperature, rel=0.06)


def test_no_nearby_temperature_has_a_lower_loss() -> None:
    logits, label_ids = sampled_logits(2.5, seed=7)
    fitted = fit_temperature(logits, label_ids)

    def loss(temperature: float) -> float:
        return float(log_loss(label_ids, probabilities(logits, temperature=temperature)))

    assert loss(fitted) < min(loss(fitted * 1.01), loss(fitted / 1.01), loss(1.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_temperature_never_changes_the_winner(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits, label_ids = rng.normal(size=(20, 4)) * scale, rng.integers(0, 4, 20)
    temperature = fit_temperature(logits, label_ids)
    assert 0.05 <= temperature <= 20
    winners = probabilities(logits, temperature=temperature).argmax(axis=1)
    assert (winners == logits.argmax(axis=1)).all()


def test_extreme_validation_data_gives_the_ends_of_the_range() -> None:
    right, label_ids = np.eye(3) * 4, np.arange(3)
    assert fit_temperature(right / 1000, label_ids) == 0.05
    assert fit_temperature(-right, label_ids) == 20.0
    assert fit_temperature(np.ones((3, 3)), label_ids) == 1.0


@pytest.mark.parametrize("num_right", [30, 300])
def test_right_answers_alone_do_not_make_the_model_certain(num_right: int) -> None:
    logits, label_ids = (
        np.tile(np.eye(2) * 8, (num_right // 2, 1)),
        np.tile([0, 1], num_right // 2),
    )
    confidence = probabilities(logits, temperature=fit_temperature(logits, label_ids)).max()
    assert confidence == pytest.approx(1 - 1 / (num_right + 2), abs=1e-6)


def test_the_temperature_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(DataError, match="no validation examples"):
        fit_temperature(np.empty((0, 3)), np.empty(0, int))
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))
    with pytest.raises(ValueError, match="label ids"):
        fit_temperature(np.zeros((1, 2)), np.array([-100]))


@settings(deadline=None)
@given(SCORED, GOALS)
def test_a_fpr_threshold_keeps_its_goal_and_no_lower_one_does(
    rows: list[tuple[float, bool]], goal: float
) -> None:
    scores, is_positive = columns(rows)
    point = threshold_for_fpr(scores, is_positive, goal)
    negatives = scores[~is_positive]
    assert point.achieved == np.mean(negatives >= point.threshold) <= goal
    assert point.coverage == np.mean(scores >= point.threshold)
    assert point.num_examples == len(negatives)
    assert point.met
    positives = scores[is_positive]
    for other in scores:
        if np.mean(negatives >= other) <= goal:
            assert (positives >= other).sum() <= (positives >= point.threshold).sum()
    if len(positives) == 0:
        assert all(np.mean(negatives >= s) > goal for s in scores[scores < point.threshold])
    assert point.achieved <= point.bound <= 1


def test_a_fpr_threshold_of_separable_scores_lies_between_the_classes() -> None:
    scores = np.array([0.001, 0.002, 0.004, 0.996, 0.998])
    point = threshold_for_fpr(scores, scores > 0.5, 0.4)
    assert point.threshold == pytest.approx(0.5, abs=1e-6)
    assert point.achieved == 0.0


@settings(deadline=None)
@given(SCORED, GOALS.filter(bool))
def test_a_recall_threshold_keeps_its_goal_and_no_higher_one_does(
    rows: list[tuple[float, bool]], goal: float
) -> None:
    scores, is_positive = columns(rows)
    point = threshold_for_recall(scores, is_positive, goal)
    positives = scores[is_positive]
    assert point.achieved == np.mean(positives >= point.threshold) >= goal
    assert point.coverage == np.mean(scores >= point.threshold)
    for higher in scores[scores > point.threshold]:
        assert np.mean(positives >= higher) < goal
    assert 0 <= point.bound <= point.achieved


@settings(deadline=None)
@given(SCORED, GOALS.filter(bool))
def test_a_precision_threshold_keeps_its_goal_or_says_that_it_does_not(
    rows: list[tuple[float, bool]], goal: float
) -> None:
    confidence, is_correct = columns(rows)
    point = threshold_for_precision(confidence, is_correct, goal)
    accepted = confidence >= point.threshold
    assert point.num_examples == accepted.sum()
    assert point.achieved == pytest.approx(is_correct[accepted].mean())
    others = [is_correct[confidence >= c].mean() for c in confidence]
    if point.met:
        assert point.achieved >= goal
        lower = [is_correct[confidence >= c].mean() for c in confidence[~accepted]]
        assert all(precision < goal for precision in lower)
    else:
        assert point.achieved == pytest.approx(max(others))
        assert max(others) < goal


def test_a_threshold_that_accepts_nothing_does_so_in_float32_too() -> None:
    scores, is_positive = np.array([0.3, 1.0]), np.array([True, False])
    point = threshold_for_fpr(scores, is_positive, 0.0)
    assert not (scores.astype(np.float32) >= np.float32(point.threshold)).any()
    assert point.coverage == 0.0
    assert point.bound == pytest.approx(0.95)


def test_where_no_answer_is_right_a_precision_threshold_accepts_nothing() -> None:
    scores = np.array([0.01, 0.02, 0.3, 0.6])
    point = threshold_for_precision(scores, np.zeros(4, bool), 0.9)
    assert not (scores.astype(np.float32) >= np.float32(point.threshold)).any()
    assert (point.achieved, point.bound, point.num_examples, point.coverage) == (0, 0, 0, 0)
    assert not point.met


def test_a_rate_without_examples_is_refused() -> None:
    scores = np.array([0.2, 0.4])
    with pytest.raises(DataError, match="negative examples"):
        threshold_for_fpr(scores, np.array([True, True]), 0.01)
    with pytest.raises(DataError, match="positive examples"):
        threshold_for_recall(scores, np.array([False, False]), 0.9)
    with pytest.raises(DataError, match="validation examples"):
        threshold_for_precision(np.empty(0), np.empty(0, bool), 0.9)


@pytest.mark.parametrize(
    ("num_hits", "num_trials"), [(0, 1), (0, 500), (3, 10), (5, 500), (499, 500), (40, 90_000)]
)
def test_the_upper_bound_solves_the_binomial_tail(num_hits: int, num_trials: int) -> None:
    bound = upper_bound(num_hits, num_trials)
    tail = sum(
        math.exp(
            math.lgamma(num_trials + 1) - math.lgamma(i + 1) - math.lgamma(num_trials - i + 1)
            + i * math.log(bound) + (num_trials - i) * math.log1p(-bound)
        )
        for i in range(num_hits + 1)
    )  # fmt: skip
    assert tail == pytest.approx(0.05, rel=1e-4)
    assert bound > num_hits / num_trials


def test_bounds_equal_the_published_closed_forms() -> None:
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert lower_bound(100, 100) == pytest.approx(0.05 ** (1 / 100))
    assert upper_bound(7, 7) == 1.0
    assert lower_bound(0, 7) == 0.0


def test_a_target_is_read() -> None:
    assert parse_target("jailbreak.fpr=0.01") == Target(
        task="jailbreak", metric="fpr", goal=0.01
    )
    assert parse_target("my.task.recall=1") == Target(task="my.task", metric="recall", goal=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jailbreak.fpr", "expected TASK.METRIC=GOAL"),
        ("fpr=0.01", "expected TASK.METRIC=GOAL"),
        (".fpr=0.01", "expected TASK.METRIC=GOAL"),
        ("pii.f1=0.9", "unknown metric 'f1'; use fpr, recall, precision"),
        ("pii.recall=high", "'high' is not a number"),
        ("pii.recall=98", "recall must be in"),
        ("pii.recall=nan", "recall must be in"),
        ("jailbreak.fpr=1", "1 % is 0.01"),
    ],
)
def test_a_wrong_target_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(SCORED, GOALS.filter(bool))
def test_a_calibration_survives_json(rows: list[tuple[float, bool]], goal: float) -> None:
    point = threshold_for_precision(*columns(rows), goal)
    calibration = TaskCalibration(
        temperature=1.37, threshold=point.threshold, operating_point=point
    )
    adapter = TypeAdapter(TaskCalibration)
    assert adapter.validate_json(adapter.dump_json(calibration)) == calibration
    assert isinstance(calibration.operating_point, OperatingPoint)


def test_an_impossible_calibration_is_refused() -> None:
    adapter = TypeAdapter(TaskCalibration)
    with pytest.raises(ValidationError, match="temperature must be positive"):
        adapter.validate_json('{"temperature": 0}')
    with pytest.raises(ValidationError, match="unexpected"):
        adapter.validate_json('{"temprature": 1}')
