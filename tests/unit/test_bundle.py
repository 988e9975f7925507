"""A bundle is whole or refused, with one line that says which file and what to do."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import TASKS, write_tiny_bundle

from routewright.bundle import Bundle, BundleManifest, rewrite_bundle, write_bundle
from routewright.calibration import TaskCalibration
from routewright.errors import BundleError, IntegrityError
from routewright.tag_search import Transitions


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle.path, tmp_path / "copy")


def edit_manifest(path: Path, **changes: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    (path / "manifest.json").write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


def test_a_bundle_reads_back_what_was_written(tmp_path: Path) -> None:
    crf = Transitions(np.arange(5.0), np.arange(25.0).reshape(5, 5), np.zeros(5))
    calibration = TaskCalibration(temperature=1.5, threshold=0.2)
    write_tiny_bundle(
        tmp_path / "b", calibrations={"attack": calibration}, transitions={"entities": crf}
    )
    bundle = Bundle.open(tmp_path / "b")
    assert tuple(bundle.tasks.values()) == TASKS
    assert bundle.calibration("fp32")["attack"] == calibration
    np.testing.assert_array_equal(bundle.transitions()["entities"].scores_KK, crf.scores_KK)
    assert bundle.golden().tolerance == {"fp32": 1e-3, "int8": 1e-3}
    assert "reports/topic.json" in bundle.manifest.files


def _cut(path: Path) -> None:
    data = (path / "model.onnx").read_bytes()
    (path / "model.onnx").write_bytes(data[: len(data) // 2])


def _flip(path: Path) -> None:
    data = bytearray((path / "model.onnx").read_bytes())
    data[100] ^= 1
    (path / "model.onnx").write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "README.md").unlink(), r"README\.md: is missing from the bundle"),
        (_cut, r"model\.onnx: is cut short: \d+ bytes, manifest\.json says \d+"),
        (_flip, r"model\.onnx: differs from its SHA-256"),
        (lambda p: (p / "extra.txt").write_text("x"), r"extra\.txt: is not listed"),
    ],
)
def test_a_damaged_file_is_named(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)
    with pytest.raises(IntegrityError, match=message):
        Bundle.open(copy)
    Bundle.open(copy, verify=False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such bundle folder"),
        (lambda p: (p / "manifest.json").unlink(), "is not a bundle .* routewright export"),
        (lambda p: (p / "manifest.json").write_text("{"), r"manifest\.json: is not valid JSON"),
        (lambda p: (p / "manifest.json").write_text("[]"), "no format_version"),
        (lambda p: edit_manifest(p, format_version=2), "format 2, this routewright reads up"),
        (lambda p: edit_manifest(p, colour="red"), "colour: unknown key"),
        (lambda p: edit_manifest(p, default_precision="int4"), "'int4' is not one of"),
        (
            lambda p: edit_manifest(p, files={"../x": {"sha256": "", "bytes": 0}}),
            "file '../x' lies outside the bundle",
        ),
    ],
)
def test_what_is_not_a_bundle_is_refused(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(copy, verify=False)
    assert "\n" not in str(caught.value)


def test_a_wrong_calibration_file_is_named_with_its_key(copy: Path) -> None:
    (copy / "calibration.json").write_text('{"int8": {"topic": {"temperature": 0}}}')
    bundle = Bundle.open(copy, verify=False)
    with pytest.raises(BundleError, match=r"calibration\.json: int8\.topic: .*temperature"):
        bundle.calibration("int8")
    with pytest.raises(BundleError, match="has no precision 'int4'; it has: fp32, int8"):
        bundle.precision("int4")


def test_a_bundle_is_replaced_and_nothing_else_is(copy: Path, tmp_path: Path) -> None:
    assert write_tiny_bundle(copy, name="second").manifest.name == "second"
    other = tmp_path / "documents"
    other.mkdir()
    (other / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(BundleError, match="is a folder with other things in it"):
        write_tiny_bundle(other)
    with pytest.raises(BundleError, match="is a file"):
        write_tiny_bundle(other / "letter.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "documents"]


def test_rewriting_a_file_keeps_the_rest(copy: Path) -> None:
    before = Bundle.open(copy).manifest
    after = rewrite_bundle(Bundle.open(copy), {"README.md": "# new\n"})
    after.verify()
    changed = {n for n, record in after.manifest.files.items() if record != before.files[n]}
    assert changed == {"README.md"}


def test_a_copy_of_read_only_files_can_be_rewritten(copy: Path) -> None:
    for path in copy.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    rewrite_bundle(Bundle.open(copy), {"README.md": "# new\n"})
    assert all(path.stat().st_mode & 0o200 for path in copy.rglob("*"))
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_behind_a_symbolic_link_the_bundle_itself_is_replaced(copy: Path) -> None:
    link = copy.with_name("current")
    link.symlink_to(copy.name)
    write_tiny_bundle(link, name="second")
    assert link.is_symlink()
    assert Bundle.open(copy).manifest.name == "second"
    assert sorted(p.name for p in copy.parent.iterdir()) == ["copy", "current"]


def test_the_bundle_that_the_process_stands_in_is_replaced(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    after = rewrite_bundle(Bundle.open("."), {"README.md": "# new\n"})
    after.verify()
    assert after.path == copy


def test_a_full_disk_is_one_line_and_leaves_the_old_bundle(copy: Path) -> None:
    def build(folder: Path) -> BundleManifest:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.onnx"))

    with pytest.raises(
        BundleError, match=r"copy: cannot be written: .*No space left"
    ) as caught:
        write_bundle(copy, build)
    assert "\n" not in str(caught.value)
    Bundle.open(copy)
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_an_interrupt_leaves_the_old_bundle_and_no_remains(copy: Path) -> None:
    def build(folder: Path) -> BundleManifest:
        (folder / "model.onnx").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bundle(copy, build)
    Bundle.open(copy)
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_kill_leaves_no_half_bundle_and_the_old_one_intact(copy: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from routewright.bundle import write_bundle
def build(folder):
    (folder / "model.onnx").write_text("half")
    print("building", flush=True)
    time.sleep(60)
write_bundle(Path(sys.argv[1]), build)
"""
    for destination in (copy, copy.with_name("fresh")):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(destination)], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"building\n"
            process.send_signal(signal.SIGKILL)
    Bundle.open(copy)
    assert not copy.with_name("fresh").exists()
    for destination in (copy, copy.with_name("fresh")):  # the next one tidies up
        write_tiny_bundle(destination)
    assert sorted(p.name for p in copy.parent.iterdir()) == ["copy", "fresh"]


def test_remains_of_a_killed_process_of_the_same_number_are_no_obstacle(copy: Path) -> None:
    # As in a container, where every process is the first.
    for kind in ("partial", "old"):
        remains = copy.with_name(f".copy.{os.getpid()}.{kind}")
        remains.mkdir()
        (remains / "model.onnx").write_text("half", encoding="utf-8")
    write_tiny_bundle(copy, name="second")
    assert Bundle.open(copy).manifest.name == "second"
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_the_old_bundle_stays_until_another_has_its_place(copy: Path) -> None:
    def build(folder: Path) -> BundleManifest:
        raise KeyboardInterrupt

    old = copy.rename(copy.with_name(".copy.99999999.old"))  # no process has that number
    with pytest.raises(KeyboardInterrupt):
        write_bundle(copy, build)
    copy.mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_bundle(copy, build)
    Bundle.open(old)
    write_tiny_bundle(copy)
    write_tiny_bundle(copy)
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_kill_between_the_renames_is_explained(copy: Path) -> None:
    old = copy.rename(copy.with_name(".copy.123.old"))
    with pytest.raises(BundleError, match=f"was being replaced .* rename {old} to it"):
        Bundle.open(copy)
