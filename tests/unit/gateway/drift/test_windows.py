"""The reference and the newest requests: when there is a value, and what is forgotten."""

from tests.drift_parts import counted, layout, mixed

from routewright.gateway.drift.counts import Measure
from routewright.gateway.drift.windows import Windows

CATEGORY = Measure("category", "label")


def fed(windows: Windows, num: int, share: float, seed: int) -> Windows:
    for found in mixed(num, math=share, seed=seed):
        windows.add(found)
    return windows


def test_the_first_requests_are_the_reference_and_only_later_ones_are_compared() -> None:
    windows = Windows(layout(), 100)
    ended = [windows.add(found) for found in mixed(150, math=0.5)]
    assert [number for number, last in enumerate(ended) if last] == [99]
    assert (windows.reference.num_requests, windows.num_recent) == (100, 50)


def test_there_is_no_value_before_both_windows_are_there() -> None:
    windows = Windows(layout(), 100)
    for num, there in ((100, False), (89, False), (1, True)):
        assert bool(fed(windows, num, 0.5, seed=num).drift()) is there
    assert set(windows.drift()) == set(layout().sizes)


def test_the_newest_are_compared_at_once_with_a_reference_that_was_there() -> None:
    windows = Windows(layout(), 100, counted(mixed(70, math=0.5)))
    assert not fed(windows, 89, 0.5, seed=1).drift()
    assert fed(windows, 1, 0.5, seed=2).drift()
    assert windows.reference.num_requests == 70


def test_a_window_has_its_value_ever_after() -> None:
    windows = fed(Windows(layout(), 100), 200, 0.5, seed=1)
    for seed in range(60):
        fed(windows, 1, 0.5, seed)
        assert windows.drift()
        assert 90 < windows.num_recent <= 100


def test_what_is_older_than_the_window_is_forgotten() -> None:
    windows = fed(Windows(layout(), 1000), 2000, 0.8, seed=1)
    assert windows.drift()[CATEGORY] < 0.05
    assert fed(windows, 1000, 0.2, seed=2).drift()[CATEGORY] > 1
    reference = list(windows.reference.bins[CATEGORY])
    assert fed(windows, 1000, 0.8, seed=3).drift()[CATEGORY] < 0.05
    assert windows.reference.bins[CATEGORY] == reference
