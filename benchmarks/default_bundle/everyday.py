"""Does the bundle understand prompts that look like none of its training data?

    python -m benchmarks.default_bundle.everyday --bundle BUNDLE --split test --readme

The rows in everyday_rows/ were written by hand for this project, each task by a writer who saw
neither generators nor data: questions, orders, letters, logs and chats as people and programs
send them to a model. A task has one file for looking at mistakes (``validation``) and one that
is only scored (``test``); labels are one writer's opinion. Intervals are 95 % percentile
bootstrap over rows (1,000 resamples).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.default_bundle.records import (
    HERE,
    SPLITS,
    Record,
    interval,
    markdown,
    new_parser,
)

from routewright import Classifier
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample
from routewright.data.readers import read_examples
from routewright.evaluate.run import evaluate
from routewright.metrics import Estimate
from routewright.runtime.answers import Answer

ROWS = HERE / "everyday_rows"
NUM_RESAMPLES = 1000
SHOWN: Mapping[str, Mapping[str, str]] = {
    "category": {
        "accuracy": "accuracy",
        "coverage_at_threshold": "share it answers",
        "precision_at_threshold": "accuracy where it answers",
        "ece": "calibration error",
    },
    "jailbreak": {
        "roc_auc": "ROC AUC",
        "recall_at_threshold": "attacks caught",
        "fpr_at_threshold": "harmless prompts flagged",
    },
    "intent": {"accuracy": "accuracy", "macro_f1": "macro F1", "ece": "calibration error"},
    "pii": {
        "span_f1": "exact-span F1",
        "span_precision": "precision",
        "span_recall": "recall",
        "partial_f1": "F1 of overlaps",
    },
}
"""By task: metric of a report to what the table calls it."""


@dataclass
class Scores:
    """One task on its rows."""

    task: str
    num_rows: int
    metrics: dict[str, Estimate]
    """Those of `SHOWN` that the bundle's thresholds define."""
    right_by_kind: dict[str, tuple[int, int]]
    """Kind of a row to how many are all right, of how many."""


def score_task(classifier: Classifier, task: str, path: Path) -> Scores:
    """Scores of one task.

    Raises:
        DataError: a wrong row, with file and line.
    """
    kind = classifier.heads[task].task.kind
    spec = DataSpec(path=path.name)
    examples = read_examples(spec, kind, root=path.parent)
    report = evaluate(classifier, task, examples, num_resamples=NUM_RESAMPLES)
    answers = classifier([e.text for e in examples], tasks=[task])
    counts: dict[str, list[bool]] = defaultdict(list)
    for example, answer in zip(examples, answers, strict=True):
        counts[str(example.meta["kind"])].append(_is_right(task, example, answer))
    return Scores(
        task=task,
        num_rows=len(examples),
        metrics={m: report.metrics[m] for m in SHOWN[task] if m in report.metrics},
        right_by_kind={k: (sum(v), len(v)) for k, v in sorted(counts.items())},
    )


def _is_right(task: str, example: Example, answer: Answer) -> bool:
    if not isinstance(example, SequenceExample):
        found = {(s.start, s.end, s.label) for s in answer.spans[task]}
        return found == {(s.start, s.end, s.label) for s in example.spans}
    given = answer.sequence[task]
    if (
        given.flagged is not None
    ):  # a detector answers by its threshold, not by its likelier label
        return given.flagged == (example.label == task)
    return given.label == example.label


def tables(scores: Sequence[Scores]) -> str:
    """Metrics of every task, then its kinds of rows."""
    metrics = [
        [s.task, SHOWN[s.task][name], interval(value, 3), str(s.num_rows)]
        for s in scores
        for name, value in s.metrics.items()
    ]
    kinds = [
        [s.task, ", ".join(f"{k} {right} of {n}" for k, (right, n) in s.right_by_kind.items())]
        for s in scores
    ]
    return (
        markdown(("task", "metric", "value (95 % interval)", "rows"), metrics, left=2)
        + "\nRows that are all right (label; for pii every entity and no other), by kind:\n\n"
        + markdown(("task", "kinds"), kinds, left=2)
    )


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    args = parser.parse_args()
    started = perf_counter()
    record = Record("everyday", (__doc__ or "").splitlines()[0], args, started)
    classifier = Classifier.open(args.bundle)
    scores = [
        score_task(classifier, task, ROWS / f"{task}_{args.split}.jsonl")
        for task in SHOWN
        if task in classifier.heads
    ]
    record.write({"tasks": [asdict(s) for s in scores]}, tables(scores))


if __name__ == "__main__":
    main()
