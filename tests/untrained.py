"""Runs that look finished without any training: random weights large enough to matter."""

from pathlib import Path
from typing import Any

import torch

from routewright.train.recipe import parse_recipe
from routewright.train.run import Run, new_model, save_model
from routewright.train.task_data import load_task_data
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data


def make_run(folder: Path, architecture: str, **changes: Any) -> Run:
    """A run with two tasks, `topic` (sequence) and `names` (token, CRF), in ``folder/run``.

    Args:
        folder: gets data, checkpoint and run.
        architecture: of the checkpoint.
        changes: of the recipe; `model` is merged into the recipe's.
    """
    checkpoint = make_checkpoint(folder / "checkpoint", architecture)
    content = recipe(write_data(folder / "data", num_rows=24), checkpoint)
    model_settings = {**content["model"], **changes.pop("model", {})}
    parsed = parse_recipe({**content, **changes, "model": model_settings}, source="test")
    run = Run.create(folder / "run", parsed)
    tasks = tuple(data.task for data in load_task_data(parsed).values())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # of heads and adapters too, whatever test ran before
        model, saved, encoder = new_model(parsed, tasks)
        for name, parameter in model.named_parameters():
            # Adapters start at zero, transitions too: neither would show in the outputs.
            if "lora_B" in name or "crf" in name or "heads" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    save_model(run, model, saved, encoder.tokenizer.to_str())
    run.record({"status": "trained"})
    return run
