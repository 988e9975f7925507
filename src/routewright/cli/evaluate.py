"""``routewright evaluate``: one task of a run or a bundle on a labelled file."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from routewright.cli.bundle_names import bundle_named
from routewright.cli.threads_option import ThreadsOption
from routewright.config import refuse_folder, write_text
from routewright.errors import ConfigError

if TYPE_CHECKING:
    from routewright.data.config import DataSpec
    from routewright.evaluate import Gate, Report, Target, View


class Switch(StrEnum):
    """On or off, where leaving it out means something else."""

    ON = "on"
    OFF = "off"


Listed = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Compare only these entity types, true and predicted."),
]
CoarseOption = Annotated[bool, typer.Option("--coarse", help="Compare coarse labels.")]
LabelMapOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OLD=NEW", help="Rename a label of the data; empty NEW drops it."),
]


def evaluate(
    target: Annotated[
        Path,
        typer.Argument(
            parser=bundle_named,
            metavar="RUN_OR_BUNDLE",
            help="What to evaluate; default is the bundle of the package.",
        ),
    ],
    task: Annotated[str, typer.Option(help="One of the model's tasks.")],
    data: Annotated[Path, typer.Option(help="Labelled rows: JSONL, CSV (.gz) or Parquet.")],
    only_types: Listed = None,
    coarse: CoarseOption = False,
    label_map: LabelMapOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A stratified sample of so many rows.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="int8 or fp32; by default the bundle's own.")
    ] = None,
    second_look: Annotated[
        Switch | None,
        typer.Option(help="Check entities by rules; by default as the bundle says."),
    ] = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC>=VALUE", help="Exit with 3 unless it holds; or <=."),
    ] = None,
) -> None:
    """Score one task on labelled data, with intervals; print a table or JSON."""
    from routewright.cli.report_tables import print_report
    from routewright.evaluate import check_gates, open_target, parse_gate, view_of

    if out is not None:
        refuse_folder(out)
    gates = [parse_gate(text) for text in gate or []]
    types = split_names(only_types)
    spec = data_spec(data, label_map, limit)
    opened = open_target(
        target,
        precision=precision,
        num_threads=threads,
        second_look=None if second_look is None else second_look is Switch.ON,
    )
    view = view_of(opened.classifier, task, only_types=types, coarse=coarse)
    _refuse_unknown_metrics(gates, opened, view)
    report = _with_progress(opened, view, spec)
    plain = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
    if as_json:
        typer.echo(plain)
    else:
        print_report(report, Console())
    if out is not None:  # last: a file that cannot be written must not cost the report
        write_text(out, plain + "\n")
    check_gates(report, gates)


def data_spec(data: Path, label_map: list[str] | None, limit: int | None) -> "DataSpec":
    """The data set that the options describe.

    Raises:
        ConfigError: a label map without ``=``.
    """
    from routewright.data.config import DataSpec

    names: dict[str, str | None] = {}
    for entry in label_map or []:
        old, equals, new = entry.partition("=")
        if not equals or not old.strip():
            raise ConfigError(f"--label-map {entry}: expected OLD=NEW, for example PER=PERSON")
        names[old.strip()] = new.strip() or None
    return DataSpec(path=str(data), label_map=names or None, limit=limit)


def split_names(text: str | None) -> list[str] | None:
    """Names in a list separated by commas; None stays None.

    Raises:
        ConfigError: no name in it.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("--only-types: expected one or more types, for example PERSON,EMAIL")
    return names


def _refuse_unknown_metrics(gates: "list[Gate]", target: "Target", view: "View") -> None:
    """Before the work that a gate on them would waste."""
    from routewright.evaluate import check_metrics, metric_names

    check_metrics(gates, view.task.name, metric_names(target.classifier, view))


def _with_progress(target: "Target", view: "View", spec: "DataSpec") -> "Report":
    """Evaluate, with a bar on standard error when somebody is looking."""
    from rich.progress import Progress

    from routewright.evaluate import evaluate_file

    shown = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        line = bar.add_task(view.task.name, total=None)
        return evaluate_file(
            target, view, spec, progress=lambda count: bar.advance(line, count)
        )
