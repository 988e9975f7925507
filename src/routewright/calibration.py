"""Temperatures and thresholds fitted on validation data, and what they promise.

Shape letters: N = examples, C = classes, G = distinct scores, highest first.

A threshold accepts every score at or above it (``>=``, compared in float64) and is itself an
observed score, except where nothing may be accepted: then it lies just above the highest one.
Each operating point carries an exact confidence bound. The threshold was chosen on the very
examples that the bound counts, so the bound is a little optimistic; a test split has the last
word.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from routewright.confidence import BetaCalibration
from routewright.config import STRICT
from routewright.errors import ConfigError, DataError
from routewright.metrics import Curve, curve

TargetMetric = Literal["fpr", "recall", "precision"]

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0
CONFIDENCE_LEVEL = 0.95
"""Of the one-sided bounds of operating points."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a task's threshold shall reach on validation data."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    task: str
    metric: TargetMetric
    goal: float
    """At most this fpr, in [0, 1); at least this recall or precision, in (0, 1]."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold and how it did on the validation data it was chosen on."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    metric: TargetMetric
    goal: float
    threshold: float
    achieved: float
    """The metric on the validation data, in [0, 1]."""
    bound: float
    """One-sided 95 % Clopper-Pearson bound: the true value is probably at most this (fpr), or
    at least this (recall, precision)."""
    num_examples: int
    """What the value and the bound rest on: negatives (fpr), positives (recall), or accepted
    examples (precision)."""
    met: bool
    """Whether `achieved` reaches `goal`; the bound may still miss it, with few examples."""
    coverage: float
    """Share of all validation examples at or above the threshold, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class TaskCalibration:
    """What turns a head's logits into probabilities and decisions."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    temperature: float = 1.0
    """Divides the logits; > 0, no unit."""
    threshold: float | None = None
    """Scores at or above it count; None leaves the decision to the highest probability."""
    operating_point: OperatingPoint | None = None
    """Where `threshold` comes from; None when it was set by hand or there is none."""
    beta: BetaCalibration | None = None
    """What the highest probability of a sequence task becomes after the temperature; None
    leaves it."""
    min_score: float = 0.0
    """Entities of a token task with a lower score, in [0, 1), are dropped."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


def fit_temperature(logits_NC: NDArray[np.floating], label_ids_N: NDArray[np.integer]) -> float:
    """The temperature in [0.05, 20] that minimises the smoothed negative log likelihood.

    The loss is convex in 1 / temperature, so its one root of the derivative is bracketed and
    found by Newton steps that fall back to bisection. Targets are smoothed as if one of N + 2
    examples were wrong: N right answers do not prove that every answer will be right, and
    without it their temperature would fall to the lower end.

    Raises:
        DataError: there are no examples.
        ValueError: shapes do not fit, or a logit is not finite.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2; the smoothing is
        that of Platt 1999, Probabilistic Outputs for Support Vector Machines, section 2.2.
    """
    if len(label_ids_N) == 0:
        raise DataError("there are no validation examples to fit a temperature on; add some")
    if logits_NC.ndim != 2 or len(logits_NC) != len(label_ids_N):
        raise ValueError(f"logits {logits_NC.shape} do not fit {label_ids_N.shape} labels")
    if label_ids_N.min() < 0 or label_ids_N.max() >= logits_NC.shape[1]:
        raise ValueError(f"label ids must lie in [0, {logits_NC.shape[1]})")
    if not np.isfinite(logits_NC).all():
        raise ValueError("a logit is not finite")
    logits = logits_NC.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    if not logits.any():  # equal logits: no temperature changes anything
        return 1.0
    true_N = logits[np.arange(len(logits)), label_ids_N]
    doubt = 1 / (len(logits) + 2)
    others_N = (logits.sum(axis=1) - true_N) / max(logits.shape[1] - 1, 1)
    true_N = (1 - doubt) * true_N + doubt * others_N
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if _nll_slope(logits, true_N, low)[0] >= 0:
        return MAX_TEMPERATURE
    if _nll_slope(logits, true_N, high)[0] <= 0:
        return MIN_TEMPERATURE
    inverse = 1.0
    for _ in range(100):
        slope, curvature = _nll_slope(logits, true_N, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= 1e-10 * inverse:
            break
        inverse = following
    return 1 / inverse


def parse_target(text: str) -> Target:
    """Read ``TASK.METRIC=GOAL``, for example ``jailbreak.fpr=0.01``.

    Raises:
        ConfigError: another form, an unknown metric, or a goal outside its range.
    """
    name, equals, raw = text.partition("=")
    task, dot, metric = name.strip().rpartition(".")
    if not (equals and dot and task):
        raise ConfigError(
            f"--target {text}: expected TASK.METRIC=GOAL, for example jailbreak.fpr=0.01"
        )
    known: tuple[TargetMetric, ...] = get_args(TargetMetric)
    matching = [m for m in known if m == metric]
    if not matching:
        raise ConfigError(f"--target {text}: unknown metric {metric!r}; use {', '.join(known)}")
    try:
        goal = float(raw)
    except ValueError as exc:
        raise ConfigError(f"--target {text}: {raw.strip()!r} is not a number") from exc
    if not (0 <= goal < 1 if metric == "fpr" else 0 < goal <= 1):
        allowed = "in [0, 1)" if metric == "fpr" else "in (0, 1]"
        raise ConfigError(f"--target {text}: {metric} must be {allowed}; 1 % is 0.01")
    return Target(task=task, metric=matching[0], goal=goal)


def threshold_for_fpr(
    scores_N: NDArray[np.floating], is_positive_N: NDArray[np.bool_], goal: float
) -> OperatingPoint:
    """The threshold of best recall whose false-positive rate is at most `goal`; always met.

    Of thresholds with that recall it is one of fewest false positives, half way (in log odds)
    to the next lower score. Without positive examples it is the lowest one that keeps the
    goal. It may have to lie above every score and accept nothing.

    Raises:
        DataError: no negative examples, so no false-positive rate.
    """
    num_negatives = int((~is_positive_N).sum())
    if num_negatives == 0:
        raise DataError(
            "a false-positive rate needs negative examples and the validation data has none; "
            "add some"
        )
    points = _exact_curve(scores_N, is_positive_N)
    # Compared as a rate: 7 of 100 is exactly 0.07, while 0.07 * 100 is more than 7.
    num_allowed = int((points.false_positives_RG[0] / num_negatives <= goal).sum())
    index = num_allowed - 1
    threshold = _threshold(points, index)
    found_G = points.true_positives_RG[0]
    if num_allowed and found_G[index] > 0:
        index = int(np.searchsorted(found_G, found_G[index]))
        threshold = _between(points, index)
    num_accepted_negatives = int(points.false_positives_RG[0, index]) if num_allowed else 0
    return OperatingPoint(
        metric="fpr",
        goal=goal,
        threshold=threshold,
        achieved=num_accepted_negatives / num_negatives,
        bound=upper_bound(num_accepted_negatives, num_negatives),
        num_examples=num_negatives,
        met=True,
        coverage=_num_accepted(points, index) / len(scores_N),
    )


def threshold_for_recall(
    scores_N: NDArray[np.floating], is_positive_N: NDArray[np.bool_], goal: float
) -> OperatingPoint:
    """The highest threshold whose recall is at least `goal`; always met.

    Raises:
        DataError: no positive examples, so no recall.
    """
    num_positives = int(is_positive_N.sum())
    if num_positives == 0:
        raise DataError(
            "a recall needs positive examples and the validation data has none; add some"
        )
    points = _exact_curve(scores_N, is_positive_N)
    index = int((points.true_positives_RG[0] / num_positives < goal).sum())
    num_caught = int(points.true_positives_RG[0, index])
    return OperatingPoint(
        metric="recall",
        goal=goal,
        threshold=_threshold(points, index),
        achieved=num_caught / num_positives,
        bound=lower_bound(num_caught, num_positives),
        num_examples=num_positives,
        met=True,
        coverage=_num_accepted(points, index) / len(scores_N),
    )


def threshold_for_precision(
    confidence_N: NDArray[np.floating], is_correct_N: NDArray[np.bool_], goal: float
) -> OperatingPoint:
    """The lowest threshold at which all accepted examples together have precision `goal`.

    Below it the classifier abstains. A stretch of wrong answers high up does not stop the
    search: only the whole accepted set counts. If no threshold reaches the goal, the one of
    highest precision is taken (of several, the lowest) and `met` is False. Where no answer is
    right it lies above every score and accepts nothing, which counts as precision 0.

    Raises:
        DataError: no examples.
    """
    if len(confidence_N) == 0:
        raise DataError("a precision needs validation examples and there are none; add some")
    points = _exact_curve(confidence_N, is_correct_N)
    correct_G = points.true_positives_RG[0]
    precision_G = correct_G / (correct_G + points.false_positives_RG[0])
    # Of thresholds that are all wrong the lowest would accept everything.
    is_right_G = (precision_G >= min(goal, precision_G.max())) & (correct_G > 0)
    index = int(np.flatnonzero(is_right_G)[-1]) if is_right_G.any() else -1
    num_correct = int(correct_G[index]) if index >= 0 else 0
    num_accepted = _num_accepted(points, index)
    achieved = num_correct / num_accepted if num_accepted else 0.0
    return OperatingPoint(
        metric="precision",
        goal=goal,
        threshold=_threshold(points, index),
        achieved=achieved,
        bound=lower_bound(num_correct, num_accepted),
        num_examples=num_accepted,
        met=achieved >= goal,
        coverage=num_accepted / len(confidence_N),
    )


def upper_bound(num_hits: int, num_trials: int, *, level: float = CONFIDENCE_LEVEL) -> float:
    """Clopper-Pearson: the rate below which the true one lies with probability `level`.

    Exact: the largest rate at which `num_hits` or fewer still have probability 1 - `level`.
    1.0 when every trial hits or there are no trials.

    Source: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    if num_hits >= num_trials:
        return 1.0
    hits = np.arange(1, num_hits + 1)
    log_binomial = np.concatenate([[0.0], np.cumsum(np.log((num_trials - hits + 1) / hits))])
    hits = np.arange(num_hits + 1)
    low, high = num_hits / num_trials, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        log_terms = (
            log_binomial + hits * math.log(rate) + (num_trials - hits) * math.log1p(-rate)
        )
        low, high = (rate, high) if np.exp(log_terms).sum() > 1 - level else (low, rate)
        if high - low < 1e-12:
            break
    return high


def lower_bound(num_hits: int, num_trials: int, *, level: float = CONFIDENCE_LEVEL) -> float:
    """Clopper-Pearson: the rate above which the true one lies with probability `level`."""
    return 1.0 - upper_bound(num_trials - num_hits, num_trials, level=level)


def _exact_curve(scores_N: NDArray[np.floating], is_positive_N: NDArray[np.bool_]) -> Curve:
    return curve(scores_N.astype(np.float64), is_positive_N)


def _threshold(points: Curve, index: int) -> float:
    """The score at `index`; for -1 one above all scores, in float32 as in float64."""
    if index >= 0:
        return float(points.thresholds_G[index])
    highest = np.float32(points.thresholds_G[0])
    return float(np.nextafter(highest, np.float32(np.inf)))


def _between(points: Curve, index: int) -> float:
    """Half way in log odds from the score at `index` to the next lower one, if there is one."""
    upper = float(points.thresholds_G[index])
    if index + 1 == len(points.thresholds_G):
        return upper
    lower = float(points.thresholds_G[index + 1])
    ends = np.clip([lower, upper], 1e-12, 1 - 1e-12)
    middle = float(1 / (1 + np.exp(-np.log(ends / (1 - ends)).mean())))
    return middle if lower < middle < upper else upper


def _num_accepted(points: Curve, index: int) -> int:
    if index < 0:
        return 0
    return int(points.true_positives_RG[0, index] + points.false_positives_RG[0, index])


def _nll_slope(
    logits_NC: NDArray[np.float64], true_N: NDArray[np.float64], inverse: float
) -> tuple[float, float]:
    """First and second derivative of the mean loss by 1 / temperature; row maxima are 0."""
    weights_NC = np.exp(logits_NC * inverse)
    weights_NC /= weights_NC.sum(axis=1, keepdims=True)
    mean_N = np.einsum("nc,nc->n", weights_NC, logits_NC)
    square_N = np.einsum("nc,nc,nc->n", weights_NC, logits_NC, logits_NC)
    return float((mean_N - true_N).mean()), float((square_N - mean_N**2).mean())
