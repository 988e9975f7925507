"""Fits the n-gram scores of a trained model: tables on training rows, weights on validation."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from routewright.encoding import TextEncoder
from routewright.train.batches import TrainRow, collate, make_rows
from routewright.train.modeling import MultiTaskModel
from routewright.train.ngrams import NgramScores, best_scale, class_bias
from routewright.train.task_data import TaskData

_BATCH_SIZE = 64


def fit_ngrams(
    model: MultiTaskModel,
    rows: Sequence[TrainRow],
    data: Mapping[str, TaskData],
    encoder: TextEncoder,
    *,
    seed: int,
) -> dict[str, float]:
    """Fit every table of `model` in place.

    Args:
        model: trained; its heads stay as they are.
        rows: training rows of all tasks.
        data: of the tasks, for their validation examples.
        encoder: of the model.
        seed: of the solver.

    Returns:
        Weight of the n-gram scores beside the head's, by task; 0 where they do not help.
    """
    scales = {}
    for name, ngrams in model.ngrams.items():
        assert isinstance(ngrams, NgramScores)
        own = [row for row in rows if row.task == name]
        ngrams.fit([row.input_ids for row in own], _class_ids(own), seed=seed)
        # One window of a text is enough to weigh two opinions.
        held_out = make_rows(data[name].task, data[name].validation, encoder, max_windows=1)
        head_NC, ngrams_NC = _scores(model, name, held_out, encoder.pad_id)
        truth = _class_ids(held_out)
        scales[name] = best_scale(head_NC, ngrams_NC, truth)
        ngrams.multiply(scales[name])
        ngrams.add_bias(class_bias(head_NC + scales[name] * ngrams_NC, truth))
    return scales


def _class_ids(rows: Sequence[TrainRow]) -> list[int]:
    return [row.labels for row in rows if isinstance(row.labels, int)]


def _scores(
    model: MultiTaskModel, name: str, rows: Sequence[TrainRow], pad_id: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores ``(N, C)`` of the head and of the n-grams, in the order of `rows`."""
    order = np.argsort([len(row.input_ids) for row in rows], kind="stable")
    device = next(model.parameters()).device
    head, ngrams = [], []
    model.eval()
    for start in range(0, len(order), _BATCH_SIZE):
        batch = collate([rows[i] for i in order[start : start + _BATCH_SIZE]], pad_id=pad_id)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert isinstance(ids, torch.Tensor)
        assert isinstance(mask, torch.Tensor)
        with torch.no_grad():
            _, pooled = model.encode(ids.to(device), mask.to(device))
            head.append(model.heads[name](pooled).float().cpu().double().numpy())
            found = model.ngrams[name](ids.to(device), mask.to(device))
            ngrams.append(found.cpu().double().numpy())
    back = np.argsort(order, kind="stable")
    return np.concatenate(head)[back], np.concatenate(ngrams)[back]
