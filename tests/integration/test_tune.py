"""A search as a user runs it: the best is kept and can be trained, a killed one goes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data

from routewright.errors import ConfigError, RunError
from routewright.train.recipe import load_recipe
from routewright.tune import Search, SearchPlan, search

pytestmark = pytest.mark.integration

RANGES = ("learning_rate=1e-6,3e-3", "num_train_epochs=1..3")


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    data = write_data(folder / "data", num_rows=48)
    content = recipe(data, make_checkpoint(folder / "checkpoint", "bert"))
    content["train"] |= {"num_train_epochs": 2, "checkpoint_steps": 2}
    content["model"]["ngrams"] = {"tasks": ["topic"], "buckets": 1024}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def found_by(recipe_path: Path, folder: Path, **changes: Any) -> Search:
    plan = SearchPlan(recipe=recipe_path, folder=folder, **{"ranges": RANGES, **changes})
    return search(plan, console=Console(quiet=True))


def arguments_of(folder: Path) -> dict[str, dict[str, Any]]:
    """By name of a trial, what it was trained with."""
    runs = sorted((folder / "trials").iterdir())
    return {run.name: json.loads((run / "run.json").read_text())["arguments"] for run in runs}


def test_the_best_of_a_search_is_kept_and_a_recipe_to_train(
    recipe_path: Path, tmp_path: Path
) -> None:
    found = found_by(recipe_path, tmp_path, num_trials=3)
    trained_with = arguments_of(tmp_path)
    assert len(found.trials) == len(trained_with) == 3
    # The first is the recipe as it is.
    first = trained_with["000"]
    assert (first["learning_rate"], first["num_train_epochs"]) == (3e-3, 2)

    assert found.best is not None
    scores = [t.score for t in found.trials if t.state == "trained"]
    assert found.best.score == max(s for s in scores if s is not None)
    (kept,) = (tmp_path / "trials").glob("*/model")
    assert kept.parent.name == found.best.name
    assert not list((tmp_path / "trials").glob("*/checkpoints"))

    best = load_recipe(found.best_recipe)
    chosen = trained_with[found.best.name]
    for key in ("learning_rate", "num_train_epochs"):
        assert best.train[key] == found.best.values[f"train.{key}"] == chosen[key]
    assert best.model.ngrams is not None, "n-grams are fitted when the best is trained"
    assert best.tasks["topic"].train == load_recipe(recipe_path).tasks["topic"].train


def test_a_killed_search_goes_on_with_the_trial_it_was_at(
    recipe_path: Path, tmp_path: Path
) -> None:
    vary = [word for given in RANGES for word in ("--vary", given)]
    given = [sys.executable, "-m", "routewright", "tune", str(recipe_path), "--trials", "2"]
    given += ["--out", str(tmp_path / "search"), *vary]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    killed = subprocess.Popen(given, env=environment, stdout=subprocess.DEVNULL)
    first = tmp_path / "search" / "trials" / "000"
    until = time.monotonic() + 120
    while not list(first.glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    before = (first / "recipe.yaml").read_bytes()

    going_on = subprocess.run(
        given, env=environment, capture_output=True, text=True, check=False
    )
    assert going_on.returncode == 0, going_on.stderr
    assert "2 trials in" in going_on.stdout
    assert f"routewright train {tmp_path / 'search' / 'best.yaml'}" in going_on.stdout
    assert (first / "recipe.yaml").read_bytes() == before
    # The second trial of Optuna's is the first one, begun again in its folder.
    assert list(arguments_of(tmp_path / "search")) == ["000", "002"]
    assert len(found_by(recipe_path, tmp_path / "search", num_trials=2).trials) == 2
    assert list(arguments_of(tmp_path / "search")) == ["000", "002"], "nothing was left to do"


def test_a_trial_far_behind_the_others_is_stopped(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routewright.tune.trials._STARTUP_TRIALS", 1)
    plan: dict[str, Any] = {
        "ranges": ("learning_rate=1e-9,3e-3", "head_learning_rate=1e-9,1e-2"),
        "overrides": ("num_train_epochs=4",),
    }
    found_by(recipe_path, tmp_path, **plan, num_trials=1)
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = optuna.load_study(study_name="search", storage=journal)
    hopeless = {"train.learning_rate": 1e-9, "train.head_learning_rate": 1e-9}
    study.enqueue_trial(hopeless)
    found = found_by(recipe_path, tmp_path, **plan, num_trials=2)
    trained, stopped = found.trials
    assert (trained.state, stopped.state) == ("trained", "stopped")
    assert stopped.values == hopeless
    assert stopped.score is not None
    assert trained.score is not None
    assert stopped.score < trained.score
    run = json.loads((tmp_path / "trials" / stopped.name / "run.json").read_text())
    assert run["status"] == "training", "it was not trained to its end"


def test_nothing_begins_after_the_time_is_up(recipe_path: Path, tmp_path: Path) -> None:
    found = found_by(recipe_path, tmp_path, timeout_s=0.0)
    assert (found.trials, found.best) == ((), None)


def test_a_folder_of_something_else_is_left_alone(recipe_path: Path, tmp_path: Path) -> None:
    found_by(recipe_path, tmp_path / "search", timeout_s=0.0)
    kept = (tmp_path / "search" / "search.json").read_bytes()
    for changes, named in (
        ({"overrides": ("weight_decay=0.3",)}, "train differs"),
        ({"ranges": ("weight_decay=0.0..0.1",)}, "--vary differs"),
    ):
        with pytest.raises(ConfigError, match=named):
            found_by(recipe_path, tmp_path / "search", **changes)
    assert (tmp_path / "search" / "search.json").read_bytes() == kept
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(RunError, match="already has content"):
        found_by(recipe_path, tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranges": ("per_device_train_batch_size=-4..8",)}, "per_device_train_batch_size"),
        ({"ranges": ("lr_scheduler_type=linear,sideways",)}, "sideways"),
        ({"ranges": ("tasks.team.loss.label_smoothing=0.0..0.1",)}, "no task team"),
        ({"ranges": ("lora.rank=4,8",)}, "has no adapters to vary"),
        (
            {"overrides": ("eval_strategy=no", "load_best_model_at_end=false")},
            "compares runs by validation data",
        ),
        ({"overrides": ("average=[{}, {}]",)}, "a search trains single runs"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_written(
    recipe_path: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        found_by(recipe_path, tmp_path / "search", **changes)
    assert not (tmp_path / "search").exists()
