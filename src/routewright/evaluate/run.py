"""From a classifier and labelled examples to a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from routewright.data.config import DataSpec
from routewright.data.examples import Example
from routewright.evaluate.outcomes import Outcome, head_of, run_model
from routewright.evaluate.report import ModelRecord, Report, Row
from routewright.evaluate.targets import Target
from routewright.evaluate.view import View, load_examples
from routewright.runtime.classifier import Classifier
from routewright.runtime.machine import library_versions
from routewright.tasks import Task

LENGTHS = ((0, 16), (17, 64), (65, 256), (257, None))
"""Token ranges, both ends included, that results are broken down by."""
_RUN_LIBRARIES = ("torch", "transformers")
Progress = Callable[[int], None]


def evaluate(
    classifier: Classifier,
    task: str,
    examples: Sequence[Example],
    *,
    only_types: Sequence[str] | None = None,
    coarse: bool = False,
    num_resamples: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Score one task of a classifier on labelled examples.

    Args:
        classifier: over any backend.
        task: name of one of its tasks.
        examples: with labels, or spans, of that task.
        only_types: compare only these entity types, true and predicted alike.
        coarse: compare coarse names instead of the task's own labels.
        num_resamples: of the bootstrap intervals; 0 skips them.
        progress: called with the number of texts done since the last call.

    Raises:
        TaskError: no such task, type or coarse view.
        DataError: no examples, examples of the other kind, or unknown labels.
    """
    view = view_of(classifier, task, only_types=only_types, coarse=coarse)
    started = perf_counter()
    outcome = run_model(classifier, view, examples, progress=progress)
    report = score(outcome, view, examples, num_resamples=num_resamples)
    return replace(report, duration_s=round(perf_counter() - started, 3))


def evaluate_file(
    target: Target,
    view: View,
    data: DataSpec,
    *,
    num_resamples: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Score one task of a bundle or run on a data set, and record which.

    Args:
        target: what `open_target` opened.
        view: of one of its tasks, as `view_of` gives it.
        data: where rows come from.
        num_resamples: of the bootstrap intervals; 0 skips them.
        progress: called with the number of texts done since the last call.

    Raises:
        DataError: a wrong row, with file and line.
    """
    report = evaluate(
        target.classifier,
        view.task.name,
        load_examples(data, view),
        only_types=view.only_types,
        coarse=view.coarse,
        num_resamples=num_resamples,
        progress=progress,
    )
    return with_origin(report, target, data.origin)


def view_of(
    classifier: Classifier,
    task: str,
    *,
    only_types: Sequence[str] | None = None,
    coarse: bool = False,
) -> View:
    """The view of one of the classifier's tasks.

    Raises:
        TaskError: no such task, type or coarse view.
    """
    types = None if only_types is None else tuple(only_types)
    return View(head_of(classifier, task).task, coarse, types)


def with_origin(report: Report, target: Target, data: str) -> Report:
    """The report with the names of model and data."""
    read_as = {n: getattr(report.model, n) for n in ("coarse", "only_types", "second_look")}
    versions = dict(report.versions)
    if target.kind == "run":
        versions |= {name: version(name) for name in _RUN_LIBRARIES}
    model = replace(target.model, **read_as)
    return replace(report, data=data, model=model, versions=versions)


def score(
    outcome: Outcome, view: View, examples: Sequence[Example], *, num_resamples: int
) -> Report:
    """The report of answers that are already there; `duration_s` is 0."""
    whole = outcome.report(num_resamples=num_resamples)
    main = [name for name in main_metrics(view.task) if name in whole.metrics]
    return Report(
        task=view.task.name,
        data="",
        num_examples=whole.num_examples,
        metrics=whole.metrics,
        per_class=whole.per_class,
        confusion_matrix=whole.confusion_matrix,
        by_length=_breakdown(outcome, _length_groups(outcome.num_tokens_N), main),
        by_source=_breakdown(outcome, _source_groups(examples), main),
        calibration=outcome.calibration(),
        model=ModelRecord(
            coarse=view.coarse,
            only_types=None if view.only_types is None else list(view.only_types),
            second_look=outcome.head.second_look is not None,
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=0.0,
        versions=library_versions(),
    )


def main_metrics(task: Task) -> list[str]:
    """What a person looks at first, the task's own main metric in front."""
    if task.kind == "token":
        names = ["span_f1", "span_recall", "partial_f1", "token_f1"]
    elif task.positive is not None:
        names = ["roc_auc", "recall_at_fpr_1pct", "accuracy", "macro_f1"]
    else:
        names = ["accuracy", "macro_f1"]
    return list(dict.fromkeys([task.main_metric, *names]))


def _breakdown(
    outcome: Outcome, groups: Mapping[str, NDArray[np.intp]], main: Sequence[str]
) -> dict[str, Row]:
    """Main metrics of each group; of a detector also the share of it that is flagged."""
    flagged_N = outcome.flagged()
    result: dict[str, Row] = {}
    for name, rows in groups.items():
        report = outcome.report(rows)
        result[name] = {
            "num_examples": report.num_examples,
            **{metric: report.metrics[metric].value for metric in main},
        }
        if flagged_N is not None:
            result[name]["flagged_share"] = float(flagged_N[rows].mean())
    return result


def _length_groups(num_tokens_N: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    groups = {}
    for low, high in LENGTHS:
        name = f">{low - 1}" if high is None else f"<={high}" if low == 0 else f"{low}-{high}"
        inside_N = (num_tokens_N >= low) & (num_tokens_N <= (high or np.inf))
        if inside_N.any():
            groups[name] = np.flatnonzero(inside_N)
    return groups


def _source_groups(examples: Sequence[Example]) -> dict[str, NDArray[np.intp]]:
    sources = [e.meta.get("source") for e in examples]
    names = sorted({str(s) for s in sources if s is not None})
    return {
        name: np.array([i for i, s in enumerate(sources) if s is not None and str(s) == name])
        for name in names
    }
