"""What is refused before an hour of training, and what counts as reproduced."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from routewright.bundle import Bundle
from routewright.errors import GateError, RoutewrightError
from routewright.metrics import Estimate
from routewright.reproduce import (
    ComparedMetric,
    Reproduction,
    ReproductionPlan,
    reproduce,
)
from routewright.train.recipe import load_recipe
from routewright.train.run import Run

RECIPE = {
    "name": "tiny",
    "tasks": {"topic": {"kind": "sequence", "train": [{"path": "topic.jsonl"}]}},
}


@pytest.fixture
def recipe_path(shipped_bundle: Bundle) -> Path:
    path = shipped_bundle.path.with_name("default.recipe.yaml")
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return path


@pytest.fixture
def plan(recipe_path: Path, tmp_path: Path) -> ReproductionPlan:
    return ReproductionPlan(name="default", folder=tmp_path / "run", data=tmp_path)


def refusal(plan: ReproductionPlan) -> str:
    with pytest.raises(RoutewrightError) as info:
        reproduce(plan, console=Console(quiet=True))
    return str(info.value)


def test_a_reproduction_that_cannot_be_is_refused_before_training(
    plan: ReproductionPlan,
) -> None:
    assert "mine: no recipe of that name ships" in refusal(replace(plan, name="mine"))
    assert "pass --data FOLDER" in refusal(replace(plan, data=None))
    assert "names no test rows; leave out --test" in refusal(replace(plan, part="test"))
    assert not plan.folder.exists()


def test_bundle_and_recipe_must_be_of_one_release(
    plan: ReproductionPlan, recipe_path: Path
) -> None:
    other = {"own": RECIPE["tasks"]["topic"]}  # type: ignore[index]
    recipe_path.write_text(yaml.safe_dump({**RECIPE, "tasks": other}), encoding="utf-8")
    assert "has no task own, which its recipe trains" in refusal(plan)
    (recipe_path.parent / "default" / "manifest.json").unlink()
    assert "no bundle of its own" in refusal(plan)


def test_a_folder_with_a_run_of_another_seed_is_left_alone(
    plan: ReproductionPlan, recipe_path: Path
) -> None:
    begun = load_recipe(recipe_path, [f"data_dir={plan.data}", "seed=7"])
    Run.create(plan.folder, begun)
    assert "(differs in seed); name another --out" in refusal(replace(plan, seed=8))


def test_a_run_that_goes_on_keeps_its_seed(plan: ReproductionPlan, recipe_path: Path) -> None:
    begun = load_recipe(recipe_path, [f"data_dir={plan.data}", "seed=7"])
    Run.create(plan.folder, begun)
    assert "topic.jsonl" in refusal(replace(plan, data=None))


@pytest.mark.parametrize(
    ("shipped", "reproduced", "passes"),
    [
        (0.9, 0.89, True),
        (0.9, 0.8899, False),
        (0.9, 0.99, True),
        (0.9, None, False),
        (None, 0.9, True),
    ],
)
def test_only_a_metric_that_is_worse_by_more_than_the_tolerance_fails(
    shipped: float | None, reproduced: float | None, passes: bool
) -> None:
    metric = ComparedMetric(
        task="topic",
        metric="accuracy",
        num_examples=10,
        shipped=Estimate(shipped, None, None),
        reproduced=Estimate(reproduced, None, None),
        tolerance=0.01,
    )
    result = Reproduction(
        name="default", part="test", shipped="a", reproduced="b", metrics=(metric,)
    )
    assert result.to_dict()["metrics"][0]["passes"] is passes
    if passes:
        result.check()
        return
    with pytest.raises(
        GateError, match=r"topic accuracy is .*, shipped 0.9000, tolerance 0.01"
    ):
        result.check()
