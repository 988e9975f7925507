"""A search as a user runs it: the best is kept and can be trained, a killed one goes on."""

import errno
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data
from transformers import TrainerControl, TrainerState, TrainingArguments

from routewright.errors import BackboneError, ConfigError, RunError
from routewright.train.recipe import load_recipe
from routewright.tune import Search, SearchPlan, search
from routewright.tune.trials import _Report

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


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


interrupted = failing(KeyboardInterrupt())


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


def test_a_search_tidies_up_and_says_its_best_however_late_it_was_killed(
    recipe_path: Path, tmp_path: Path
) -> None:
    found_by(recipe_path, tmp_path, num_trials=1)
    best = (tmp_path / "best.yaml").read_text()
    (tmp_path / "best.yaml").unlink()
    (tmp_path / "trials/000/checkpoints/checkpoint-2").mkdir(parents=True)
    found_by(recipe_path, tmp_path, num_trials=1)
    assert (tmp_path / "best.yaml").read_text() == best
    assert not (tmp_path / "trials/000/checkpoints").exists()


def test_a_trial_killed_before_its_score_was_written_down_is_not_trained_again(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "tell", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found_by(recipe_path, tmp_path, num_trials=1)
    first = json.loads((tmp_path / "trials/000/run.json").read_text())
    monkeypatch.setattr("routewright.tune.trials.train", interrupted)
    found = found_by(recipe_path, tmp_path, num_trials=1)
    assert found.best is not None
    assert (found.best.name, found.best.score) == ("000", first["best_f1"])
    assert (tmp_path / "trials/000/model/model.json").is_file()


def test_a_second_process_is_refused_while_one_is_at_the_search(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: Any, **__: Any) -> None:
        too_far = failing(BackboneError("trained by both"))
        monkeypatch.setattr("routewright.tune.trials.train", too_far)
        journal = (tmp_path / "journal.log").read_bytes()
        with pytest.raises(RunError, match="another process is at this search"):
            found_by(recipe_path, tmp_path, num_trials=1)
        assert (tmp_path / "journal.log").read_bytes() == journal
        raise KeyboardInterrupt

    monkeypatch.setattr("routewright.tune.trials.train", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        found_by(recipe_path, tmp_path, num_trials=1)


def test_the_recipe_itself_is_tried_first_also_after_a_first_call_that_failed(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("routewright.tune.trials.train", failing(BackboneError("is gone")))
        with pytest.raises(BackboneError):
            found_by(recipe_path, tmp_path, num_trials=1)
    ranges = {"train.learning_rate": 3e-3, "train.num_train_epochs": 2}
    (only,) = found_by(recipe_path, tmp_path, num_trials=1).trials
    assert (only.name, only.values) == ("001", ranges)


def test_values_of_the_recipe_that_the_ranges_leave_out_are_named(
    recipe_path: Path, tmp_path: Path
) -> None:
    said = Console(file=io.StringIO(), width=200)
    ranges = (
        "num_train_epochs=3..5", "lr_scheduler_type=linear,cosine", "warmup_ratio=0.0..0.2",
        "label_smoothing_factor=0.0..0.1", "weight_decay=0.0..0.1",
    )  # fmt: skip
    search(
        SearchPlan(recipe=recipe_path, folder=tmp_path, ranges=ranges, timeout_s=0.0),
        console=said,
    )
    assert isinstance(said.file, io.StringIO)
    (line,) = [row for row in said.file.getvalue().splitlines() if "not be tried" in row]
    assert line.endswith("--vary leaves out its num_train_epochs 2, weight_decay 0.15")


def test_trials_that_were_killed_do_not_count_as_out_of_memory(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        monkeypatch.setattr("routewright.tune.trials.train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found_by(recipe_path, tmp_path, num_trials=1)
    calls: list[None] = []

    def too_large(*_: Any, **__: Any) -> None:
        calls.append(None)
        raise torch.OutOfMemoryError

    monkeypatch.setattr("routewright.tune.trials.train", too_large)
    with pytest.raises(RunError, match="3 trials in a row ran out of memory"):
        found_by(recipe_path, tmp_path, num_trials=1)
    assert len(calls) == 3


def test_a_journal_that_a_full_disk_or_a_kill_cut_short_goes_on(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("search")
    found_by(recipe_path, folder, timeout_s=0.0)
    journal = folder / "journal.log"
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"op_code":')
    # Optuna's, as it makes it of a relative path.
    (folder / "journal.log.lock").symlink_to("search/journal.log")
    started = time.monotonic()
    found_by(recipe_path, folder, timeout_s=0.0)
    assert time.monotonic() - started < 25, "Optuna waits 30 seconds, or for ever"
    assert journal.read_bytes().startswith(before)
    assert [json.loads(line) for line in journal.read_text().splitlines()]
    journal.write_bytes(b"{}\n" + before)
    with pytest.raises(RunError, match="is damaged"):
        found_by(recipe_path, folder, timeout_s=0.0)


def test_a_disk_that_fills_up_is_said_in_one_line(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(JournalFileBackend, "append_logs", failing(full))
    with pytest.raises(RunError, match="No space left on device; check place"):
        found_by(recipe_path, tmp_path / "search")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        found_by(recipe_path, tmp_path / "file")


def test_a_trial_that_diverges_is_stopped_and_the_next_one_begins(
    recipe_path: Path, tmp_path: Path
) -> None:
    plan: dict[str, Any] = {"ranges": ("learning_rate=1e30,1e31",), "num_trials": 2}
    found = found_by(recipe_path, tmp_path, **plan, overrides=("max_grad_norm=0",))
    assert [(t.state, t.score) for t in found.trials] == [("stopped", None)] * 2
    assert found.best is None


def test_several_scores_of_one_tenth_of_an_epoch_are_one_report() -> None:
    trial = optuna.create_study().ask()
    report = _Report(trial)
    args, control = TrainingArguments(report_to=[]), TrainerControl()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step, score in ((1, 0.5), (2, 0.6), (60, 0.7)):
            state = TrainerState(global_step=step, max_steps=1000, epoch=step / 1000)
            report.on_evaluate(args, state, control, {"eval_f1": score})
    assert trial.study.trials[0].intermediate_values == {0: 0.5, 1: 0.7}


def test_any_seed_can_be_given(recipe_path: Path, tmp_path: Path) -> None:
    assert found_by(recipe_path, tmp_path, seed=2**32, timeout_s=0.0).trials == ()


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
        ({"ranges": ("eval_strategy=no,epoch",)}, "compares runs by validation data"),
        ({"ranges": ("per_device_train_batch_size=4.0..16.0",)}, "a valid integer"),
        (
            {
                "ranges": ("tasks.topic.loss.label_smoothing=0.0..0.2",),
                "overrides": ("preset=csv",),
            },
            "label_smoothing_factor, set by the preset, counts instead",
        ),
        (
            {
                "ranges": (
                    "tasks.topic.loss.label_smoothing=0,0.1",
                    "label_smoothing_factor=0,0.1",
                )
            },
            "label_smoothing_factor counts instead",
        ),
        ({"overrides": ("max_steps=4",)}, "max_steps counts instead"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_written(
    recipe_path: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        found_by(recipe_path, tmp_path / "search", **changes)
    assert not (tmp_path / "search").exists()
