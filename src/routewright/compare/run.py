"""Several models on one data file, each measured in a process of its own, one after another."""

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from routewright.compare.measurement import (
    Comparison,
    Difference,
    Measured,
    MeasurementRequest,
)
from routewright.config import to_plain
from routewright.errors import BundleError, DataError, RoutewrightError
from routewright.metrics import estimate
from routewright.runtime.machine import describe_machine, library_versions, source_commit

# -P: a file of the current folder must not shadow a library.
_WORKER = (sys.executable, "-P", "-m", "routewright.compare.worker")
_BUG = 1
"""Python's exit code after a traceback."""
_OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|allocate memory")


def compare(
    targets: Sequence[Path],
    request: MeasurementRequest,
    *,
    progress: Callable[[Path], None] | None = None,
) -> Comparison:
    """Measure every target on the same rows.

    Args:
        targets: bundle and run folders.
        request: what to do with each; its own `target` is replaced.
        progress: called before each target.

    Raises:
        RoutewrightError: what a measuring process could not do, as the class that says so.
        BundleError: a measuring process ended without a word.
    """
    found = []
    for target in targets:
        if progress is not None:
            progress(target)
        found.append(_measure(replace(request, target=str(target))))
    return Comparison(
        task=request.task,
        data=request.data,
        only_types=request.only_types,
        coarse=request.coarse,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        versions=library_versions(),
        commit=source_commit(),
        targets=[each.measurement for each in found],
        differences=[_difference(each, found[0]) for each in found[1:]],
    )


def _difference(one: Measured, first: Measured) -> Difference:
    """Paired by resample: the processes drew the same texts."""
    metrics = {}
    for name, estimated in one.measurement.metrics.items():
        other = first.measurement.metrics.get(name)
        if other is None or estimated.value is None or other.value is None:
            continue
        resampled_R = np.subtract(one.resampled.get(name, []), first.resampled.get(name, []))
        metrics[name] = estimate(estimated.value - other.value, resampled_R)
    return Difference(
        target=one.measurement.target, against=first.measurement.target, metrics=metrics
    )


def _measure(request: MeasurementRequest) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "result.json"
        question.write_text(json.dumps(to_plain(request)), encoding="utf-8")
        process = subprocess.run(  # noqa: S603 - no shell, and our own module
            [*_WORKER, str(question), str(answer)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if process.returncode == _BUG or process.returncode < 0 or not answer.is_file():
            reason = _reason(process.returncode, process.stderr.decode(errors="replace"))
            raise BundleError(f"{request.target}: the measuring process {reason}")
        result = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in result:
        raise _error(request.target, result["error"], result["code"])
    return TypeAdapter(Measured).validate_python(result)


def _reason(code: int, errors: str) -> str:
    """What ended a process that handed nothing back, in one line."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        # Nothing else of ours sends it; the kernel does when memory runs out.
        hint = "; it may need more memory" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    _, found, traceback = errors.rpartition("Traceback (most recent call last):\n")
    said = [line for line in traceback.splitlines() if line and not line[0].isspace()]
    if not said:
        return f"ended with exit code {code} and said nothing"
    # Behind the frames, which are indented, comes the error; without them the last line counts.
    reason = said[0] if found else said[-1]
    hint = "; it needs more memory" if _OUT_OF_MEMORY.search(reason) else ""
    return f"failed: {reason}{hint}"


def _error(target: str, message: str, code: str) -> RoutewrightError:
    """The error of a measuring process, with its class and the target it was about."""
    (kind,) = (c for c in _classes(RoutewrightError) if c.code == code)
    if issubclass(kind, DataError):  # these start with the place in the data
        message = f"{message} (measuring {target})"
    elif not message.startswith(target):
        message = f"{target}: {message}"
    # Not by calling it: some classes make their message of other values.
    return kind.__new__(kind, message)


def _classes(root: type[RoutewrightError]) -> Iterator[type[RoutewrightError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)
