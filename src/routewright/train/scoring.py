"""Quick scores of a model on validation data, through the classifier that serving uses."""

from collections.abc import Mapping, Sequence

import numpy as np

from routewright.calibration import TaskCalibration
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.decoding import SpanDecoder
from routewright.encoding import TextEncoder
from routewright.metrics import sequence_report, span_report
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head
from routewright.train.backend import TorchBackend
from routewright.train.modeling import MultiTaskModel


def torch_classifier(
    model: MultiTaskModel,
    encoder: TextEncoder,
    calibrations: Mapping[str, TaskCalibration] | None = None,
    *,
    autocast: bool = False,
) -> Classifier:
    """The serving classifier on top of a torch model."""
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
