"""``routewright train``: a recipe to a run with its bundle."""

import logging
import os
import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routewright.errors import ConfigError, MissingExtraError


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe (YAML); not needed with --resume.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the recipe."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; by default runs/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run folder to go on with after an interruption.")
    ] = None,
) -> None:
    """Train, evaluate on the test split, calibrate and export as a recipe says."""
    try:
        from routewright.pipeline import resume_recipe, start_recipe
    except ImportError as exc:
        raise MissingExtraError(exc.name or "torch", "train") from exc
    quiet_libraries()
    console = Console(quiet=os.environ.get("RANK", "0") != "0")
    show_log(console)
    if resume is not None:
        if out is not None or overrides:
            raise ConfigError("--resume goes on as the run began: leave out --set and --out")
        resume_recipe(resume, recipe, console=console)
        return
    if recipe is None:
        raise ConfigError("give a recipe (YAML file), or a run to continue with --resume")
    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("give --out: several processes must agree on the run folder")
    stamp = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder = out or Path("runs") / f"{recipe.stem}-{stamp}"
    start_recipe(recipe, overrides or [], folder, console=console)


def show_log(console: Console) -> None:
    """Print what our modules log: without a terminal, the only sign of life between scores."""
    logger = logging.getLogger("routewright")
    logger.handlers = [_ConsoleLog(console)]
    logger.propagate = False
    logger.setLevel(logging.INFO)


class _ConsoleLog(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def quiet_libraries() -> None:
    """Their notes are about their own defaults, which are not the user's choice."""
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate|peft|onnx).*")
    for name in ("transformers", "accelerate", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
