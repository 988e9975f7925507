"""Evaluation reports as tables for people."""

from collections.abc import Iterator, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routewright.evaluate import Report
from routewright.metrics import ConfusionMatrix, Estimate

_NUM_CONFUSIONS = 8
_COLUMNS = ("precision", "recall", "f1", "f2", "partial_f1", "token_f1", "roc_auc", "support")


def print_report(report: Report, console: Console) -> None:
    """Headline metrics, classes, lengths, sources, confusions and calibration."""
    model = report.model
    checked = ", second look" if model.second_look else ""
    console.print(
        f"[bold]{escape(report.task)}[/bold]: {report.num_examples} texts of "
        f"{escape(report.data)}, {escape(model.name)} {model.precision}{checked} "
        f"({report.duration_s:.1f} s)"
    )
    console.print(_metrics_table(report.metrics))
    console.print(_rows_table("Per class", "label", report.per_class, _COLUMNS))
    if confused := list(top_confusions(report.confusion_matrix)):
        table = Table("true", "predicted", "count", title="Most confused")
        for true, predicted, count in confused:
            table.add_row(escape(true), escape(predicted), str(count))
        console.print(table)
    for title, first, rows in (
        ("By length", "tokens", report.by_length),
        ("By source", "source", report.by_source),
    ):
        if rows:
            console.print(_rows_table(title, first, rows))
    console.print(_calibration_line(report))


def number(value: float | None, *, decimals: int = 4) -> str:
    """A dash for what is undefined; counts as they are."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{decimals}f}"


def interval(estimate: Estimate) -> str:
    """Both ends, or nothing where there are none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


def top_confusions(matrix: ConfusionMatrix) -> Iterator[tuple[str, str, int]]:
    """The most frequent (true, predicted, count) off the diagonal, most frequent first."""
    pairs = [
        (count, true, predicted)
        for true, row in zip(matrix.labels, matrix.counts, strict=True)
        for predicted, count in zip(matrix.labels, row, strict=True)
        if count and true != predicted
    ]
    for count, true, predicted in sorted(pairs, key=lambda pair: -pair[0])[:_NUM_CONFUSIONS]:
        yield true, predicted, count


def _metrics_table(metrics: Mapping[str, Estimate]) -> Table:
    table = Table("metric", "value", "95 % interval")
    for name, estimate in metrics.items():
        table.add_row(name, number(estimate.value), interval(estimate))
    return table


def _rows_table(
    title: str,
    first: str,
    rows: Mapping[str, Mapping[str, float | int | None]],
    columns: tuple[str, ...] | None = None,
) -> Table:
    present = next(iter(rows.values()), {})
    names = [n for n in columns or present if n in present]
    # Eight columns must fit in 80 characters.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in names:
        words = name.replace("num_examples", "texts").split("_")
        table.add_column(" ".join(words), max_width=max(6, *map(len, words)))
    for label, row in rows.items():
        table.add_row(escape(label), *(number(row[n], decimals=3) for n in names))
    return table


def _calibration_line(report: Report) -> str:
    record = report.calibration
    parts = [
        f"temperature {record.temperature:.3f}",
        f"threshold {number(record.threshold)}",
        f"calibration error {number(record.ece_before)} before it, "
        f"{number(record.ece_after)} after",
        f"confidence {number(record.confidence_right)} when right, "
        f"{number(record.confidence_wrong)} when wrong",
    ]
    if record.abstained_share is not None:
        parts.append(
            f"abstains on {record.abstained_share:.1%}, "
            f"accuracy of the rest {number(record.accepted_accuracy)}"
        )
    if record.flagged_share is not None:
        parts.append(f"flags {record.flagged_share:.1%}")
    return "; ".join(parts)
