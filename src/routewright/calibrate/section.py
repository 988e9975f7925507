"""The calibration part of a model card, which a new calibration replaces."""

from collections.abc import Mapping

from routewright.bundle import Calibrations
from routewright.calibration import OperatingPoint, TaskCalibration

_START = "<!-- calibration: rewritten by `routewright calibrate` -->"
_END = "<!-- end of calibration -->"


def calibration_section(calibrations: Calibrations) -> str:
    """Curves and operating points as Markdown, between the markers of this part."""
    return f"""{_START}
A threshold was chosen on the very validation rows that its bound counts, so the bound is a
little optimistic; the test split has the last word.

{_table(calibrations)}
{_END}"""


def with_calibration(card: str, calibrations: Calibrations) -> str:
    """`card` with its calibration section replaced; a card without one stays as it is."""
    before, start, rest = card.partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        return card
    return before + calibration_section(calibrations) + after


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
