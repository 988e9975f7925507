"""``routewright reproduce``: the bundle of the package, trained again and compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routewright.cli.train import quiet_libraries, show_log
from routewright.errors import MissingExtraError

if TYPE_CHECKING:
    from routewright.reproduce import Reproduction

_POINTS = 100


def reproduce(
    name: Annotated[str, typer.Argument(help="The bundle to reproduce: default.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of the recipe; not needed to go on with a run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, by default runs/reproduce-NAME; an interrupted run goes on."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="By default the recipe's.")] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Compare on the test splits, not on validation rows.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            help="Points that a metric may be worse; by default half the width of the shipped "
            "bundle's 95 % interval, at least 1.",
        ),
    ] = None,
) -> None:
    """Train a bundle of the package from its recipe and compare it with the one that ships."""
    try:
        from routewright.reproduce import ReproductionPlan
        from routewright.reproduce import reproduce as train_and_compare
    except ImportError as exc:
        raise MissingExtraError(exc.name or "torch", "train") from exc
    quiet_libraries()
    console = Console()
    show_log(console)
    plan = ReproductionPlan(
        name=name,
        folder=out or Path("runs") / f"reproduce-{name}",
        data=data,
        seed=seed,
        part="test" if test else "validation",
        tolerance=None if tolerance is None else tolerance / _POINTS,
    )
    result = train_and_compare(plan, console=console)
    console.print(_table(result))
    result.check()


def _table(result: "Reproduction") -> Table:
    from routewright.cli.report_tables import interval, number

    table = Table(
        "task", "metric", "shipped", "reproduced", "difference", "tolerance", "",
        title=f"{escape(result.name)}, {result.part} rows",
    )  # fmt: skip
    for row in result.metrics:
        table.add_row(
            f"{escape(row.task)}\n{row.num_examples} rows",
            row.metric,
            f"{number(row.shipped.value)}\n{interval(row.shipped)}",
            f"{number(row.reproduced.value)}\n{interval(row.reproduced)}",
            "-" if row.difference is None else f"{row.difference:+.4f}",
            f"{row.tolerance:.4f}",
            "" if row.passes else "[red]worse[/red]",
        )
    return table
