"""The number of threads: which are tried, and which is taken."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.bundle import Bundle
from routewright.errors import ConfigError
from routewright.gateway import threads
from routewright.gateway.settings import parse_gateway
from routewright.gateway.threads import (
    Measured,
    best_of,
    candidate_counts,
    choose_threads,
    physical_cores,
    usable_cores,
    workers_for,
)
from routewright.runtime.machine import MOST_THREADS

CORES = len(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def test_the_highest_throughput_wins() -> None:
    one, two = Measured(1, 0.002, 1000.0), Measured(2, 0.004, 1500.0)
    assert best_of([one, two]) is two


def test_of_equal_throughputs_the_lower_latency_wins_then_fewer_threads() -> None:
    one, two, four = (
        Measured(1, 0.004, 1000.0),
        Measured(2, 0.002, 980.0),
        Measured(4, 0.002, 1000.0),
    )
    assert best_of([one, two, four]) is two
    assert best_of([two, one]) is two


@given(cores=st.integers(1, 1024), physical=st.integers(1, 1024))
def test_candidates_are_few_and_reach_from_one_to_all_cores(cores: int, physical: int) -> None:
    counts = candidate_counts(cores, min(physical, cores))
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (1, min(cores, MOST_THREADS))
    assert len(counts) <= 5
    if 1 < physical < cores <= 16:
        assert physical in counts


@pytest.mark.parametrize(
    ("file", "text", "cores"),
    [
        ("cpu.max", "max 100000\n", CORES),
        ("cpu.max", "50000 100000\n", 1),
        ("cpu.max", "110000 100000\n", min(CORES, 2)),
        ("cpu.max", "6400000 100000\n", CORES),
        ("cpu.max", "nonsense\n", CORES),
    ],
)
def test_the_quota_of_the_control_group_limits_the_cores(
    tmp_path: Path, file: str, text: str, cores: int
) -> None:
    write(tmp_path / "sys/fs/cgroup" / file, text)
    assert usable_cores(tmp_path) == cores


def test_the_older_control_groups_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "sys/fs/cgroup/cpu"
    write(folder / "cpu.cfs_period_us", "100000\n")
    write(folder / "cpu.cfs_quota_us", "-1\n")
    assert usable_cores(tmp_path) == CORES
    write(folder / "cpu.cfs_quota_us", "100000\n")
    assert usable_cores(tmp_path) == 1


def test_hyper_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in os.sched_getaffinity(0):
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        write(tmp_path / topology, "0-1023\n")
    assert physical_cores(tmp_path) == 1
    assert physical_cores(tmp_path / "nothing here") == CORES


def test_every_candidate_is_measured_on_the_bundle_itself(tiny_bundle: Bundle) -> None:
    choice = choose_threads(tiny_bundle, budget_s=0.0)
    tried = candidate_counts(usable_cores(), physical_cores())
    if len(tried) > 1:
        assert [m.num_threads for m in choice.measured] == tried
        assert all(m.short_s > 0 and m.tokens_per_s > 0 for m in choice.measured)
    assert choice.num_threads in tried
    assert choice.num_workers == max(1, usable_cores() // choice.num_threads)


def test_no_choice_is_more_than_the_settings_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 4 * MOST_THREADS)
    assert workers_for(1) == MOST_THREADS
    batching = {"num_workers": workers_for(1)}
    gateway = {"threads": MOST_THREADS, "batching": batching}
    assert parse_gateway({"gateway": gateway}, source="x").threads == MOST_THREADS


@pytest.mark.parametrize(
    "section", [{"threads": 9_999_999}, {"batching": {"num_workers": 9_999_999}}]
)
def test_a_number_of_threads_that_never_start_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"1 to {MOST_THREADS}, got 9999999"):
        parse_gateway({"gateway": section}, source="policy.yaml")
