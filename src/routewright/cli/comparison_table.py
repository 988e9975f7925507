"""Measured models side by side, one column each."""

from collections.abc import Callable

from rich.markup import escape
from rich.table import Table

from routewright.cli.report_tables import interval, number
from routewright.compare import Comparison, Difference, Measurement

_MB = 1e6


def comparison_table(comparison: Comparison) -> Table:
    """Quality first, what differs from the first model, then cost."""
    first = comparison.targets[0]
    machine = comparison.machine
    table = Table(
        "",
        *(escape(f"{m.name} {m.precision}\n{m.target}") for m in comparison.targets),
        title=f"{escape(comparison.task)}: {first.num_examples} texts, {machine['processor']}, "
        f"{machine['cores']} cores",
    )
    for metric in first.metrics:
        table.add_row(metric, *(_metric(m, metric) for m in comparison.targets))
    for name in first.metrics if comparison.differences else ():
        changes = (_change(difference, name) for difference in comparison.differences)
        table.add_row(f"{name}, difference", "", *changes)
    for name, value in _ROWS.items():
        table.add_row(name, *(value(m) for m in comparison.targets))
    return table


def _metric(measurement: Measurement, metric: str) -> str:
    estimate = measurement.metrics.get(metric)
    if estimate is None:
        return "-"
    return f"{number(estimate.value)}\n{interval(estimate)}"


def _change(difference: Difference, metric: str) -> str:
    estimate = difference.metrics.get(metric)
    if estimate is None or estimate.value is None:
        return "-"
    return f"{estimate.value:+.4f}\n{interval(estimate)}"


def _megabytes(num_bytes: int | None) -> str:
    return "-" if num_bytes is None else f"{num_bytes / _MB:,.0f}"


def _trained(measurement: Measurement) -> str:
    trained, of_all = measurement.num_trained_parameters, measurement.num_parameters
    if trained is None or not of_all:
        return "-"
    return f"{trained:,} ({100 * trained / of_all:.3g} %)"


_ROWS: dict[str, Callable[[Measurement], str]] = {
    "calibration error": lambda m: number(m.ece),
    "confidence right / wrong": lambda m: (
        f"{number(m.confidence_right)} / {number(m.confidence_wrong)}"
    ),
    "latency p50 / p95 (ms)": lambda m: f"{m.latency_p50_ms:.2f} / {m.latency_p95_ms:.2f}",
    "texts per second": lambda m: f"{m.texts_per_s:.0f}",
    "tokens per second": lambda m: f"{m.tokens_per_s:.0f}",
    "peak memory (MB)": lambda m: f"{m.peak_memory_bytes / _MB:.0f}",
    "size on disk (MB)": lambda m: f"{m.size_bytes / _MB:.1f}",
    "trained parameters": _trained,
    "training time (s)": lambda m: "-" if m.train_s is None else f"{m.train_s:,.0f}",
    "training peak memory (MB)": lambda m: _megabytes(m.train_peak_memory_bytes),
    "training peak GPU memory (MB)": lambda m: _megabytes(m.train_peak_gpu_memory_bytes),
    "deterministic": lambda m: "yes" if m.deterministic else "no",
}
