"""From a recipe to a proved bundle: train, export, evaluate on the test split, record.

recipe -> RUN/model -> RUN/bundle (calibrated on validation) -> RUN/reports/<task>.test.json
"""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from routewright.calibrate import check_rows, check_target
from routewright.calibration import parse_target
from routewright.config import to_plain, write_text
from routewright.data.examples import SequenceExample
from routewright.errors import ConfigError, DataError, RunError
from routewright.evaluate import Report, evaluate, open_target, with_origin
from routewright.export.bundle_export import attach_reports, export_bundle
from routewright.train.model_average import train_recipe
from routewright.train.recipe import Recipe, load_recipe
from routewright.train.run import Run
from routewright.train.task_data import TaskData, load_task_data
from routewright.train.trainer import is_main_process, main_process_first


def start_recipe(
    recipe_path: Path,
    overrides: Sequence[str],
    folder: Path,
    *,
    console: Console,
    score_test: bool = True,
) -> Run:
    """Run a recipe from the beginning into a new run folder.

    Args:
        recipe_path: the recipe.
        overrides: ``KEY=VALUE``, as for `load_recipe`.
        folder: absent or empty.
        console: for progress and results.
        score_test: whether to score the test split; without it that split is only read to keep
            its texts out of training.

    Raises:
        RoutewrightError: anything wrong with the recipe, its data, or what came out of it.
    """
    recipe = load_recipe(recipe_path, list(overrides))
    with main_process_first():
        run = Run(folder)
        if is_main_process():
            run = Run.create(folder, recipe)
            run.record(
                {
                    "started": datetime.now(UTC).isoformat(timespec="seconds"),
                    "routewright_version": version("routewright"),
                    "machine": platform.platform(),
                }
            )
    try:
        _finish(recipe, run, resume=False, console=console, score_test=score_test)
    except Exception:  # an interrupted run can be resumed, one that failed to start cannot
        if is_main_process():
            run.discard_unstarted()
        raise
    return run


def resume_recipe(
    folder: Path, recipe_path: Path | None, *, console: Console, score_test: bool = True
) -> Run:
    """Go on with a run from its last checkpoint, or from the step after training.

    `score_test` is as for `start_recipe`.

    Raises:
        RunError: not a run, or one that is complete.
        ConfigError: `recipe_path` is given and differs from the recipe of the run.
    """
    run = Run.open(folder)
    recipe = run.recipe()
    if recipe_path is not None:
        given, ran = to_plain(load_recipe(recipe_path)), to_plain(recipe)
        changed = sorted(key for key in ran if given[key] != ran[key])
        if changed:
            raise ConfigError(
                f"{recipe_path}: differs from the recipe of {folder} in {', '.join(changed)}; "
                "resume without naming a recipe, or start a new run"
            )
    if run.recorded().get("status") == "complete":
        raise RunError(f"{folder}: is complete; nothing is left to resume")
    _finish(recipe, run, resume=True, console=console, score_test=score_test)
    return run


def _check_rows(recipe: Recipe, data: Mapping[str, TaskData]) -> None:
    """Refuse now what would fail when all is trained.

    Raises:
        ConfigError: a target means nothing for its task.
        DataError: rows lack what a target or n-grams need.
    """
    for goal in map(parse_target, recipe.calibration.targets):
        of_task = data[goal.task]
        check_target(goal, of_task.task)
        check_rows(goal, of_task.task, of_task.validation)
    ngrams = recipe.model.ngrams.tasks if recipe.model.ngrams else ()
    for name in data.keys() & set(ngrams):
        labels = {e.label for e in data[name].train if isinstance(e, SequenceExample)}
        if len(labels) == 1:
            raise DataError(
                f"tasks.{name}: n-grams tell labels apart and all training rows have the one "
                f"label {', '.join(labels)}; add rows of another, or leave {name} out of "
                "model.ngrams.tasks"
            )


def _finish(
    recipe: Recipe, run: Run, *, resume: bool, console: Console, score_test: bool
) -> None:
    note = partial(console.print, soft_wrap=True, markup=False, highlight=False)
    data = load_task_data(recipe)
    _check_rows(recipe, data)
    if run.recorded().get("status") != "trained":
        note(f"run {run.folder}; if interrupted: routewright train --resume {run.folder}")
        result = train_recipe(recipe, run, data=data, resume=resume, console=console)
        score = "" if result.best_f1 is None else f", mean F1 {result.best_f1:.4f}"
        note(f"trained in {result.duration_s:.0f} s{score}")
    if not is_main_process():
        return
    started = time.monotonic()
    export_bundle(
        run,
        run.bundle,
        targets=recipe.calibration.targets,
        validation={name: d.validation for name, d in data.items()},
        progress=note,
    )
    note(f"exported to {run.bundle} in {time.monotonic() - started:.0f} s")
    if score_test and (reports := _test_reports(recipe, run, data)):
        attach_reports(run.bundle, run.reports)
        console.print(_table(reports))
    run.record(
        {"status": "complete", "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    )
    note(f"classify with: routewright classify --bundle {run.bundle} TEXT")


def _test_reports(recipe: Recipe, run: Run, data: Mapping[str, TaskData]) -> dict[str, Report]:
    """Score the bundle on the test split of every task that has one; also written to files."""
    target = open_target(run.bundle)
    reports: dict[str, Report] = {}
    for name, task_data in data.items():
        if task_data.test:
            origin = ", ".join(spec.origin for spec in recipe.tasks[name].test)
            report = evaluate(target.classifier, name, task_data.test)
            report = with_origin(report, target, origin)
            write_text(
                run.reports / f"{name}.test.json",
                json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n",
            )
            reports[name] = report
    return reports


def _table(reports: dict[str, Report]) -> Table:
    table = Table("task", "test rows", "metric", "value", "95 % interval", title="Test split")
    for name, report in reports.items():
        for metric in ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "span_f1", "span_f2"):
            estimate = report.metrics.get(metric)
            if estimate is not None and estimate.value is not None:
                known = estimate.low is not None
                interval = f"{estimate.low:.4f} - {estimate.high:.4f}" if known else ""
                rows = f"{report.num_examples}"
                table.add_row(name, rows, metric, f"{estimate.value:.4f}", interval)
    return table
