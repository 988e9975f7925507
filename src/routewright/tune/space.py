"""What a search varies: ``KEY=LOW..HIGH`` and ``KEY=A,B,C`` to distributions of Optuna."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from routewright.config import load_yaml
from routewright.errors import ConfigError
from routewright.train.recipe import with_full_key

DEFAULT_SPACE = ("learning_rate=1e-5..3e-4", "num_train_epochs=2,3,4", "weight_decay=0.0..0.2")
"""What matters most on data of one's own, where nothing else is asked for."""

_MAY_VARY = re.compile(
    r"train\.[^.]+|tasks\.[^.]+\.loss\.(?!kind$)[^.]+|lora\.(rank|alpha|dropout)|model\.dropout"
)
"""All runs read the same rows, and none decides what an answer means."""
_LOG_FROM_RATIO = 10
"""A range of which one end is so many times the other is drawn from logarithmically."""


def parse_space(ranges: Sequence[str]) -> dict[str, BaseDistribution]:
    """Distributions by dotted key of the recipe.

    Args:
        ranges: ``KEY=LOW..HIGH``, both ends included, of whole numbers where both are; or
            ``KEY=A,B,C``. A key without a dot is a setting of ``train``. A range of which the
            ends are positive and a factor of ten apart is drawn from logarithmically.

    Raises:
        ConfigError: one cannot be read, or its key does not belong in a search.
    """
    space: dict[str, BaseDistribution] = {}
    for given in ranges:
        key, separator, values = with_full_key(given).partition("=")
        if not separator or not values.strip():
            raise ConfigError(
                f"--vary {given}: expected KEY=LOW..HIGH or KEY=A,B,C, for example "
                "learning_rate=1e-5..3e-4"
            )
        if _MAY_VARY.fullmatch(key) is None:
            raise ConfigError(
                f"--vary {given}: a search varies how runs train: train.KEY, "
                "tasks.NAME.loss.KEY (not its kind), lora.rank, lora.alpha, lora.dropout or "
                "model.dropout; change anything else with --set"
            )
        if key in space:
            raise ConfigError(f"--vary {given}: {key} is there twice; give it one range")
        space[key] = _distribution(given, values)
    return space


def ends(distribution: BaseDistribution) -> Sequence[Any]:
    """Every choice, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return (distribution.low, distribution.high)


def inside(values: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Those of `values` that `space` could have given."""
    found: dict[str, Any] = {}
    for key, distribution in space.items():
        value = values.get(key)
        if isinstance(distribution, CategoricalDistribution):
            if value in distribution.choices:
                # The one that is equal: transformers' own may be members of enumerations.
                found[key] = distribution.choices[distribution.choices.index(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            whole = isinstance(distribution, FloatDistribution) or value == int(value)
            if whole and distribution.low <= value <= distribution.high:
                found[key] = value
    return found


def _distribution(given: str, values: str) -> BaseDistribution:
    if ".." in values:
        low, high = (_value(given, part) for part in values.split("..", 1))
        numbers = all(type(v) in (int, float) for v in (low, high))
        if not numbers or not -math.inf < low < high < math.inf:
            raise ConfigError(
                f"--vary {given}: LOW and HIGH must be numbers, LOW the smaller one"
            )
        log = low > 0 and high / low >= _LOG_FROM_RATIO
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    choices = [_value(given, part) for part in values.split(",")]
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ConfigError(
            f"--vary {given}: needs two different values or more; fix a single one with --set"
        )
    return CategoricalDistribution(choices)


def _value(given: str, text: str) -> Any:
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        value = {}
    if text.strip() and isinstance(value, str | int | float | bool | None):
        return value
    raise ConfigError(f"--vary {given}: {text.strip() or 'nothing'} is not a single value")
