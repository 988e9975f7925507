"""Recipes of trials: which can be searched, and what a value of a trial makes of one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from routewright.config import apply_overrides, as_overrides, to_plain
from routewright.errors import ConfigError
from routewright.train.recipe import Recipe, load_recipe, parse_recipe
from routewright.train.run import Run
from routewright.train.settings import ARGUMENT_NAMES, OWN_NAMES, training_arguments
from routewright.train.task_data import TaskData
from routewright.train.trainer import check_settings, settings_for
from routewright.tune.space import ends

_INSIDE = 0.381
"""A place in a range at which no whole number lies."""


def searchable(
    path: Path, given: Sequence[str], space: Mapping[str, BaseDistribution]
) -> Recipe:
    """The recipe at `path` with what is `given` over it.

    Raises:
        ConfigError: it has no such key as one of `space`, or is of several runs.
    """
    recipe = load_recipe(path, given)
    if recipe.average:
        raise ConfigError(
            f"{path}: average: a search trains single runs; leave it out (--set "
            "average=[]) and put it back into the recipe of the best"
        )
    if recipe.lora is None and any(key.startswith("lora.") for key in space):
        raise ConfigError(f"{path}: has no adapters to vary; add `lora: {{}}`")
    for key in space:
        kind, _, name = key.partition(".")
        task = name.partition(".")[0]
        if kind == "tasks" and task not in recipe.tasks:
            known = ", ".join(recipe.tasks)
            raise ConfigError(f"--vary {key}: the recipe has no task {task}; tasks: {known}")
    return recipe


def check_space(
    recipe: Recipe,
    space: Mapping[str, BaseDistribution],
    data: Mapping[str, TaskData],
    folder: Path,
) -> None:
    """Refuse before the first trial what a later one would stumble over.

    Raises:
        ConfigError: names the key and the value.
    """
    for key, distribution in space.items():
        for value in _tried(distribution):
            try:
                with_value = with_values(recipe, {key: value}, f"--vary {key}")
                check_settings(with_value, Run(folder / "trials" / "000"), data)
            except ConfigError as exc:
                raise ConfigError(f"{key}={value}: {exc}") from exc
            _check_evaluated(with_value, data)
        _check_counts(key, recipe, space, data)


def _tried(distribution: BaseDistribution) -> Sequence[Any]:
    """Every choice, or both ends of a range; of fractions one between them too."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return (low, high, low + _INSIDE * (high - low))
    return ends(distribution)


def _check_evaluated(recipe: Recipe, data: Mapping[str, TaskData]) -> None:
    if settings_for(recipe, data).arguments.get("eval_strategy") == "no":
        raise ConfigError(
            "train.eval_strategy: a search compares runs by validation data; leave it out"
        )


def _check_counts(
    key: str,
    recipe: Recipe,
    space: Mapping[str, BaseDistribution],
    data: Mapping[str, TaskData],
) -> None:
    """Refuse to vary what another setting overrules: all its trials would be the same."""
    arguments = settings_for(recipe, data).arguments
    if key.endswith(".loss.label_smoothing"):
        overruling, is_set = "label_smoothing_factor", "label_smoothing_factor" in arguments
    elif key == "train.num_train_epochs":
        overruling, is_set = "max_steps", arguments.get("max_steps", -1) > 0
    else:
        return
    if is_set or f"train.{overruling}" in space:
        by_preset = "" if not is_set or overruling in recipe.train else ", set by the preset,"
        raise ConfigError(
            f"--vary {key}: {overruling}{by_preset} counts instead; vary only {overruling}, or "
            "take it out of the recipe"
        )


def own_values(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    space: Mapping[str, BaseDistribution],
    folder: Path,
) -> dict[str, Any]:
    """What `recipe` itself says of the keys of `space`, defaults included; else None."""
    settings = settings_for(recipe, data)
    args = training_arguments(settings, output_dir=folder, seed=recipe.seed)
    smoothings = {d.task.loss.label_smoothing for d in data.values()}
    plain = to_plain(recipe)
    plain["train"] = {
        **{name: getattr(args, name) for name in ARGUMENT_NAMES},
        **{name: getattr(settings, name) for name in OWN_NAMES},
        "preset": recipe.train.get("preset", "adaptive"),
        "warmup_ratio": args.warmup_steps,
        # Without it each task has its own.
        "label_smoothing_factor": smoothings.pop() if len(smoothings) == 1 else None,
        **settings.arguments,
    }
    plain["tasks"] = {name: to_plain(d.task) for name, d in data.items()}
    found = {}
    for key in space:
        node: Any = plain
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        found[key] = node
    return found


def with_values(recipe: Recipe, values: Mapping[str, Any], source: str) -> Recipe:
    """The recipe of a trial; n-grams, which need the finished encoder, are for the best."""
    plain = to_plain(replace(recipe, model=replace(recipe.model, ngrams=None)))
    return parse_recipe(apply_overrides(plain, as_overrides(values)), source=source)
