"""The queue of texts that people should look at: its files, its limits, its end."""

import json
import os
import stat
import threading
import timeit
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from tests.gateway_parts import MATH, UNSURE, chat
from tests.log_lines import our_lines
from tests.review_parts import (
    NOON,
    TODAY,
    counted,
    decided_about,
    kept,
    opened,
    rows_in,
    unsure_requests,
)

from routewright.gateway import review
from routewright.gateway.review_files import append_line


def test_a_text_is_kept_once_but_for_those_drawn_at_random(tmp_path: Path) -> None:
    seen = decided_about(chat(UNSURE), chat(f" {UNSURE.upper()}  "), chat(UNSURE))
    draws = iter([1.0, 1.0, 0.0])
    with opened(tmp_path / "kept", seen=seen, random=0.5, draw=lambda: next(draws)) as rows:
        for decided in seen:
            rows(decided)
    found = [row["reason"] for row in rows_in(tmp_path / "kept") if row["task"] == "category"]
    assert found == ["abstained", "random"]
    assert counted(rows, "duplicate") == 1


def test_each_hour_opens_its_share_of_the_rows_of_a_day(tmp_path: Path) -> None:
    seen = unsure_requests(6)
    hour = [NOON.replace(hour=0)]
    with opened(tmp_path / "kept", seen=seen, max_rows=6, now=lambda: hour[0]) as rows:
        for decided in seen[:3]:
            rows(decided)
    assert len(rows_in(tmp_path / "kept")) == 1
    assert counted(rows, "over_limit") == 2
    hour[0] = NOON.replace(hour=23)
    assert len(kept(tmp_path / "kept", seen, max_rows=4, now=lambda: hour[0])) == 4


def test_rows_from_before_a_restart_count_into_the_limit(tmp_path: Path) -> None:
    seen = unsure_requests(4)
    late = NOON.replace(hour=23)
    for _ in range(2):
        assert len(kept(tmp_path / "kept", seen, max_rows=2, now=lambda: late)) == 2


def test_a_new_day_has_a_file_of_its_own_and_its_own_rows(tmp_path: Path) -> None:
    seen = unsure_requests(2)
    days = [NOON.replace(hour=23), datetime(2026, 11, 23, 0, tzinfo=UTC)]
    for day, decided in zip(days, seen, strict=True):
        with opened(
            tmp_path / "kept", seen=seen, max_rows=1, now=partial(lambda given: given, day)
        ) as rows:
            rows(decided)
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["category-2026-11-22.jsonl", "category-2026-11-23.jsonl"]


def test_old_days_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    old = ("category-2026-11-19.jsonl", "my-task-2025-01-01.jsonl")
    stay = (
        "category-2026-11-20.jsonl", "labels.jsonl", "category-2026-11-19.csv",
        "category-2026-13-01.jsonl", "category.jsonl", "category-2025-01-01.jsonl.skipped",
    )  # fmt: skip
    for name in (*old, *stay):
        (folder / name).write_text("", encoding="utf-8")
    (folder / "category-2020-01-01.jsonl").mkdir()
    with opened(folder, keep_days=2):
        pass
    found = {path.name for path in folder.iterdir()}
    assert found == {*stay, "category-2020-01-01.jsonl"}


def test_a_file_that_cannot_be_read_keeps_no_old_day(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    (folder / f"category-{TODAY}.jsonl").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "category-2026-11-19.jsonl").touch()
    with opened(folder, keep_days=2):
        pass
    assert [path.name for path in folder.iterdir()] == [f"category-{TODAY}.jsonl"]


def test_more_days_than_the_calendar_has_delete_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    (folder / "category-2020-01-01.jsonl").touch()
    assert len(kept(folder, unsure_requests(1), keep_days=10**30)) == 1
    assert (folder / "category-2020-01-01.jsonl").exists()


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept(tmp_path / "above" / "kept", decided_about(chat(UNSURE)))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in sorted((tmp_path / "above").rglob("*"))]
    assert modes == [0o700, 0o600]


@pytest.mark.parametrize("fill", ["", "x" * 200_000], ids=["short", "long"])
def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path: Path, fill: str) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    whole = json.dumps({"text": "whole", "label": None}) + "\n"
    path = folder / f"category-{TODAY}.jsonl"
    path.write_text(f'{whole}{{"text": "hal{fill}', encoding="utf-8")
    rows = kept(folder, decided_about(chat(UNSURE)))
    assert [row["text"] for row in rows] == ["whole", UNSURE]


def test_a_last_line_without_an_end_is_no_half_line(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    (folder / f"category-{TODAY}.jsonl").write_text('{"text": "edited"}', encoding="utf-8")
    rows = kept(folder, decided_about(chat(UNSURE)))
    assert [row["text"] for row in rows] == ["edited", UNSURE]


def test_a_disk_that_takes_half_a_line_keeps_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = os.write
    seen = unsure_requests(3)
    full = [False, True, True]

    def half(descriptor: int, data: bytes) -> int:
        if data.startswith(b'{"text"') and full.pop(0):
            return write(descriptor, data[: len(data) // 2])
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", half)
    with opened(tmp_path / "kept", seen=seen) as rows:
        for decided in seen:
            rows(decided)
    monkeypatch.undo()
    assert [row["text"] for row in rows_in(tmp_path / "kept")] == [UNSURE]
    assert counted(rows, "dropped") == 2
    assert len(our_lines(caplog)) == 1, "of many failures one is logged"
    assert UNSURE not in caplog.text


def test_a_full_queue_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def slow(path: Path, row: object) -> None:
        goes_on.wait(10)
        append_line(path, row)

    monkeypatch.setattr(review, "append_line", slow)
    monkeypatch.setattr(review, "MAX_WAITING", 2)
    seen = unsure_requests(6)
    with opened(tmp_path / "kept", seen=seen) as rows:
        for decided in seen:
            rows(decided)  # returns, though nothing is written
        assert counted(rows, "dropped") >= 3
        goes_on.set()
    assert len(rows_in(tmp_path / "kept")) == 6 - counted(rows, "dropped") >= 2


def test_the_end_writes_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    seen = unsure_requests(5)
    with opened(tmp_path / "kept", seen=seen) as rows:
        for decided in seen[:4]:
            rows(decided)
    assert len(rows_in(tmp_path / "kept")) == 4
    rows(seen[4])
    rows.close()
    assert len(rows_in(tmp_path / "kept")) == 4


def test_a_request_costs_the_event_loop_next_to_nothing(tmp_path: Path) -> None:
    """Far from the microseconds it takes, so that a busy machine does not fail it."""
    sure, unsure = decided_about(chat(MATH), chat(UNSURE))
    with opened(tmp_path / "kept", seen=[sure]) as rows:
        for decided in (sure, unsure):
            each_s = min(timeit.repeat(partial(rows, decided), number=200, repeat=5)) / 200
            assert each_s < 0.001
