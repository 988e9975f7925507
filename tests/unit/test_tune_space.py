"""What a search may vary, read from the command line."""

import json
import re

import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from transformers import SchedulerType

from routewright.errors import ConfigError
from routewright.tune.space import DEFAULT_SPACE, ends, inside, parse_space


def test_ranges_become_distributions() -> None:
    space = parse_space(
        [
            "learning_rate=1e-5..3e-4",
            "train.weight_decay=0.0..0.2",
            "num_train_epochs=2..6",
            "per_device_train_batch_size=4..64",
            "lr_scheduler_type=linear,cosine",
            "tasks.team.loss.label_smoothing=0,0.1",
            "lora.rank=4,8,16",
            "model.dropout=0.0..0.3",
        ]
    )
    assert space == {
        "train.learning_rate": FloatDistribution(1e-5, 3e-4, log=True),
        "train.weight_decay": FloatDistribution(0.0, 0.2),
        "train.num_train_epochs": IntDistribution(2, 6),
        "train.per_device_train_batch_size": IntDistribution(4, 64, log=True),
        "train.lr_scheduler_type": CategoricalDistribution(["linear", "cosine"]),
        "tasks.team.loss.label_smoothing": CategoricalDistribution([0, 0.1]),
        "lora.rank": CategoricalDistribution([4, 8, 16]),
        "model.dropout": FloatDistribution(0.0, 0.3),
    }


def test_the_default_space_is_one() -> None:
    assert set(parse_space(DEFAULT_SPACE)) == {
        "train.learning_rate",
        "train.num_train_epochs",
        "train.weight_decay",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("learning_rate", "expected KEY=LOW..HIGH or KEY=A,B,C"),
        ("learning_rate=", "expected KEY=LOW..HIGH or KEY=A,B,C"),
        ("learning_rate=3e-4..1e-5", "LOW the smaller one"),
        ("learning_rate=0..high", "must be numbers"),
        ("learning_rate=0..", "nothing is not a single value"),
        ("weight_decay=0.0...inf", "must be numbers"),
        ("learning_rate=1e-4", "two different values"),
        ("learning_rate=1e-4,1e-4", "two different values"),
        ("learning_rate=[1,2],3", "is not a single value"),
        ("num_train_epochs=true..3", "must be numbers"),
        ("data_dir=a,b", "a search varies how runs train"),
        ("tasks.team.loss.kind=focal,cross_entropy", "a search varies how runs train"),
        ("encoding.max_tokens=64,128", "change anything else with --set"),
        ("seed=1,2", "a search varies how runs train"),
    ],
)
def test_what_is_no_range_is_refused_by_name(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        parse_space([given])
    assert str(error.value).startswith(f"--vary {given}: ")


def test_a_key_has_one_range_however_it_is_written() -> None:
    with pytest.raises(ConfigError, match=r"train\.learning_rate is there twice"):
        parse_space(["learning_rate=1e-5..1e-4", "train.learning_rate=1e-4,2e-4"])


def test_ends_are_what_can_be_checked_beforehand() -> None:
    space = parse_space(["learning_rate=1e-5..3e-4", "lr_scheduler_type=linear,cosine"])
    assert [tuple(ends(d)) for d in space.values()] == [(1e-5, 3e-4), ("linear", "cosine")]


def test_only_values_that_the_space_could_give_start_the_search() -> None:
    space = parse_space(
        ["learning_rate=1e-5..3e-4", "num_train_epochs=2..4", "lr_scheduler_type=linear,cosine"]
    )
    keys = ("train.learning_rate", "train.num_train_epochs", "train.lr_scheduler_type")
    for values, expected in [
        ((1e-4, 3, "linear"), keys),
        ((1e-5, 4.0, "cosine"), keys),
        ((1e-3, 2.5, "constant"), ()),
        ((None, True, None), ()),
    ]:
        assert inside(dict(zip(keys, values, strict=True)), space).keys() == set(expected)


def test_a_setting_that_is_a_member_of_an_enumeration_starts_the_search_by_its_name() -> None:
    first = inside(
        {"train.lr_scheduler_type": SchedulerType.COSINE},
        parse_space(["lr_scheduler_type=linear,cosine"]),
    )
    assert json.dumps(first) == '{"train.lr_scheduler_type": "cosine"}'
    assert type(first["train.lr_scheduler_type"]) is str
