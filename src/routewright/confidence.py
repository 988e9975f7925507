"""Beta calibration of the highest probability: how often answers of that confidence are right.

One temperature cannot mend a head that doubts its hesitant answers too much and its sure ones
too little. Two powers and a factor can: odds ``exp(c) * p^a / (1 - p)^b``.

Source: Kull, Silva Filho and Flach 2017, "Beta calibration", AISTATS; of the top label alone:
Gupta and Ramdas 2022, https://arxiv.org/abs/2107.08353.

Shape letters: N = examples, B = batch, C = classes, F = features.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from routewright.config import STRICT

Array = NDArray[np.float64]

_NEARLY_1 = 1 - 1e-9
"""Higher probabilities count as this one, as the odds of 1 are infinite."""
_IDENTITY_F = np.array([1.0, 1.0, 0.0])
"""`a`, `b` and `c` that change nothing."""
_PRIOR = 1.0
"""Weight, in squared deviations, of leaving confidences alone: few examples change little."""
_FEWEST_EXAMPLES = 10
_CHI_SQUARED_99 = 11.345
"""Exceeded by 1 % of values of the chi-squared distribution with 3 degrees of freedom."""
_MOST_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class BetaCalibration:
    """From the highest probability of an answer to the share of right ones; non-decreasing."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    a: float
    """Power of the probability in the odds; >= 0."""
    b: float
    """Power of one over its complement in the odds; >= 0."""
    c: float
    """Added to the log odds."""

    def __post_init__(self) -> None:
        if not (0 <= self.a < math.inf and 0 <= self.b < math.inf and math.isfinite(self.c)):
            raise ValueError(f"needs a >= 0, b >= 0 and a finite c, found {self}")

    def apply(self, probabilities_BC: NDArray[np.floating]) -> Array:
        """Probabilities ``(B, C)`` with the highest calibrated; the others keep their ratios.

        The highest one stays the highest, so no answer changes.
        """
        # Row by row and without arrays, which take longer for the few rows of a pass.
        result_BC: Array = np.array([self._applied(row) for row in probabilities_BC.tolist()])
        return result_BC.reshape(probabilities_BC.shape)

    def _applied(self, row: list[float]) -> list[float]:
        second, top = sorted(row)[-2:]
        rest = max(1 - top, 1 - _NEARLY_1)
        p = min(top, _NEARLY_1)
        log_odds = self.a * math.log(p) - self.b * math.log1p(-p) + self.c
        # Below this share the second label would overtake.
        least = (second + 1e-12) / (rest + second)
        share = max((1 + math.tanh(log_odds / 2)) / 2, least)
        scale = (1 - share) / rest
        applied = [scale * value for value in row]
        applied[row.index(top)] = share
        total = sum(applied)
        return [value / total for value in applied]


def fit_confidence(
    confidence_N: Array, is_right_N: NDArray[np.bool_]
) -> BetaCalibration | None:
    """The curve of least log loss; None where right confidences might have given it too.

    That is a likelihood-ratio test against the identity, at 1 % (Wilks 1938): a curve is worse
    than none where the confidences are right already.

    Args:
        confidence_N: highest probabilities, in (0, 1].
        is_right_N: whether those answers are right.
    """
    if len(confidence_N) < _FEWEST_EXAMPLES or is_right_N.all() or not is_right_N.any():
        return None
    features_NF = _features(confidence_N)
    fitted_F = _fit(features_NF, is_right_N)
    gain_N = _losses(features_NF, is_right_N, _IDENTITY_F)
    gain_N -= _losses(features_NF, is_right_N, fitted_F)
    if 2 * gain_N.sum() <= _CHI_SQUARED_99:
        return None
    a, b, c = fitted_F.tolist()
    return BetaCalibration(a=a, b=b, c=c)


def _features(confidence_N: NDArray[np.floating]) -> Array:
    """``(N, F)``: what the log odds are linear in; of the identity, `_IDENTITY_F`."""
    p_N = np.minimum(confidence_N, _NEARLY_1)
    return np.stack([np.log(p_N), -np.log1p(-p_N), np.ones_like(p_N)], axis=-1)


def _fit(features_NF: Array, is_right_N: NDArray[np.bool_]) -> Array:
    """Weights ``(F,)`` of least penalised log loss; a power never ends below 0."""
    free = np.array([True, True, True])
    while True:
        weights_F = _minimum(features_NF, is_right_N, free)
        negative = (weights_F < 0) & np.array([True, True, False])
        if not negative.any():
            return weights_F
        free &= ~negative


def _minimum(
    features_NF: Array, is_right_N: NDArray[np.bool_], free: NDArray[np.bool_]
) -> Array:
    """Newton's method on the convex loss over the `free` weights; the others are 0."""
    weights_F = np.where(free, _IDENTITY_F, 0.0)
    loss = _penalised(features_NF, is_right_N, weights_F)
    for _ in range(_MOST_STEPS):
        share_N = _sigmoid(features_NF @ weights_F)
        gradient_F = features_NF.T @ (share_N - is_right_N)
        gradient_F += _PRIOR * (weights_F - _IDENTITY_F)
        hessian_FF = (features_NF * (share_N * (1 - share_N))[:, None]).T @ features_NF
        hessian_FF += _PRIOR * np.eye(len(_IDENTITY_F))
        step_F = np.zeros_like(weights_F)
        step_F[free] = np.linalg.solve(hessian_FF[np.ix_(free, free)], gradient_F[free])
        # Far from the minimum the quadratic hopes for too much.
        while _penalised(features_NF, is_right_N, weights_F - step_F) > loss + _TOLERANCE:
            step_F /= 2
        weights_F = weights_F - step_F
        loss = _penalised(features_NF, is_right_N, weights_F)
        if np.abs(step_F).max() < _TOLERANCE:
            break
    return weights_F


def _penalised(features_NF: Array, is_right_N: NDArray[np.bool_], weights_F: Array) -> float:
    penalty = _PRIOR / 2 * float(((weights_F - _IDENTITY_F) ** 2).sum())
    return float(_losses(features_NF, is_right_N, weights_F).sum()) + penalty


def _sigmoid(log_odds_N: Array) -> Array:
    share_N: Array = (1 + np.tanh(log_odds_N / 2)) / 2
    return share_N


def _losses(features_NF: Array, is_right_N: NDArray[np.bool_], weights_F: Array) -> Array:
    log_odds_N = features_NF @ weights_F
    losses_N: Array = np.logaddexp(0.0, np.where(is_right_N, -log_odds_N, log_odds_N))
    return losses_N
