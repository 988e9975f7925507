"""Progress of a training run: a bar on a terminal, log lines elsewhere."""

import logging
import time
from collections.abc import Mapping
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

_AVERAGES = ("weighted", "span")
"""How a task counts precision, recall and the F1 that chooses the checkpoint: its metrics are
named ``eval_<task>_<average>_f1`` and so on."""


class ProgressReport(TrainerCallback):
    """Shows step and loss, and after an evaluation a line for each task."""

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
            # A resumed run has it from before.
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            trained = f"training loss {losses[-1]:.4f}, " if losses else ""
            head = (
                f"step {state.global_step}/{state.max_steps} ({seconds:.0f} s): "
                f"{trained}mean F1 on validation {logs['eval_f1']:.4f}"
            )
            for line in (head, *_task_lines(logs)):
                self.console.print(line, soft_wrap=True, markup=False, highlight=False)

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


def _task_lines(logs: Mapping[str, float]) -> list[str]:
    """Validation loss, precision, recall and F1 of each task; accuracy where it has one."""
    found = [
        (key.removeprefix("eval_").removesuffix(f"_{average}_f1"), average)
        for key in logs
        for average in _AVERAGES
        if key.endswith(f"_{average}_f1")
    ]
    width = max((len(name) for name, _ in found), default=0)
    lines = []
    for name, average in found:
        keys = {
            "loss": "loss",
            "precision": f"{average}_precision",
            "recall": f"{average}_recall",
            "F1": f"{average}_f1",
            "accuracy": "accuracy",
        }
        scores = "  ".join(
            f"{shown} {logs[key]:.4f}"
            for shown, metric in keys.items()
            if (key := f"eval_{name}_{metric}") in logs
        )
        lines.append(f"  {name:<{width}}  {scores}")
    return lines


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
