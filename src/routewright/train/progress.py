"""Progress of a training run: a bar on a terminal, log lines elsewhere."""

import logging
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from routewright.train.run import Run

logger = logging.getLogger(__name__)

_SHOWN = ("_weighted_f1", "_span_f1")
"""Metrics of a task shown while training: those that choose the checkpoint."""


class ProgressReport(TrainerCallback):
    """Shows step, loss and the last F1."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.started = time.monotonic()
        self.text = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar."""
        self.started = time.monotonic()
        if not state.is_world_process_zero or not self.console.is_terminal:
            return
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
            console=self.console,
        )
        self.bar = self.progress.add_task("training", total=state.max_steps, info="")
        self.progress.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar."""
        if self.progress is not None:
            self.progress.update(self.bar, completed=state.global_step, info=self.text)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Note losses and scores."""
        if not logs or not state.is_world_process_zero:
            return
        seconds = time.monotonic() - self.started
        if "loss" in logs:
            self.text = f"loss {logs['loss']:.3f}"
            if self.progress is None:
                logger.info(
                    "step=%d/%d epoch=%.2f loss=%.4f elapsed_s=%.0f",
                    state.global_step, state.max_steps, state.epoch or 0, logs["loss"], seconds,
                )  # fmt: skip
        if "eval_f1" in logs:
            scores = "  ".join(
                f"{_task_of(key)} {value:.4f}"
                for key, value in logs.items()
                if key.endswith(_SHOWN)
            )
            self.console.print(
                f"step {state.global_step}/{state.max_steps} ({seconds:.0f} s)  "
                f"F1 on validation: {scores}  mean {logs['eval_f1']:.4f}"
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was, also after an interrupt."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _task_of(key: str) -> str:
    """``eval_pii_span_f1`` is a score of ``pii``."""
    suffix = next(s for s in _SHOWN if key.endswith(s))
    return key.removeprefix("eval_").removesuffix(suffix)


class TrainingClock(TrainerCallback):
    """Seconds of training with those of the runs that this one goes on with.

    They are recorded with every checkpoint: a killed process says nothing at its end, and what
    it did after the last checkpoint is done again.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.earlier_s = float(run.recorded().get("train_s", 0))
        self.started = time.monotonic()

    def seconds(self) -> float:
        """Up to now."""
        return self.earlier_s + time.monotonic() - self.started

    def record(self) -> None:
        """Write them into ``run.json``."""
        self.run.record({"train_s": round(self.seconds(), 1)})

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """After a checkpoint."""
        if args.should_save:
            self.record()


class PeriodicCheckpoint(TrainerCallback):
    """Writes a checkpoint every so many steps, so that a kill costs little."""

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Look for the best checkpoint where the run lies now: it may have been moved.

        Trainer records the path it had, and without it deletes the best checkpoint in time
        and ends with the last model in silence.
        """
        if state.best_model_checkpoint is not None:
            name = Path(state.best_model_checkpoint).name
            state.best_model_checkpoint = str(Path(args.output_dir or "") / name)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask Trainer to save."""
        if state.global_step % self.every_steps == 0:
            control.should_save = True
