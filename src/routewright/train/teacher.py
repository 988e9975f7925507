"""What a finished model says of the training rows of another, worked out once and kept.

A larger or slower model teaches one that can be served: its probabilities say which wrong
labels are nearly right, and which labels of the data it doubts.

What is kept is one file a task, keyed by hashes of the texts: none of them can be read from it.
"""

import hashlib
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from routewright.bundle import MANIFEST_FILE
from routewright.decoding import FloatArray
from routewright.errors import ConfigError
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import RawOutput
from routewright.shipped import bundle_folder
from routewright.tasks import Task
from routewright.train.distillation import TeacherConfig
from routewright.train.run import Run, load_model, merged
from routewright.train.scoring import torch_classifier

logger = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 1024
"""After so many what is there is written down: an interruption loses no more."""
_KEY_BYTES = 8
"""Of the hash of a text: two of a hundred thousand share one with probability 3e-10."""
_LEAST_SHARE = 1e-4
"""Of the wrong labels together, where a label stands for a teacher: its logarithm is used."""

_NO_ANSWERS = (AttributeError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile)
"""What reading raises of a file that is empty, cut short, or of something else."""

Answers = dict[int, FloatArray]
"""Scores ``(C,)`` by key of the text."""


class Teacher:
    """Answers of one model for one task; those it has given are read from a file."""

    def __init__(
        self,
        config: TeacherConfig,
        task: Task,
        cache: Path,
        *,
        autocast: bool = False,
        console: Console,
    ) -> None:
        """Check that `config` names what can teach `task`; no model is loaded yet.

        Args:
            config: which model, or whose answers.
            task: of the model that learns.
            cache: folder for the answers; made when there are some.
            autocast: whether a run answers in bfloat16, as training does. Bundles do not.
            console: shows progress, if it is a terminal.

        Raises:
            ConfigError: there is no such model or file, or `task` has no classes of texts.
        """
        self.config = config
        self.task = task
        self.cache = cache / f"{task.name}.npz"
        self.autocast = autocast
        self.console = console
        self.place = f"tasks.{task.name}.teacher"
        self.folder = None if config.model is None else bundle_folder(config.model)
        self.is_run = self.folder is not None and (self.folder / "recipe.yaml").is_file()
        if task.kind != "sequence":
            raise ConfigError(
                f"{self.place}: only sequence tasks learn from a teacher; leave it out"
            )
        has_manifest = self.folder is None or (self.folder / MANIFEST_FILE).is_file()
        if not self.is_run and not has_manifest:
            raise ConfigError(
                f"{self.place}.model: {self.folder}: no training run and no bundle; give the "
                "folder of a finished `routewright train` of the task, or leave the teacher out"
            )
        self.given = {} if config.answers is None else self._given(Path(config.answers))

    def __call__(self, texts: Sequence[str], label_ids: Sequence[int]) -> FloatArray:
        """Scores ``(N, C)`` of `texts`, before any calibration, classes as the task has them.

        Of a text longer than the teacher's window, the mean over its windows. A text that
        nobody knows has scores that mean its own label at the temperature of the teacher.

        Args:
            texts: of the training rows.
            label_ids: of each of them.

        Raises:
            ConfigError: the teacher lacks the task or has other labels, knows none of the
                texts, or its answers cannot be written down.
            RoutewrightError: the model cannot be opened.
        """
        keys = [_key(text) for text in texts]
        known = dict(self.given)
        if self.folder is not None:
            digest = self._digest(self.folder)
            own = self._kept(digest)
            known |= own
            missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
            if missing:
                known |= self._ask(self.folder, missing, own, digest)
        num_unknown = sum(key not in known for key in keys)
        if num_unknown == len(keys) and keys:
            raise ConfigError(
                f"{self.place}.answers: {self.config.answers}: knows none of the {len(keys):,} "
                "training rows; it was written for others"
            )
        logger.info(
            "task=%s taught=%d unknown_to_the_teacher=%d",
            self.task.name,
            len(keys) - num_unknown,
            num_unknown,
        )
        rows = [
            known[key] if key in known else self._of_label(label_id)
            for key, label_id in zip(keys, label_ids, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    def _ask(self, folder: Path, missing: dict[int, str], own: Answers, digest: str) -> Answers:
        """Answers of the model for `missing`, written down beside its `own` as they come."""
        classifier, columns = self._open(folder)
        found, keys = dict(own), list(missing)
        with Progress(
            console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            shown = bar.add_task(f"teacher of {self.task.name}", total=len(keys))
            for start in range(0, len(keys), _TEXTS_AT_ONCE):
                chunk = keys[start : start + _TEXTS_AT_ONCE]
                raws = classifier.raw([missing[key] for key in chunk])
                for key, raw in zip(chunk, raws, strict=True):
                    # In halves, as they are written: a resumed run sees the same.
                    found[key] = self._mean(raw)[columns].astype(np.float16)
                self._write(found, digest)
                bar.update(shown, completed=start + len(chunk))
        return found

    def _open(self, folder: Path) -> tuple[Classifier, list[int]]:
        """The model, and where in its scores the labels of the task are."""
        name = self.task.name
        if self.is_run:
            model, _, encoder = load_model(Run.open(folder))
            known = {n: t for n, t in model.tasks.items() if t.kind == "sequence"}
            tasks = [name] if name in known else []
            classifier = torch_classifier(
                merged(model), encoder, tasks=tasks, autocast=self.autocast
            )
        else:
            classifier = Classifier.open(folder)
        head = classifier.heads.get(name)
        if head is None or head.task.kind != "sequence":
            raise ConfigError(f"{self.place}.model: {folder}: has no sequence task {name}")
        return classifier, self._columns(head.task.labels, f"model: {folder}")

    def _columns(self, labels: Sequence[str], source: str) -> list[int]:
        if odd := sorted({*labels} ^ {*self.task.labels}):
            raise ConfigError(
                f"{self.place}.{source}: its labels are not those of the task; only one of "
                f"them has {odd[0]}"
            )
        return [list(labels).index(label) for label in self.task.labels]

    def _mean(self, raw: RawOutput) -> FloatArray:
        sizes_W = np.maximum(raw.window_sizes, 1)
        mean_C: FloatArray = sizes_W @ raw.sequence_logits[self.task.name] / sizes_W.sum()
        return mean_C

    def _of_label(self, label_id: int) -> FloatArray:
        num_classes = len(self.task.labels)
        smoothing = max(self.task.loss.label_smoothing, _LEAST_SHARE)
        shares_C = np.full(num_classes, smoothing / num_classes)
        shares_C[label_id] += 1 - smoothing
        logits_C: FloatArray = np.log(shares_C) * self.config.temperature
        return logits_C

    def _digest(self, folder: Path) -> str:
        """Of the model and of how it is asked."""
        weights = Run(folder).model_folder / "model.safetensors"
        path = weights if self.is_run else folder / MANIFEST_FILE
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ConfigError(
                f"{self.place}.model: {path}: cannot be read: {exc.strerror}; finish its "
                "training first"
            ) from exc
        return f"{digest} {'bf16' if self.autocast else 'fp32'}"

    def _given(self, path: Path) -> Answers:
        """Those of the file that the recipe names, from whichever model."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                columns = self._columns(kept["labels"].tolist(), f"answers: {path}")
                return _by_key(kept["keys"], kept["logits"][:, columns])
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise ConfigError(
                f"{self.place}.answers: {path}: cannot be read: {reason}"
            ) from exc
        except _NO_ANSWERS as exc:
            raise ConfigError(
                f"{self.place}.answers: {path}: not the answers of a teacher; give a file "
                "RUN/teachers/TASK.npz"
            ) from exc

    def _kept(self, digest: str) -> Answers:
        """What the same model has said before, in this run."""
        try:
            with np.load(self.cache, allow_pickle=False) as kept:
                if str(kept["teacher"]) != digest:
                    return {}
                if tuple(kept["labels"].tolist()) != self.task.labels:
                    return {}
                return _by_key(kept["keys"], kept["logits"])
        except (OSError, *_NO_ANSWERS):
            return {}  # absent, or of no use: the teacher is asked again

    def _write(self, answers: Answers, digest: str) -> None:
        temporary = self.cache.with_name(f".{self.cache.name}.{os.getpid()}.tmp")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    np.savez_compressed(
                        file,
                        keys=np.array(list(answers), np.uint64),
                        logits=np.stack(list(answers.values())).astype(np.float16),
                        labels=np.array(self.task.labels),
                        teacher=np.array(digest),
                    )
                temporary.replace(self.cache)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as exc:
            raise ConfigError(f"{self.cache}: cannot be written: {exc.strerror}") from exc


def _key(text: str) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:_KEY_BYTES], "big")


def _by_key(keys_N: FloatArray, logits_NC: FloatArray) -> Answers:
    return dict(zip(keys_N.tolist(), logits_NC, strict=True))
