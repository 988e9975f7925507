"""Trials of a recipe one after the other; the best is kept, and an interrupted search goes on.

    DIR/search.json   the recipe and what is varied
    DIR/search.lock   held by the one process that is at it
    DIR/journal.log   every trial, as Optuna writes it
    DIR/trials/007/   the run of a trial; only that of the best keeps its model
    DIR/best.yaml     the recipe with the values of the best, for `routewright train`

Values are proposed by a tree of Parzen estimators (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization"); a trial below the median of those before it at the same epoch is
stopped (Golovin et al. 2017, "Google Vizier", section 3.2.2).
"""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
import yaml
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from routewright.config import apply_overrides, as_overrides, to_plain, write_text
from routewright.errors import ConfigError, DivergedError, RoutewrightError, RunError
from routewright.train.recipe import Recipe
from routewright.train.run import Run
from routewright.train.task_data import TaskData, load_task_data, with_losses_of
from routewright.train.trainer import train
from routewright.tune.folder import alone_in, check_folder, open_journal
from routewright.tune.space import DEFAULT_SPACE, inside, parse_space
from routewright.tune.trial_recipes import (
    check_space,
    own_values,
    searchable,
    with_values,
)

_RUN = "run"
"""Attribute of a trial: the name of its folder, which a trial begun again takes over."""
_STARTUP_TRIALS = 5
"""Drawn at random, and never stopped early, before the others are judged by them."""
_MOST_FAILURES = 3
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
_WORDS: Mapping[TrialState, Literal["trained", "stopped"]] = {
    TrialState.COMPLETE: "trained",
    TrialState.PRUNED: "stopped",
}


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What to search, and for how long."""

    recipe: Path
    folder: Path
    """Of the search; one of the same recipe and ranges goes on."""
    overrides: Sequence[str] = ()
    """``KEY=VALUE``, as for `load_recipe`."""
    ranges: Sequence[str] = ()
    """See `parse_space`; none given: `DEFAULT_SPACE`."""
    num_trials: int = 20
    """Trials in all, those of earlier calls and those stopped early counted."""
    timeout_s: float | None = None
    """No trial begins so many seconds after the start; None has no limit."""
    seed: int = 0
    """Of the values proposed; runs take that of the recipe."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial that has ended."""

    name: str
    """Of its folder."""
    values: Mapping[str, Any]
    """By dotted key of the recipe."""
    state: Literal["trained", "stopped"]
    """`stopped` early, as it fell behind or diverged."""
    score: float | None
    """Mean F1 over the tasks on validation data, in [0, 1]; of a stopped one the last."""
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search has found so far."""

    folder: Path
    trials: tuple[TrialResult, ...]
    """The best first."""

    @property
    def best(self) -> TrialResult | None:
        """The best that was trained to its end."""
        return next((t for t in self.trials if t.state == "trained"), None)

    @property
    def best_recipe(self) -> Path:
        """Where the recipe with the values of the best stands."""
        return self.folder / "best.yaml"


def search(plan: SearchPlan, *, console: Console) -> Search:
    """Train up to `plan.num_trials` trials and keep the best.

    Raises:
        ConfigError: a range or the recipe cannot be used, or the folder is of another search.
        RoutewrightError: anything wrong with the data, or with the values of a trial.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a search runs in one process; start it without torchrun")
    started = time.monotonic()
    ranges = plan.ranges or DEFAULT_SPACE
    space = parse_space(ranges)
    recipe = searchable(plan.recipe, plan.overrides, space)
    content = {"recipe": to_plain(recipe), "vary": list(ranges)}
    check_folder(plan.folder, content)
    data = load_task_data(recipe)
    check_space(recipe, space, data, plan.folder)
    with alone_in(plan.folder):
        check_folder(plan.folder, content)  # again: another process may have begun it since
        write_text(plan.folder / "search.json", json.dumps(content, indent=2) + "\n")
        trials = _Trials(plan.folder, recipe, data, _open_study(plan), console)
        trials.prepare(space)
        while (num_done := trials.num_done) < plan.num_trials:
            if plan.timeout_s is not None and time.monotonic() - started >= plan.timeout_s:
                break
            trials.run_one(space, f"trial {num_done + 1} of {plan.num_trials}")
        return trials.found()


class _Trials:
    """The trials of one search and their folders."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        data: Mapping[str, TaskData],
        study: optuna.Study,
        console: Console,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.data = data
        self.study = study
        self.console = console
        self.num_failures = 0
        """Trials out of memory since the last that was not."""

    @property
    def num_done(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=_COUNTED))

    def prepare(self, space: Mapping[str, BaseDistribution]) -> None:
        """Put right what a killed process left, and let the recipe itself be tried first."""
        self._say(f"search {self.folder}; if interrupted, the same command goes on")
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params, {_RUN: _name(trial)})
        self._tidy()
        if self.study.get_trials(deepcopy=False, states=(*_COUNTED, TrialState.WAITING)):
            return
        own = own_values(self.recipe, self.data, space, self.folder)
        first = inside(own, space)
        self.study.enqueue_trial(first)
        if missed := {key: own[key] for key in space if key not in first}:
            self._say(
                f"the recipe as it is will not be tried: --vary leaves out its {shown(missed)}"
            )

    def run_one(self, space: Mapping[str, BaseDistribution], title: str) -> None:
        trial = self.study.ask(dict(space))
        name = _name(trial)
        trial.set_user_attr(_RUN, name)
        run = Run(self.folder / "trials" / name)
        self._say(f"{title}: {shown(trial.params)}")
        try:
            score = self._train(trial, run)
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.num_failures = 0
            self._say("stopped: behind the median of the trials before it")
        except DivergedError as exc:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.num_failures = 0
            self._say(f"stopped: {exc}")
        except torch.OutOfMemoryError:
            self.study.tell(trial, state=TrialState.FAIL)
            self._count_failure()
            self._say("failed: out of memory; another trial takes its place")
        except RoutewrightError:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            self.study.tell(trial, score)
            self._say(f"mean F1 {score:.4f}, best so far {self.study.best_value:.4f}")
            self.num_failures = 0
        self._tidy()

    def found(self) -> Search:
        """All that have ended, trained before stopped, the best first."""
        done = [_result(t) for t in self.study.get_trials(states=_COUNTED)]
        done.sort(key=lambda t: (t.state != "trained", -(t.score or 0.0)))
        return Search(folder=self.folder, trials=tuple(done))

    def _train(self, trial: optuna.Trial, run: Run) -> float:
        recipe = with_values(self.recipe, trial.params, str(self.folder))
        recorded = run.recorded()
        if recorded.get("status") != "trained":
            is_new = not (run.folder / "recipe.yaml").is_file()
            if is_new:
                Run.create(run.folder, recipe)
            data = with_losses_of(recipe, self.data)
            callbacks = [_Report(trial)]
            train(
                recipe, run, data=data, resume=not is_new, console=self.console,
                callbacks=callbacks, teacher_cache=self.folder / "teachers",
            )  # fmt: skip
            recorded = run.recorded()
        score = recorded.get("best_f1")
        if score is None or not math.isfinite(score):
            raise RunError("the run was not evaluated; leave eval_strategy out of the recipe")
        return float(score)

    def _tidy(self) -> None:
        """Delete what is large and no trial needs any more, and write down the best."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        going_on = {_name(trial) for trial in waiting}
        best = self.found().best
        kept = going_on if best is None else {*going_on, best.name}
        for folder in (self.folder / "trials").glob("*"):
            if folder.name not in going_on:
                shutil.rmtree(Run(folder).checkpoints, ignore_errors=True)
            if folder.name not in kept:
                shutil.rmtree(Run(folder).model_folder, ignore_errors=True)
        if best is None:
            return
        plain = apply_overrides(to_plain(self.recipe), as_overrides(best.values))
        text = yaml.safe_dump(plain, sort_keys=False)
        score = f"mean F1 on validation {best.score:.4f}"
        head = f"# Trial {best.name} of {self.folder.name}: {score}\n"
        write_text(self.folder / "best.yaml", head + text)

    def _count_failure(self) -> None:
        self.num_failures += 1
        if self.num_failures == _MOST_FAILURES:
            raise RunError(
                f"{_MOST_FAILURES} trials in a row ran out of memory; vary smaller batches, or "
                "set activation_checkpointing=true"
            )

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)


class _Report(TrainerCallback):
    """Tells the study of every evaluation, and stops a trial that falls behind."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.reported: int | None = None
        """When last, in tenths of an epoch."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Compared are trials after as many tenths of an epoch, of each the first score."""
        tenths = round((state.epoch or 0.0) * 10)
        if metrics is None or state.global_step >= state.max_steps or tenths == self.reported:
            return
        self.reported = tenths
        self.trial.report(metrics["eval_f1"], tenths)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def shown(values: Mapping[str, Any]) -> str:
    """Values as one line, without the prefix that most of them share."""
    given = ((key.removeprefix("train."), value) for key, value in values.items())
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in given)


def _open_study(plan: SearchPlan) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=open_journal(plan.folder),
        study_name="search",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
        load_if_exists=True,
    )
    # Otherwise a search that goes on would draw again what it drew at its beginning.
    seed = (plan.seed + len(study.trials)) % 2**32
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=seed)
    return study


def _name(trial: optuna.Trial | FrozenTrial) -> str:
    name: str = trial.user_attrs.get(_RUN, f"{trial.number:03d}")
    return name


def _result(trial: FrozenTrial) -> TrialResult:
    reported = trial.intermediate_values
    last = reported[max(reported)] if reported else None
    return TrialResult(
        name=_name(trial),
        values=trial.params,
        state=_WORDS[trial.state],
        score=trial.value if trial.state is TrialState.COMPLETE else last,
        duration_s=trial.duration.total_seconds() if trial.duration else 0.0,
    )
