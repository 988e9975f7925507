"""``routewright tune``: hyper-parameters of a recipe, found by trying."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routewright.cli.extras import from_extra
from routewright.cli.train import quiet_libraries, show_log

if TYPE_CHECKING:
    from routewright.tune import Search

_SHOWN = 10


def tune(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    out: Annotated[
        Path, typer.Option(help="Folder of the search; an interrupted one goes on.")
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW..HIGH|A,B,C",
            help="What to vary; by default learning rate, epochs and weight decay.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the recipe."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Runs in all.")] = 20,
    timeout_s: Annotated[
        float | None, typer.Option(min=0, help="Begin no run after so many seconds.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the values that are tried.")] = 0,
) -> None:
    """Train a recipe with different settings, and keep those that score best on validation.

    The test split is not read for the choice. Train the best with `routewright train`.
    """
    with from_extra("tune"):
        from routewright.tune import SearchPlan, search
    quiet_libraries()
    console = Console()
    show_log(console)
    plan = SearchPlan(
        recipe=recipe,
        folder=out,
        overrides=overrides or (),
        ranges=vary or (),
        num_trials=trials,
        timeout_s=timeout_s,
        seed=seed,
    )
    _show(search(plan, console=console), console)


def _show(found: "Search", console: Console) -> None:
    best = found.best
    if best is None:
        console.print("no trial was trained to its end; give more time or trials")
        return
    keys = list(best.values)
    names = [key.removeprefix("train.") for key in keys]
    table = Table("trial", "mean F1", "", *map(escape, names), "seconds")
    for trial in found.trials[:_SHOWN]:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        values = [_number(trial.values.get(key)) for key in keys]
        table.add_row(trial.name, score, trial.state, *values, f"{trial.duration_s:.0f}")
    console.print(table)
    total_s = sum(trial.duration_s for trial in found.trials)
    lines = (
        f"{len(found.trials)} trials in {total_s:.0f} s",
        f"train the best with: routewright train {found.best_recipe} --out RUN",
    )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value))
