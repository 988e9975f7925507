"""``routewright calibrate``: probabilities and thresholds fitted to your own labelled texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from routewright.cli.bundle_names import bundle_named
from routewright.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from routewright.calibration import TaskCalibration


def calibrate(
    bundle: Annotated[
        Path,
        typer.Argument(parser=bundle_named, metavar="BUNDLE", help="The bundle to refit."),
    ],
    task: Annotated[str, typer.Option(help="One of its tasks.")],
    data: Annotated[
        Path,
        typer.Option(help="Labelled rows, not those of training: JSONL, CSV (.gz), Parquet."),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TASK.METRIC=GOAL",
            help="Operating point, as jailbreak.fpr=0.01, pii.recall=0.98 or "
            "category.precision=0.95; without it the bundle's goal for the task stays.",
        ),
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a label of the data; empty NEW drops it."),
    ] = None,
) -> None:
    """Refit one task of a bundle to your own labelled texts and write it back."""
    from routewright.bundle import Bundle
    from routewright.calibrate import FEW_ROWS, few_rows, recalibrate
    from routewright.calibration import parse_target
    from routewright.cli.evaluate import data_spec
    from routewright.data.readers import read_examples

    goal = parse_target(target) if target else None
    if goal is not None and goal.task != task:
        raise ConfigError(f"--target {target}: is for {goal.task}, --task says {task}")
    opened = Bundle.open(bundle)
    if task not in opened.tasks:
        raise TaskError(f"{bundle}: has no task {task!r}; it has: {', '.join(opened.tasks)}")
    chosen = opened.tasks[task]
    spec = data_spec(data, label_map, None)
    examples = read_examples(spec, chosen.kind, root=Path(), labels=chosen.label_set)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        total = len(examples) * len(opened.manifest.precisions)
        work = bar.add_task("classifying", total=total)
        fitted = recalibrate(
            bundle, task, examples, goal, progress=lambda n: bar.advance(work, n)
        )
    if (few := few_rows(chosen, examples)) is not None:
        warning = (
            f"warning: {task}: fitted on {few}; with fewer than {FEW_ROWS} these values may "
            "not hold for other texts, calibrate again with more"
        )
        console.print(Text(warning, style="yellow"), soft_wrap=True)
    Console().print(_table(task, len(examples), fitted))


def _table(task: str, num_examples: int, fitted: "dict[str, TaskCalibration]") -> Table:
    table = Table(
        "precision", "temperature", "threshold", "target", "reached", "95 % bound",
        title=f"{task}, {num_examples} rows",
    )  # fmt: skip
    for precision, calibration in fitted.items():
        point = calibration.operating_point
        threshold = calibration.threshold
        row = ["", "", ""]
        if point is not None:
            sign = "<=" if point.metric == "fpr" else ">="
            missed = "" if point.met else " (goal not reachable)"
            row = [
                f"{point.metric} {sign} {point.goal:g}",
                f"{point.achieved:.4f}{missed}",
                f"{sign} {point.bound:.4f}",
            ]
        shown = "highest probability" if threshold is None else f"{threshold:.4g}"
        table.add_row(precision, f"{calibration.temperature:.3f}", shown, *row)
    return table
