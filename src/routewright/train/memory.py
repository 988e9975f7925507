"""How the C library hands out memory while training runs on a CPU, and what a GPU gave."""

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let glibc reuse freed tensors instead of returning them to the kernel; elsewhere nothing.

    By default every large tensor is mapped, zeroed page by page and unmapped again: in training
    a fifth of the processor time (docs/log.md, 2026-11-21).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak_gpu_memory_bytes() -> int | None:
    """Largest memory that tensors took on this process's GPU so far; None without CUDA."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
