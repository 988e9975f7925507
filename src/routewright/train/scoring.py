"""Quick scores of a model on validation data, through the classifier that serving uses.

Shape letters: W = windows of all texts, B = batch of pieces, T = tokens, C = classes,
K = BIO tags.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from routewright.calibration import TaskCalibration
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.decoding import SpanDecoder
from routewright.encoding import TextEncoder
from routewright.labels import encode_bio
from routewright.metrics import sequence_report, span_report
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput
from routewright.tasks import Task
from routewright.train.backend import TorchBackend
from routewright.train.losses import IGNORED
from routewright.train.modeling import MultiTaskModel

_PIECES_TOGETHER = 64
"""Pieces of texts whose loss is computed at once; a CRF goes through them token by token."""


def torch_classifier(
    model: MultiTaskModel,
    encoder: TextEncoder,
    calibrations: Mapping[str, TaskCalibration] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    autocast: bool = False,
) -> Classifier:
    """The serving classifier on top of a torch model, with all heads or those of `tasks`."""
    transitions = model.transitions()
    heads = {
        name: Head(
            task=task,
            calibration=(calibrations or {}).get(name, TaskCalibration()),
            decoder=(
                SpanDecoder(task.scheme, transitions.get(name))
                if task.kind == "token"
                else None
            ),
        )
        for name, task in model.tasks.items()
        if tasks is None or name in tasks
    }
    return Classifier(encoder, heads, TorchBackend(model, autocast=autocast))


def score_answers(
    model: MultiTaskModel, name: str, examples: Sequence[Example], answers: Sequence[Answer]
) -> dict[str, float]:
    """Metrics of one task without intervals; ``f1`` among them is what selects checkpoints.

    ``f1`` is the weighted F1 of a sequence task and the exact-span F1 of a token task.
    """
    task = model.tasks[name]
    if task.kind == "token":
        gold = [e.spans for e in examples if isinstance(e, TokenExample)]
        predicted = [answer.spans[name] for answer in answers]
        texts = [e.text for e in examples]
        spans = span_report(texts, gold, predicted, task.label_set, num_resamples=0).metrics
        names = ["span_f1", "span_precision", "span_recall"]
        found = {key: spans[key].value or 0.0 for key in names}
        return {**found, "f1": found["span_f1"]}
    ids = [task.label_set.id(e.label) for e in examples if isinstance(e, SequenceExample)]
    rows = [[a.sequence[name].probabilities[label] for label in task.labels] for a in answers]
    report = sequence_report(
        np.array(rows),
        np.array(ids),
        task.label_set,
        positive=task.positive,
        threshold=None,
        num_resamples=0,
    )
    names = [
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "weighted_precision",
        "weighted_recall",
        "nll",
    ]
    names += ["roc_auc"] if task.positive else []
    found = {key: report.metrics[key].value or 0.0 for key in names}
    return {**found, "f1": found["weighted_f1"]}


def summed_loss(
    model: MultiTaskModel, name: str, examples: Sequence[Example], raws: Sequence[RawOutput]
) -> tuple[float, int]:
    """The loss of one task as training counts it, from logits that scoring needs anyway.

    It is the criterion of training whole but for a teacher's part, with class weights, label
    smoothing, CRF and the weight of the task, so that the two can be compared. All windows of a
    text count, and a token once, with the score of its best window.

    Args:
        model: which gave `raws`.
        name: of the task.
        examples: texts of the task.
        raws: what the model gave for them, in their order.

    Returns:
        Sum over the items, windows or tokens, and how many there are; both may be 0.
    """
    task, device = model.tasks[name], next(model.parameters()).device
    batches = _token_batches if task.kind == "token" else _window_batches
    total, num_items = 0.0, 0
    with torch.no_grad():
        for logits, labels in batches(task, examples, raws):
            kept = int((labels != IGNORED).sum())
            total += float(model.loss(name, logits.to(device), labels.to(device))) * kept
            num_items += kept
    return total, num_items


def _window_batches(
    task: Task, examples: Sequence[Example], raws: Sequence[RawOutput]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """All windows ``(W, C)`` with the class id of their text ``(W)``, at once."""
    if not raws:
        return
    pieces = [raw.sequence_logits[task.name] for raw in raws]
    ids = [task.label_set.id(e.label) for e in examples if isinstance(e, SequenceExample)]
    labels_W = np.repeat(ids, [len(piece) for piece in pieces])
    yield torch.from_numpy(np.concatenate(pieces)), torch.from_numpy(labels_W)


def _token_batches(
    task: Task, examples: Sequence[Example], raws: Sequence[RawOutput]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Texts in pieces no longer than a window: ``(B, T, K)`` and tag ids ``(B, T)``."""
    pieces: list[tuple[torch.Tensor, torch.Tensor]] = []
    for example, raw in zip(examples, raws, strict=True):
        assert isinstance(example, TokenExample)
        tags = encode_bio(example.spans, raw.encoded.offsets, task.scheme)
        longest = max(raw.window_sizes)
        for start in range(0, len(tags), max(longest, 1)):
            part = slice(start, start + longest)
            logits_TK = torch.from_numpy(raw.token_logits[task.name][part])
            pieces.append((logits_TK, torch.tensor(task.scheme.as_start(tags[part]))))
    pieces.sort(key=lambda piece: len(piece[1]))
    for first in range(0, len(pieces), _PIECES_TOGETHER):
        logits, labels = zip(*pieces[first : first + _PIECES_TOGETHER], strict=True)
        yield (
            pad_sequence(list(logits), batch_first=True),
            pad_sequence(list(labels), batch_first=True, padding_value=IGNORED),
        )
