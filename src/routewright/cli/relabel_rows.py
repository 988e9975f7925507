"""What ``routewright relabel`` reads and writes: the gateway's rows in, labelled rows out.

A text counts as done once it is in the file of labels, or in the one beside it with the hashes
of those that were skipped.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routewright.config import refuse_folder, why_unwritable, write_text
from routewright.data.columns import text_of
from routewright.data.config import DataSpec
from routewright.data.examples import normalise
from routewright.data.readers import read_examples
from routewright.data.rows import at_row, exists, is_folder, read_lines, read_rows
from routewright.errors import ConfigError, DataError
from routewright.gateway.review_files import append_line, task_and_day
from routewright.labels import LabelSet

_KEPT_COLUMNS = ("task", "predicted", "confidence", "reason", "bundle", "date")
"""Beside text and label, so that rows can be filtered by them."""
_RANDOM = "random"
_FORMULA = re.compile(r"^[=+\-@\t\r]")
"""What a spreadsheet would calculate, or fetch from afar: these texts are strangers'."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A text that waits for its label."""

    text: str
    columns: Mapping[str, Any]
    """`_KEPT_COLUMNS`, as far as the row has them."""

    @property
    def predicted(self) -> str:
        """What the model says; empty if the row does not tell."""
        return str(self.columns.get("predicted", ""))


def waiting_texts(
    folder: Path, task: str, *, reason: str | None, warn: Callable[[str], None]
) -> list[Waiting]:
    """Different texts of a task, those of the oldest day first, as they are deleted first.

    A text that was also drawn at random counts as one of these: without such texts, which are
    the hard ones, they would be no fair sample.

    Args:
        folder: of the gateway.
        task: whose rows are wanted.
        reason: for which texts were kept; None takes all.
        warn: hears of rows that cannot be read, which are left out.

    Raises:
        DataError: there is no such folder, or it has no rows of the task.
    """
    if not is_folder(folder):
        raise DataError("is no folder; name that of gateway.review.folder", path=folder)
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if (found := task_and_day(path.name)) is not None:
            files.setdefault(found[0], []).append(path)
    if task not in files:
        held = f"rows of {', '.join(files)}" if files else "no rows that a gateway has kept"
        raise DataError(f"holds no rows of the task {task}; it holds {held}", path=folder)
    texts: dict[str, Waiting] = {}
    for path in files[task]:
        for line, row in read_rows(path, lambda error: warn(f"left out: {error}")):
            try:
                text = text_of(row, "text")
            except DataError as exc:
                warn(f"left out: {at_row(str(exc), path, line)}")
                continue
            columns = {name: row[name] for name in _KEPT_COLUMNS if name in row}
            name = normalise(text)
            if name not in texts or row.get("reason") == _RANDOM:
                texts[name] = Waiting(text, columns)
    if reason is None:
        return list(texts.values())
    return [waiting for waiting in texts.values() if waiting.columns.get("reason") == reason]


class Labelled:
    """The file that labelled rows are put into, one by one."""

    def __init__(self, path: Path, labels: LabelSet) -> None:
        """Read what is done.

        Raises:
            ConfigError: the file's name is none for rows.
            DataError: a row of it is wrong, or has a label that there is not.
        """
        refuse_folder(path)
        if not path.name.endswith(".jsonl") or task_and_day(path.name) is not None:
            raise ConfigError(
                f"--out {path}: name a file that ends in .jsonl and is none of the gateway's"
            )
        self.path = path
        self.skipped_path = path.with_name(f"{path.name}.skipped")
        self._done: set[str] = set()
        self._skipped: set[str] = set()
        if exists(path) and path.stat().st_size:
            rows = read_examples(
                DataSpec(path=str(path)), "sequence", root=Path(), labels=labels
            )
            self._done = {_digest(row.text) for row in rows}
        if exists(self.skipped_path):
            self._skipped = {line.strip(' "\r\n') for _, line in read_lines(self.skipped_path)}

    def left_of(self, texts: Iterable[Waiting]) -> list[Waiting]:
        """Those that are neither labelled nor skipped."""
        done = self._done | self._skipped
        return [waiting for waiting in texts if _digest(waiting.text) not in done]

    def add(self, waiting: Waiting, label: str) -> None:
        """Write a row with its label.

        Raises:
            DataError: it cannot be written.
        """
        self._append(self.path, {"text": waiting.text, "label": label, **waiting.columns})

    def skip(self, waiting: Waiting) -> None:
        """Note that a text is not to be asked about again, by a hash; errors as `add`."""
        self._append(self.skipped_path, _digest(waiting.text))

    def _append(self, path: Path, row: object) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            append_line(path, row)
        except OSError as exc:
            why = why_unwritable(path, exc)
            raise DataError(
                f"cannot be written: {why}; check place, rights and space", path=path
            ) from exc


def write_spreadsheet(path: Path, texts: Collection[Waiting]) -> None:
    """Write a CSV with an empty column for the labels.

    It begins with a byte order mark, without which spreadsheets take UTF-8 for something else.

    Raises:
        ConfigError: there is such a file, in which labels may stand; or it cannot be written.
    """
    if not path.name.endswith(".csv"):
        raise ConfigError(f"--to-csv {path}: name a file that ends in .csv")
    if exists(path):
        raise ConfigError(
            f"--to-csv {path}: is there, perhaps with labels in it; name another file"
        )
    held = io.StringIO()
    writer = csv.DictWriter(held, ["text", "label", *_KEPT_COLUMNS])
    writer.writeheader()
    for waiting in texts:
        writer.writerow({"text": _as_text(waiting.text), "label": "", **waiting.columns})
    write_text(path, "\ufeff" + held.getvalue(), mode=0o600)


def _as_text(text: str) -> str:
    """With a space before what would be a formula; a model does not see it."""
    return f" {text}" if _FORMULA.match(text) else text


def _digest(text: str) -> str:
    return hashlib.sha256(normalise(text).encode()).hexdigest()
