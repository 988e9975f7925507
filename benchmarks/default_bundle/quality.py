"""Does the bundle reach the figures of the issue on a split of the shared data?

    python -m benchmarks.default_bundle.quality --bundle BUNDLE --split test --readme

Every precision of the bundle is scored; breakdowns are of the default one. Intervals are 95 %
percentile bootstrap over rows (1,000 resamples); those of differences are paired. They do not
cover the choice of a seed. ``validation`` fitted the temperatures and thresholds, so figures
that use them flatter there.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.default_bundle.quality_tables import quality_tables
from benchmarks.default_bundle.records import FILES, MAIN, SPLITS, Record, new_parser
from numpy.typing import NDArray

from routewright.bundle import Bundle
from routewright.calibration import threshold_for_precision, upper_bound
from routewright.data.config import DataSpec
from routewright.data.examples import Example
from routewright.evaluate import Target, View, load_examples, open_target, view_of
from routewright.evaluate.outcomes import Outcome, SequenceOutcome, SpanOutcome
from routewright.evaluate.run import score
from routewright.metrics import (
    Estimate,
    bootstrap,
    estimate,
    resampled_values,
    weighted_sequence_metrics,
)
from routewright.runtime.heads import Head

NUM_RESAMPLES = 1000
ACCEPTED_ACCURACY = 0.942
"""What the issue aims for where the category head does not abstain."""
SHARES = (0.8, 0.9)
SHORT_CHARS = 60
DETECTOR = "jailbreak"
_CHUNK = 512
Rows = NDArray[np.intp]


@dataclass
class Scored:
    """One task of one precision: outcome, and what the detector says of the same texts."""

    view: View
    examples: list[Example]
    outcome: Outcome
    without_rules: Outcome | None
    """Of a token task with a second look."""
    attack_N: NDArray[np.float64]
    """Probability of an attack by the jailbreak head; empty without one."""
    resampled: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def run_task(target: Target, task: str, path: Path) -> Scored:
    """Answers of one task, and of the detector beside it, from one pass over a file."""
    classifier = target.classifier
    view = view_of(classifier, task)
    examples = load_examples(DataSpec(path=str(path)), view)
    head = classifier.heads[task]
    outcomes = [_outcome(head, view, examples)]
    if head.second_look is not None:
        outcomes.append(_outcome(head.with_second_look(None), view, examples))
    detector = classifier.heads.get(DETECTOR)
    attack_N = np.zeros(len(examples) if detector else 0)
    # Neighbours of one length share a chunk, so little of a batch is padding.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    for first in range(0, len(order), _CHUNK):
        chunk = order[first : first + _CHUNK]
        raws = classifier.raw([examples[i].text for i in chunk])
        for row, raw in zip(chunk, raws, strict=True):
            for outcome in outcomes:
                outcome.add(row, raw)
            if detector is not None:
                attack_N[row] = detector.probabilities(raw)[detector.positive_id]
    without_rules = outcomes[1] if len(outcomes) > 1 else None
    scored = Scored(view, examples, outcomes[0], without_rules, attack_N)
    scored.resampled = resampled_values(
        outcomes[0].weighted(), len(examples), num_resamples=NUM_RESAMPLES
    )
    return scored


def _outcome(head: Head, view: View, examples: Sequence[Any]) -> Outcome:
    kind = SequenceOutcome if head.task.kind == "sequence" else SpanOutcome
    return kind(head, view, examples)


def report_of(scored: Scored) -> dict[str, Any]:
    """Metrics with intervals, breakdowns by class, source and length, calibration."""
    report = score(scored.outcome, scored.view, scored.examples, num_resamples=NUM_RESAMPLES)
    return {
        "num_examples": report.num_examples,
        "metrics": report.metrics,
        "per_class": report.per_class,
        "confusion_matrix": report.confusion_matrix,
        "by_tokens": report.by_length,
        "by_source": report.by_source,
        "calibration": report.calibration,
        "by_quartile": by_quartile(scored),
        "without_rules": None
        if scored.without_rules is None
        else scored.without_rules.report(num_resamples=NUM_RESAMPLES).metrics,
    }


def by_quartile(scored: Scored) -> list[dict[str, Any]]:
    """Metrics of the rows in each quarter of the lengths, in characters."""
    chars_N = np.array([len(e.text) for e in scored.examples])
    edges = [*np.quantile(chars_N, (0, 0.25, 0.5, 0.75)), chars_N.max() + 1]
    result = []
    for low, high in pairwise(edges):
        rows: Rows = np.flatnonzero((chars_N >= low) & (chars_N < high))
        if len(rows) == 0:  # all texts of one length
            continue
        report = scored.outcome.report(rows, num_resamples=NUM_RESAMPLES)
        result.append(
            {
                "chars": [int(chars_N[rows].min()), int(chars_N[rows].max())],
                "num_examples": len(rows),
                "metrics": report.metrics,
            }
        )
    return result


def abstention(test: Scored, validation: Scored) -> dict[str, Any]:
    """Accuracy and share of what the category head answers.

    At the threshold that reaches `ACCEPTED_ACCURACY` on validation, at the bundle's own if it
    has one, and, as description of this very split, on the surest 80 and 90 %.
    """
    assert isinstance(test.outcome, SequenceOutcome)
    assert isinstance(validation.outcome, SequenceOutcome)
    fitted = threshold_for_precision(*_answers(validation.outcome), ACCEPTED_ACCURACY)
    result: dict[str, Any] = {
        "fitted": {
            "threshold": fitted.threshold,
            "validation_accuracy": fitted.achieved,
            "validation_share": fitted.coverage,
            **_accepted(test, fitted.threshold),
        }
    }
    if test.outcome.threshold is not None:
        threshold = test.outcome.threshold
        result["bundle"] = {"threshold": threshold, **_accepted(test, threshold)}
    confidence_N, correct_N = _answers(test.outcome)
    surest_N = correct_N[np.argsort(-confidence_N, kind="stable")]
    result["surest"] = {
        str(share): float(surest_N[: round(share * len(surest_N))].mean()) for share in SHARES
    }
    return result


def _answers(outcome: SequenceOutcome) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    correct_N = outcome.probabilities_NC.argmax(axis=1) == outcome.label_ids_N
    return outcome.probabilities_NC.max(axis=1), correct_N


def _accepted(scored: Scored, threshold: float) -> dict[str, Estimate]:
    assert isinstance(scored.outcome, SequenceOutcome)
    weighted = weighted_sequence_metrics(
        scored.outcome.probabilities_NC,
        scored.outcome.label_ids_N,
        scored.view.labels,
        positive=None,
        threshold=threshold,
    )
    found = bootstrap(weighted, len(scored.examples), num_resamples=NUM_RESAMPLES)
    return {
        "accuracy": found["precision_at_threshold"],
        "share": found["coverage_at_threshold"],
    }


def false_alarms(scored: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
    """How many texts are flagged: short benign prompts, rows of other tasks, attacks."""
    if DETECTOR not in scored or not isinstance(scored[DETECTOR].outcome, SequenceOutcome):
        return {}
    detector = scored[DETECTOR]
    threshold = detector.outcome.head.calibration.threshold or 0.5
    benign_N = np.array([getattr(e, "label", "") == "benign" for e in detector.examples])
    noisy_N = np.array([e.meta.get("quality") == "noisy" for e in detector.examples])
    short_N = np.array([len(e.text) <= SHORT_CHARS for e in detector.examples])
    flagged_N = detector.attack_N >= threshold
    groups = {
        f"benign prompts of at most {SHORT_CHARS} characters": flagged_N[benign_N & short_N],
        "all benign prompts": flagged_N[benign_N],
    }
    for task, other in scored.items():
        if task != DETECTOR:
            groups[f"rows of {task}"] = other.attack_N >= threshold
    result = {name: _share(group) for name, group in groups.items()}
    result["attacks found, all"] = _share(flagged_N[~benign_N])
    result["attacks found, without rows of quality noisy"] = _share(
        flagged_N[~benign_N & ~noisy_N]
    )
    return result


def _share(flagged_N: NDArray[np.bool_]) -> dict[str, Any]:
    num_flagged, num = int(flagged_N.sum()), len(flagged_N)
    return {
        "flagged": num_flagged,
        "of": num,
        "share": num_flagged / num if num else None,
        "upper_bound": upper_bound(num_flagged, num) if num else None,
    }


def int8_loss(int8: Mapping[str, Scored], fp32: Mapping[str, Scored]) -> dict[str, Estimate]:
    """Main metric of int8 minus that of fp32, by task, from the same resampled rows."""
    result = {}
    for task in int8:
        name = MAIN[task]
        values = [
            scored[task].outcome.report().metrics[name].value or 0.0 for scored in (int8, fp32)
        ]
        resampled_R = int8[task].resampled[name] - fp32[task].resampled[name]
        result[task] = estimate(values[0] - values[1], resampled_R)
    return result


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All that `quality_tables` shows, and more."""
    manifest = Bundle.open(args.bundle).manifest
    default = manifest.default_precision
    tasks = [task.name for task in manifest.tasks if task.name in args.tasks]
    everything: dict[str, dict[str, Scored]] = {}
    seconds: dict[str, float] = {}
    for precision in sorted(manifest.precisions, key=lambda p: p != default):
        target = open_target(args.bundle, precision=precision)
        started = perf_counter()
        everything[precision] = {
            task: run_task(target, task, args.data / FILES[task].format(args.split))
            for task in tasks
        }
        seconds[precision] = perf_counter() - started
    results: dict[str, Any] = {
        "split": args.split,
        "bundle": {
            "name": manifest.name,
            "created": manifest.created,
            "default_precision": default,
            "graphs": {p: asdict(manifest.files[f]) for p, f in manifest.precisions.items()},
        },
        "seconds": seconds,
        "reports": {
            precision: {task: report_of(scored) for task, scored in by_task.items()}
            for precision, by_task in everything.items()
        },
        "false_alarms": false_alarms(everything[default]),
    }
    if "category" in tasks:
        scored = validation = everything[default]["category"]
        if args.split != "validation":
            path = args.data / FILES["category"].format("validation")
            validation = run_task(open_target(args.bundle), "category", path)
        results["abstention"] = abstention(scored, validation)
    if {"int8", "fp32"} <= everything.keys():
        results["int8_minus_fp32"] = int8_loss(everything["int8"], everything["fp32"])
    return results


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--tasks", nargs="*", default=list(FILES), help="by default all four")
    args = parser.parse_args()
    record = Record("quality", (__doc__ or "").splitlines()[0], args, perf_counter())
    results = measure(args)
    record.write(results, quality_tables(results))


if __name__ == "__main__":
    main()
