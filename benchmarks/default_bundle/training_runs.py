"""Runs that a comparison needs: trained unless they are there, and what they recorded.

Knows recipes and run folders; knows nothing of what is compared.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from routewright.cli.train import quiet_libraries, show_log
from routewright.config import write_text
from routewright.pipeline import resume_recipe, start_recipe
from routewright.train.recipe import parse_recipe
from routewright.train.run import Run


@dataclass(frozen=True)
class Variant:
    """A way of training, and the name of its run folder."""

    name: str
    recipe: Mapping[str, Any]
    """Plain values, as `parse_recipe` reads them."""

    def folder(self, runs: Path) -> Path:
        """Of the run, below `runs`."""
        return runs / self.name


def add_run_options(parser: argparse.ArgumentParser, runs: str) -> None:
    """The options of every script that trains."""
    parser.add_argument("--runs", type=Path, default=Path(runs), help="where run folders are")
    parser.add_argument("--train", action="store_true", help="train or resume what is missing")
    parser.add_argument(
        "--max-steps", type=int, help="stop every training there: a trial, not a result"
    )


def cut_to_task(recipe: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The recipe with one of its tasks, and what it says of that one."""
    ngrams = recipe["model"].get("ngrams")
    if ngrams is not None:
        ngrams = {**ngrams, "tasks": [task]} if task in ngrams["tasks"] else None
    targets = [t for t in recipe["calibration"]["targets"] if t.startswith(f"{task}.")]
    return {
        **recipe,
        "model": {**recipe["model"], "ngrams": ngrams},
        "tasks": {task: recipe["tasks"][task]},
        "calibration": {**recipe["calibration"], "targets": targets},
    }


def tried(recipe: Mapping[str, Any], max_steps: int | None) -> dict[str, Any]:
    """The recipe, or one that ends after `max_steps` steps."""
    if max_steps is None:
        return dict(recipe)
    return {**recipe, "train": {**recipe["train"], "max_steps": max_steps}}


def finished_run(variant: Variant, runs: Path, *, train: bool) -> Path | None:
    """The complete run of a variant below `runs`; trained or resumed if `train`, else None.

    Training has a process of its own, whose peak memory is that of the run. The test rows of
    the recipe are only read to keep their copies out of the training data.

    Raises:
        SystemExit: the folder holds a run of another recipe.
    """
    folder = variant.folder(runs)
    recipe = parse_recipe(variant.recipe, source=variant.name)
    if (folder / "recipe.yaml").is_file():
        run = Run.open(folder)
        if run.recipe() != recipe:
            raise SystemExit(
                f"{folder}: was trained with other settings; choose another --runs"
            )
        if run.recorded().get("status") == "complete":
            return folder
    if not train:
        return None
    path = runs / f"{variant.name}.yaml"
    write_text(path, yaml.safe_dump(dict(variant.recipe), sort_keys=False))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_train, path, folder).result()
    return folder


def _train(recipe: Path, folder: Path) -> None:
    quiet_libraries()
    console = Console()
    show_log(console)
    if (folder / "recipe.yaml").is_file():
        resume_recipe(folder, None, console=console, score_test=False)
    else:
        start_recipe(recipe, [], folder, console=console, score_test=False)


def recorded(run: Path) -> dict[str, Any]:
    """What ``run.json`` says of a run, whatever state it is in; absent keys are None.

    ``epochs`` is what was trained, a run stopped early included; of an average all runs' sum.
    """
    content: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = (
        "train_s", "num_steps", "num_parameters", "num_trainable_parameters", "num_rows",
        "num_examples", "num_train_tokens", "peak_memory_bytes", "model_bytes", "precision",
        "machine", "arguments", "status",
    )  # fmt: skip
    done = [entry["epoch"] for entry in content.get("history") or [] if "epoch" in entry]
    epochs = content.get("num_epochs", max(done, default=None))
    return {**{key: content.get(key) for key in kept}, "epochs": epochs}


def missing_line(variants: Sequence[Variant]) -> str:
    """What to say about runs that are not there."""
    if not variants:
        return ""
    names = ", ".join(variant.name for variant in variants)
    return f"Not trained yet (add `--train`): {names}.\n"


def minutes(seconds: float | None) -> str:
    """In minutes."""
    return "-" if seconds is None else f"{seconds / 60:.1f} min"
