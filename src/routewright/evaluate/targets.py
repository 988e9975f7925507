"""What can be evaluated: a bundle, or a training run with its torch model.

Torch is imported only when a run is opened, so the base install evaluates bundles.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from routewright.bundle import MANIFEST_FILE, Bundle
from routewright.calibration import TaskCalibration
from routewright.errors import BundleError, MissingExtraError
from routewright.evaluate.report import ModelRecord
from routewright.runtime.classifier import Classifier
from routewright.second_look import SecondLookSettings

if TYPE_CHECKING:
    from routewright.train.run import Run

RUN_PRECISION = "fp32"


@dataclass(frozen=True)
class Target:
    """An opened model and what identifies it."""

    classifier: Classifier
    kind: Literal["bundle", "run"]
    model: ModelRecord
    size_bytes: int
    """Of everything that classifying needs at this precision: graph or weights, tokenizer,
    calibration. Adapters of a run count without the frozen weights they belong to."""
    num_parameters: int | None
    """Of the model as trained, adapters included; None where only a bundle is at hand."""
    num_trained_parameters: int | None
    """Those of them that training changed; None where only a bundle is at hand."""
    train_s: float | None = None
    """How long training took, all resumptions together, as the run recorded it."""
    train_peak_memory_bytes: int | None = None
    """Main memory of the training process, as the run recorded it."""
    train_peak_gpu_memory_bytes: int | None = None
    """Of tensors on its GPU, as the run recorded it; None without one."""


def open_target(
    path: Path,
    *,
    precision: str | None = None,
    num_threads: int | None = None,
    second_look: bool | None = None,
) -> Target:
    """Open a bundle folder or a run folder.

    Args:
        path: the folder.
        precision: of a bundle; None takes its default. A run answers in fp32 only.
        num_threads: threads of one forward pass; None takes one for each physical core.
        second_look: whether rules check the entities found, all of them where neither bundle
            nor recipe says which; None does as the bundle, or the recipe, says.

    Raises:
        BundleError: neither of the two, or a bundle that cannot be opened.
        MissingExtraError: a run, and torch is not installed.
        RunError: a run without a finished model, or a damaged one.
    """
    if (path / "recipe.yaml").is_file() and not (path / MANIFEST_FILE).is_file():
        return _with_second_look(*_open_run(path, precision, num_threads), second_look)
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        raise BundleError(
            f"{path}: neither a bundle (no {MANIFEST_FILE}) nor a training run (no "
            "recipe.yaml); give a folder that `routewright export` or `routewright train` wrote"
        )
    return _with_second_look(*_open_bundle(path, precision, num_threads), second_look)


def _with_second_look(
    target: Target, own: SecondLookSettings | None, wanted: bool | None
) -> Target:
    settings = own if wanted is None else (own or SecondLookSettings()) if wanted else None
    return replace(target, classifier=target.classifier.with_second_look(settings))


def _open_bundle(
    path: Path, precision: str | None, num_threads: int | None
) -> tuple[Target, SecondLookSettings | None]:
    classifier = Classifier.open(path, precision=precision, num_threads=num_threads)
    bundle = Bundle.open(path, verify=False)
    manifest = bundle.manifest
    chosen = bundle.precision(precision)
    graph = manifest.precisions[chosen]
    others = {file for name, file in manifest.precisions.items() if name != chosen}
    documents = ("README.md", "reports/")
    needed = [
        record.bytes
        for name, record in manifest.files.items()
        if name not in others and not name.startswith(documents)
    ]
    record = ModelRecord(
        name=manifest.name,
        path=str(path),
        precision=chosen,
        sha256=manifest.files[graph].sha256,
    )
    return Target(classifier, "bundle", record, sum(needed), None, None), manifest.second_look


def _open_run(
    path: Path, precision: str | None, num_threads: int | None
) -> tuple[Target, SecondLookSettings | None]:
    if precision not in (None, RUN_PRECISION):
        raise BundleError(
            f"{path}: a training run answers in {RUN_PRECISION} only; export it and evaluate "
            f"the bundle for {precision}"
        )
    try:
        import torch

        from routewright.train.run import Run, load_model
        from routewright.train.scoring import torch_classifier
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "torch", "train") from exc
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    run = Run.open(path)
    model, _, encoder = load_model(run)
    weights = run.model_folder / "model.safetensors"
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    record = ModelRecord(
        name=run.recipe().name, path=str(path), precision=RUN_PRECISION, sha256=sha256
    )
    num_bytes = sum(p.stat().st_size for p in run.model_folder.rglob("*") if p.is_file())
    num_all = sum(p.numel() for p in model.parameters())
    num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    classifier = torch_classifier(model, encoder, _calibrations(run))
    recorded = run.recorded()
    target = Target(
        classifier, "run", record, num_bytes, num_all, num_trained,
        train_s=recorded.get("train_s"),
        train_peak_memory_bytes=recorded.get("peak_memory_bytes"),
        train_peak_gpu_memory_bytes=recorded.get("peak_gpu_memory_bytes"),
    )  # fmt: skip
    return target, run.recipe().export.second_look


def _calibrations(run: "Run") -> dict[str, TaskCalibration]:
    """Those fitted when the run was exported; none before, so logits count as they are."""
    if not (run.bundle / MANIFEST_FILE).is_file():
        return {}
    bundle = Bundle.open(run.bundle, verify=False)
    if RUN_PRECISION not in bundle.manifest.precisions:
        return {}
    return bundle.calibration(RUN_PRECISION)
