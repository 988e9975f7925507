"""What every exported folder has in common: its place, its marker, the run it comes from."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from routewright.encoding import TextEncoder
from routewright.errors import ExportError
from routewright.export.golden import GOLDEN_TEXTS
from routewright.export.parity import pick_texts
from routewright.folders import replaced_folder
from routewright.tasks import Task
from routewright.train.modeling import MultiTaskModel
from routewright.train.recipe import Recipe
from routewright.train.run import Run, SavedModel, load_model

MARKER_FILE = "routewright-export.json"
"""By it an earlier export is known, which a new one may replace."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainedModel:
    """A finished run in memory."""

    recipe: Recipe
    model: MultiTaskModel
    """Adapters not merged."""
    saved: SavedModel
    encoder: TextEncoder

    @classmethod
    def load(cls, run: Run) -> "TrainedModel":
        """Read a run.

        Raises:
            RunError: it has no finished model, or a damaged one.
        """
        model, saved, encoder = load_model(run)
        return cls(run.recipe(), model, saved, encoder)

    def parity_texts(self) -> list[str]:
        """Texts of all lengths, up to the full window."""
        return pick_texts(GOLDEN_TEXTS, self.encoder)


@contextmanager
def export_folder(destination: Path, format_name: str, recipe: Recipe) -> Iterator[Path]:
    """A folder that takes the place of `destination` when the block succeeds.

    Raises:
        ExportError: `destination` holds something other than an earlier export.
    """
    replaced = replaced_folder(
        destination, is_ours=lambda f: (f / MARKER_FILE).is_file(), error=ExportError
    )
    with replaced as folder:
        yield folder
        marker = {
            "format": format_name,
            "name": recipe.name,
            "routewright_version": version("routewright"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(folder / MARKER_FILE, marker)


def refuse_ngrams(model: MultiTaskModel) -> None:
    """For formats whose classes have an encoder and heads, and nothing beside them.

    Raises:
        ExportError: heads of `model` add n-gram scores.
    """
    if len(model.ngrams):
        raise ExportError(
            f"heads add n-gram scores (model.ngrams, {', '.join(model.ngrams)}), which this "
            "format cannot hold; export a bundle or torchscript, or train with model.ngrams: "
            "null"
        )


def write_json(path: Path, value: Any) -> None:
    """Write plain values."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def label_names(task: Task) -> tuple[str, ...]:
    """Names of a head's outputs in id order: classes, or BIO tags."""
    return task.labels if task.kind == "sequence" else task.scheme.tags.names
