"""A trained run to a bundle: graphs, parity, int8 gate, calibration, golden cases, card.

The bundle appears whole or not at all; a graph that disagrees with torch, or an int8 graph that
loses more than allowed, ends the export with the old bundle untouched.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from routewright.bundle import (
    CALIBRATION_FILE,
    GOLDEN_FILE,
    TOKENIZER_FILE,
    TRANSITIONS_FILE,
    Bundle,
    BundleManifest,
    ModelInfo,
    calibrations_to_plain,
    rewrite_bundle,
    transitions_to_plain,
    write_bundle,
)
from routewright.calibrate import check_target, read_reports
from routewright.calibration import Target, parse_target
from routewright.config import to_plain
from routewright.data.examples import Example
from routewright.encoding import TextEncoder
from routewright.errors import ConfigError
from routewright.export.card import EXPORT_REPORT, model_card, renewed_card
from routewright.export.golden import GOLDEN_TEXTS, record_golden
from routewright.export.graph import write_onnx
from routewright.export.int8 import Judgement, judge, loss_points, pick_int8
from routewright.export.parity import TOLERANCE, check_parity, first_window, pick_texts
from routewright.runtime.backend import Backend, OnnxBackend
from routewright.runtime.machine import describe_machine
from routewright.second_look import SecondLookSettings
from routewright.tasks import Task
from routewright.train.backend import TorchBackend
from routewright.train.modeling import MultiTaskModel
from routewright.train.recipe import Recipe
from routewright.train.run import Run, SavedModel, load_model, merged
from routewright.train.task_data import load_task_data

_NUM_SAMPLES = 256
"""About how many texts show the sizes of activations before int8, beside the golden ones. With
48 alone the logits of MiniLM erred by a fifth (PII) to a half (category) more."""
GRAPHS: Mapping[str, str] = {"int8": "model.int8.onnx", "fp32": "model.onnx"}
_LIBRARIES = (
    "numpy", "onnx", "onnxruntime", "onnxscript", "tokenizers", "torch", "transformers",
)  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Job:
    """Everything an export reads."""

    recipe: Recipe
    model: MultiTaskModel
    saved: SavedModel
    encoder: TextEncoder
    validation: Mapping[str, Sequence[Example]]
    targets: Mapping[str, Target]
    max_int8_loss: float
    int8_only: bool
    progress: Progress
    timings_s: dict[str, float] = field(default_factory=dict)

    def judge(self, graph: Path) -> Judgement:
        """Score and calibrate a graph on the validation rows."""
        backend = OnnxBackend(graph)
        return judge(
            self.model, self.encoder, backend, self.validation, self.targets,
            self.recipe.export.second_look,
        )  # fmt: skip

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step and report it when it is done."""
        started = time.perf_counter()
        yield
        self.timings_s[name] = round(time.perf_counter() - started, 2)
        self.progress(f"{name}: {self.timings_s[name]:.1f} s")


def export_bundle(
    run: Run,
    destination: Path,
    *,
    targets: Sequence[str] = (),
    max_int8_loss: float | None = None,
    int8_only: bool = False,
    validation: Mapping[str, Sequence[Example]] | None = None,
    progress: Progress = lambda _: None,
) -> Bundle:
    """Write, or replace, the bundle of a run.

    Args:
        run: with a finished model.
        destination: the bundle folder.
        targets: operating points, ``TASK.METRIC=GOAL``; at most one a task.
        max_int8_loss: points (hundredths) of a task's main metric that int8 may lose on the
            validation rows; None takes the recipe's.
        int8_only: leave the fp32 graph out, for a bundle of a quarter of the size.
        validation: rows by task; None reads them as the recipe says.
        progress: called with one line after each step.

    Raises:
        ConfigError: a target is malformed, repeated, or does not fit its task.
        ExportError: the graph disagrees with torch, or int8 loses too much.
        BundleError: `destination` is no place for a bundle.
        RunError: the run has no finished model.
    """
    recipe = run.recipe()
    if int8_only and not recipe.export.int8:
        raise ConfigError("--int8-only: the recipe has export.int8: false; leave one of them")
    model, saved, encoder = load_model(run)
    parsed = _targets(targets, {task.name: task for task in saved.tasks})
    if validation is None:
        validation = {n: d.validation for n, d in load_task_data(recipe).items()}
    job = _Job(
        recipe=recipe,
        model=merged(model),
        saved=saved,
        encoder=encoder,
        validation=validation,
        targets=parsed,
        max_int8_loss=recipe.export.max_int8_loss if max_int8_loss is None else max_int8_loss,
        int8_only=int8_only,
        progress=progress,
    )
    return write_bundle(destination, lambda folder: _build(job, run, folder))


def attach_reports(bundle: Bundle | Path, reports: Path) -> Bundle:
    """Copy evaluation reports into a bundle and renew its model card.

    Args:
        bundle: an exported bundle.
        reports: folder of ``*.json`` as `routewright evaluate --out` writes them.
    """
    opened = Bundle.open(bundle, verify=False) if isinstance(bundle, Path) else bundle
    found = read_reports(reports)
    contents = {f"reports/{name}": _json(report) for name, report in found.items()}
    contents["README.md"] = renewed_card(
        opened, {**read_reports(opened.path / "reports"), **found}
    )
    return rewrite_bundle(opened, contents)


def _targets(texts: Sequence[str], tasks: Mapping[str, Task]) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    for text in texts:
        target = parse_target(text)
        if target.task not in tasks:
            known = ", ".join(tasks)
            raise ConfigError(f"--target {text}: this run has no such task; it has: {known}")
        if target.task in targets:
            raise ConfigError(f"--target {text}: {target.task} has a target already; give one")
        check_target(target, tasks[target.task])
        targets[target.task] = target
    return targets


def _build(job: _Job, run: Run, folder: Path) -> BundleManifest:
    """Write every file but the manifest; each step may refuse."""
    paths = {precision: folder / name for precision, name in GRAPHS.items()}
    torch_backend = TorchBackend(job.model)
    record = _record(job, run)
    with job.step("write the fp32 graph"):
        write_onnx(job.model, paths["fp32"])
    with job.step("compare it with torch"):
        texts = [e.text for examples in job.validation.values() for e in examples]
        picked = [*GOLDEN_TEXTS, *pick_texts([*texts, *GOLDEN_TEXTS], job.encoder)]
        difference = check_parity(
            torch_backend, OnnxBackend(paths["fp32"]), job.encoder, picked
        )
        record["parity"] = {
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "num_texts": len(picked),
        }
    with job.step("validate and calibrate fp32"):
        judgements = {"fp32": job.judge(paths["fp32"])}
    backends: dict[str, Backend] = {"fp32": torch_backend}
    if job.recipe.export.int8:
        record["int8"], judgements["int8"] = _quantise(
            job, paths, judgements["fp32"], [*picked, *_spread(texts)]
        )
        backends["int8"] = OnnxBackend(paths["int8"])
    record["validation"] = _validation(job, judgements)
    if job.int8_only:
        paths["fp32"].unlink()
    precisions = [p for p in GRAPHS if paths[p].is_file()]
    with job.step("record golden cases"):
        golden = record_golden(job.encoder, job.model.tasks, backends, keep=precisions)
    record["graph_bytes"] = {p: paths[p].stat().st_size for p in precisions}
    record["timings_s"] = job.timings_s
    manifest = _manifest(job, precisions)
    calibrations = {p: judgements[p].calibrations for p in precisions}
    reports = read_reports(run.reports)
    contents = {
        TOKENIZER_FILE: job.encoder.tokenizer.to_str(),
        CALIBRATION_FILE: _json(calibrations_to_plain(calibrations)),
        TRANSITIONS_FILE: _json(transitions_to_plain(job.model.transitions())),
        GOLDEN_FILE: json.dumps(to_plain(golden), ensure_ascii=False) + "\n",
        "README.md": model_card(manifest, calibrations, record, reports),
        EXPORT_REPORT: _json(record),
        **{f"reports/{name}": _json(report) for name, report in reports.items()},
    }
    (folder / "reports").mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return manifest


def _quantise(
    job: _Job, paths: Mapping[str, Path], fp32: Judgement, texts: Sequence[str]
) -> tuple[dict[str, Any], Judgement]:
    """Write the int8 graph; how it was made, and how it does on the validation rows."""
    with job.step("quantise, validate and calibrate int8"):
        scope, strength, judgement = pick_int8(
            paths["fp32"],
            paths["int8"],
            fp32,
            job.judge,
            tasks=job.model.tasks,
            max_loss=job.max_int8_loss,
            samples=[first_window(text, job.encoder) for text in texts],
        )
    made = {"scope": scope, "smoothing": strength, "max_loss_points": job.max_int8_loss}
    return made, judgement


def _spread(texts: Sequence[str]) -> Sequence[str]:
    """Some texts of every task, to see how large activations get."""
    return texts[:: max(1, len(texts) // _NUM_SAMPLES)]


def _manifest(job: _Job, precisions: Sequence[str]) -> BundleManifest:
    config = job.model.backbone.config
    return BundleManifest(
        name=job.recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        routewright_version=version("routewright"),
        library_versions={name: version(name) for name in _LIBRARIES},
        model=ModelInfo(
            architecture=config.model_type,
            pooling=job.saved.model.pooling,
            hidden_size=config.hidden_size,
            num_parameters=sum(p.numel() for p in job.model.parameters()),
        ),
        tasks=job.saved.tasks,
        encoding=job.saved.encoding,
        pad_id=job.saved.pad_id,
        precisions={precision: GRAPHS[precision] for precision in precisions},
        default_precision=precisions[0],
        second_look=_second_look(job),
    )


def _second_look(job: _Job) -> SecondLookSettings | None:
    """The recipe's, where a task has a label that it knows."""
    settings = job.recipe.export.second_look
    labels = [n for task in job.saved.tasks if task.kind == "token" for n in task.labels]
    return None if settings is None else settings.of_labels(labels)


def _record(job: _Job, run: Run) -> dict[str, Any]:
    """What ``reports/export.json`` says of the run itself."""
    counts = run.recorded().get("num_examples", {})
    training_data = {
        name: {
            split: {
                "num_examples": counts.get(name, {}).get(split),
                "origins": [spec.origin for spec in specs],
            }
            for split, specs in (
                ("train", task.train),
                ("validation", task.validation),
                ("test", task.test),
            )
            if specs or counts.get(name, {}).get(split)
        }
        for name, task in job.recipe.tasks.items()
    }
    return {
        "backbone": job.saved.model.backbone,
        "adapters": None if job.saved.lora is None else to_plain(job.saved.lora),
        "machine": describe_machine(),
        "training_data": training_data,
        "card": job.recipe.export.card,
    }


def _validation(job: _Job, judgements: Mapping[str, Judgement]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, task in job.model.tasks.items():
        fp32 = judgements["fp32"].metrics[name]
        row = {
            "num_examples": len(job.validation[name]),
            "metric": task.main_metric,
            "fp32": fp32,
        }
        if "int8" in judgements:
            row["int8"] = judgements["int8"].metrics[name]
            row["loss_points"] = loss_points(fp32, judgements["int8"].metrics[name])
        result[name] = row
    return result


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
