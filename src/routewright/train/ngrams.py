"""Class scores from the tokens and token pairs of a text, added to those of a sequence head.

A small encoder knows what a text is about; that a rare term belongs to one class it forgets. A
linear model over n-grams remembers exactly that, and both err on different texts. It is fitted
by itself after training, since a model trained together with it leaves to the n-grams what they
know of the training rows by heart.

Source: Cheng et al. 2016, Wide & Deep Learning, https://arxiv.org/abs/1606.07792 (there trained
jointly).

Shape letters: B = batch, T = tokens, C = classes, F = features, N = texts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags
from scipy.special import log_softmax, softmax
from sklearn.svm import LinearSVC
from torch import nn
from torch.nn import functional

from routewright.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE
from routewright.config import STRICT

_LEFT, _RIGHT = 30_011, 7
"""Factors of the hash of a token pair."""
_MARGIN_COST = 0.5
"""C of the linear support vector machine; .25 to 1 are within noise of each other."""
_BIAS_COST = 0.02
"""Of the squared biases, in log loss a text; set by hand, other values were not tried."""
_SCALES = (0.0, *np.geomspace(0.5, 32, 25).tolist())


@dataclass(frozen=True, kw_only=True)
class NgramConfig:
    """Which tasks add n-gram scores, and the size of the table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    tasks: tuple[str, ...]
    """Sequence tasks whose classes differ by vocabulary."""
    buckets: int = 65_536
    """Rows for token pairs, which share them by hash; in int8 a row has a byte per class."""

    def __post_init__(self) -> None:
        if not 1 <= self.buckets <= 2**24:
            raise ValueError(f"needs 1 <= buckets <= {2**24}, found {self.buckets}")


class NgramScores(nn.Module):
    """Scores that are zero until they are fitted."""

    table_FC: torch.Tensor
    bias_C: torch.Tensor

    def __init__(self, vocab_size: int, num_classes: int, buckets: int) -> None:
        super().__init__()
        self.vocab_size, self.buckets = vocab_size, buckets
        self.register_buffer("table_FC", torch.zeros(vocab_size + buckets, num_classes))
        self.register_buffer("bias_C", torch.zeros(num_classes))

    def forward(self, input_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Scores ``(B, C)``: the sum over features by the root of their number."""
        mask_BT1 = mask_BT.unsqueeze(-1).to(self.table_FC.dtype)
        pairs_BT = self.vocab_size + pair_hash(input_ids_BT) % self.buckets
        tokens_BTC = functional.embedding(input_ids_BT, self.table_FC) * mask_BT1
        pairs_BTC = functional.embedding(pairs_BT, self.table_FC) * mask_BT1[:, 1:]
        sums_BC = tokens_BTC.sum(1) + pairs_BTC.sum(1)
        return sums_BC / (2 * mask_BT1.sum(1) - 1).sqrt() + self.bias_C

    def features(self, rows: Sequence[Sequence[int]]) -> csr_matrix:
        """How often each feature occurs in each row of input ids, ``(N, F)``."""
        columns = [self._columns(np.asarray(ids)) for ids in rows]
        ends = np.cumsum([0, *(len(c) for c in columns)])
        values = np.ones(ends[-1])
        shape = (len(rows), self.vocab_size + self.buckets)
        found = csr_matrix((values, np.concatenate(columns), ends), shape=shape)
        found.sum_duplicates()
        return found

    def _columns(self, ids_T: NDArray[np.int64]) -> NDArray[np.int64]:
        pairs = self.vocab_size + pair_hash(ids_T) % self.buckets
        return np.concatenate([ids_T, pairs])

    def fit(self, rows: Sequence[Sequence[int]], labels: Sequence[int], *, seed: int) -> None:
        """Fit the table to labelled rows of input ids; replaces what it held."""
        counts_NF = self.features(rows)
        lengths_N = np.asarray(counts_NF.sum(axis=1)).ravel()
        num_texts_F = np.asarray((counts_NF > 0).sum(axis=0)).ravel()
        rarity_F = np.log((1 + len(rows)) / (1 + num_texts_F)) + 1
        inputs_NF = diags(1 / np.sqrt(lengths_N)) @ counts_NF @ diags(rarity_F)
        # The cost of the margin is meant for inputs of norm 1.
        norm = math.sqrt(float(inputs_NF.multiply(inputs_NF).sum()) / len(rows))
        machine = LinearSVC(C=_MARGIN_COST, random_state=seed).fit(inputs_NF / norm, labels)
        table_FC = torch.zeros_like(self.table_FC)
        bias_C = torch.full_like(self.bias_C, -1.0)
        weights_FC = machine.coef_.T * rarity_F[:, None] / norm
        intercepts_C = machine.intercept_
        if len(machine.classes_) == 2:  # one score, for the second class
            weights_FC = np.concatenate([-weights_FC, weights_FC], axis=1)
            intercepts_C = np.concatenate([-intercepts_C, intercepts_C])
        table_FC[:, machine.classes_] = torch.from_numpy(weights_FC).to(table_FC)
        bias_C[machine.classes_] = torch.from_numpy(intercepts_C).to(bias_C)
        self.table_FC.copy_(table_FC)
        self.bias_C.copy_(bias_C)

    def multiply(self, factor: float) -> None:
        """Scale all scores."""
        self.table_FC.mul_(factor)
        self.bias_C.mul_(factor)

    def add_bias(self, bias_C: NDArray[np.float64]) -> None:
        """Add to the scores of every text."""
        self.bias_C.add_(torch.from_numpy(bias_C).to(self.bias_C))


def pair_hash(ids: Any) -> Any:
    """A number for each pair of neighbouring tokens: ``(..., T)`` to ``(..., T - 1)``."""
    return ids[..., :-1] * _LEFT + ids[..., 1:] * _RIGHT


def best_scale(
    scores_NC: NDArray[np.float64], ngram_scores_NC: NDArray[np.float64], labels: Sequence[int]
) -> float:
    """Weight of the n-gram scores with the largest share of right answers; of equals the least.

    A weight counts with the mean of its own share and those of the next smaller and larger one:
    a single weight may be lucky.
    """
    right = [
        np.mean((scores_NC + scale * ngram_scores_NC).argmax(axis=1) == np.asarray(labels))
        for scale in _SCALES
    ]
    padded = np.pad(right, 1, mode="edge")
    smoothed = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return float(_SCALES[int(smoothed.argmax())])


def class_bias(scores_NC: NDArray[np.float64], labels: Sequence[int]) -> NDArray[np.float64]:
    """Biases ``(C,)`` with the least log loss beside a temperature, kept small, of mean 0.

    Two opinions added up prefer some classes to others, which no temperature mends.

    Source: bias-corrected temperature scaling, Alexandari et al. 2020,
    https://arxiv.org/abs/1901.06852; the cost of large biases is ours.
    """
    num_texts, num_classes = scores_NC.shape
    scores_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
    truth_NC = np.eye(num_classes)[np.asarray(labels)]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        inverse, bias_C = np.exp(parameters[0]), parameters[1:]
        logits_NC = scores_NC * inverse + bias_C
        value = -(truth_NC * log_softmax(logits_NC, axis=1)).sum() / num_texts
        slope_NC = (softmax(logits_NC, axis=1) - truth_NC) / num_texts
        slope_C = slope_NC.sum(axis=0) + 2 * _BIAS_COST * bias_C
        slope = (slope_NC * scores_NC).sum() * inverse
        return value + _BIAS_COST * float(bias_C @ bias_C), np.concatenate([[slope], slope_C])

    sizes = (-math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE))
    bounds = [sizes, *[(None, None)] * num_classes]
    start = np.zeros(1 + num_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    bias_C = found[1:] / np.exp(found[0])  # beside scores that are not divided yet
    return np.asarray(bias_C - bias_C.mean())


def new_scores(
    config: NgramConfig | None, num_classes: Mapping[str, int], vocab_size: int
) -> nn.ModuleDict:
    """A table for each task of `config`, all zero.

    Args:
        config: None makes none.
        num_classes: of the sequence tasks of the model.
        vocab_size: of the backbone.

    Raises:
        ValueError: a task of `config` is not in `num_classes`.
    """
    tasks = () if config is None else config.tasks
    unknown = sorted(set(tasks) - set(num_classes))
    if unknown:
        raise ValueError(f"{unknown[0]} is not a sequence task of this model")
    buckets = 0 if config is None else config.buckets
    return nn.ModuleDict(
        {name: NgramScores(vocab_size, num_classes[name], buckets) for name in tasks}
    )
