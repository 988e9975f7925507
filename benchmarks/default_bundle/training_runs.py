"""Runs that a comparison needs: trained unless they are there, and what they recorded.

Knows run folders; knows nothing of what is compared.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A way of training: a recipe and overrides, and the name of its run folder."""

    name: str
    recipe: Path
    overrides: tuple[str, ...] = ()


def finished_run(variant: Variant, runs: Path, *, train: bool) -> Path | None:
    """The complete run of a variant below `runs`; trained or resumed if `train`, else None."""
    folder = runs / variant.name
    record = folder / "run.json"
    command = [sys.executable, "-m", "routewright", "train"]
    if record.is_file():
        if json.loads(record.read_text(encoding="utf-8")).get("status") == "complete":
            return folder
        command += ["--resume", str(folder)]
    else:
        sets = [part for override in variant.overrides for part in ("--set", override)]
        command += [str(variant.recipe), *sets, "--out", str(folder)]
    if not train:
        return None
    subprocess.run(command, check=True)
    return folder


def recorded(run: Path) -> dict[str, Any]:
    """What ``run.json`` says, and the bytes of what training changed on disk."""
    content: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = (
        "train_s", "num_steps", "num_parameters", "num_trainable_parameters", "num_rows",
        "num_train_tokens", "peak_memory_bytes", "precision", "machine", "note",
    )  # fmt: skip
    return {
        **{key: content.get(key) for key in kept},
        "model_bytes": (run / "model" / "model.safetensors").stat().st_size,
    }


def missing_line(variants: Sequence[Variant]) -> str:
    """What to say about runs that are not there."""
    if not variants:
        return ""
    names = ", ".join(variant.name for variant in variants)
    return f"Not trained yet (add `--train`): {names}.\n"
