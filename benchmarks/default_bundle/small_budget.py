"""The runs that joint_vs_single and lora_vs_full share: one recipe, cut to a task or adapted.

Knows recipes as plain values; trains and compares nothing.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.default_bundle.training_runs import Variant, cut_to_task, tried

from routewright.config import to_plain
from routewright.train.recipe import load_recipe
from routewright.train.settings import lora_defaults

LORA_LEARNING_RATE = 5.0e-4
"""As in recipes/router-minilm-lora.yaml. The specification's 1e-4 is for batches of 8, four
times as many steps."""


def add_recipe_option(parser: argparse.ArgumentParser) -> None:
    """The recipe with all tasks that the runs are made from."""
    path = Path("recipes/router-minilm-small.yaml")
    parser.add_argument("--recipe", type=Path, default=path, help="joint recipe, all weights")


def read_budget(args: argparse.Namespace) -> dict[str, Any]:
    """Plain values of the joint recipe; one run of it where it averages several, in fp32."""
    overrides = [f"data_dir={args.data.resolve()}", "average=[]", "export.int8=false"]
    return tried(to_plain(load_recipe(args.recipe, overrides)), args.max_steps)


def joint(recipe: Mapping[str, Any]) -> Variant:
    """All tasks in one model."""
    return Variant("joint", recipe)


def single(recipe: Mapping[str, Any], task: str) -> Variant:
    """One task, all weights; nothing else differs."""
    name = f"{task}-full"
    return Variant(name, {**cut_to_task(recipe, task), "name": name})


def adapted(recipe: Mapping[str, Any], task: str) -> Variant:
    """One task with adapters of the specification's shape on a frozen backbone."""
    name = f"{task}-lora"
    train = {**recipe["train"], "learning_rate": LORA_LEARNING_RATE}
    adapter = lora_defaults([task])[0]
    plain = {**single(recipe, task).recipe, "name": name, "train": train, "lora": adapter}
    return Variant(name, plain)


def budget_line(recipe: Mapping[str, Any], precision: str) -> str:
    """What every run got, in words, and how its models were run."""
    train = recipe["train"]
    parts = []
    for task, own in recipe["tasks"].items():
        origins = [
            f"{spec['limit']:,} generated" if spec["synthetic"] is not None
            else f"at most {spec['limit']:,} real" if spec["limit"] is not None
            else "all real"
            for spec in own["train"]
        ]  # fmt: skip
        parts.append(f"{task} {' and '.join(dict.fromkeys(origins))}")
    steps = f", stopped at step {train['max_steps']}" if "max_steps" in train else ""
    return (
        f"Budget: {train['num_train_epochs']} epochs{steps}, batches of "
        f"{train['per_device_train_batch_size']}, learning rate {train['learning_rate']:g} "
        f"({LORA_LEARNING_RATE:g} for adapters, {train['head_learning_rate']:g} for heads); "
        f"rows: {'; '.join(parts)}. One seed; {precision}.\n"
    )
