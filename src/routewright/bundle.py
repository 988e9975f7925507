"""The on-disk model: manifest, hashes, golden cases; opened whole or refused with one line.

A bundle is a folder whose ``manifest.json`` records the size and SHA-256 of every other file.
It is built beside its destination and renamed into place, so no half bundle ever has its name.
Knows files; knows nothing of torch, ONNX Runtime or how a model answers.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from routewright.calibration import TaskCalibration
from routewright.config import STRICT, parse, to_plain
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.errors import BundleError, ConfigError, IntegrityError, TaskError
from routewright.folders import interrupted_replacement, replaced_folder
from routewright.second_look import SecondLookSettings
from routewright.tag_search import Transitions
from routewright.tasks import Task

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"
CALIBRATION_FILE = "calibration.json"
TRANSITIONS_FILE = "transitions.json"
GOLDEN_FILE = "golden.json"

Calibrations = Mapping[str, Mapping[str, TaskCalibration]]
"""Precision, then task, to the calibration: int8 logits are not those of fp32."""
NestedFloats = list[float] | list[list[float]]


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file of the bundle must be."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The model behind the graphs, for people and reports; inference needs none of it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    architecture: str
    pooling: str
    hidden_size: int
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class BundleManifest:
    """Everything about a bundle but its contents."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format_version: int = FORMAT_VERSION
    name: str
    created: str
    """UTC, ISO 8601."""
    routewright_version: str
    library_versions: Mapping[str, str]
    """Of the libraries that made the bundle, by distribution name."""
    model: ModelInfo
    tasks: tuple[Task, ...]
    encoding: EncodingConfig
    pad_id: int
    precisions: Mapping[str, str]
    """Precision (``int8``, ``fp32``) to the graph file."""
    default_precision: str
    second_look: SecondLookSettings | None = None
    """How rules check the entities of token tasks with such labels; None leaves them to the
    model, as do bundles written before there was one."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    """Every other file by relative path with ``/``; `write_bundle` fills it in."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks must be one or more with unique names, got {names}")
        if self.default_precision not in self.precisions:
            raise ValueError(
                f"default_precision {self.default_precision!r} is not one of "
                f"{sorted(self.precisions)}"
            )
        for path in self.files:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"file {path!r} lies outside the bundle")


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """A text and the logits its first window gave at export."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    text: str
    expected: Mapping[str, Mapping[str, NestedFloats]]
    """Precision, then task, to the row of ``logits_<task>``: ``(C,)``, or ``(T, K)`` with the
    rows of special tokens. The window runs alone, without padding."""


@dataclass(frozen=True, kw_only=True)
class GoldenCases:
    """The self-test of a bundle."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    cases: tuple[GoldenCase, ...]
    tolerance: Mapping[str, float]
    """Precision to the largest absolute difference of a logit that still passes."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its parts are read when asked for."""

    path: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> "Bundle":
        """Read the manifest and, unless told otherwise, check every file against it.

        Raises:
            BundleError: no such folder, not a bundle, or of a newer format.
            IntegrityError: a file is missing, unlisted, cut short or changed.
        """
        bundle = cls(Path(path), _read_manifest(Path(path)))
        if verify:
            bundle.verify()
        return bundle

    def verify(self) -> None:
        """Check every file against its recorded size and hash.

        Raises:
            IntegrityError: the first file that is missing, unlisted, cut short or changed.
        """
        present = set(_files_in(self.path)) - {MANIFEST_FILE}
        for name in sorted({*self.manifest.files, *present}):
            _check_file(self.path / name, self.manifest.files.get(name))

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name, in the order of the graph's outputs."""
        return {task.name: task for task in self.manifest.tasks}

    def precision(self, name: str | None) -> str:
        """`name` itself, or the default for None.

        Raises:
            BundleError: the bundle has no such precision.
        """
        chosen = name or self.manifest.default_precision
        if chosen not in self.manifest.precisions:
            known = ", ".join(sorted(self.manifest.precisions))
            raise BundleError(f"{self.path}: has no precision {chosen!r}; it has: {known}")
        return chosen

    def graph_path(self, precision: str) -> Path:
        """The ONNX file of a precision."""
        return self.path / self.manifest.precisions[self.precision(precision)]

    def encoder(self) -> TextEncoder:
        """The tokenizer with the windows of this model."""
        manifest = self.manifest
        return TextEncoder.from_file(
            self.path / TOKENIZER_FILE, manifest.encoding, pad_id=manifest.pad_id
        )

    def calibration(self, precision: str) -> dict[str, TaskCalibration]:
        """Calibration of every task at a precision.

        Raises:
            BundleError: the file cannot be read or lacks a task.
        """
        path = self.path / CALIBRATION_FILE
        by_task = _read_as(Calibrations, path).get(self.precision(precision), {})
        missing = sorted(set(self.tasks) - set(by_task))
        if missing:
            raise BundleError(
                f"{path}: no {precision} calibration for {', '.join(missing)}; export again"
            )
        return {name: by_task[name] for name in self.tasks}

    def transitions(self) -> dict[str, Transitions]:
        """Learned scores of the CRF heads, by task name; other heads have none."""
        plain = _read_as(Mapping[str, _PlainTransitions], self.path / TRANSITIONS_FILE)
        return {
            name: Transitions(np.array(p.start), np.array(p.scores), np.array(p.end))
            for name, p in plain.items()
        }

    def golden(self) -> GoldenCases:
        """Texts and the logits that every opening must reproduce."""
        cases: GoldenCases = _read_as(GoldenCases, self.path / GOLDEN_FILE)
        return cases


@dataclass(frozen=True, kw_only=True)
class _PlainTransitions:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    start: list[float]
    scores: list[list[float]]
    end: list[float]


def transitions_to_plain(transitions: Mapping[str, Transitions]) -> dict[str, Any]:
    """What ``transitions.json`` holds."""
    return {
        name: {
            "start": t.start_K.tolist(),
            "scores": t.scores_KK.tolist(),
            "end": t.end_K.tolist(),
        }
        for name, t in transitions.items()
    }


def calibrations_to_plain(calibrations: Calibrations) -> dict[str, Any]:
    """What ``calibration.json`` holds."""
    return {
        precision: {name: to_plain(c) for name, c in by_task.items()}
        for precision, by_task in calibrations.items()
    }


def write_bundle(destination: Path, build: Callable[[Path], BundleManifest]) -> Bundle:
    """Make a bundle, or replace one, so that its name never stands for anything incomplete.

    Args:
        destination: where the bundle shall be; absent, empty, or an older bundle.
        build: writes every file but the manifest into the empty folder it is given, and
            returns the manifest without `files`.

    Raises:
        BundleError: `destination` holds something else, or cannot be written.
    """
    # Where the process stands in the folder, a relative name leads nowhere once it is replaced.
    destination = destination.resolve()
    replaced = replaced_folder(destination, is_ours=_looks_like_bundle, error=BundleError)
    with replaced as folder:
        manifest = build(folder)
        records = {name: _record(folder / name) for name in sorted(_files_in(folder))}
        plain = to_plain(replace(manifest, files=records))
        (folder / MANIFEST_FILE).write_text(_json(plain), encoding="utf-8")
    return Bundle.open(destination, verify=False)


def rewrite_bundle(bundle: Bundle, contents: Mapping[str, str]) -> Bundle:
    """Replace text files of a bundle (by relative path), as atomically as `write_bundle`."""

    def build(folder: Path) -> BundleManifest:
        for name in sorted({*_files_in(bundle.path), *contents} - {MANIFEST_FILE}):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name not in contents:
                # Not its mode: a copy of read-only files is there to be written.
                shutil.copyfile(bundle.path / name, folder / name)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
        return bundle.manifest

    return write_bundle(bundle.path, build)


def manifest_digest(folder: Path) -> str:
    """SHA-256 of a bundle's manifest, which holds the hashes of all its files.

    Empty if there is none; opening the bundle says so better.
    """
    try:
        return _sha256(folder / MANIFEST_FILE)
    except OSError:
        return ""


def _looks_like_bundle(folder: Path) -> bool:
    try:
        data = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "format_version" in data


def _read_manifest(path: Path) -> BundleManifest:
    if (old := interrupted_replacement(path)) and not path.exists():
        raise BundleError(
            f"{path}: was being replaced when the process was killed; rename {old} to it"
        )
    if not path.is_dir():
        problem = "is a file, not a bundle folder" if path.exists() else "no such bundle folder"
        raise BundleError(f"{path}: {problem}; check the path")
    source = path / MANIFEST_FILE
    if not source.is_file():
        raise BundleError(
            f"{path}: is not a bundle (no {MANIFEST_FILE}); if it is a training run, make a "
            f"bundle of it: routewright export {path} --out BUNDLE"
        )
    data = _read_json(source)
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise BundleError(f"{source}: is not the manifest of a bundle (no format_version)")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: has bundle format {version}, this routewright reads up to "
            f"{FORMAT_VERSION}; upgrade routewright"
        )
    try:
        return parse(BundleManifest, data, source=str(source))
    except (ConfigError, TaskError) as exc:
        raise BundleError(f"{exc}; export the bundle again") from exc


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BundleError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise BundleError(f"{path}: is not valid JSON ({exc}); copy the bundle again") from exc


def _read_as(kind: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(_read_json(path))
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(str(part) for part in error["loc"]) or "(top level)"
        raise BundleError(f"{path}: {place}: {error['msg']}; export the bundle again") from exc


def _check_file(path: Path, expected: FileRecord | None) -> None:
    if expected is None:
        raise IntegrityError(
            f"{path}: is not listed in {MANIFEST_FILE}; remove it, a bundle holds only its own "
            "files"
        )
    if not path.is_file():
        raise IntegrityError(f"{path}: is missing from the bundle; copy the bundle again")
    size = path.stat().st_size
    if size != expected.bytes:
        change = "cut short" if size < expected.bytes else "changed"
        raise IntegrityError(
            f"{path}: is {change}: {size} bytes, {MANIFEST_FILE} says {expected.bytes}; copy "
            "the bundle again"
        )
    if _sha256(path) != expected.sha256:
        raise IntegrityError(
            f"{path}: differs from its SHA-256 in {MANIFEST_FILE}; copy the bundle again"
        )


def _files_in(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]


def _record(path: Path) -> FileRecord:
    return FileRecord(sha256=_sha256(path), bytes=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
