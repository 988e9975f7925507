"""One training path: any tasks, full or LoRA, one process or many, on transformers' Trainer."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from huggingface_hub import HfApi
from rich.console import Console
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_scheduler,
    set_seed,
)
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback

from routewright.encoding import TextEncoder
from routewright.errors import ConfigError, MissingExtraError, RunError
from routewright.runtime.machine import peak_memory_bytes
from routewright.train.batches import TrainRow, make_rows
from routewright.train.cpu_speed import speed_up_on_cpu
from routewright.train.full_disk import naming_full_disk
from routewright.train.joint_trainer import JointTrainer
from routewright.train.memory import keep_freed_memory, peak_gpu_memory_bytes
from routewright.train.modeling import MultiTaskModel
from routewright.train.ngram_fit import fit_ngrams
from routewright.train.progress import PeriodicCheckpoint, ProgressReport, TrainingClock
from routewright.train.recipe import Recipe
from routewright.train.run import Run, SavedModel, new_model, save_model, with_smoothing
from routewright.train.settings import (
    TrainSettings,
    build_settings,
    logging_interval,
    refused,
    training_arguments,
)
from routewright.train.task_data import TaskData, class_weights, load_task_data
from routewright.train.teacher import Teacher

logger = logging.getLogger(__name__)

_LONGEST_WAIT = timedelta(hours=24)
_MANY_STEPS = 1_000_000
"""Of a training whose length is not known yet: more than any warm-up."""


@dataclass(frozen=True)
class TrainResult:
    """How a finished training went."""

    duration_s: float
    """Wall time of training in this process, resumed runs included."""
    num_steps: int
    best_f1: float | None
    """Mean F1 over the tasks at the restored checkpoint, on validation data; None where
    nothing was evaluated."""


def is_main_process() -> bool:
    """Whether this process writes files; alone, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the first process through the body before the others."""
    # A teacher may read for hours while the others wait.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
    with state.main_process_first():
        yield


def train(
    recipe: Recipe,
    run: Run,
    *,
    data: Mapping[str, TaskData] | None = None,
    resume: bool = False,
    console: Console,
    callbacks: Sequence[TrainerCallback] = (),
    teacher_cache: Path | None = None,
) -> TrainResult:
    """Train as `recipe` says into `run`; the best model ends up in ``RUN/model``.

    With several processes (torchrun, accelerate launch) every one calls this; the first writes.

    Args:
        recipe: of the run.
        run: its folder.
        data: of all tasks of `recipe`, where the caller has read it already.
        resume: go on from the last checkpoint, where there is one.
        console: shows progress.
        callbacks: told of steps and evaluations; what they raise ends the training.
        teacher_cache: folder for what teachers say; None is the run's own. Runs of the same
            rows share one.

    Raises:
        RunError: `resume` of a run that is trained, or the disk is full.
        RoutewrightError: anything wrong with data, backbone or settings.
    """
    checkpoint = _checkpoint(run) if resume else None
    keep_freed_memory()
    data = load_task_data(recipe) if data is None else data
    settings = settings_for(recipe, data)
    smoothing = settings.arguments.get("label_smoothing_factor")
    data = {n: replace(d, task=with_smoothing(d.task, smoothing)) for n, d in data.items()}
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.tensorboard)
    args = training_arguments(settings, output_dir=run.checkpoints, seed=recipe.seed)
    teachers = _teachers(recipe, data, teacher_cache or run.teachers, args, console)
    if teachers:  # which may read for an hour before a setting is refused
        check_settings(recipe, run, data)
    trainer, saved = _build_trainer(recipe, args, settings, data, teachers)
    progress = _add_callbacks(trainer, settings, console)
    if args.should_save:
        _record_start(run, _description(recipe, trainer, teachers), console)
    clock = TrainingClock(run)
    for callback in (clock, *callbacks):
        trainer.add_callback(callback)
    try:
        with naming_full_disk(run):
            outcome = trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        progress.close()
        duration_s = clock.seconds()
        if args.should_save:
            clock.record()
    if args.should_save:
        model, rows, encoder = trainer.unwrapped(), trainer.rows, trainer.encoder
        with naming_full_disk(run):
            save_with_ngrams(run, model, saved, encoder, rows=rows, data=data, seed=recipe.seed)
        run.record({"status": "trained", **_outcome(run, trainer)})
    return TrainResult(duration_s, outcome.global_step, trainer.state.best_metric)


def _teachers(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    cache: Path,
    args: TrainingArguments,
    console: Console,
) -> dict[str, Teacher]:
    how: dict[str, Any] = {"autocast": args.bf16, "device": args.device, "console": console}
    return {
        name: Teacher(config, d.task, cache, **how)
        for name, d in data.items()
        if (config := recipe.tasks[name].teacher) is not None
    }


def settings_for(recipe: Recipe, data: Mapping[str, TaskData]) -> TrainSettings:
    """What the recipe sets, over the defaults for so many examples."""
    return build_settings(
        recipe.train,
        num_examples=sum(len(d.train) for d in data.values()),
        lora=recipe.lora is not None,
        tasks=list(data),
    )


def check_settings(recipe: Recipe, run: Run, data: Mapping[str, TaskData]) -> None:
    """Refuse what `train` would, as far as can be told without rows and model.

    Raises:
        ConfigError: a setting cannot be used.
        MissingExtraError: a package of ours is missing.
    """
    settings = settings_for(recipe, data)
    args = training_arguments(settings, output_dir=run.checkpoints, seed=recipe.seed)
    _check_reporting(args, settings)
    _check_hub(args)
    if args.optim_target_modules is None:  # they name layers of the model
        with _refusing(settings, "optim", "optim_args"):
            Trainer.get_optimizer_cls_and_kwargs(args, nn.Linear(1, 1))  # type: ignore[arg-type]
    _check_schedule(args, settings, num_steps=_MANY_STEPS)


def all_rows(
    data: Mapping[str, TaskData],
    encoder: TextEncoder,
    settings: TrainSettings,
    teachers: Mapping[str, Teacher] | None = None,
) -> list[TrainRow]:
    """Training rows of every task, with what `teachers` say of them."""
    num, taught_by = settings.max_windows_per_text, teachers or {}
    return [
        row
        for name, d in data.items()
        for row in make_rows(
            d.task, d.train, encoder, max_windows=num, teacher=taught_by.get(name)
        )
    ]


def _build_trainer(
    recipe: Recipe,
    args: TrainingArguments,
    settings: TrainSettings,
    data: Mapping[str, TaskData],
    teachers: Mapping[str, Teacher],
) -> tuple[JointTrainer, SavedModel]:
    # Before the model exists: heads and adapters start from the seed.
    set_seed(recipe.seed)
    model, saved, encoder = new_model(recipe, tuple(d.task for d in data.values()))
    if args.use_cpu:
        speed_up_on_cpu(model)
    weights = {n: class_weights(d.task, d.train) for n, d in data.items()}
    model.set_class_weights({n: w for n, w in weights.items() if w is not None})
    _check_reporting(args, settings)
    _check_hub(args)
    with main_process_first():  # whose answers of teachers the others read
        rows = all_rows(data, encoder, settings, teachers)
    model.teachers = {name: teacher.config for name, teacher in teachers.items()}
    try:
        trainer = JointTrainer(
            model, args, rows=rows, data=data, encoder=encoder, settings=settings
        )
    except (ImportError, OSError, ValueError) as exc:  # a precision without its device
        raise refused(exc, settings.arguments) from exc
    if args.push_to_hub:
        logger.info("push_to_hub repo=%s checkpoints, not the bundle", trainer.hub_model_id)
    _build_optimizer(trainer, settings)
    return trainer, saved


def _check_reporting(args: TrainingArguments, settings: TrainSettings) -> None:
    try:
        callbacks = get_reporting_integration_callbacks(args.report_to)  # type: ignore[no-untyped-call]
        for callback in callbacks:
            callback()
    except (ImportError, RuntimeError, ValueError) as exc:
        if "report_to" not in settings.arguments:
            raise MissingExtraError("tensorboard", "train") from exc
        raise refused(exc, settings.arguments, "report_to") from exc


def _check_hub(args: TrainingArguments) -> None:
    if not args.push_to_hub:
        return
    try:
        HfApi().whoami(token=args.hub_token)
    except Exception as exc:  # of an HTTP library that changes with the hub's version
        text = " ".join(str(exc).split()).rstrip(".") or type(exc).__name__
        raise ConfigError(
            f"train.push_to_hub: cannot write to the hub: {text}; leave it out: it would "
            "upload Trainer's checkpoints, and RUN/bundle can be uploaded when it is there"
        ) from exc


def _build_optimizer(trainer: JointTrainer, settings: TrainSettings) -> None:
    """Build what Trainer builds as it starts, while an error is one of the settings.

    Raises:
        ConfigError: the optimizer or the schedule cannot be built.
    """
    args = trainer.args
    with _refusing(settings, "num_train_epochs", "max_steps"):
        epoch_steps, num_steps = trainer.num_steps()
    if "logging_steps" not in settings.arguments:
        args.logging_steps = logging_interval(
            args, epoch_steps=epoch_steps, num_steps=num_steps
        )
    with _refusing(settings, "optim", "optim_args", "adam_beta1", "adam_beta2"):
        # These two wrap the model first, or bring an optimizer of their own.
        if not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
            trainer.create_optimizer()
    _check_schedule(args, settings, num_steps=num_steps)


def _check_schedule(
    args: TrainingArguments, settings: TrainSettings, *, num_steps: int
) -> None:
    """Build the schedule that Trainer builds, on an optimizer that goes away."""
    with _refusing(settings, "lr_scheduler_type", "lr_scheduler_kwargs"):
        schedule = get_scheduler(
            args.lr_scheduler_type,
            torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=args.learning_rate),
            num_warmup_steps=args.get_warmup_steps(num_steps),
            num_training_steps=num_steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,  # type: ignore[arg-type]
        )
        # It was asked for the first step; some arguments count only after the warm-up.
        for rate_at in getattr(schedule, "lr_lambdas", ()):
            rate_at(max(num_steps - 1, 0))


@contextmanager
def _refusing(settings: TrainSettings, *keys: str) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, ImportError, RuntimeError, TypeError, ValueError) as exc:
        raise refused(exc, settings.arguments, *keys) from exc


def save_with_ngrams(
    run: Run,
    model: MultiTaskModel,
    saved: SavedModel,
    encoder: TextEncoder,
    *,
    rows: list[TrainRow],
    data: Mapping[str, TaskData],
    seed: int,
) -> None:
    """Fit what `model` has of n-grams, beside its trained heads, and write ``RUN/model``."""
    scales = fit_ngrams(model, rows, data, encoder, seed=seed)
    if scales:
        run.record({"ngram_scales": scales})
    save_model(run, model, saved, encoder.tokenizer.to_str())


def _checkpoint(run: Run) -> str | None:
    if run.recorded().get("status") == "trained":
        raise RunError(
            f"{run.folder}: training has finished; evaluate or export it, or start a new run"
        )
    checkpoint = run.last_checkpoint()
    if checkpoint is None:
        logger.info("no complete checkpoint in %s; starting from the beginning", run.folder)
    return None if checkpoint is None else str(checkpoint)


def _add_callbacks(
    trainer: JointTrainer, settings: TrainSettings, console: Console
) -> ProgressReport:
    trainer.remove_callback(PrinterCallback)
    progress = ProgressReport(console)
    trainer.add_callback(progress)
    trainer.add_callback(PeriodicCheckpoint(settings.checkpoint_steps))
    if settings.early_stopping_patience and trainer.args.eval_strategy != "no":
        trainer.add_callback(EarlyStoppingCallback(settings.early_stopping_patience))
    return progress


def _outcome(run: Run, trainer: JointTrainer) -> dict[str, Any]:
    return {
        "num_steps": trainer.state.global_step,
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_memory_bytes": peak_gpu_memory_bytes(),
        "model_bytes": (run.model_folder / "model.safetensors").stat().st_size,
        "best_f1": trainer.state.best_metric,
        "best_step": trainer.state.best_global_step,
        "history": trainer.state.log_history,
    }


def _record_start(run: Run, description: Mapping[str, Any], console: Console) -> None:
    run.record(description)
    console.print(
        f"{description['num_rows']:,} training rows, "
        f"{description['num_trainable_parameters']:,} trainable parameters, "
        f"{description['num_processes']} process(es), {description['precision']}"
    )


def _description(
    recipe: Recipe, trainer: JointTrainer, teachers: Mapping[str, Teacher]
) -> dict[str, Any]:
    model, args = trainer.unwrapped(), trainer.args
    parameters = list(model.parameters())
    return {
        "status": "training",
        "name": recipe.name,
        "num_parameters": sum(p.numel() for p in parameters),
        "num_trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "num_rows": len(trainer.rows),
        "num_train_tokens": sum(len(row.input_ids) for row in trainer.rows),
        "num_examples": {
            name: {"train": len(d.train), "validation": len(d.validation), "test": len(d.test)}
            for name, d in trainer.data.items()
        },
        "teachers": {
            name: {"taught": t.num_taught, "unknown": t.num_unknown, **vars(t.config)}
            for name, t in teachers.items()
        },
        "num_processes": args.world_size,
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
        "arguments": {
            key: getattr(args, key)
            for key in (
                "learning_rate",
                "num_train_epochs",
                "per_device_train_batch_size",
                "weight_decay",
                "warmup_steps",
                "seed",
            )
        },
    }
