"""Folders that appear under their name whole or not at all."""

import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from routewright.errors import RoutewrightError


@contextmanager
def replaced_folder(
    destination: Path, *, is_ours: Callable[[Path], bool], error: type[RoutewrightError]
) -> Iterator[Path]:
    """An empty folder beside `destination` that takes its place when the block succeeds.

    An error or an interrupt in the block leaves `destination` as it was. A kill between the
    two last renames leaves the old folder complete under the name `interrupted_replacement`
    finds.

    Args:
        destination: absent, empty, or a folder of ours to replace; of a symbolic link, what it
            leads to.
        is_ours: whether a folder with contents may be replaced.
        error: what to raise when `destination` holds something else or cannot be written, as
            when the disk is full.
    """
    destination = destination.resolve()
    _refuse_foreign(destination, is_ours, error)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    old = destination.with_name(f".{destination.name}.{os.getpid()}.old")
    for leftover in _leftovers(destination):
        # Of our own number too: a container gives every process the same. That takes for
        # granted that no two threads replace one folder at the same time.
        if leftover in (partial, old) or not _is_running(leftover.name.split(".")[-2]):
            _remove(leftover)
    try:
        partial.mkdir(parents=True)
        yield partial
        if destination.exists():
            destination.rename(old)
        partial.rename(destination)
    except BaseException as exc:
        if old.exists() and not destination.exists():
            old.rename(destination)
        # Libraries raise an OSError without a number where it is not the system that fails.
        if isinstance(exc, OSError) and exc.errno is not None:
            raise error(f"{destination}: cannot be written: {exc}") from exc
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if destination.exists():
            _remove(old)


def interrupted_replacement(destination: Path) -> Path | None:
    """The complete old folder that a killed replacement left beside `destination`."""
    destination = destination.resolve()
    pattern = f".{glob.escape(destination.name)}.*.old"
    return next(destination.parent.glob(pattern), None)


def _leftovers(destination: Path) -> list[Path]:
    """What replacements, killed or still running, have beside `destination` and is not needed.

    An old folder is, as long as nothing has taken its place.
    """
    kinds = ["partial"]
    if destination.exists() and any(destination.iterdir()):
        kinds.append("old")
    name = glob.escape(destination.name)
    return [path for kind in kinds for path in destination.parent.glob(f".{name}.*.{kind}")]


def _remove(folder: Path) -> None:
    """Delete a folder of ours, read-only ones in it too."""
    with suppress(OSError):
        for inner in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _is_running(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _refuse_foreign(
    destination: Path, is_ours: Callable[[Path], bool], error: type[RoutewrightError]
) -> None:
    if not destination.exists():
        return
    if not destination.is_dir():
        raise error(f"{destination}: is a file; name another place for the folder")
    if any(destination.iterdir()) and not is_ours(destination):
        raise error(
            f"{destination}: is a folder with other things in it; name a new one, or an older "
            "result of this command to replace"
        )
