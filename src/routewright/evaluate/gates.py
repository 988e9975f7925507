"""Quality gates: conditions on a report that a build can fail on."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from routewright.errors import ConfigError, GateError
from routewright.evaluate.report import Report

_OPERATORS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Gate:
    """A metric that must be at least, or at most, a value."""

    metric: str
    comparison: str
    """``>=`` or ``<=``."""
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.bound:g}"


def parse_gate(text: str) -> Gate:
    """Read ``METRIC>=VALUE`` or ``METRIC<=VALUE``.

    Raises:
        ConfigError: another form, or the value is not a number.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*", text)
    if match is None:
        raise ConfigError(f"--gate {text}: expected METRIC>=VALUE, for example accuracy>=0.81")
    try:
        bound = float(match[3])
    except ValueError as exc:
        raise ConfigError(f"--gate {text}: {match[3]!r} is not a number") from exc
    if math.isnan(bound):
        raise ConfigError(f"--gate {text}: nothing compares with nan")
    return Gate(match[1], match[2], bound)


def check_metrics(gates: Sequence[Gate], task: str, known: Iterable[str]) -> None:
    """Refuse a gate on a metric that `task` does not have; needs no report, so before the work.

    Raises:
        ConfigError: names the metrics that there are.
    """
    known = list(known)
    for gate in gates:
        if gate.metric not in known:
            raise ConfigError(f"--gate {gate}: no such metric; {task} has: {', '.join(known)}")


def check_gates(report: Report, gates: Sequence[Gate]) -> None:
    """Refuse a report that fails a gate; a metric that is undefined on the data fails too.

    Raises:
        ConfigError: no such metric in the report.
        GateError: names every gate that failed, with the value.
    """
    check_metrics(gates, report.task, report.metrics)
    failed = []
    for gate in gates:
        value = report.metrics[gate.metric].value
        if value is None:
            failed.append(f"{gate} (undefined on this data)")
        elif not _OPERATORS[gate.comparison](value, gate.bound):
            failed.append(f"{gate} (is {value:.4f})")
    if failed:
        raise GateError(f"{report.task}: gate failed: {'; '.join(failed)}")
