"""How long, how fast and how carefully to train, under the names of transformers' Trainer.

Every key of `transformers.TrainingArguments` may be set; the few keys of our own are the fields
of `TrainSettings`. Later sources win: the table by number of examples (or the preset), the
defaults of LoRA, the recipe.

One default differs from the specification: activations are kept, not computed again (its
"gradient checkpointing"). That saves memory and costs another forward pass a step (Chen et al.
2016, https://arxiv.org/abs/1604.06174); `activation_checkpointing: true` switches it on.
"""

import difflib
import math
import operator
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import TrainingArguments

from routewright.config import STRICT
from routewright.errors import ConfigError

_FIXED = ("output_dir", "metric_for_best_model", "greater_is_better", "remove_unused_columns")
_RENAMED = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
"""Names that transformers 5 deprecates and people know."""
ARGUMENT_NAMES = tuple(
    f.name for f in fields(TrainingArguments) if f.init and f.name not in _FIXED
)


_STRATEGIES = ("eval_strategy", "save_strategy", "logging_strategy")
_AT_LEAST = {
    "early_stopping_patience": 0,
    "task_sampling_temperature": 1,
    "max_windows_per_text": 1,
    "checkpoint_steps": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "seed": 0,
    "data_seed": 0,
    "learning_rate": 0,
    "head_learning_rate": 0,
    "weight_decay": 0,
    "warmup_ratio": 0,
    "label_smoothing_factor": 0,
}
_BELOW = {"warmup_ratio": 1, "label_smoothing_factor": 1}
_ABOVE = {"num_train_epochs": 0}
"""Ranges that Trainer leaves to a crash, or to a run that learns nothing."""
_ABOUT = {"saving steps": ("save_steps", "eval_steps")}
"""Keys that Trainer's words are about and do not name."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What `transformers.TrainingArguments` does not know, and the arguments it does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    early_stopping_patience: int = 3
    """Evaluations without a better F1 after which training stops; 0 never stops early."""
    head_learning_rate: float | None = None
    """Peak learning rate of the heads, which start untrained; None is that of the backbone."""
    task_sampling_temperature: float = 1.0
    """Batches of a task are drawn in proportion to ``num_examples ** (1 / temperature)``: 1
    keeps the sizes of the data, more evens them out."""
    max_windows_per_text: int = 2
    """Training rows a long labelled text gives: its windows, spread from first to last."""
    checkpoint_steps: int = 200
    """Steps between checkpoints written for resuming, beside those of `save_strategy`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keys and values of `transformers.TrainingArguments`."""


OWN_NAMES = tuple(f.name for f in fields(TrainSettings) if f.name != "arguments")
SETTING_NAMES = frozenset({*OWN_NAMES, *ARGUMENT_NAMES, "preset", "warmup_ratio"})
"""Every key of the ``train`` section of a recipe."""


def adaptive_defaults(num_examples: int) -> dict[str, Any]:
    """Anti-overfitting defaults by number of training examples (specification, section 3)."""
    tier = 0 if num_examples < 1000 else 1 if num_examples < 5000 else 2
    eval_steps = (None, 100, 200)[tier]
    strategy = "epoch" if eval_steps is None else "steps"
    return {
        "num_train_epochs": (2, 3, 4)[tier],
        "per_device_train_batch_size": (4, 8, 16)[tier],
        "learning_rate": (1e-5, 2e-5, 3e-5)[tier],
        "weight_decay": (0.15, 0.1, 0.05)[tier],
        "warmup_steps": (0.1, 0.06, 0.03)[tier],
        "eval_strategy": strategy,
        "save_strategy": strategy,
        **({} if eval_steps is None else {"eval_steps": eval_steps, "save_steps": eval_steps}),
        "early_stopping_patience": (1, 2, 3)[tier],
    }


def csv_defaults() -> dict[str, Any]:
    """The settings the specification names for plain CSV classification.

    Of restarts it names no number, and Trainer's is one cycle, which never restarts. Three
    are the most whose length, 3.3 of the ten epochs, is above the patience of three: training
    does not stop before it has seen a restart's end.
    """
    return {
        "learning_rate": 5e-5,
        "lr_scheduler_type": "cosine_with_restarts",
        "lr_scheduler_kwargs": {"num_cycles": 3},
        "per_device_train_batch_size": 64,
        "num_train_epochs": 10,
        "weight_decay": 0.01,
        "label_smoothing_factor": 0.05,
        "save_total_limit": 5,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "early_stopping_patience": 3,
    }


def lora_defaults(tasks: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Adapter and training defaults of the specification for LoRA (section 5), by task.

    Jointly trained tasks share one adapter, which takes the largest of their shapes.
    """
    if "pii" in tasks:
        adapter = {"rank": 32, "alpha": 64, "dropout": 0.1, "target": "all"}
    elif "jailbreak" in tasks:
        adapter = {"rank": 12, "alpha": 24, "dropout": 0.1, "target": "attention"}
    else:
        adapter = {"rank": 8, "alpha": 16, "dropout": 0.1, "target": "attention"}
    epochs = 10 if list(tasks) == ["pii"] else 3
    train = {
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-4,
    }
    return adapter, train


def build_settings(
    given: Mapping[str, Any], *, num_examples: int, lora: bool, tasks: Sequence[str]
) -> TrainSettings:
    """Defaults for the data at hand, overridden by what the recipe gives.

    Raises:
        ConfigError: an unknown key, with the nearest known one, a reserved key, or a value of
            the wrong type or outside its range.
    """
    given = checked_values(given)
    preset = given.get("preset", "adaptive")
    merged = adaptive_defaults(num_examples) if preset == "adaptive" else csv_defaults()
    if lora:
        merged |= lora_defaults(tasks)[1]
    if given.get("lr_scheduler_type", "cosine_with_restarts") != "cosine_with_restarts":
        merged.pop("lr_scheduler_kwargs", None)  # they are those of another schedule
    merged |= {k: v for k, v in given.items() if k != "preset"}
    if "warmup_ratio" in merged:
        merged["warmup_steps"] = merged.pop("warmup_ratio")
    if given.get("eval_strategy") and "save_strategy" not in given:
        merged["save_strategy"] = given["eval_strategy"]
    if "eval_steps" in given and "save_steps" not in given:
        merged["save_steps"] = given["eval_steps"]
    ours = {k: merged.pop(k) for k in OWN_NAMES if k in merged}
    return TrainSettings(**ours, arguments=merged)


def checked_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe with their types; ``"3"`` is the number 3 where one is due.

    Raises:
        ConfigError: an unknown or reserved key, with what to use instead; a value of the wrong
            type or outside its range.
    """
    return {key: _checked(key, value) for key, value in given.items()}


def _checked(key: str, value: Any) -> Any:
    known = _types()
    if key in _FIXED:
        raise ConfigError(f"train.{key}: is set by routewright; use --out for the folder")
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(
            f"train.{key}: unknown key{hint} (names of transformers.TrainingArguments)"
        )
    if key in _STRATEGIES and value is False:  # YAML reads a bare `no` as false
        value = "no"
    try:
        typed = TypeAdapter(known[key]).validate_python(value)
    except ValidationError as exc:
        problem = exc.errors()[0]["msg"]
        raise ConfigError(
            f"train.{key}: {problem[0].lower()}{problem[1:]}, got {value!r}"
        ) from exc
    if typed is not None:
        _check_range(key, typed)
    return typed


def _check_range(key: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"train.{key}: must be a finite number, got {value!r}")
    for bounds, holds, words in (
        (_AT_LEAST, operator.ge, "at least"),
        (_ABOVE, operator.gt, "more than"),
        (_BELOW, operator.lt, "less than"),
    ):
        if key in bounds and not holds(value, bounds[key]):
            raise ConfigError(f"train.{key}: must be {words} {bounds[key]}, got {value!r}")


@cache
def _types() -> dict[str, Any]:
    """Type of every key that a recipe may set."""
    hints = {**get_type_hints(TrainingArguments), **get_type_hints(TrainSettings)}
    hints |= {"preset": Literal["adaptive", "csv"], "warmup_ratio": float}
    return {name: hints[name] for name in SETTING_NAMES}


def training_arguments(
    settings: TrainSettings, *, output_dir: Path, seed: int
) -> TrainingArguments:
    """`TrainingArguments` with the defaults that hold for every run of ours.

    Raises:
        ConfigError: a value that `TrainingArguments` refuses, in its words.
    """
    given = settings.arguments
    on_cpu = not torch.cuda.is_available() or bool(given.get("use_cpu"))
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    defaults: dict[str, Any] = {
        "optim": "adamw_torch_fused",
        "seed": seed,
        **mixed_precision(given, on_gpu=not on_cpu, has_bf16=bf16_supported(on_gpu=not on_cpu)),
        "report_to": ["tensorboard"],
        "logging_steps": 50,  # and with them `eval_steps`, where neither is given
        "load_best_model_at_end": True,
        "save_total_limit": 2,
        # The patience that is left, which decides when a resumed run stops.
        "restore_callback_states_from_checkpoint": True,
        "disable_tqdm": True,
        "log_level": "error",
        "dataloader_pin_memory": not on_cpu,
        "use_cpu": on_cpu,
        "ddp_backend": "gloo" if on_cpu and num_processes > 1 else None,
        # A batch belongs to one task, so the other heads get no gradient in that step.
        "ddp_find_unused_parameters": num_processes > 1,
    }
    arguments = {**defaults, **given}
    _check_restorable(arguments)
    if arguments["report_to"] is None:
        arguments["report_to"] = []
    # The losses smooth their targets; Trainer's own smoother does not know our heads.
    arguments.pop("label_smoothing_factor", None)
    for old, new in _RENAMED.items():
        if old in arguments:
            arguments[new] = arguments.pop(old)
    try:
        result = TrainingArguments(
            output_dir=str(output_dir),
            metric_for_best_model="f1",
            greater_is_better=True,
            remove_unused_columns=False,
            **arguments,
        )
    except (ImportError, OSError, TypeError, ValueError) as exc:
        raise refused(exc, given) from exc
    if result.fp16 and on_cpu:  # it would train in float32, and say fp16
        raise ConfigError("train.fp16: needs a GPU; use bf16, or leave it out")
    return result


def _check_restorable(arguments: Mapping[str, Any]) -> None:
    """Say before Trainer does, which names no key, that the best model would be lost."""
    evaluated, saved = arguments.get("eval_strategy"), arguments.get("save_strategy")
    if arguments["load_best_model_at_end"] and saved not in (evaluated, "best"):
        raise ConfigError(
            f"train.save_strategy: {saved} while eval_strategy is {evaluated}: the best model "
            "could not be restored; give both the same value, or keep the last model with "
            "load_best_model_at_end=false"
        )


def refused(exc: Exception, given: Mapping[str, Any], *suspects: str) -> ConfigError:
    """What a library says about settings, in one line that names key and value.

    Args:
        exc: what it raised.
        given: settings that defaults, preset and recipe gave.
        suspects: keys it is about, where its words name none of those; without one that is
            given, it is about the first.
    """
    said = exc.name if isinstance(exc, PackageNotFoundError) else str(exc)
    text = " ".join(str(said).split()).removeprefix("--").rstrip(".")
    words = set(re.findall(r"[\w-]+", text))
    keys = [key for said, about in _ABOUT.items() if said in text for key in about]
    keys = keys or [key for key in given if {key, f"--{key}"} & words]
    telling = {k: v for k, v in given.items() if v not in ("", "no", "steps", "epoch")}
    keys = keys or [k for k, v in telling.items() if isinstance(v, str) and _says(text, v)]
    keys = keys or [key for key in suspects if key in given] or list(suspects[:1])
    if not keys:
        return ConfigError(f"train: {text}")
    named = ", ".join(
        f"train.{key}: {given[key]!r}" if key in given else f"train.{key}" for key in keys
    )
    return ConfigError(f"{named} cannot be used: {text}; change it or leave it out")


def _says(text: str, value: str) -> bool:
    """Whether `value`, a word or the name of a file, stands in `text` by itself."""
    return re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text) is not None


def logging_interval(args: TrainingArguments, *, epoch_steps: int, num_steps: int) -> int:
    """Steps between logged training losses where the recipe gives none.

    At most 50, and never longer than an epoch, the time between evaluations or the whole
    training, so that every evaluation has a loss of training beside it.

    Args:
        args: of the run.
        epoch_steps: optimizer steps of an epoch.
        num_steps: optimizer steps of the whole training.
    """
    wanted = [50, epoch_steps, num_steps]
    if args.eval_strategy == "steps" and args.eval_steps:
        share = args.eval_steps
        wanted.append(math.ceil(share * num_steps) if share < 1 else int(share))
    return max(1, min(wanted))


def mixed_precision(
    given: Mapping[str, Any], *, on_gpu: bool, has_bf16: bool
) -> dict[str, bool]:
    """Defaults of `bf16` and `fp16`: the best that the machine has.

    float16 needs a GPU, and gives way to bfloat16, whose range is that of float32. Who sets
    `bf16`, or asks for `fp16`, has chosen: the other is then off.

    Args:
        given: settings of the recipe.
        on_gpu: whether training runs on one.
        has_bf16: whether the processor multiplies bfloat16 natively.
    """
    if given.get("bf16") is not None or given.get("fp16"):
        return {"bf16": False, "fp16": False}
    return {"bf16": has_bf16, "fp16": on_gpu and not has_bf16}


def bf16_supported(*, on_gpu: bool = False) -> bool:
    """Whether bfloat16 is multiplied natively; emulation is slower than float32.

    Args:
        on_gpu: by the GPU, rather than by the processor.
    """
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
