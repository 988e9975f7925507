"""The run folder: everything a training run leaves behind, and how to load its model again.

RUN/recipe.yaml          the recipe with all overrides applied; `--resume` reads it
RUN/run.json             what ran where, how long, and how it ended
RUN/model/               the best model: backbone config, tasks, weights, tokenizer
RUN/checkpoints/         Trainer's checkpoints, for resuming
RUN/tensorboard/         loss and metrics over time
RUN/reports/             evaluation reports, <task>.<split>.json
RUN/bundle/              the exported bundle
RUN/averaged/1/, 2/ ...  the runs that `average` asks for, folders like this one
RUN/teachers/            what teachers said of the training rows, <task>.npz
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import peft
import yaml
from pydantic import ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from routewright.config import STRICT, parse, read_yaml, to_plain, write_text
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.errors import BackboneError, RunError
from routewright.tasks import Task
from routewright.train.backbones import (
    build_backbone,
    load_backbone,
    load_tokenizer,
    max_positions,
    weights_digest,
)
from routewright.train.lora import LoraConfig, add_adapters
from routewright.train.modeling import ModelConfig, MultiTaskModel
from routewright.train.recipe import Recipe, parse_recipe

NGRAMS = "ngrams."
"""Start of the names of what `NgramScores` holds: fitted, though no parameters."""


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What ``model/model.json`` states about the weights beside it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    tasks: tuple[Task, ...]
    model: ModelConfig
    encoding: EncodingConfig
    pad_id: int
    lora: LoraConfig | None
    backbone_sha256: str | None
    """Digest of the frozen weights that adapters belong to; None when all weights are saved."""


class Run:
    """A run folder and the names of what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.model_folder = folder / "model"
        self.tensorboard = folder / "tensorboard"
        self.reports = folder / "reports"
        self.bundle = folder / "bundle"
        self.averaged = folder / "averaged"
        self.teachers = folder / "teachers"

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """An existing run.

        Raises:
            RunError: not a run folder.
        """
        if not (folder / "recipe.yaml").is_file():
            raise RunError(
                f"{folder}: not a training run (no recipe.yaml in it); "
                "give the folder that `routewright train --out` wrote"
            )
        return cls(folder)

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> "Run":
        """A new run in an absent or empty folder.

        Raises:
            RunError: the folder has content.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(
                f"{folder}: already has content; choose another --out, "
                f"or continue that run with --resume {folder}"
            )
        run = cls(folder)
        write_text(folder / "recipe.yaml", yaml.safe_dump(to_plain(recipe), sort_keys=False))
        return run

    def discard_unstarted(self) -> None:
        """Remove what `create` wrote if no training has begun, so that the name is free."""
        for folder in self.averaged.glob("*"):
            Run(folder).discard_unstarted()
        with suppress(OSError):  # absent, or one of its runs has begun
            self.averaged.rmdir()
        if "status" in self.recorded() or self.averaged.exists():
            return
        shutil.rmtree(self.teachers, ignore_errors=True)
        for name in ("recipe.yaml", "run.json"):
            (self.folder / name).unlink(missing_ok=True)
        for folder in (self.checkpoints, self.folder):
            with suppress(OSError):  # absent, or somebody's files are in it
                folder.rmdir()

    def recipe(self) -> Recipe:
        """The recipe this run was started with."""
        path = self.folder / "recipe.yaml"
        return parse_recipe(read_yaml(path), source=str(path))

    def record(self, values: Mapping[str, Any]) -> None:
        """Merge `values` into ``run.json``."""
        merged = {**self.recorded(), **values}
        write_text(self.folder / "run.json", json.dumps(merged, indent=2) + "\n")

    def recorded(self) -> dict[str, Any]:
        """Content of ``run.json``, empty before the first record."""
        path = self.folder / "run.json"
        if not path.exists():
            return {}
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise RunError(f"{path}: not valid JSON: {exc}; delete it to go on") from exc
        return content

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint.

        Trainer writes ``trainer_state.json`` last, so a checkpoint that a kill interrupted has
        none, or one that is cut off.
        """
        found = []
        for path in self.checkpoints.glob("checkpoint-*"):
            try:
                state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
                found.append((int(state["global_step"]), path))
            except (OSError, ValueError, KeyError):
                continue
        return max(found)[1] if found else None


def save_model(run: Run, model: MultiTaskModel, saved: SavedModel, tokenizer_json: str) -> None:
    """Write ``model/`` whole or not at all; adapters are saved without the frozen weights."""
    temporary = run.folder / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    backbone = model.backbone
    backbone.config.save_pretrained(temporary)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    state = model.state_dict()
    if saved.lora is not None:
        kept = trained | {name for name in state if name.startswith(NGRAMS)}
        state = {name: value for name, value in state.items() if name in kept}
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        temporary / "model.safetensors",
    )
    write_text(temporary / "tokenizer.json", tokenizer_json)
    write_text(temporary / "model.json", json.dumps(to_plain(saved), indent=2) + "\n")
    shutil.rmtree(run.model_folder, ignore_errors=True)
    temporary.rename(run.model_folder)


def load_model(run: Run) -> tuple[MultiTaskModel, SavedModel, TextEncoder]:
    """The best model of a run as it was trained, adapters not merged.

    Raises:
        RunError: training has not finished, a file is missing or damaged, or the frozen weights
            that adapters belong to are not those they were trained on.
    """
    folder = run.model_folder
    if not (folder / "model.json").is_file():
        raise RunError(
            f"{run.folder}: has no trained model yet; finish it with "
            f"`routewright train --resume {run.folder}`"
        )
    saved = parse(SavedModel, read_yaml(folder / "model.json"), source=f"{folder}/model.json")
    if saved.lora is None:
        backbone = build_backbone(folder)
    else:
        backbone = load_backbone(saved.model.backbone)
        if weights_digest(backbone) != saved.backbone_sha256:
            raise RunError(
                f"{run.folder}: the weights of backbone {saved.model.backbone} are not those "
                "its adapters were trained on; restore them, or train again"
            )
        backbone = add_adapters(backbone, saved.lora)  # type: ignore[assignment]
    model = MultiTaskModel(backbone, saved.tasks, saved.model)
    try:
        state = load_file(folder / "model.safetensors")
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (OSError, SafetensorError, RuntimeError) as exc:
        raise RunError(f"{folder}/model.safetensors: cannot be loaded: {exc}") from exc
    needed = {name for name, p in model.named_parameters() if p.requires_grad}
    needed |= {n for n in model.state_dict() if saved.lora is None or n.startswith(NGRAMS)}
    if unexpected or needed & set(missing):
        odd = sorted({*unexpected, *(needed & set(missing))})
        raise RunError(f"{folder}/model.safetensors: wrong or missing weights: {odd[0]}")
    encoder = TextEncoder.from_file(
        folder / "tokenizer.json", saved.encoding, pad_id=saved.pad_id
    )
    model.eval()
    return model, saved, encoder


def new_model(
    recipe: Recipe, tasks: tuple[Task, ...]
) -> tuple[MultiTaskModel, SavedModel, TextEncoder]:
    """An untrained model as a recipe describes it: pretrained backbone, fresh heads.

    Raises:
        BackboneError: the backbone cannot be loaded or is too short for the window.
    """
    backbone = load_backbone(recipe.model.backbone)
    encoding = recipe.encoding
    if encoding.max_tokens > max_positions(backbone):
        raise BackboneError(
            f"encoding.max_tokens is {encoding.max_tokens}, backbone {recipe.model.backbone} "
            f"carries {max_positions(backbone)}; set it to that or less (longer texts are read "
            "in windows)"
        )
    digest = None
    if recipe.lora is not None:
        digest = weights_digest(backbone)
        backbone = add_adapters(backbone, recipe.lora)  # type: ignore[assignment]
    tokenizer, pad_id = load_tokenizer(recipe.model.backbone)
    saved = SavedModel(
        tasks=tasks,
        model=recipe.model,
        encoding=encoding,
        pad_id=pad_id,
        lora=recipe.lora,
        backbone_sha256=digest,
    )
    model = MultiTaskModel(backbone, tasks, recipe.model)
    return model, saved, TextEncoder(tokenizer, encoding, pad_id=pad_id)


def merged(model: MultiTaskModel) -> MultiTaskModel:
    """The same model with adapters folded into the weights; without adapters, itself."""
    if isinstance(model.backbone, peft.PeftModel):
        model.backbone = model.backbone.merge_and_unload()
    return model


def with_smoothing(task: Task, label_smoothing: float | None) -> Task:
    """`task` with Trainer's ``label_smoothing_factor`` as its label smoothing, where given."""
    if label_smoothing is None:
        return task
    return replace(task, loss=replace(task.loss, label_smoothing=label_smoothing))
