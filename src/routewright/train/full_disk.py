"""A disk that is full while training writes to it, told in one line.

Checkpoints are written by Trainer, torch and safetensors, which each have an error of their own
for it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS

from safetensors import SafetensorError

from routewright.errors import RunError
from routewright.train.run import Run

_OF_THE_DISK = {EDQUOT, EFBIG, EIO, ENOSPC, EROFS}
_CODE = re.compile(r"os error (\d+)")
"""How safetensors names the error of the system."""
_TORCH = re.compile(r"PytorchStreamWriter|inline_container|file write failed")
"""What torch says of a file that it could not write; it keeps the reason to itself."""


@contextmanager
def naming_full_disk(run: Run) -> Iterator[None]:
    """Make one line of whatever the body raises because `run` cannot be written.

    Raises:
        RunError: the disk is full or fails; what was complete before is kept.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        reason = _reason(exc)
        if reason is None:
            raise
        raise RunError(
            f"{run.folder}: cannot be written: {reason}; make room there and go on with "
            f"`routewright train --resume {run.folder}`"
        ) from exc


def _reason(error: Exception) -> str | None:
    """Why the disk did not take it; None for an error about something else."""
    found = _CODE.search(str(error)) if isinstance(error, SafetensorError) else None
    code = int(found[1]) if found else getattr(error, "errno", None)
    if code in _OF_THE_DISK:
        return os.strerror(code)
    if isinstance(error, RuntimeError) and _TORCH.search(str(error)):
        return "the file was not written whole"
    return None
