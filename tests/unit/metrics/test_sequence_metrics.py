"""Sequence metrics against scikit-learn, and where they are undefined."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sklearn import metrics as reference

from routewright.errors import DataError, TaskError
from routewright.labels import LabelSet
from routewright.metrics import (
    SequenceReport,
    average_precision,
    curve,
    recall_at_fpr,
    roc_auc,
    sequence_report,
)

TWO = LabelSet(("benign", "jailbreak"))


def predictions(
    seed: int, num_classes: int, num_examples: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities rounded to a coarse grid, so that ties abound, and label ids."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(0, num_classes, num_examples)
    label_ids[:num_classes] = np.arange(num_classes)
    raw = rng.integers(1, 5, (num_examples, num_classes)).astype(float)
    raw[np.arange(num_examples), label_ids] += rng.integers(0, 3, num_examples)
    return raw / raw.sum(axis=1, keepdims=True), label_ids


def report(probabilities: np.ndarray, label_ids: np.ndarray) -> dict[str, float | None]:
    labels = LabelSet(tuple(f"class {i}" for i in range(probabilities.shape[1])))
    result = sequence_report(
        probabilities, label_ids, labels, positive=None, threshold=None, num_resamples=0
    )
    return {name: estimate.value for name, estimate in result.metrics.items()}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_classification_metrics_equal_those_of_scikit_learn(seed: int, classes: int) -> None:
    probabilities, label_ids = predictions(seed, classes)
    ours = report(probabilities, label_ids)
    predicted = probabilities.argmax(axis=1)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(label_ids, predicted))
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(
            label_ids, predicted, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert ours[f"{average}_{name}"] == pytest.approx(value)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_probability_metrics_equal_those_of_scikit_learn(seed: int, classes: int) -> None:
    probabilities, label_ids = predictions(seed, classes)
    ours = report(probabilities, label_ids)
    ids = list(range(classes))
    one_hot = np.eye(classes)[label_ids]
    assert ours["nll"] == pytest.approx(
        reference.log_loss(label_ids, probabilities, labels=ids)
    )
    assert ours["roc_auc"] == pytest.approx(
        reference.roc_auc_score(one_hot, probabilities, average="macro")
    )
    assert ours["pr_auc"] == pytest.approx(
        reference.average_precision_score(one_hot, probabilities, average="macro")
    )
    assert ours["brier"] == pytest.approx(
        reference.brier_score_loss(label_ids, probabilities, labels=ids)
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans()), min_size=4),
    st.integers(0, 1000),
)
def test_weighted_curves_with_ties_equal_those_of_scikit_learn(
    rows: list[tuple[float, bool]], seed: int
) -> None:
    scores = np.array([0.5, 0.5, *(score for score, _ in rows)])
    is_positive = np.array([True, False, *(positive for _, positive in rows)])
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(scores))).astype(float)
    weights[:, :2] += 1
    points = curve(scores, is_positive, weights)
    roc, pr, recall = roc_auc(points), average_precision(points), recall_at_fpr(points, 0.3)
    for r, row in enumerate(weights):
        assert roc[r] == pytest.approx(
            reference.roc_auc_score(is_positive, scores, sample_weight=row)
        )
        assert pr[r] == pytest.approx(
            reference.average_precision_score(is_positive, scores, sample_weight=row)
        )
        fpr, tpr, _ = reference.roc_curve(
            is_positive, scores, sample_weight=row, drop_intermediate=False
        )
        assert recall[r] == pytest.approx(tpr[fpr <= 0.3 + 1e-9].max())


def test_calibration_error_equals_a_count_by_hand() -> None:
    # Bin (0.6, 0.667]: 0.65 right; bin (0.867, 0.933]: mean 0.9, one of two right.
    probabilities = np.array([[0.65, 0.35], [0.9, 0.1], [0.1, 0.9]])
    ours = report(probabilities, np.array([0, 0, 0]))
    assert ours["ece"] == pytest.approx((1 * 0.35 + 2 * 0.4) / 3)


def test_a_threshold_gives_the_detectors_rates() -> None:
    scores = np.array([0.1, 0.4, 0.7, 0.7, 0.9])
    result = sequence_report(
        np.stack([1 - scores, scores], axis=1),
        np.array([0, 0, 0, 1, 1]),
        TWO,
        positive="jailbreak",
        threshold=0.7,
        num_resamples=50,
    )
    assert result.metrics["fpr_at_threshold"].value == pytest.approx(1 / 3)
    assert result.metrics["recall_at_threshold"].value == 1.0
    assert result.metrics["precision_at_threshold"].value == pytest.approx(2 / 3)
    assert result.metrics["f1_at_threshold"].value == pytest.approx(4 / 5)
    assert result.metrics["recall_at_fpr_1pct"].value == 0.5
    assert result.confusion_matrix.counts == [[2, 1], [0, 2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_a_detectors_metrics_at_its_threshold_equal_those_of_scikit_learn(
    seed: int, threshold: float
) -> None:
    probabilities, label_ids = predictions(seed, 2)
    result = sequence_report(
        probabilities,
        label_ids,
        TWO,
        positive="jailbreak",
        threshold=threshold,
        num_resamples=0,
    )
    flagged = probabilities[:, 1] >= threshold
    for name in ("precision", "recall", "f1"):
        expected = getattr(reference, f"{name}_score")(label_ids, flagged, zero_division=0)
        assert (result.metrics[f"{name}_at_threshold"].value or 0) == pytest.approx(expected)


def test_a_detector_that_flags_nothing_has_no_precision_and_finds_nothing() -> None:
    result = sequence_report(
        np.array([[0.9, 0.1], [0.8, 0.2]]),
        np.array([0, 1]),
        TWO,
        positive="jailbreak",
        threshold=0.5,
        num_resamples=0,
    )
    assert result.metrics["precision_at_threshold"].value is None
    assert result.metrics["f1_at_threshold"].value == 0.0


def test_without_a_positive_label_a_threshold_means_abstention() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.3, 0.7]])
    result = sequence_report(
        probabilities, np.array([0, 1, 0, 1]), TWO, positive=None, threshold=0.7
    )
    assert result.metrics["coverage_at_threshold"].value == 0.75
    assert result.metrics["precision_at_threshold"].value == pytest.approx(2 / 3)


def test_classes_without_examples_are_none_and_do_not_enter_the_auc_average() -> None:
    probabilities, label_ids = predictions(1, 3)
    padded = np.hstack([probabilities * 0.99, np.full((len(label_ids), 1), 0.01)])
    labels = LabelSet(("a", "b", "c", "never"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sequence_report(
            padded, label_ids, labels, positive=None, threshold=None, num_resamples=20
        )
    assert result.per_class["never"] == {
        "precision": None, "recall": None, "f1": None, "roc_auc": None, "pr_auc": None,
        "support": 0,
    }  # fmt: skip
    assert result.metrics["roc_auc"].value == pytest.approx(
        report(probabilities, label_ids)["roc_auc"]
    )


def test_a_detector_without_positives_has_no_recall_and_no_auc() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    result = sequence_report(
        probabilities, np.array([0, 0]), TWO, positive="jailbreak", threshold=0.5
    )
    undefined = {name for name, estimate in result.metrics.items() if estimate.value is None}
    assert undefined == {
        "roc_auc", "pr_auc", "recall_at_fpr_1pct", "recall_at_fpr_5pct", "recall_at_threshold"
    }  # fmt: skip
    assert result.metrics["fpr_at_threshold"].value == 0.5


def test_a_report_survives_json() -> None:
    probabilities, label_ids = predictions(2, 2)
    result = sequence_report(
        probabilities, label_ids, TWO, positive="jailbreak", threshold=0.5, num_resamples=10
    )
    adapter = TypeAdapter(SequenceReport)
    assert adapter.validate_json(adapter.dump_json(result)) == result


def test_wrong_input_is_refused() -> None:
    probabilities, label_ids = predictions(3, 2)
    with pytest.raises(DataError, match="no examples"):
        sequence_report(np.empty((0, 2)), np.empty(0, int), TWO, positive=None, threshold=None)
    with pytest.raises(TaskError, match="unknown label 'attack'"):
        sequence_report(probabilities, label_ids, TWO, positive="attack", threshold=None)
    with pytest.raises(ValueError, match="shape"):
        sequence_report(probabilities[:, :1], label_ids, TWO, positive=None, threshold=None)
    with pytest.raises(ValueError, match="label ids"):
        sequence_report(probabilities, label_ids + 1, TWO, positive=None, threshold=None)
