"""Trainer with our batches, our learning rates and our evaluation."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from transformers import Trainer, TrainingArguments

from routewright.data.examples import Example
from routewright.encoding import TextEncoder
from routewright.errors import DivergedError
from routewright.train.batches import (
    EpochDataLoader,
    RowDataset,
    TaskBatchSampler,
    TrainRow,
    collate,
)
from routewright.train.modeling import MultiTaskModel
from routewright.train.scoring import score_answers, summed_loss, torch_classifier
from routewright.train.settings import TrainSettings
from routewright.train.task_data import TaskData


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
        """Loss and scores of every task on its validation data; ``eval_f1`` is the mean F1.

        Raises:
            DivergedError: a loss is not finite.
        """
        started = time.monotonic()
        metrics: dict[str, float] = {}
        for name, task_data in self.data.items():
            scores = self._scores(name, task_data.validation)
            metrics |= {f"eval_{name}_{key}": value for key, value in scores.items()}
        f1 = [metrics[f"eval_{name}_f1"] for name in self.data]
        metrics["eval_f1"] = sum(f1) / len(f1)
        metrics["eval_runtime"] = time.monotonic() - started
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _scores(self, name: str, examples: Sequence[Example]) -> dict[str, float]:
        model, num_processes = self.unwrapped(), self.args.world_size
        classifier = torch_classifier(
            model, self.encoder, tasks=[name], autocast=self.args.bf16
        )
        mine = examples[self.args.process_index :: num_processes]
        texts = [e.text for e in mine]
        raws = classifier.raw(texts)
        losses = _gather([summed_loss(model, name, mine, raws)], num_processes)
        num_items = sum(items for _, items in losses)
        loss = sum(total for total, _ in losses) / max(num_items, 1)
        if not math.isfinite(loss):
            raise DivergedError(
                f"tasks.{name}: the loss on validation data is {loss} after step "
                f"{self.state.global_step}; lower the learning rate, or warm up for longer"
            )
        answers = _gather(classifier.interpret(raws, texts), num_processes)[: len(examples)]
        return {"loss": loss, **score_answers(model, name, examples, answers)}

    def num_steps(self) -> tuple[int, int]:
        """Optimizer steps of an epoch, and of the whole training."""
        values = self.set_initial_training_values(self.args, self.get_train_dataloader())
        return values[1], values[-1]

    def unwrapped(self) -> MultiTaskModel:
        """The model itself, without the wrapper of several processes."""
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, MultiTaskModel)
        return model


def _gather(mine: list[Any], num_processes: int) -> list[Any]:
    """Items of all processes, interleaved back into the order they were dealt out in."""
    if num_processes == 1:
        return mine
    parts: list[Any] = [None] * num_processes
    distributed.all_gather_object(parts, mine)
    longest = max(len(part) for part in parts)
    return [part[i] for i in range(longest) for part in parts if i < len(part)]
