"""The folder of texts that wait for a person's label: its name rules, its modes, its lines.

One JSONL file a task and day, such as ``category-2026-11-22.jsonl``, readable by its owner
alone. Knows files and no request; needs nothing of the gateway extra.
"""

import json
import os
import re
import stat
from datetime import date
from errno import ENOSPC
from pathlib import Path

from routewright.errors import ConfigError

KEY = "gateway.review.folder"
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)-(\d{4}-\d{2}-\d{2})\.jsonl")
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = 0o077
"""What group and everybody else may do."""
_BLOCK_BYTES = 65_536


def review_file(folder: Path, task: str, day: date) -> Path:
    """Where the rows of a task and day are."""
    return folder / f"{task}-{day.isoformat()}.jsonl"


def task_and_day(name: str) -> tuple[str, date] | None:
    """What the name of a file of this folder says; None for other files."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return match[1], date.fromisoformat(match[2])
    except ValueError:  # a month that there is not
        return None


def check_folder(folder: Path, source: str) -> None:
    """Refuse a folder that rows cannot be written to, or that others can look into.

    Args:
        folder: made at the start if it is not there.
        source: the policy file, for the message.

    Raises:
        ConfigError: with the key of the setting.
    """
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        mode = place.stat().st_mode
    except OSError as exc:
        raise _unusable(folder, source, exc.strerror or str(exc)) from exc
    if not stat.S_ISDIR(mode):
        raise _unusable(folder, source, f"{place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _unusable(folder, source, f"no right to write to {place}")
    if place == folder and mode & _OTHERS:
        shown = f"others may look into it (mode {stat.S_IMODE(mode):o})"
        advice = f"chmod 700 {folder}, or name a folder that is not there yet"
        raise ConfigError(f"{source}: {KEY}: {folder}: {shown}; {advice}")


def make_folder(folder: Path, source: str) -> None:
    """Make the folder, for its owner alone, if it is not there; errors as `check_folder`."""
    check_folder(folder, source)
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(folder, source, exc.strerror or str(exc)) from exc


def append_line(path: Path, row: object) -> None:
    """Put one JSON line behind the others, whole or not at all.

    The half of a line that a killed writer left is cut off before. The line is ASCII, so that
    no cut goes through a character.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    line = json.dumps(row).encode("ascii") + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _FILE_MODE)
    try:
        size = _mended_size(descriptor)
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise OSError(ENOSPC, os.strerror(ENOSPC))
    finally:
        os.close(descriptor)


def remove_before(folder: Path, day: date) -> None:
    """Delete the files of days before `day`, and nothing that has another name.

    Raises:
        OSError: a file cannot be deleted.
    """
    for path in folder.iterdir():
        found = task_and_day(path.name)
        if found is not None and found[1] < day and path.is_file():
            path.unlink(missing_ok=True)


def _mended_size(descriptor: int) -> int:
    """Size of the file once it ends with a whole line."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    tail, start = b"", size
    while start and b"\n" not in tail:
        start = max(0, start - _BLOCK_BYTES)
        tail = os.pread(descriptor, size - start, start)
    last = tail.rpartition(b"\n")[2]
    try:
        json.loads(last)
    except ValueError:
        size -= len(last)
        os.ftruncate(descriptor, size)
        return size
    # Whole: somebody edited the file, and their editor ends no last line.
    return size + os.write(descriptor, b"\n")


def _unusable(folder: Path, source: str, why: str) -> ConfigError:
    advice = "name a folder that the gateway may make or write to"
    return ConfigError(f"{source}: {KEY}: {folder}: cannot be written: {why}; {advice}")
