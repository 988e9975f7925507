"""Checkpoints while training runs."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from routewright.cli.train import show_log
from routewright.train.progress import PeriodicCheckpoint, ProgressReport, TrainingClock
from routewright.train.run import Run


def test_the_best_checkpoint_of_a_moved_run_is_looked_for_where_it_is(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path / "new"), report_to=[])
    state = TrainerState(best_model_checkpoint="old/place/checkpoint-40")
    PeriodicCheckpoint(5).on_train_begin(arguments, state, TrainerControl())
    assert state.best_model_checkpoint == str(tmp_path / "new" / "checkpoint-40")


def test_a_checkpoint_is_due_every_so_many_steps(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path), report_to=[])
    due = []
    for step in range(1, 11):
        control = TrainerControl()
        PeriodicCheckpoint(5).on_step_end(arguments, TrainerState(global_step=step), control)
        due.append(control.should_save)
    assert [i for i, saved in enumerate(due, start=1) if saved] == [5, 10]


def test_without_a_terminal_every_logged_loss_is_a_line(tmp_path: Path) -> None:
    output = io.StringIO()
    arguments = TrainingArguments(str(tmp_path), report_to=[])
    report = ProgressReport(Console(file=output))
    show_log(report.console)
    try:
        state = TrainerState(global_step=50, max_steps=200, epoch=0.5)
        report.on_train_begin(arguments, state, TrainerControl())
        report.on_log(arguments, state, TrainerControl(), logs={"loss": 0.25})
    finally:
        logging.getLogger("routewright").handlers = []
        logging.getLogger("routewright").propagate = True
    assert output.getvalue() == "step=50/200 epoch=0.50 loss=0.2500 elapsed_s=0\n"


def test_an_evaluation_is_a_line_for_each_task_beside_the_loss_of_training(
    tmp_path: Path,
) -> None:
    output = io.StringIO()
    arguments = TrainingArguments(str(tmp_path), report_to=[])
    report = ProgressReport(Console(file=output, width=40))
    state = TrainerState(global_step=50, max_steps=200)
    state.log_history = [{"loss": 0.5, "step": 40}, {"loss": 0.25, "step": 50}]
    logs = {"eval_f1": 0.8}
    for task, average in (("kind[x]", "weighted"), ("pii", "span")):
        scores = {"loss": 0.3, f"{average}_precision": 0.7, f"{average}_recall": 0.9}
        scores |= {f"{average}_f1": 0.8, "f1": 0.8}
        logs |= {f"eval_{task}_{key}": value for key, value in scores.items()}
    logs["eval_kind[x]_accuracy"] = 0.75
    report.on_log(arguments, state, TrainerControl(), logs=logs)
    assert output.getvalue().splitlines() == [
        "step 50/200 (0 s): training loss 0.2500, mean F1 on validation 0.8000",
        "  kind[x]  loss 0.3000  precision 0.7000  recall 0.9000  F1 0.8000  accuracy 0.7500",
        "  pii      loss 0.3000  precision 0.7000  recall 0.9000  F1 0.8000",
    ]


def test_a_killed_run_has_recorded_the_seconds_up_to_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("routewright.train.progress.time.monotonic", lambda: now[0])
    run = Run(tmp_path)
    run.record({"train_s": 7.0})
    clock = TrainingClock(run)
    arguments = TrainingArguments(str(tmp_path / "checkpoints"), report_to=[])
    for now[0] in (110.0, 125.0):
        clock.on_save(arguments, TrainerState(), TrainerControl())
    assert run.recorded()["train_s"] == 32.0  # not 7 + 10 + 25
    now[0] = 160.0
    assert TrainingClock(run).seconds() == 32.0
