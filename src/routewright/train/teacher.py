"""What a finished model says of the training rows of another, worked out once and kept.

A larger or slower model teaches one that can be served: its probabilities say which wrong
labels are nearly right, and which labels of the data it doubts.

What is kept is one file a task, keyed by hashes of the texts: none of them can be read from it.
"""

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from routewright.bundle import MANIFEST_FILE, Bundle
from routewright.config import write_bytes
from routewright.decoding import FloatArray
from routewright.errors import ConfigError
from routewright.runtime.classifier import Classifier
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

_NO_ANSWERS = (
    AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading raises of a file that is empty, damaged, or of something else."""

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
        device: torch.device | str = "cpu",
        console: Console,
    ) -> None:
        """Check that `config` names what can teach `task`; no model is loaded yet.

        Args:
            config: which model, or whose answers.
            task: of the model that learns.
            cache: folder for the answers; made when there are some.
            autocast: whether a run answers in bfloat16, as training does. Bundles do not.
            device: where a run answers.
            console: shows progress, if it is a terminal.

        Raises:
            ConfigError: there is no such model or file, or `task` has no classes of texts.
        """
        self.config = config
        self.task = task
        self.cache = cache / f"{task.name}.npz"
        self.autocast = autocast
        self.device = device
        self.console = console
        self.place = f"tasks.{task.name}.teacher"
        if task.kind != "sequence":
            raise ConfigError(
                f"{self.place}: only sequence tasks learn from a teacher; leave it out"
            )
        self.folder = None if config.model is None else bundle_folder(config.model)
        self.kind = None if self.folder is None else self._kind(self.folder)
        self.given = {} if config.answers is None else self._given(Path(config.answers))
        if self.kind is None and not self.given and not self.cache.is_file():
            raise ConfigError(
                f"{self.place}.model: {self.folder}: no training run and no bundle; give the "
                "folder of a finished `routewright train` of the task, or leave the teacher out"
            )
        self.num_taught = self.num_unknown = 0
        """Of the texts last asked about, those with and those without an answer."""

    def __call__(self, texts: Sequence[str], label_ids: Sequence[int]) -> FloatArray:
        """Scores ``(N, C)`` of `texts`, before any calibration, classes as the task has them.

        Of a text longer than the teacher's window, what would serve: the window with the
        strongest positive label of a detector, else the mean of the windows. A text that nobody
        knows gets the scores of somebody who says its label, smoothed as the task's loss
        smooths it.

        Args:
            texts: of the training rows, N of them.
            label_ids: of each of them, in ``[0, C)``.

        Raises:
            ConfigError: the teacher lacks the task or has other labels, knows none of the
                texts, gives no numbers, or its answers cannot be written down.
            RoutewrightError: the model cannot be opened.
        """
        if not texts:
            return np.empty((0, len(self.task.labels)), np.float32)
        keys = [_key(text) for text in texts]
        known = self._answers(dict(zip(keys, texts, strict=True)))
        self.num_unknown = sum(key not in known for key in keys)
        self.num_taught = len(keys) - self.num_unknown
        if self.num_taught == 0:
            raise ConfigError(
                f"{self.place}.answers: {self.config.answers}: knows none of the {len(keys):,} "
                "training rows; it was written for others"
            )
        rows = [
            known[key] if key in known else self._of_label(label_id)
            for key, label_id in zip(keys, label_ids, strict=True)
        ]
        scores_NC = np.stack(rows).astype(np.float32)
        if not np.isfinite(scores_NC).all():
            raise ConfigError(
                f"{self.place}: gives scores that are no numbers: its training diverged, or "
                "its file is damaged; take another teacher"
            )
        logger.info(
            "task=%s taught=%d unknown_to_the_teacher=%d",
            self.task.name, self.num_taught, self.num_unknown,
        )  # fmt: skip
        return scores_NC

    def _kind(self, folder: Path) -> Literal["run", "bundle"] | None:
        """What the folder is; None if neither, or gone since its answers were kept."""
        try:
            if (folder / "recipe.yaml").is_file():
                return "run"
            return "bundle" if (folder / MANIFEST_FILE).is_file() else None
        except OSError as exc:
            raise ConfigError(
                f"{self.place}.model: {folder}: cannot be read: {exc.strerror}; check the path"
            ) from exc

    def _answers(self, texts: Mapping[int, str]) -> Answers:
        """What is known of `texts`, from files as far as they go and then from the model."""
        if self.folder is None:
            return self.given
        digest = None if self.kind is None else self._digest(self.folder)
        own = self._kept(digest)
        known = self.given | own
        missing = {key: text for key, text in texts.items() if key not in known}
        if not missing:
            return known
        if digest is None:
            raise ConfigError(
                f"{self.place}.model: {self.folder}: is gone, and {len(missing):,} training "
                "rows have no answer of it yet; put it back"
            )
        return known | self._ask(self.folder, missing, own, digest)

    def _ask(
        self, folder: Path, missing: Mapping[int, str], own: Answers, digest: str
    ) -> Answers:
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
                    logits_WC = raw.sequence_logits[self.task.name][:, columns]
                    found[key] = self._of_windows(logits_WC, raw.window_sizes)
                self._write(found, digest)
                bar.update(shown, completed=start + len(chunk))
                logger.info(
                    "task=%s asked=%d of=%d", self.task.name, start + len(chunk), len(keys)
                )
        return found

    def _open(self, folder: Path) -> tuple[Classifier, list[int]]:
        """The model, and where in its scores the labels of the task are."""
        name = self.task.name
        if self.kind == "run":
            model, _, encoder = load_model(Run.open(folder))
            known = {n: t for n, t in model.tasks.items() if t.kind == "sequence"}
            tasks = [name] if name in known else []
            classifier = torch_classifier(
                merged(model).to(self.device), encoder, tasks=tasks, autocast=self.autocast
            )
        else:
            classifier = Classifier.open(folder, precision=_precision(folder))
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

    def _of_windows(self, logits_WC: FloatArray, sizes: Sequence[int]) -> FloatArray:
        """One text's scores, in halves as they are written: a resumed run sees the same."""
        if self.task.windows == "maximum" and self.task.positive is not None:
            positive = self.task.label_set.id(self.task.positive)
            margins_W = logits_WC[:, positive] - np.delete(logits_WC, positive, 1).max(axis=1)
            return np.asarray(logits_WC[margins_W.argmax()], np.float16)
        sizes_W = np.maximum(sizes, 1)
        return np.asarray(sizes_W @ logits_WC / sizes_W.sum(), np.float16)

    def _of_label(self, label_id: int) -> FloatArray:
        num_classes = len(self.task.labels)
        smoothing = max(self.task.loss.label_smoothing, _LEAST_SHARE)
        shares_C = np.full(num_classes, smoothing / num_classes)
        shares_C[label_id] += 1 - smoothing
        return np.asarray(np.log(shares_C))

    def _digest(self, folder: Path) -> str:
        """Of the model and of how it is asked."""
        weights = Run(folder).model_folder / "model.safetensors"
        path = weights if self.kind == "run" else folder / MANIFEST_FILE
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ConfigError(
                f"{self.place}.model: {path}: cannot be read: {exc.strerror}; finish its "
                "training first"
            ) from exc
        if self.kind == "bundle":
            return f"{digest} {_precision(folder)}"
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

    def _kept(self, digest: str | None) -> Answers:
        """What the model of that digest, or with none whichever, has said in this run."""
        try:
            with np.load(self.cache, allow_pickle=False) as kept:
                if digest not in (None, str(kept["teacher"])):
                    return {}
                if tuple(kept["labels"].tolist()) != self.task.labels:
                    return {}
                return _by_key(kept["keys"], kept["logits"])
        except (OSError, *_NO_ANSWERS):
            return {}  # absent, or of no use: the teacher is asked again

    def _write(self, answers: Answers, digest: str) -> None:
        held = io.BytesIO()
        np.savez_compressed(
            held,
            keys=np.array(list(answers), np.uint64),
            logits=np.stack(list(answers.values())).astype(np.float16),
            labels=np.array(self.task.labels),
            teacher=np.array(digest),
        )
        write_bytes(self.cache, held.getvalue())


def _precision(folder: Path) -> str | None:
    """In which a bundle is asked: int8 scores depend a little on the texts around."""
    return "fp32" if "fp32" in Bundle.open(folder, verify=False).manifest.precisions else None


def _key(text: str) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:_KEY_BYTES], "big")


def _by_key(keys_N: FloatArray, logits_NC: FloatArray) -> Answers:
    return dict(zip(keys_N.tolist(), logits_NC, strict=True))
