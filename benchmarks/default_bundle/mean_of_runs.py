"""One run whose model is the mean of several trained runs, with n-grams fitted and exported.

    python -m benchmarks.default_bundle.mean_of_runs --recipe recipes/default.yaml
        --out runs/mean RUN RUN [RUN ...]

For runs that no single recipe trains, as their rows differ; they must have the labels of the
recipe and the same untrained heads (`seed`). N-grams, calibration and the choice of int8 are of
the recipe's rows. The test split is not read.
"""

import argparse
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml
from rich.console import Console

from routewright.cli.train import quiet_libraries
from routewright.config import to_plain, write_text
from routewright.pipeline import resume_recipe
from routewright.train.recipe import AveragedRun, averaged_recipes, load_recipe
from routewright.train.run import Run


def prepare(recipe_path: Path, out: Path, sources: Sequence[Path]) -> None:
    """A run folder as `routewright train` leaves it once all runs to average are trained.

    Raises:
        RoutewrightError: a wrong recipe, a source that is no run, or `out` exists.
        OSError: a source has no model.
    """
    recipe = load_recipe(recipe_path)
    recipe = replace(recipe, average=tuple(AveragedRun() for _ in sources))
    run = Run.create(out, recipe)
    for number, (source, member) in enumerate(
        zip(sources, averaged_recipes(recipe, source=str(recipe_path)), strict=True), start=1
    ):
        folder = run.averaged / str(number)
        folder.mkdir(parents=True)
        write_text(folder / "recipe.yaml", yaml.safe_dump(to_plain(member), sort_keys=False))
        shutil.copytree(source / "model", folder / "model")
        # Of a run that went on to its export nothing but the training counts here.
        recorded = {**Run.open(source).recorded(), "status": "trained"}
        write_text(folder / "run.json", json.dumps(recorded, indent=2) + "\n")
    run.record(
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "routewright_version": version("routewright"),
            "machine": platform.platform(),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    args = parser.parse_args()
    quiet_libraries()
    prepare(args.recipe, args.out, args.runs)
    resume_recipe(args.out, None, console=Console(), score_test=False)


if __name__ == "__main__":
    main()
