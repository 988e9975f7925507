"""The tables of `quality`: acceptance rows with verdicts, then the breakdowns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.default_bundle.records import MAIN, interval, markdown, number

from routewright.metrics import Estimate


@dataclass(frozen=True)
class Goal:
    """A row of the issue's acceptance table; None where it states none."""

    task: str
    metric: str
    floor: float | None
    aim: float | None
    less_is_better: bool = False

    def verdict(self, value: float | None) -> str:
        """What the value reaches: ``aim``, ``floor``, or ``missed``."""
        if value is None:
            return "undefined"
        sign = -1 if self.less_is_better else 1
        if self.aim is not None and sign * value >= sign * self.aim:
            return "aim"
        reached = self.floor is None or sign * value >= sign * self.floor
        return "floor" if reached and self.floor is not None else "**missed**"


GOALS = (
    Goal("category", "accuracy", 0.85, 0.90),
    Goal("pii", "span_f1", 0.85, 0.957),
    Goal("pii", "span_f2", None, 0.95),
    Goal("jailbreak", "roc_auc", 0.995, 0.999),
    Goal("jailbreak", "recall_at_fpr_1pct", 0.95, 0.98),
    Goal("intent", "macro_f1", 0.977, 0.985),
    Goal("category", "ece", 0.03, 0.015, less_is_better=True),
    Goal("jailbreak", "ece", 0.03, 0.015, less_is_better=True),
    Goal("intent", "ece", 0.03, 0.015, less_is_better=True),
)
ACCEPTED = Goal("category", "accuracy where it answers", None, 0.942)
SHARE = Goal("category", "share it answers", None, 0.80)
LOST_POINTS = (0.5, 0.2)
"""Points of the main metric that int8 may lose: floor, aim."""
ALSO_SHOWN: Mapping[str, tuple[str, ...]] = {
    "category": ("macro_f1", "weighted_f1", "macro_precision"),
    "pii": ("span_precision", "span_recall", "partial_f1", "token_f1"),
    "jailbreak": ("recall_at_threshold", "fpr_at_threshold", "accuracy", "pr_auc"),
    "intent": ("accuracy", "weighted_f1"),
}
BY_LENGTH: Mapping[str, tuple[str, ...]] = {
    "category": ("accuracy",),
    "pii": ("span_f1",),
    "jailbreak": ("roc_auc", "recall_at_threshold", "fpr_at_threshold"),
    "intent": ("macro_f1", "accuracy"),
}


def quality_tables(results: Mapping[str, Any]) -> str:
    """All tables, as Markdown."""
    parts = [
        f"Split: {results['split']}; bundle {results['bundle']['name']}, "
        f"{results['bundle']['default_precision']}.\n",
        "Acceptance:\n",
        _acceptance(results),
        "Other metrics:\n",
        _others(results),
    ]
    parts += ["Each precision, with the expected calibration error before and after the "
              "calibration:\n", precision_table(results)]  # fmt: skip
    parts += ["By length in characters (quartiles of the rows):\n", _lengths(results)]
    if results["false_alarms"]:
        parts += ["What the jailbreak head flags at its threshold:\n", _false_alarms(results)]
    return "\n".join(parts)


def _acceptance(results: Mapping[str, Any]) -> str:
    reports = results["reports"][results["bundle"]["default_precision"]]
    rows = [
        _goal_row(goal, reports[goal.task]["metrics"][goal.metric])
        for goal in GOALS
        if goal.task in reports
    ]
    if "abstention" in results:
        fitted = results["abstention"]["fitted"]
        rows.append(_goal_row(ACCEPTED, fitted["accuracy"]))
        rows.append(_goal_row(SHARE, fitted["share"]))
    rows += loss_rows(results)
    head = ("task", "metric", "value (95 % interval)", "floor", "aim", "reached")
    return markdown(head, rows, left=2)


def loss_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """What int8 loses, a row a task; none where the bundle has one precision."""
    rows = []
    for task, loss in results.get("int8_minus_fp32", {}).items():
        points = Estimate(*(None if v is None else 100 * v for v in _ends(loss)))
        floor, aim = LOST_POINTS
        goal = Goal(task, f"{MAIN[task]}, int8 - fp32, points", -floor, -aim)
        rows.append(_goal_row(goal, points, digits=2))
    return rows


def _ends(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.low, found.high


def _goal_row(goal: Goal, found: Estimate, digits: int = 4) -> list[str]:
    bounds = [
        number(bound, 3) if bound is not None else "-" for bound in (goal.floor, goal.aim)
    ]
    verdict = goal.verdict(found.value)
    return [goal.task, goal.metric, interval(found, digits), *bounds, verdict]


def _others(results: Mapping[str, Any]) -> str:
    reports = results["reports"][results["bundle"]["default_precision"]]
    rows = []
    for task, report in reports.items():
        rows += [[task, m, interval(report["metrics"].get(m))] for m in ALSO_SHOWN[task]]
        if report["without_rules"] is not None:
            for metric in ("span_f1", "span_f2"):
                found = interval(report["without_rules"][metric])
                rows.append([task, f"{metric} without the second look", found])
    if "category" in reports:
        classes = reports["category"]["per_class"]
        name = min(classes, key=lambda n: classes[n]["precision"] or 0.0)
        lowest = f"{number(classes[name]['precision'])} ({name})"
        rows.append(["category", "lowest precision of a class", lowest])
    if "abstention" in results:
        for share, accuracy in results["abstention"]["surest"].items():
            name = f"accuracy on the surest {float(share):.0%}"
            rows.append(["category", name, number(accuracy)])
        if "bundle" in results["abstention"]:
            own = results["abstention"]["bundle"]
            rows.append(["category", "accuracy at the bundle's threshold",
                         interval(own["accuracy"])])  # fmt: skip
            rows.append(["category", "share at the bundle's threshold", interval(own["share"])])
    return markdown(("task", "metric", "value (95 % interval)"), rows, left=2)


def precision_table(results: Mapping[str, Any]) -> str:
    """Quality and calibration error, before and after, of each task and precision."""
    rows = []
    for precision, reports in results["reports"].items():
        for task, report in reports.items():
            calibration = report["calibration"]
            rows.append(
                [
                    task,
                    precision,
                    f"{MAIN[task]} {interval(report['metrics'][MAIN[task]])}",
                    number(calibration.ece_before),
                    number(calibration.ece_after),
                    number(calibration.confidence_right, 3),
                    number(calibration.confidence_wrong, 3),
                ]
            )
    head = ("task", "precision", "main metric", "ECE before", "ECE after", "confidence, right",
            "confidence, wrong")  # fmt: skip
    return markdown(head, sorted(rows), left=3)


def _lengths(results: Mapping[str, Any]) -> str:
    reports = results["reports"][results["bundle"]["default_precision"]]
    rows = []
    for task, report in reports.items():
        for metric in BY_LENGTH[task]:
            cells = [
                f"{interval(quarter['metrics'].get(metric), 3)} at "
                f"{quarter['chars'][0]}-{quarter['chars'][1]}"
                for quarter in report["by_quartile"]
            ]
            rows.append([task, metric, *cells, *[""] * (4 - len(cells))])
    head = ("task", "metric", "shortest quarter", "second", "third", "longest quarter")
    return markdown(head, rows, left=2)


def _false_alarms(results: Mapping[str, Any]) -> str:
    rows = [
        [name, str(group["flagged"]), str(group["of"]), number(group["share"]),
         number(group["upper_bound"])]
        for name, group in results["false_alarms"].items()
    ]  # fmt: skip
    return markdown(("texts", "flagged", "of", "share", "95 % upper bound"), rows)
