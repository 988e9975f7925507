"""Trains runs that differ in how they train and averages their weights into one model.

The average of models that were fine-tuned from the same weights is often better than each of
them, and costs nothing more to serve: Wortsman et al. 2022, "Model soups",
https://arxiv.org/abs/2203.05482. Runs that weigh the losses of the tasks differently average to
a compromise between the tasks: Rame et al. 2023, "Rewarded soups",
https://arxiv.org/abs/2306.04488.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from routewright.errors import ConfigError, RunError
from routewright.runtime.machine import peak_memory_bytes
from routewright.train.modeling import MultiTaskModel
from routewright.train.recipe import Recipe, averaged_recipes
from routewright.train.run import NGRAMS, Run, load_model, new_model
from routewright.train.scoring import score_answers, torch_classifier
from routewright.train.task_data import TaskData, with_losses_of
from routewright.train.trainer import (
    TrainResult,
    all_rows,
    check_settings,
    is_main_process,
    main_process_first,
    save_with_ngrams,
    settings_for,
    train,
)

_OF_EVERY_RUN = (
    "name",
    "num_parameters",
    "num_trainable_parameters",
    "num_rows",
    "num_train_tokens",
    "num_examples",
    "num_processes",
    "precision",
)
"""Keys of ``run.json`` that all runs of one recipe share."""


def train_recipe(
    recipe: Recipe, run: Run, *, data: Mapping[str, TaskData], resume: bool, console: Console
) -> TrainResult:
    """Train the one run of `recipe`, or those that it averages, into ``RUN/model``.

    Runs to average are in ``RUN/averaged``; a resumed one goes on with the first that is not
    trained. With several processes every one calls this; the first writes.

    Raises:
        RoutewrightError: anything wrong with data, backbone or settings.
    """
    if recipe.average:
        return _train_average(recipe, run, data, console)
    return train(recipe, run, data=data, resume=resume, console=console)


def _train_average(
    recipe: Recipe, run: Run, data: Mapping[str, TaskData], console: Console
) -> TrainResult:
    members = averaged_recipes(recipe, source=str(run.folder))
    runs = [Run(run.averaged / str(number + 1)) for number in range(len(members))]
    ahead = [n for n, r in enumerate(runs) if r.recorded().get("status") != "trained"]
    for number in ahead:  # rather than after hours of training the runs before it
        try:
            check_settings(members[number], runs[number], data)
        except ConfigError as exc:
            raise ConfigError(f"average[{number}]: {exc}") from exc
    for number in ahead:
        changes = recipe.average[number].changes or "the recipe as it is"
        console.print(f"run {number + 1} of {len(runs)}: {changes}", highlight=False)
        _train_one(members[number], runs[number], data, console, cache=run.teachers)
    started = time.monotonic()
    with main_process_first():  # which has written by then what the others read
        recorded = [its_run.recorded() for its_run in runs]
    trained_s = sum(float(its["train_s"]) for its in recorded)
    num_steps = sum(int(its["num_steps"]) for its in recorded)
    if not is_main_process():
        return TrainResult(trained_s, num_steps, None)
    run.record({key: recorded[0][key] for key in _OF_EVERY_RUN})
    best_f1 = _save_average(recipe, run, runs, data)
    duration_s = trained_s + time.monotonic() - started
    run.record(
        {
            "status": "trained",
            "train_s": round(duration_s, 1),
            "num_steps": num_steps,
            "num_epochs": sum(map(_num_epochs, recorded)),
            "peak_memory_bytes": max(
                peak_memory_bytes(), *(int(its["peak_memory_bytes"]) for its in recorded)
            ),
            # Averaging itself is done on the CPU.
            "peak_gpu_memory_bytes": max(
                (its.get("peak_gpu_memory_bytes") or 0 for its in recorded), default=0
            )
            or None,
            "model_bytes": (run.model_folder / "model.safetensors").stat().st_size,
            "best_f1": best_f1,
        }
    )
    return TrainResult(duration_s, num_steps, best_f1)


def _num_epochs(recorded: Mapping[str, Any]) -> float:
    """Of a run, or of all runs of an average."""
    return float(recorded.get("num_epochs") or recorded["history"][-1]["epoch"])


def _train_one(
    recipe: Recipe, run: Run, data: Mapping[str, TaskData], console: Console, *, cache: Path
) -> None:
    # The rows are those of all runs, the losses its own.
    own = with_losses_of(recipe, data)
    with main_process_first():
        is_new = not (run.folder / "recipe.yaml").is_file()
        if is_main_process() and is_new:
            Run.create(run.folder, recipe)
    train(recipe, run, data=own, resume=not is_new, console=console, teacher_cache=cache)


def _save_average(
    recipe: Recipe, run: Run, runs: Sequence[Run], data: Mapping[str, TaskData]
) -> float:
    """Write the averaged model; its mean F1 on validation data."""
    shares = [averaged.share for averaged in recipe.average]
    model, saved, encoder = new_model(recipe, tuple(d.task for d in data.values()))
    model.load_state_dict(
        averaged_weights([load_model(r)[0] for r in runs], shares), strict=False
    )
    rows = all_rows(data, encoder, settings_for(recipe, data))
    save_with_ngrams(run, model, saved, encoder, rows=rows, data=data, seed=recipe.seed)
    classifier = torch_classifier(model, encoder)
    scores = []
    for name, task_data in data.items():
        answers = classifier([e.text for e in task_data.validation], tasks=[name])
        scores.append(score_answers(model, name, task_data.validation, answers)["f1"])
    return sum(scores) / len(scores)


def averaged_weights(
    models: Sequence[MultiTaskModel], shares: Sequence[float]
) -> dict[str, torch.Tensor]:
    """The mean of all weights by `shares`, in the precision of the first model.

    Args:
        models: of the same shapes.
        shares: of each model, above 0; they need not sum to 1.

    Returns:
        Weights by name; n-gram scores, which are fitted after the encoder, are not among them.

    Raises:
        RunError: a model has weights that another lacks.
    """
    kept = [{n for n in m.state_dict() if not n.startswith(NGRAMS)} for m in models]
    if odd := {name for names in kept for name in names ^ kept[0]}:
        raise RunError(
            f"the runs to average differ in weights: not all have {', '.join(sorted(odd))}; "
            "average runs of one recipe"
        )
    total = sum(shares)
    mean: dict[str, torch.Tensor] = {}
    for model, share in zip(models, shares, strict=True):
        for name, value in model.state_dict().items():
            if not name.startswith(NGRAMS):
                part = value.double() * (share / total)
                mean[name] = mean[name] + part if name in mean else part
    of_first = models[0].state_dict()
    return {name: value.to(of_first[name].dtype) for name, value in mean.items()}
