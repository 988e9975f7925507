"""The calibration part of a model card, which a new calibration replaces."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from routewright.bundle import Calibrations
from routewright.calibration import OperatingPoint, TaskCalibration

_START = "<!-- calibration: rewritten by `routewright calibrate` -->"
_END = "<!-- end of calibration -->"


def calibration_section(
    calibrations: Calibrations, reports: Iterable[Mapping[str, Any]] = ()
) -> str:
    """Curves and operating points as Markdown, between the markers of this part.

    Args:
        calibrations: by precision and task.
        reports: evaluation reports that the card shows; what another calibration gave is
            named.
    """
    return f"""{_START}
A threshold was chosen on the very validation rows that its bound counts, so the bound is a
little optimistic; the test split has the last word.
{_earlier(calibrations, reports)}
{_table(calibrations)}
{_END}"""


def with_calibration(
    card: str, calibrations: Calibrations, reports: Iterable[Mapping[str, Any]] = ()
) -> str:
    """`card` with its calibration section replaced; a card without one stays as it is."""
    before, start, rest = card.partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        return card
    return before + calibration_section(calibrations, reports) + after


def read_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Evaluation reports in a folder by file name; files that are none are left out."""
    reports = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(content, dict) and {"task", "metrics", "num_examples"} <= set(content):
            reports[path.name] = content
    return reports


def _earlier(calibrations: Calibrations, reports: Iterable[Mapping[str, Any]]) -> str:
    """A paragraph on results that do not hold for `calibrations`; empty where all do."""
    tasks = dict.fromkeys(r["task"] for r in reports if _is_of_another(r, calibrations))
    if not tasks:
        return ""
    return f"""
Test results of {", ".join(tasks)} in this card and in `reports/` are of an earlier calibration;
`routewright evaluate` gives those of this one.
"""


def _is_of_another(report: Mapping[str, Any], calibrations: Calibrations) -> bool:
    """Whether the report states another temperature or threshold than the bundle has."""
    precision = (report.get("model") or {}).get("precision") or ""
    present = calibrations.get(precision, {}).get(report["task"])
    stated = report.get("calibration")
    if present is None or stated is None:
        return False
    return (stated.get("temperature"), stated.get("threshold")) != (
        present.temperature,
        present.threshold,
    )


def _table(calibrations: Mapping[str, Mapping[str, TaskCalibration]]) -> str:
    """Markdown table of curves and operating points, one row a precision and task."""
    lines = [
        "| precision | task | temperature | beta curve a, b, c | threshold | target | "
        "reached (95 % bound) | on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for precision, by_task in calibrations.items():
        for name, calibration in by_task.items():
            threshold = calibration.threshold
            shown = "highest probability" if threshold is None else f"{threshold:.4g}"
            curve = calibration.beta
            beta = "" if curve is None else f"{curve.a:.2f}, {curve.b:.2f}, {curve.c:.2f}"
            point = calibration.operating_point
            cells = ("none", "", "") if point is None else _point_cells(point)
            lines.append(
                f"| {precision} | {name} | {calibration.temperature:.3f} | {beta} | {shown} | "
                f"{cells[0]} | {cells[1]} | {cells[2]} |"
            )
    return "\n".join(lines)


def _point_cells(point: OperatingPoint) -> tuple[str, str, str]:
    sign = "<=" if point.metric == "fpr" else ">="
    missed = "" if point.met else ", **goal not reachable**"
    return (
        f"{point.metric} {sign} {point.goal:g}",
        f"{point.achieved:.4f} ({sign} {point.bound:.4f}){missed}",
        f"{point.num_examples} examples, coverage {point.coverage:.3f}",
    )
