"""The int8 gate: what each precision scores on validation data, and whether int8 may ship."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from routewright.calibrate import fit_calibration
from routewright.calibration import Target, TaskCalibration
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.decoding import SpanDecoder
from routewright.encoding import TextEncoder
from routewright.errors import DataError, ExportError
from routewright.export.quantize import SCOPES, Scope, quantize
from routewright.export.smoothing import STRENGTHS, Sample
from routewright.metrics import sequence_report, span_report
from routewright.runtime.backend import Backend
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput
from routewright.second_look import SecondLookSettings
from routewright.tasks import Task
from routewright.train.modeling import MultiTaskModel


@dataclass(frozen=True)
class Judgement:
    """A graph on the validation rows of every task."""

    metrics: Mapping[str, float | None]
    """Main metric by task, in [0, 1]; None where the rows leave it undefined."""
    calibrations: Mapping[str, TaskCalibration]


def judge(
    model: MultiTaskModel,
    encoder: TextEncoder,
    backend: Backend,
    validation: Mapping[str, Sequence[Example]],
    targets: Mapping[str, Target],
    second_look: SecondLookSettings | None = None,
) -> Judgement:
    """Score and calibrate every task on its validation rows.

    Metrics are taken before calibration and without the second look, so that two graphs compare
    by their logits alone; a recall is fitted with it, as it will be served.

    Raises:
        DataError: a task without validation rows.
        ExportError: a task's main metric is none that is measured.
    """
    metrics, calibrations = {}, {}
    transitions = model.transitions()
    for name, task in model.tasks.items():
        examples = validation.get(name, ())
        if not examples:
            raise DataError(f"task {name}: no validation rows to calibrate on; add some")
        decoder = (
            SpanDecoder(task.scheme, transitions.get(name)) if task.kind == "token" else None
        )
        head = Head(task, TaskCalibration(), decoder)
        raws = Classifier(encoder, {name: head}, backend).raw([e.text for e in examples])
        metrics[name] = main_metric(head, raws, examples)
        served = head.with_second_look(second_look)
        calibrations[name] = fit_calibration(served, raws, examples, targets.get(name))
    return Judgement(metrics, calibrations)


def main_metric(
    head: Head, raws: Sequence[RawOutput], examples: Sequence[Example]
) -> float | None:
    """The task's main metric; None where these rows leave it undefined.

    Raises:
        ExportError: no metric has that name.
    """
    task = head.task
    if task.kind == "token":
        report = span_report(
            [e.text for e in examples],
            [e.spans for e in examples if isinstance(e, TokenExample)],
            [head.spans(raw, e.text) for raw, e in zip(raws, examples, strict=True)],
            task.label_set,
            num_resamples=0,
        ).metrics
    else:
        labels = [
            task.label_set.id(e.label) for e in examples if isinstance(e, SequenceExample)
        ]
        report = sequence_report(
            np.stack([head.probabilities(raw) for raw in raws]),
            np.array(labels),
            task.label_set,
            positive=task.positive,
            threshold=None,
            num_resamples=0,
        ).metrics
    if task.main_metric not in report:
        raise ExportError(
            f"tasks.{task.name}.main_metric: {task.main_metric!r} is not measured; "
            f"use one of {', '.join(report)}"
        )
    return report[task.main_metric].value


def loss_points(fp32: float | None, int8: float | None) -> float | None:
    """Hundredths of the metric that int8 loses; None where either is undefined."""
    return None if fp32 is None or int8 is None else (fp32 - int8) * 100


def pick_int8(
    source: Path,
    destination: Path,
    reference: Judgement,
    judge_graph: Callable[[Path], Judgement],
    *,
    tasks: Mapping[str, Task],
    max_loss: float,
    samples: Sequence[Sample],
) -> tuple[Scope, float, Judgement]:
    """Write the fastest int8 graph that loses little enough, and say how it was made.

    Args:
        source: the fp32 graph.
        destination: where the int8 graph goes.
        reference: `source` on the validation rows.
        judge_graph: scores a graph file.
        tasks: by name.
        max_loss: points of each task's main metric that may be lost.
        samples: model inputs that show how large activations get.

    Raises:
        ExportError: every scope loses more at every strength of smoothing; names the task
            that loses most and both values.
    """
    failures = []
    for scope, strength in product(SCOPES, STRENGTHS):
        quantize(source, destination, scope=scope, samples=samples, strength=strength)
        judgement = judge_graph(destination)
        losses = {
            name: loss_points(reference.metrics[name], judgement.metrics[name]) or 0.0
            for name in tasks
        }
        worst = max(losses, key=lambda name: losses[name])
        if losses[worst] <= max_loss + 1e-9:
            return scope, strength, judgement
        failures.append(
            f"with {scope} in int8 (smoothing {strength}), task {worst} falls from "
            f"{tasks[worst].main_metric} {reference.metrics[worst]:.4f} "
            f"to {judgement.metrics[worst]:.4f}"
        )
    raise ExportError(
        f"int8 loses more than {max_loss:g} points on validation data: {'; '.join(failures)}; "
        "allow more with --max-int8-loss, or set export.int8: false"
    )
