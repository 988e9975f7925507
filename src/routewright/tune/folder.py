"""The folder of a search: one process at a time is at it, and its journal survives a kill."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EFBIG, EIO, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from routewright.config import read_yaml, refuse_file
from routewright.errors import ConfigError, RunError

_LOCK = "search.lock"
"""The system lets go of it when its process ends, however that happens."""
_OF_THE_PLACE = {EACCES, EDQUOT, EFBIG, EIO, ENOSPC, EPERM, EROFS}
"""What a user can mend; any other error of the system is a bug of ours."""


def check_folder(folder: Path, content: Mapping[str, Any]) -> None:
    """Refuse a folder that is neither new nor of the same search.

    Args:
        folder: of the search.
        content: of its ``search.json``.

    Raises:
        ConfigError: it is of another search, or a file.
        RunError: it is of something else.
    """
    refuse_file(folder)
    path = folder / "search.json"
    if path.is_file():
        before = read_yaml(path)
        known = before.get("recipe") or {}
        changed = sorted(k for k, v in content["recipe"].items() if known.get(k) != v)
        changed += ["--vary"] if before.get("vary") != content["vary"] else []
        if changed:
            raise ConfigError(
                f"{folder}: is a search of something else ({', '.join(changed)} differs); "
                "give what it was started with, or another --out"
            )
    elif folder.exists() and any(inner.name != _LOCK for inner in folder.iterdir()):
        raise RunError(f"{folder}: already has content; choose another --out")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is created; a kill lets them in again.

    Two would take each other's trials for those of a killed process.

    Raises:
        RunError: another process is at it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=0):
            yield
    except Timeout as exc:
        raise RunError(
            f"{folder}: another process is at this search; wait for it, or choose another --out"
        ) from exc
    except OSError as exc:
        if exc.errno not in _OF_THE_PLACE:
            raise
        where = f" {exc.filename}:" if exc.filename else ""
        raise RunError(
            f"{folder}: cannot be written:{where} {exc.strerror}; check place, rights and "
            "space, and give the same command again"
        ) from exc


def open_journal(folder: Path) -> JournalStorage:
    """The trials of the search in `folder`, which `alone_in` holds.

    Raises:
        RunError: the journal is damaged.
    """
    # Its lock is a link with this path in it, which Optuna follows to see how old it is: with a
    # relative path that leads nowhere, and one that a kill left is waited for without end.
    path = (folder / "journal.log").resolve()
    path.with_name("journal.log.lock").unlink(missing_ok=True)
    if path.exists():
        _drop_half_a_line(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (KeyError, ValueError) as exc:
        raise RunError(f"{path}: is damaged: {exc}; start again in another --out") from exc


def _drop_half_a_line(path: Path) -> None:
    """A full disk cuts off the last line, and Optuna would write the next one behind it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
