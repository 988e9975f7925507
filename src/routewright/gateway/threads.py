"""How many threads a forward pass gets: measured at the start, on this machine and model.

The cores that one pass does not use run other passes. Neither "all cores" nor "one a physical
core" is right everywhere: small models lose more to handing work over than they gain, and
containers see cores that they may not use.
"""

import math
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routewright.bundle import Bundle
from routewright.encoding import TextEncoder
from routewright.runtime.backend import OnnxBackend
from routewright.runtime.machine import MOST_THREADS

SPINNING = False
"""Threads of the model that wait actively take the core that the event loop needs: see
docs/log.md."""
BUDGET_S = 1.5
"""For measuring; loading the model once a candidate comes on top."""
_MIN_ROUNDS, _MAX_ROUNDS = 3, 15
_SHORT_TOKENS, _LONG_TOKENS = 32, 128
_MAX_ROWS = 16
_LONG_PASS_S = 0.1
"""What a pass over the long batch may take about, in choosing its number of rows."""
_MAX_CANDIDATES = 5
_EQUAL = 0.05
"""Relative difference up to which two candidates count as equally good."""
_PROSE = "Please send the signed contract to the office in Chicago before Friday, 12 March. "

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a number of threads achieved; medians."""

    num_threads: int
    short_s: float
    """One text of `_SHORT_TOKENS`."""
    tokens_per_s: float
    """In batches of texts of `_LONG_TOKENS`, one for each of the workers at once."""


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """The number of threads taken, and why."""

    num_threads: int
    num_workers: int
    """Passes that run at the same time."""
    measured: tuple[Measured, ...] = ()
    """Empty where there was nothing to choose."""


def choose_threads(bundle: Bundle, *, budget_s: float = BUDGET_S) -> ThreadChoice:
    """Measure the candidates of this machine side by side and take the best.

    Args:
        bundle: its default precision is measured.
        budget_s: seconds for measuring, of which at least three rounds are made.

    Raises:
        BundleError: the model cannot be loaded.
    """
    candidates = candidate_counts(usable_cores(), physical_cores())
    if len(candidates) == 1:
        return ThreadChoice(candidates[0], workers_for(candidates[0]))
    path = bundle.graph_path(bundle.precision(None))
    backends = {n: OnnxBackend(path, num_threads=n, spinning=SPINNING) for n in candidates}
    short, long = _inputs(bundle.encoder(), backends[candidates[-1]])
    times: dict[int, list[tuple[float, float]]] = {n: [] for n in candidates}
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for number in range(_MAX_ROUNDS):
            if number >= _MIN_ROUNDS and time.perf_counter() - started > budget_s:
                break
            for n, backend in backends.items():
                long_s = _timed_at_once(pool, backend, long, workers_for(n))
                times[n].append((_timed(backend, short), long_s))
    measured = tuple(
        Measured(
            n,
            statistics.median(short_s for short_s, _ in pairs),
            workers_for(n) * long.size / statistics.median(long_s for _, long_s in pairs),
        )
        for n, pairs in times.items()
    )
    best = best_of(measured).num_threads
    return ThreadChoice(best, workers_for(best), measured)


def workers_for(num_threads: int) -> int:
    """How many passes of so many threads the usable cores run at the same time."""
    return min(max(1, usable_cores() // num_threads), MOST_THREADS)


def best_of(measured: Sequence[Measured]) -> Measured:
    """The highest throughput; among equally good ones the lowest latency, then few threads."""
    most = max(m.tokens_per_s for m in measured)
    good = [m for m in measured if m.tokens_per_s >= most * (1 - _EQUAL)]
    least_s = min(m.short_s for m in good)
    quick = [m for m in good if m.short_s <= least_s * (1 + _EQUAL)]
    return min(quick, key=lambda m: m.num_threads)


def candidate_counts(cores: int, physical: int) -> list[int]:
    """Numbers of threads worth trying, ascending: powers of two, physical cores, all cores."""
    cores = min(cores, MOST_THREADS)
    powers = [2**k for k in range(cores.bit_length()) if 2**k <= cores]
    counts = sorted({*powers, min(physical, cores), cores})
    # Of many, the small ones go: whoever has 64 cores does not want 2 threads.
    return [1, *counts[-(_MAX_CANDIDATES - 1) :]] if len(counts) > _MAX_CANDIDATES else counts


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: its affinity, and the quota of its control group."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _quota(root / "sys/fs/cgroup")
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def physical_cores(root: Path = Path("/")) -> int:
    """Cores of this process's affinity, hyper-threads of one counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        siblings.add(_read(topology) or str(cpu))
    return len(siblings)


def _quota(groups: Path) -> float | None:
    """Processors' worth of time that the control group allows; None without a limit."""
    words = (_read(groups / "cpu.max") or "").split()
    if not words:  # version 1
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [_read(groups / "cpu" / name) or "" for name in names]
    quota, period = [*words, "", ""][:2]
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _inputs(encoder: TextEncoder, backend: OnnxBackend) -> tuple[Ids, Ids]:
    """One short row, and a batch of long rows that takes about `_LONG_PASS_S`."""
    short = _rows(encoder, 1, _SHORT_TOKENS)
    _timed(backend, short)
    row_s = min(_timed(backend, short) for _ in range(3)) * _LONG_TOKENS / _SHORT_TOKENS
    num_rows = max(2, min(_MAX_ROWS, round(_LONG_PASS_S / row_s)))
    return short, _rows(encoder, num_rows, _LONG_TOKENS)


def _rows(encoder: TextEncoder, num_rows: int, num_tokens: int) -> Ids:
    """``(B, T)`` ids of prose, T not above what the model takes."""
    length = min(num_tokens, encoder.config.max_tokens)
    ids = list(encoder.encode(_PROSE * num_tokens).ids)[:length]
    return np.tile(np.array(ids, dtype=np.int64), (num_rows, 1))


def _timed_at_once(
    pool: ThreadPoolExecutor, backend: OnnxBackend, ids_BT: Ids, num_passes: int
) -> float:
    started = time.perf_counter()
    list(pool.map(lambda _: _timed(backend, ids_BT), range(num_passes)))
    return time.perf_counter() - started


def _timed(backend: OnnxBackend, input_ids_BT: Ids) -> float:
    started = time.perf_counter()
    backend.run(input_ids_BT, np.ones_like(input_ids_BT))
    return time.perf_counter() - started
