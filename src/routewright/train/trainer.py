"""One training path: any tasks, full or LoRA, one process or many, on transformers' Trainer."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from rich.console import Console
from torch import distributed, nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from routewright.encoding import TextEncoder
from routewright.errors import ConfigError, RunError
from routewright.runtime.machine import peak_memory_bytes
from routewright.train.batches import (
    EpochDataLoader,
    RowDataset,
    TaskBatchSampler,
    TrainRow,
    collate,
    make_rows,
)
from routewright.train.cpu_speed import speed_up_on_cpu
from routewright.train.memory import keep_freed_memory, peak_gpu_memory_bytes
from routewright.train.modeling import MultiTaskModel
from routewright.train.ngram_fit import fit_ngrams
from routewright.train.progress import PeriodicCheckpoint, ProgressReport, TrainingClock
from routewright.train.recipe import Recipe
from routewright.train.run import Run, SavedModel, new_model, save_model, with_smoothing
from routewright.train.scoring import score_answers, torch_classifier
from routewright.train.settings import TrainSettings, build_settings, training_arguments
from routewright.train.task_data import TaskData, class_weights, load_task_data

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a finished training went."""

    duration_s: float
    """Wall time of training in this process, resumed runs included."""
    num_steps: int
    best_f1: float | None
    """Mean F1 over the tasks at the restored checkpoint, on validation data; None where
    nothing was evaluated."""


class JointTrainer(Trainer):
    """Trainer whose batches hold one task each and whose evaluation answers every task."""

    def __init__(
        self,
        model: MultiTaskModel,
        args: TrainingArguments,
        *,
        rows: list[TrainRow],
        data: Mapping[str, TaskData],
        encoder: TextEncoder,
        settings: TrainSettings,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=RowDataset(rows),
            # Only its presence counts: `evaluate` below reads the examples.
            eval_dataset=RowDataset([]),
        )
        self.rows = rows
        self.data = data
        self.encoder = encoder
        self.settings = settings

    def get_train_dataloader(self) -> EpochDataLoader:
        """Task-homogeneous, length-grouped batches, of which this process sees its share."""
        sampler = TaskBatchSampler(
            self.rows,
            batch_size=self.args.per_device_train_batch_size,
            temperature=self.settings.task_sampling_temperature,
            seed=self.args.data_seed if self.args.data_seed is not None else self.args.seed,
            rank=self.args.process_index,
            num_processes=self.args.world_size,
        )
        return EpochDataLoader(
            RowDataset(self.rows),
            batch_sampler=sampler,
            collate_fn=partial(collate, pad_id=self.encoder.pad_id),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            # Its own generator, so that opening an epoch draws nothing from the global state
            # and a resumed run sees the dropout of an uninterrupted one.
            generator=torch.Generator().manual_seed(self.args.seed),
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, with a learning rate of their own for the untrained heads."""
        optimizer = super().create_optimizer(model)
        head_rate = self.settings.head_learning_rate
        if head_rate is not None and all("is_head" not in g for g in optimizer.param_groups):
            heads = {id(p) for p in self.unwrapped().heads.parameters()}
            for group in list(optimizer.param_groups):
                moved = [p for p in group["params"] if id(p) in heads]
                group["params"] = [p for p in group["params"] if id(p) not in heads]
                group["is_head"] = False
                if moved:
                    optimizer.add_param_group(
                        {**group, "params": moved, "lr": head_rate, "is_head": True}
                    )
        return optimizer

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Scores of every task on its validation data; ``eval_f1`` is their mean F1."""
        started = time.monotonic()
        model = self.unwrapped()
        classifier = torch_classifier(model, self.encoder, autocast=self.args.bf16)
        metrics: dict[str, float] = {}
        for name, task_data in self.data.items():
            texts = [e.text for e in task_data.validation]
            mine = classifier(
                texts[self.args.process_index :: self.args.world_size], tasks=[name]
            )
            answers = _gather(mine, self.args.world_size)[: len(texts)]
            scores = score_answers(model, name, task_data.validation, answers)
            metrics |= {f"eval_{name}_{key}": value for key, value in scores.items()}
        f1 = [metrics[f"eval_{name}_f1"] for name in self.data]
        metrics["eval_f1"] = sum(f1) / len(f1)
        metrics["eval_runtime"] = time.monotonic() - started
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def unwrapped(self) -> MultiTaskModel:
        """The model itself, without the wrapper of several processes."""
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, MultiTaskModel)
        return model


def is_main_process() -> bool:
    """Whether this process writes files; alone, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the first process through the body before the others."""
    state = PartialState(cpu=not torch.cuda.is_available())
    with state.main_process_first():
        yield


def train(
    recipe: Recipe,
    run: Run,
    *,
    data: Mapping[str, TaskData] | None = None,
    resume: bool = False,
    console: Console,
) -> TrainResult:
    """Train as `recipe` says into `run`; the best model ends up in ``RUN/model``.

    With several processes (torchrun, accelerate launch) every one calls this; the first writes.

    Args:
        recipe: of the run.
        run: its folder.
        data: of all tasks of `recipe`, where the caller has read it already.
        resume: go on from the last checkpoint, where there is one.
        console: shows progress.

    Raises:
        RunError: `resume` of a run that is trained.
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
    trainer, saved = _build_trainer(recipe, args, settings, data)
    progress = _add_callbacks(trainer, settings, console)
    if args.should_save:
        _record_start(run, _description(recipe, trainer), console)
    clock = TrainingClock(run)
    trainer.add_callback(clock)
    try:
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        progress.close()
        duration_s = clock.seconds()
        if args.should_save:
            clock.record()
    if args.should_save:
        save_with_ngrams(
            run,
            trainer.unwrapped(),
            saved,
            trainer.encoder,
            rows=trainer.rows,
            data=data,
            seed=recipe.seed,
        )
        run.record({"status": "trained", **_outcome(run, trainer)})
    return TrainResult(duration_s, outcome.global_step, trainer.state.best_metric)


def settings_for(recipe: Recipe, data: Mapping[str, TaskData]) -> TrainSettings:
    """What the recipe sets, over the defaults for so many examples."""
    return build_settings(
        recipe.train,
        num_examples=sum(len(d.train) for d in data.values()),
        lora=recipe.lora is not None,
        tasks=list(data),
    )


def all_rows(
    data: Mapping[str, TaskData], encoder: TextEncoder, settings: TrainSettings
) -> list[TrainRow]:
    """Training rows of every task."""
    num = settings.max_windows_per_text
    return [
        row
        for d in data.values()
        for row in make_rows(d.task, d.train, encoder, max_windows=num)
    ]


def _build_trainer(
    recipe: Recipe,
    args: TrainingArguments,
    settings: TrainSettings,
    data: Mapping[str, TaskData],
) -> tuple[JointTrainer, SavedModel]:
    # Before the model exists: heads and adapters start from the seed.
    set_seed(recipe.seed)
    model, saved, encoder = new_model(recipe, tuple(d.task for d in data.values()))
    if args.use_cpu:
        speed_up_on_cpu(model)
    weights = {n: class_weights(d.task, d.train) for n, d in data.items()}
    model.set_class_weights({n: w for n, w in weights.items() if w is not None})
    rows = all_rows(data, encoder, settings)
    try:
        trainer = JointTrainer(
            model, args, rows=rows, data=data, encoder=encoder, settings=settings
        )
    except (ValueError, ImportError) as exc:  # a report_to or an optimizer that is not there
        raise ConfigError(f"train: {str(exc).strip().splitlines()[0]}") from exc
    return trainer, saved


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


def _checkpoint(run: Run) -> Path | None:
    if run.recorded().get("status") == "trained":
        raise RunError(
            f"{run.folder}: training has finished; evaluate or export it, or start a new run"
        )
    checkpoint = run.last_checkpoint()
    if checkpoint is None:
        logger.info("no complete checkpoint in %s; starting from the beginning", run.folder)
    return checkpoint


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


def _gather(mine: list[Any], num_processes: int) -> list[Any]:
    """Items of all processes, interleaved back into the order they were dealt out in."""
    if num_processes == 1:
        return mine
    parts: list[Any] = [None] * num_processes
    distributed.all_gather_object(parts, mine)
    longest = max(len(part) for part in parts)
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


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


def _description(recipe: Recipe, trainer: JointTrainer) -> dict[str, Any]:
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
        "num_processes": args.world_size,
        "precision": "bf16" if args.bf16 else "fp32",
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
