"""Metrics of a sequence task, from class probabilities and label ids.

- accuracy; macro_ and weighted_ precision, recall, f1: as scikit-learn's with
  ``zero_division=0``. The macro averages run over the classes that occur as true or predicted
  label; in them a class that is never predicted has precision 0, so that ignoring a class
  cannot raise the average.
- roc_auc, pr_auc (average precision): of the positive label; without one the mean over the
  classes, each against the rest, leaving out classes without examples or without
  counterexamples.
- with a positive label: recall_at_fpr_1pct, recall_at_fpr_5pct; with a threshold also
  fpr_at_threshold, recall_at_threshold, precision_at_threshold (undefined where nothing is at
  or above it) and f1_at_threshold of the positive label.
- without a positive label but with a threshold: precision_at_threshold and
  coverage_at_threshold of the texts on which the classifier does not abstain.
- ece: expected calibration error of the top label, 15 bins of equal width (Guo et al. 2017,
  https://arxiv.org/abs/1706.04599).
- nll: in nats, probabilities clipped at 1e-12.
- brier: squared error summed over classes, in [0, 2]; halved for two classes, where it is then
  (p - y)^2 in [0, 1].

The predicted label is the class of highest probability; only the ``_at_threshold`` metrics look
at the threshold. What is undefined is NaN inside and None in a report.

Shape letters: R = resamples, N = examples, C = classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routewright.errors import DataError
from routewright.labels import LabelSet
from routewright.metrics.bootstrap import (
    ConfusionMatrix,
    Estimate,
    FloatArray,
    WeightedMetrics,
    bootstrap,
    number_or_none,
    ratio,
)
from routewright.metrics.ranking import average_precision, curve, recall_at_fpr, roc_auc

NUM_ECE_BINS = 15
_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class SequenceReport:
    """What `sequence_report` found; ready for pydantic's JSON."""

    num_examples: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, float | int | None]]
    """Per label: precision (None if never predicted), recall and roc_auc, pr_auc of the class
    against the rest (None without examples), f1 (None if neither occurs), support."""
    confusion_matrix: ConfusionMatrix
    """Rows are true labels, columns predicted ones."""


@dataclass(frozen=True)
class _Scores:
    """Checked input: what every metric of the report is computed from."""

    probabilities_NC: FloatArray
    label_ids_N: NDArray[np.intp]
    predicted_ids_N: NDArray[np.intp]
    labels: LabelSet
    positive_id: int | None
    threshold: float | None

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    def metrics(self, weights_RN: FloatArray) -> dict[str, FloatArray]:
        """All metrics ``(R,)`` for each row of weights."""
        return {
            **_classification_metrics(self, weights_RN),
            **_ranking_metrics(self, weights_RN),
            **_threshold_metrics(self, weights_RN),
            **_calibration_metrics(self, weights_RN),
        }


def sequence_report(
    probabilities_NC: NDArray[np.floating],
    label_ids_N: NDArray[np.integer],
    labels: LabelSet,
    *,
    positive: str | None,
    threshold: float | None,
    num_resamples: int = 1000,
) -> SequenceReport:
    """Score predictions with the metrics of the module header.

    Args:
        probabilities_NC: rows sum to 1.
        label_ids_N: in [0, C).
        labels: the C labels in id order.
        positive: the label a detector looks for.
        threshold: texts at or above it count as positive; without `positive`, as not abstained.
        num_resamples: bootstrap resamples of examples; 0 skips the intervals.

    Raises:
        DataError: there are no examples.
        TaskError: `positive` is not a label.
        ValueError: shapes or ids do not fit, or a probability is not finite.
    """
    scores = _checked(probabilities_NC, label_ids_N, labels, positive, threshold)
    num_classes = len(labels)
    cells_N = scores.label_ids_N * num_classes + scores.predicted_ids_N
    counts = np.bincount(cells_N, minlength=num_classes**2).reshape(num_classes, num_classes)
    return SequenceReport(
        num_examples=len(cells_N),
        metrics=bootstrap(scores.metrics, len(cells_N), num_resamples=num_resamples),
        per_class=_per_class(scores),
        confusion_matrix=ConfusionMatrix(list(labels), counts.tolist()),
    )


def weighted_sequence_metrics(
    probabilities_NC: NDArray[np.floating],
    label_ids_N: NDArray[np.integer],
    labels: LabelSet,
    *,
    positive: str | None,
    threshold: float | None,
) -> WeightedMetrics:
    """The metrics of `sequence_report` as a function of example weights ``(R, N)``."""
    return _checked(probabilities_NC, label_ids_N, labels, positive, threshold).metrics


def _checked(
    probabilities_NC: NDArray[np.floating],
    label_ids_N: NDArray[np.integer],
    labels: LabelSet,
    positive: str | None,
    threshold: float | None,
) -> _Scores:
    if len(label_ids_N) == 0:
        raise DataError("there are no examples to score; give a file with at least one row")
    if probabilities_NC.shape != (len(label_ids_N), len(labels)):
        raise ValueError(
            f"probabilities have shape {probabilities_NC.shape}, expected "
            f"({len(label_ids_N)}, {len(labels)}): examples by labels"
        )
    if not np.isfinite(probabilities_NC).all():
        raise ValueError("a probability is not finite")
    if label_ids_N.min() < 0 or label_ids_N.max() >= len(labels):
        raise ValueError(f"label ids must lie in [0, {len(labels)})")
    return _Scores(
        probabilities_NC=probabilities_NC.astype(np.float64),
        label_ids_N=label_ids_N.astype(np.intp),
        predicted_ids_N=probabilities_NC.argmax(axis=1),
        labels=labels,
        positive_id=None if positive is None else labels.id(positive),
        threshold=threshold,
    )


def _one_hot(ids_N: NDArray[np.intp], num_classes: int) -> FloatArray:
    result: FloatArray = (ids_N[:, None] == np.arange(num_classes)).astype(np.float64)
    return result


def _f1(matched: FloatArray, predicted: FloatArray, true: FloatArray) -> FloatArray:
    return ratio(2 * matched, predicted + true)


def _classification_metrics(scores: _Scores, weights_RN: FloatArray) -> dict[str, FloatArray]:
    true_NC = _one_hot(scores.label_ids_N, scores.num_classes)
    predicted_NC = _one_hot(scores.predicted_ids_N, scores.num_classes)
    true_RC = weights_RN @ true_NC
    predicted_RC = weights_RN @ predicted_NC
    matched_RC = weights_RN @ (true_NC * predicted_NC)
    total_R = true_RC.sum(axis=1)
    num_occurring_R = ((true_RC + predicted_RC) > 0).sum(axis=1)
    metrics = {"accuracy": matched_RC.sum(axis=1) / total_R}
    for name, values_RC in (
        ("f1", _f1(matched_RC, predicted_RC, true_RC)),
        ("precision", ratio(matched_RC, predicted_RC)),
        ("recall", ratio(matched_RC, true_RC)),
    ):
        defined_RC = np.nan_to_num(values_RC)
        metrics[f"macro_{name}"] = defined_RC.sum(axis=1) / num_occurring_R
        metrics[f"weighted_{name}"] = (defined_RC * true_RC).sum(axis=1) / total_R
    return metrics


def _ranking_metrics(scores: _Scores, weights_RN: FloatArray) -> dict[str, FloatArray]:
    positive_id = scores.positive_id
    class_ids = range(scores.num_classes) if positive_id is None else [positive_id]
    roc, pr = [], []
    for class_id in class_ids:
        points = curve(
            scores.probabilities_NC[:, class_id], scores.label_ids_N == class_id, weights_RN
        )
        roc.append(roc_auc(points))
        pr.append(average_precision(points))
    metrics = {"roc_auc": _mean_of_defined(roc), "pr_auc": _mean_of_defined(pr)}
    if positive_id is not None:
        metrics["recall_at_fpr_1pct"] = recall_at_fpr(points, 0.01)
        metrics["recall_at_fpr_5pct"] = recall_at_fpr(points, 0.05)
    return metrics


def _mean_of_defined(values_CR: list[FloatArray]) -> FloatArray:
    """Mean ``(R,)`` over the classes where the value is defined; NaN where it is for none."""
    stacked_CR = np.stack(values_CR)
    num_defined_R = (~np.isnan(stacked_CR)).sum(axis=0).astype(np.float64)
    return ratio(np.nansum(stacked_CR, axis=0), num_defined_R)


def _threshold_metrics(scores: _Scores, weights_RN: FloatArray) -> dict[str, FloatArray]:
    if scores.threshold is None:
        return {}
    if scores.positive_id is None:
        accepted_N = scores.probabilities_NC.max(axis=1) >= scores.threshold
        correct_N = scores.predicted_ids_N == scores.label_ids_N
        accepted_R = weights_RN @ accepted_N.astype(np.float64)
        correct_R = weights_RN @ (accepted_N & correct_N).astype(np.float64)
        return {
            "precision_at_threshold": ratio(correct_R, accepted_R),
            "coverage_at_threshold": accepted_R / weights_RN.sum(axis=1),
        }
    flagged_N = scores.probabilities_NC[:, scores.positive_id] >= scores.threshold
    is_positive_N = scores.label_ids_N == scores.positive_id
    caught_R, alarms_R, positives_R, negatives_R = (
        weights_RN @ mask_N.astype(np.float64)
        for mask_N in (
            flagged_N & is_positive_N, flagged_N & ~is_positive_N, is_positive_N, ~is_positive_N
        )
    )  # fmt: skip
    return {
        "fpr_at_threshold": ratio(alarms_R, negatives_R),
        "recall_at_threshold": ratio(caught_R, positives_R),
        "precision_at_threshold": ratio(caught_R, caught_R + alarms_R),
        "f1_at_threshold": _f1(caught_R, caught_R + alarms_R, positives_R),
    }


def _calibration_metrics(scores: _Scores, weights_RN: FloatArray) -> dict[str, FloatArray]:
    num_examples, num_classes = scores.probabilities_NC.shape
    confidence_N = scores.probabilities_NC.max(axis=1)
    gap_NB = _binned_gaps(confidence_N, scores.predicted_ids_N == scores.label_ids_N)
    true_NC = _one_hot(scores.label_ids_N, num_classes)
    brier_N = ((scores.probabilities_NC - true_NC) ** 2).sum(axis=1)
    if num_classes == 2:
        brier_N /= 2
    p_true_N = scores.probabilities_NC[np.arange(num_examples), scores.label_ids_N]
    nll_N = -np.log(p_true_N.clip(min=_MIN_PROBABILITY))
    total_R = weights_RN.sum(axis=1)
    return {
        "ece": np.abs(weights_RN @ gap_NB).sum(axis=1) / total_R,
        "nll": (weights_RN @ nll_N) / total_R,
        "brier": (weights_RN @ brier_N) / total_R,
    }


def expected_calibration_error(
    confidence_N: NDArray[np.floating], is_correct_N: NDArray[np.bool_]
) -> float | None:
    """The ``ece`` of the module header for any answers with a confidence; None without any.

    Args:
        confidence_N: probability of each answer, in [0, 1].
        is_correct_N: whether the answer is right.
    """
    if len(confidence_N) == 0:
        return None
    gap_NB = _binned_gaps(confidence_N.astype(np.float64), is_correct_N)
    return float(np.abs(gap_NB.sum(axis=0)).sum() / len(confidence_N))


def _binned_gaps(confidence_N: FloatArray, is_correct_N: NDArray[np.bool_]) -> FloatArray:
    """Confidence minus correctness ``(N, bins)`` in the bin of the confidence, 0 elsewhere."""
    bins_N = np.ceil(confidence_N * NUM_ECE_BINS).astype(np.intp) - 1
    one_hot_NB = _one_hot(bins_N.clip(0, NUM_ECE_BINS - 1), NUM_ECE_BINS)
    return one_hot_NB * (confidence_N - is_correct_N)[:, None]


def _per_class(scores: _Scores) -> dict[str, dict[str, float | int | None]]:
    result: dict[str, dict[str, float | int | None]] = {}
    for class_id, name in enumerate(scores.labels):
        is_true_N = scores.label_ids_N == class_id
        is_predicted_N = scores.predicted_ids_N == class_id
        matched, predicted, true = (
            np.array(float(mask.sum()))
            for mask in (is_true_N & is_predicted_N, is_predicted_N, is_true_N)
        )
        points = curve(scores.probabilities_NC[:, class_id], is_true_N)
        result[name] = {
            "precision": number_or_none(ratio(matched, predicted).item()),
            "recall": number_or_none(ratio(matched, true).item()),
            "f1": number_or_none(_f1(matched, predicted, true).item()),
            "roc_auc": number_or_none(roc_auc(points)[0]),
            "pr_auc": number_or_none(average_precision(points)[0]),
            "support": int(true),
        }
    return result
