"""``routewright calibrate`` as a user runs it."""

import json
import sys
from pathlib import Path

import pytest
from tests.tiny import write_tiny_bundle

from routewright.bundle import Bundle
from routewright.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``routewright calibrate ARGUMENTS`` in this process."""
    monkeypatch.setattr(sys, "argv", ["routewright", "calibrate", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return int(exit_info.value.code or 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [("x x", "attack"), ("hello there", "benign"), ("fix a box", "benign")] * 4
    path = tmp_path / "attacks.jsonl"
    path.write_text(
        "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows),
        encoding="utf-8",
    )
    return path


def test_the_bundle_gets_the_operating_point_and_stays_whole(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    options = ["--task", "attack", "--data", data, "--target", "attack.fpr=0"]
    assert run(monkeypatch, path, *options) == 0
    assert "fpr <= 0" in capsys.readouterr().out
    calibration = Bundle.open(path).calibration("int8")["attack"]
    assert calibration.operating_point is not None
    assert calibration.operating_point.achieved == 0


@pytest.mark.parametrize(("times", "warns"), [(1, True), (30, False)])
def test_few_rows_are_warned_of_in_one_line(
    times: int,
    warns: bool,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data.write_text(data.read_text(encoding="utf-8") * times, encoding="utf-8")
    path = write_tiny_bundle(tmp_path / "bundle").path
    assert run(monkeypatch, path, "--task", "attack", "--data", data) == 0
    warning = (
        "warning: attack: fitted on 12 rows, 4 labelled attack, 8 not labelled attack; with "
        "fewer than 100 these values may not hold for other texts, calibrate again with more\n"
    )
    assert capsys.readouterr().err == (warning if warns else "")


def test_a_mismatch_of_task_and_target_is_one_line_and_changes_nothing(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    before = (path / "manifest.json").read_bytes()
    options = ["--task", "attack", "--data", data, "--target", "topic.precision=0.9"]
    assert run(monkeypatch, path, *options) == 2
    error = capsys.readouterr().err
    assert error == (
        "routewright: config error: --target topic.precision=0.9: is for topic, --task says "
        "attack\n"
    )
    assert (path / "manifest.json").read_bytes() == before
