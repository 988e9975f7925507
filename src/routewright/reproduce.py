"""A bundle of the package trained again from its recipe, and compared with the one that ships.

Both answer the same rows, each with its own default precision and calibration.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from routewright.bundle import Bundle
from routewright.config import to_plain, write_text
from routewright.data.examples import Example
from routewright.errors import ConfigError, GateError
from routewright.evaluate import View, evaluate, load_examples, open_target, view_of
from routewright.evaluate.run import main_metrics
from routewright.metrics import Estimate
from routewright.pipeline import resume_recipe, start_recipe
from routewright.shipped import recipe_file, shipped_folder
from routewright.train.recipe import Recipe, load_recipe
from routewright.train.run import Run
from routewright.train.task_data import load_task_data

RESULT_FILE = "reproduction.json"
SMALLEST_TOLERANCE = 0.01
"""Seeds alone move the metrics of the router by about this much."""
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class ReproductionPlan:
    """What to train, and how strictly to compare."""

    name: str
    """Of a bundle that ships."""
    folder: Path
    """Of the run: absent or empty, or a run of the same plan to go on with."""
    data: Path | None = None
    """The data folder; None takes that of the run, where there is one."""
    seed: int | None = None
    """None takes that of the run, else the recipe's."""
    part: Literal["validation", "test"] = "validation"
    """The rows that are compared."""
    tolerance: float | None = None
    """How much worse a metric may be, in [0, 1]; None takes half the width of the shipped
    bundle's 95 % interval, at least `SMALLEST_TOLERANCE`."""


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """One metric of both bundles; more is better."""

    task: str
    metric: str
    num_examples: int
    shipped: Estimate
    reproduced: Estimate
    tolerance: float

    @property
    def difference(self) -> float | None:
        """Reproduced minus shipped; None where one of them is undefined on these rows."""
        if self.shipped.value is None or self.reproduced.value is None:
            return None
        return self.reproduced.value - self.shipped.value

    @property
    def passes(self) -> bool:
        """Whether the reproduction is at most `tolerance` worse."""
        if self.difference is None:
            return self.shipped.value is None
        return self.difference >= -self.tolerance - _ROUNDING


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Both bundles side by side."""

    name: str
    part: str
    shipped: str
    reproduced: str
    """Folders of the two bundles."""
    metrics: tuple[ComparedMetric, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with `passes` for each metric."""
        plain: dict[str, Any] = to_plain(self)
        for row, compared in zip(plain["metrics"], self.metrics, strict=True):
            row["passes"] = compared.passes
        return plain

    def check(self) -> None:
        """Refuse a reproduction that is worse than the tolerance allows.

        Raises:
            GateError: names every such metric with both values.
        """
        worse = [
            f"{m.task} {m.metric} is {_shown(m.reproduced)}, shipped {_shown(m.shipped)}, "
            f"tolerance {m.tolerance:.4f}"
            for m in self.metrics
            if not m.passes
        ]
        if worse:
            raise GateError(f"{self.name} is not reproduced: {'; '.join(worse)}")


def reproduce(plan: ReproductionPlan, *, console: Console) -> Reproduction:
    """Train a bundle of the package again, or go on with that, and compare the two.

    The result is also written to ``reproduction.json`` in the run folder.

    Raises:
        BundleError: the bundle is not in this installation, or is damaged.
        ConfigError: no such bundle, no data folder, or a folder with another run.
        RoutewrightError: the data is wrong, or training or export failed.
    """
    path = recipe_file(plan.name)
    bundle = Bundle.open(shipped_folder(plan.name))
    run = Run(plan.folder)
    ran = run.recipe() if (plan.folder / "recipe.yaml").is_file() else None
    overrides = _overrides(plan, ran)
    recipe = load_recipe(path, overrides)
    _check_tasks(plan, recipe, bundle)
    score_test = plan.part == "test"
    if ran is None:
        start_recipe(path, overrides, plan.folder, console=console, score_test=score_test)
    else:
        _check_same(recipe, ran, plan.folder)
        if run.recorded().get("status") != "complete":
            resume_recipe(plan.folder, None, console=console, score_test=score_test)
    result = _compare(plan, recipe, bundle.path, run.bundle)
    plain = json.dumps(result.to_dict(), indent=1, ensure_ascii=False)
    write_text(run.folder / RESULT_FILE, plain + "\n")
    return result


def _overrides(plan: ReproductionPlan, ran: Recipe | None) -> list[str]:
    data = plan.data or (None if ran is None else Path(ran.data_dir))
    if data is None:
        raise ConfigError(
            f"the recipe of {plan.name} needs its data: pass --data FOLDER, the folder that "
            f"holds the files named in {recipe_file(plan.name)}"
        )
    seed = ran.seed if ran is not None and plan.seed is None else plan.seed
    # JSON is YAML, and quotes what YAML would read otherwise.
    data_dir = f"data_dir={json.dumps(str(data))}"
    return [data_dir] if seed is None else [data_dir, f"seed={seed}"]


def _check_tasks(plan: ReproductionPlan, recipe: Recipe, bundle: Bundle) -> None:
    if missing := [name for name in recipe.tasks if name not in bundle.tasks]:
        raise ConfigError(
            f"{bundle.path}: has no task {missing[0]}, which its recipe trains; the two are "
            "not of one release, reinstall routewright"
        )
    if plan.part == "test" and not any(task.test for task in recipe.tasks.values()):
        raise ConfigError(f"the recipe of {plan.name} names no test rows; leave out --test")


def _check_same(recipe: Recipe, ran: Recipe, folder: Path) -> None:
    given, before = to_plain(recipe), to_plain(ran)
    if changed := sorted(key for key in before if given[key] != before[key]):
        raise ConfigError(
            f"{folder}: holds a run of another recipe, seed or data folder (differs in "
            f"{', '.join(changed)}); name another --out"
        )


def _compare(
    plan: ReproductionPlan, recipe: Recipe, shipped: Path, reproduced: Path
) -> Reproduction:
    both = open_target(shipped), open_target(reproduced)
    metrics: list[ComparedMetric] = []
    for name in recipe.tasks:
        view = view_of(both[0].classifier, name)
        examples = _examples(recipe, plan.part, view)
        if not examples:
            continue
        ours, theirs = (evaluate(target.classifier, name, examples) for target in both)
        metrics += (
            ComparedMetric(
                task=name,
                metric=metric,
                num_examples=len(examples),
                shipped=ours.metrics[metric],
                reproduced=theirs.metrics[metric],
                tolerance=_tolerance(plan, ours.metrics[metric]),
            )
            for metric in main_metrics(view.task)
            if metric in ours.metrics
        )
    return Reproduction(
        name=plan.name,
        part=plan.part,
        shipped=str(shipped),
        reproduced=str(reproduced),
        metrics=tuple(metrics),
    )


def _examples(recipe: Recipe, part: str, view: View) -> Sequence[Example]:
    """Rows of a task; validation rows that training split off are split off again."""
    name = view.task.name
    specs = getattr(recipe.tasks[name], part)
    if not specs and part == "validation":
        return load_task_data(recipe)[name].validation
    root = Path(recipe.data_dir)
    return [e for spec in specs for e in load_examples(spec, view, root=root)]


def _tolerance(plan: ReproductionPlan, shipped: Estimate) -> float:
    if plan.tolerance is not None:
        return plan.tolerance
    if shipped.low is None or shipped.high is None:
        return SMALLEST_TOLERANCE
    return max(SMALLEST_TOLERANCE, (shipped.high - shipped.low) / 2)


def _shown(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else f"{estimate.value:.4f}"
