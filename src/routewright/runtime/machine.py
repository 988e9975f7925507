"""What a measurement must name to be worth anything: machine, versions, commit."""

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

MOST_THREADS = 256
"""Of a forward pass, and passes at the same time: more than one machine makes use of, and few
enough that every system starts them."""


def describe_machine() -> dict[str, str | int | float]:
    """Processor, usable cores, load of the last minute, platform."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "load_average": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
    }


def processor_name() -> str:
    """Model name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Python and the libraries that inference runs on."""
    names = ("routewright", "onnxruntime", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def source_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Commit of the repository that `folder` is in, ``+`` for local changes; else None.

    Args:
        folder: of the package that runs, unless stated.
    """
    if "site-packages" in folder.parts:  # a repository around it would be somebody else's
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        result = subprocess.run(  # noqa: S603  a fixed command
            command, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far.

    Linux carries ``ru_maxrss`` of the starting process over into the program it starts, so
    there the process's own high-water mark is read instead.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
