"""Trains one recipe in a process of its own: ``python -m tests.training_process RECIPE RUN``.

With a third argument N the process kills itself at step N, as a lost machine would.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import TrainerCallback

from routewright.train import trainer
from routewright.train.model_average import train_recipe
from routewright.train.progress import ProgressReport
from routewright.train.recipe import load_recipe
from routewright.train.run import Run
from routewright.train.task_data import load_task_data


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, *call: Any, **_: Any) -> None:
        if call[1].global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    torch.set_num_threads(1)
    recipe_path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        add_ours = trainer._add_callbacks

        def add_callbacks(*args: Any) -> ProgressReport:
            args[0].add_callback(KillAt(int(sys.argv[3])))
            return add_ours(*args)

        trainer._add_callbacks = add_callbacks  # type: ignore[assignment]
    resume = (folder / "recipe.yaml").is_file()
    with trainer.main_process_first():
        run = Run(folder)
        if trainer.is_main_process() and not resume:
            run = Run.create(folder, load_recipe(recipe_path))
    recipe = run.recipe()
    data = load_task_data(recipe)
    train_recipe(recipe, run, data=data, resume=resume, console=Console(quiet=True))


if __name__ == "__main__":
    main()
