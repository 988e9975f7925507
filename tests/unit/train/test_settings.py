"""Defaults by data size, overrides, and messages for wrong keys."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments, get_scheduler

from routewright.errors import ConfigError
from routewright.train.recipe import load_recipe, parse_recipe
from routewright.train.settings import (
    bf16_supported,
    build_settings,
    logging_interval,
    mixed_precision,
    training_arguments,
)


@pytest.mark.parametrize(
    ("num_examples", "epochs", "batch", "rate", "decay", "warmup", "patience"),
    [
        (999, 2, 4, 1e-5, 0.15, 0.1, 1),
        (1000, 3, 8, 2e-5, 0.1, 0.06, 2),
        (5000, 4, 16, 3e-5, 0.05, 0.03, 3),
    ],
)
def test_the_adaptive_table_is_that_of_the_specification(
    num_examples: int,
    epochs: int,
    batch: int,
    rate: float,
    decay: float,
    warmup: float,
    patience: int,
) -> None:
    settings = build_settings({}, num_examples=num_examples, lora=False, tasks=["category"])
    assert settings.early_stopping_patience == patience
    assert settings.arguments["num_train_epochs"] == epochs
    assert settings.arguments["per_device_train_batch_size"] == batch
    assert settings.arguments["learning_rate"] == rate
    assert settings.arguments["weight_decay"] == decay
    assert settings.arguments["warmup_steps"] == warmup


def test_small_data_is_evaluated_each_epoch_and_larger_data_by_steps() -> None:
    steps = [
        build_settings({}, num_examples=n, lora=False, tasks=["a"]).arguments.get("eval_steps")
        for n in (10, 2000, 20000)
    ]
    assert steps == [None, 100, 200]


def test_what_the_user_gives_wins_under_trainers_own_names() -> None:
    given = {"learning_rate": 1e-3, "warmup_ratio": 0.2, "eval_strategy": "epoch"}
    arguments = build_settings(given, num_examples=9, lora=True, tasks=["pii"]).arguments
    assert arguments["learning_rate"] == 1e-3
    assert arguments["warmup_steps"] == 0.2
    assert arguments["save_strategy"] == "epoch"
    assert arguments["num_train_epochs"] == 10


def test_a_typo_names_the_nearest_argument() -> None:
    with pytest.raises(
        ConfigError, match=r"train\.learning_rat: .* did you mean learning_rate"
    ):
        build_settings({"learning_rat": 1}, num_examples=9, lora=False, tasks=["a"])


def test_a_value_that_trainer_refuses_is_one_line(tmp_path: Path) -> None:
    settings = build_settings({"optim": "nope"}, num_examples=9, lora=False, tasks=["a"])
    with pytest.raises(ConfigError, match=r"^train\.optim: 'nope' .* nope is not a valid"):
        training_arguments(settings, output_dir=tmp_path, seed=1)


def test_the_csv_preset_is_that_of_the_specification() -> None:
    given = {"preset": "csv"}
    arguments = build_settings(given, num_examples=9, lora=False, tasks=["a"]).arguments
    assert arguments["lr_scheduler_type"] == "cosine_with_restarts"
    assert arguments["per_device_train_batch_size"] == 64
    assert arguments["label_smoothing_factor"] == 0.05


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", "abc"),
        ("learning_rate", None),
        ("num_train_epochs", 0),
        ("per_device_train_batch_size", 0),
        ("task_sampling_temperature", 0),
        ("checkpoint_steps", "often"),
        ("early_stopping_patience", -1),
        ("label_smoothing_factor", 2),
        ("num_train_epochs", float("inf")),
        ("weight_decay", float("nan")),
        ("eval_steps", float("inf")),
        ("dataloader_num_workers", -1),
        ("bf16", "perhaps"),
        ("preset", "slow"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_named_before_anything_is_read(
    key: str, value: object
) -> None:
    given = {"name": "r", "tasks": {"intent": {"train": []}}, "train": {key: value}}
    with pytest.raises(ConfigError, match=rf"^r\.yaml: train\.{key}: .*got {value!r}"):
        parse_recipe(given, source="r.yaml")


def test_a_bare_no_of_yaml_switches_evaluation_off(tmp_path: Path) -> None:
    settings = build_settings({"eval_strategy": False}, num_examples=9, lora=False, tasks=["a"])
    arguments = training_arguments(settings, output_dir=tmp_path, seed=1)
    assert arguments.eval_strategy == "no"
    assert arguments.save_strategy == "no"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"save_strategy": "no"},
            r"save_strategy: no while eval.* load_best_model_at_end=false",
        ),
        (
            {"accelerator_config": "no.json"},
            r"accelerator_config: 'no\.json' cannot be used: .*No such file",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 20, "save_steps": 30},
            r"save_steps: 30\.0, train\.eval_steps: 20\.0 cannot be used: .* multiple of 20",
        ),
        (
            {"eval_strategy": "steps", "save_steps": 30},
            r"save_steps: 30\.0, train\.eval_steps cannot be used: load_best.* multiple of 50",
        ),
        ({"deepspeed": "x.json"}, r"deepspeed: 'x\.json' cannot be used: .*deepspeed>="),
        ({"bf16": True, "fp16": True}, r"bf16: True, train\.fp16: True cannot .* At most one"),
    ],
)
def test_settings_that_do_not_fit_are_named_with_what_to_do(
    given: dict[str, object], message: str, tmp_path: Path
) -> None:
    settings = build_settings(given, num_examples=9, lora=False, tasks=["a"])
    with pytest.raises(ConfigError, match=rf"^train\.{message}") as caught:
        training_arguments(settings, output_dir=tmp_path, seed=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "on_gpu", "has_bf16", "expected"),
    [
        ({}, True, True, "bf16"),
        ({}, True, False, "fp16"),
        ({}, False, True, "bf16"),
        ({}, False, False, "fp32"),
        ({"fp16": True}, True, True, "fp16"),
        ({"bf16": False}, True, False, "fp32"),
        ({"bf16": True}, True, False, "bf16"),
        ({"fp16": False}, True, False, "fp32"),
        ({"fp16": False}, True, True, "bf16"),
    ],
)
def test_half_precision_is_the_best_of_the_machine_unless_one_is_chosen(
    given: dict[str, bool], on_gpu: bool, has_bf16: bool, expected: str
) -> None:
    found = {**mixed_precision(given, on_gpu=on_gpu, has_bf16=has_bf16), **given}
    assert [name for name, value in found.items() if value] == [expected] * (expected != "fp32")


@pytest.mark.parametrize("given", [{}, {"use_cpu": True}])
def test_fp16_without_a_gpu_is_refused(
    given: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(given))
    settings = build_settings({**given, "fp16": True}, num_examples=9, lora=False, tasks=["a"])
    with pytest.raises(ConfigError, match=r"^train\.fp16: needs a GPU; .*leave it out"):
        training_arguments(settings, output_dir=tmp_path, seed=1)


@pytest.mark.parametrize("on_gpu", [True, False])
def test_training_on_the_cpu_of_a_machine_with_a_gpu_asks_the_cpu_for_bf16(
    on_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: on_gpu)
    for of_cpu in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, of_cpu, lambda: not on_gpu)
    assert bf16_supported(on_gpu=True) == on_gpu
    settings = build_settings({"use_cpu": True}, num_examples=9, lora=False, tasks=["a"])
    arguments = training_arguments(settings, output_dir=tmp_path, seed=1)
    assert arguments.bf16 == (not on_gpu)


def test_evaluation_by_steps_is_every_50_unless_told(tmp_path: Path) -> None:
    given = {"eval_strategy": "steps"}
    settings = build_settings(given, num_examples=9, lora=False, tasks=["a"])
    assert training_arguments(settings, output_dir=tmp_path, seed=1).eval_steps == 50


def test_reporting_to_nothing_is_reporting_nowhere(tmp_path: Path) -> None:
    settings = build_settings({"report_to": None}, num_examples=9, lora=False, tasks=["a"])
    assert training_arguments(settings, output_dir=tmp_path, seed=1).report_to == []


def test_the_csv_preset_restarts_its_cosine_unless_another_schedule_is_given() -> None:
    def arguments(**given: object) -> dict[str, Any]:
        given["preset"] = "csv"
        found = build_settings(given, num_examples=9, lora=False, tasks=["a"]).arguments
        return dict(found)

    preset = arguments()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(
        preset["lr_scheduler_type"],
        optimizer,
        num_warmup_steps=0,
        num_training_steps=30,
        scheduler_specific_kwargs=preset["lr_scheduler_kwargs"],
    )
    rates = []
    for _ in range(30):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [i for i in range(1, 30) if rates[i] > rates[i - 1]] == [10, 20]
    assert arguments(lr_scheduler_kwargs={"num_cycles": 5})["lr_scheduler_kwargs"] == {
        "num_cycles": 5
    }
    assert "lr_scheduler_kwargs" not in arguments(lr_scheduler_type="linear")


def test_every_evaluation_has_a_training_loss_before_it(tmp_path: Path) -> None:
    def interval(strategy: str, eval_steps: float, epoch_steps: int, num_steps: int) -> int:
        args = TrainingArguments(
            str(tmp_path), eval_strategy=strategy, eval_steps=eval_steps, report_to=[]
        )
        return logging_interval(args, epoch_steps=epoch_steps, num_steps=num_steps)

    assert interval("steps", 100, 400, 1200) == 50
    assert interval("steps", 20, 400, 1200) == 20
    assert interval("steps", 0.01, 400, 1200) == 12
    assert interval("epoch", 20, 7, 28) == 7
    assert interval("epoch", 20, 7, 2) == 2


def test_every_training_setting_may_be_overridden_without_its_group(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ntasks: {intent: {train: [{path: a.jsonl}]}}\n")
    overrides = ["early_stopping_patience=1", "warmup_ratio=0.1", "learning_rate=1e-3"]
    assert load_recipe(path, overrides).train == {
        "early_stopping_patience": 1, "warmup_ratio": 0.1, "learning_rate": 1e-3,
    }  # fmt: skip
