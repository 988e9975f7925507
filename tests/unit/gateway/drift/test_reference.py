"""The file that keeps a reference: read as it was written, or refused in one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.drift_parts import ANOTHER, MANIFEST, classified, counted, layout, mixed

from routewright.errors import ConfigError
from routewright.gateway.drift.reference import ReferenceFile

SOURCE = "routewright.yaml: gateway.drift.reference"


@pytest.fixture
def file(tmp_path: Path) -> ReferenceFile:
    return ReferenceFile(tmp_path / "drift.json", SOURCE)


def saved(file: ReferenceFile, **changes: Any) -> dict[str, Any]:
    """Write a file of 20 requests, with `changes` of its keys, and give what it says."""
    file.save(MANIFEST, counted(mixed(20, math=0.5)))
    data: dict[str, Any] = {**json.loads(file.path.read_text()), **changes}
    file.path.write_text(json.dumps(data))
    return data


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(SOURCE)
    return message


def test_what_is_written_is_read_again(file: ReferenceFile) -> None:
    counts = counted([*mixed(50, math=0.4), classified(types=["US_SSN", "PHONE_NUMBER"])])
    file.save(MANIFEST, counts)
    found = file.read(MANIFEST, layout())
    assert found is not None
    assert (found.num_requests, found.bins) == (51, counts.bins)
    assert os.listdir(file.path.parent) == [file.path.name]  # noqa: PTH208


def test_no_file_is_no_reference(file: ReferenceFile) -> None:
    assert file.read(MANIFEST, layout()) is None


def test_a_file_of_another_bundle_is_no_reference_of_this_one(file: ReferenceFile) -> None:
    before = saved(file)
    assert file.read(ANOTHER, layout()) is None
    assert json.loads(file.path.read_text()) == before


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (b"", "is not the JSON"),
        (b'{"format_version": 1, "manif', "is not the JSON"),
        (b"\xff\xfe\x00", "is not the JSON"),
        (b"[" * 100_000, "is not the JSON"),
        (b"[]", "is no drift reference"),
        (b"{}", "format_version: field required"),
    ],
)
def test_a_damaged_file_is_refused(file: ReferenceFile, contents: bytes, problem: str) -> None:
    file.path.write_bytes(contents)
    message = refusal(lambda: file.read(MANIFEST, layout()))
    assert problem in message
    assert str(file.path) in message


COUNTS: dict[str, Any] = {
    "none": {"tokens": [0, 20, *[0] * 16]},
    "category": {"label": [20, 0, 0, 0], "confidence": [20, *[0] * 9]},
    "intent": {"label": [20, 0, 0, 0], "confidence": [20, *[0] * 9]},
    "jailbreak": {"label": [20, 0, 0], "confidence": [20, *[0] * 9]},
    "pii": {"entities": [0, 0, 20]},
}


def test_the_file_is_as_the_page_describes_it(file: ReferenceFile) -> None:
    saved(file, counts=COUNTS)
    found = file.read(MANIFEST, layout())
    assert found is not None
    assert {m.task: {m.of: bins} for m, bins in found.bins.items()}["pii"] == COUNTS["pii"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format_version": 2}, "format_version 2 is not the 1"),
        ({"manifest_sha256": "../../etc"}, "64 hexadecimal digits"),
        ({"num_requests": 0}, "num_requests must be in 1.."),
        ({"num_requests": 10**400}, "num_requests must be in 1.."),
        ({"prompt": "x"}, "prompt: unknown key"),
        ({"counts": {}}, "does not count what this bundle answers"),
        ({"counts": {**COUNTS, "pii": {"entities": [20]}}}, "pii.entities: has 1 bins instead"),
        ({"counts": {**COUNTS, "pii": {"entities": [-1, 1, 20]}}}, "must be in 0..20"),
        ({"counts": {**COUNTS, "pii": {"entities": [0, float("nan"), 20]}}}, "in 0..20"),
        ({"counts": {**COUNTS, "pii": {"entities": [0, 10**400, 20]}}}, "counts.pii.entities"),
        ({"counts": {**COUNTS, "pii": {"entities": [0, 0, 19]}}}, "adds up to 19 instead of"),
    ],
)
def test_what_no_requests_can_have_given_is_refused(
    file: ReferenceFile, changes: dict[str, Any], problem: str
) -> None:
    saved(file, **changes)
    assert problem in refusal(lambda: file.read(MANIFEST, layout()))


def test_a_folder_in_its_place_is_refused(file: ReferenceFile) -> None:
    file.path.mkdir()
    assert "cannot be read: Is a directory" in refusal(lambda: file.read(MANIFEST, layout()))


def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(
    tmp_path: Path, file: ReferenceFile
) -> None:
    file.check_place()
    assert not [*tmp_path.iterdir()]
    file.path.write_text("mine")
    below = ReferenceFile(file.path / "drift.json", SOURCE)
    assert below.read(MANIFEST, layout()) is None
    message = refusal(below.check_place)
    assert f"{below.path}: cannot be written: {file.path} is a file, not a folder" in message
    assert message.endswith("check place and rights")
    assert [path.name for path in tmp_path.iterdir()] == ["drift.json"]


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = ReferenceFile(tmp_path / "new" / "drift.json", SOURCE)
    file.check_place()
    file.save(MANIFEST, counted(mixed(3, math=0.5)))
    assert file.read(MANIFEST, layout()) is not None


def test_a_file_of_another_bundle_is_never_overwritten(file: ReferenceFile) -> None:
    before = saved(file)
    for _ in range(2):
        file.save(ANOTHER, counted(mixed(5, math=0.5)))
        assert json.loads(file.path.read_text())["manifest_sha256"] == ANOTHER
        saved(file)
    kept = {path.name: json.loads(path.read_text()) for path in file.path.parent.iterdir()}
    marks = ["", ".aaaaaaaaaaaa", ".aaaaaaaaaaaa.2", ".bbbbbbbbbbbb", ".bbbbbbbbbbbb.2"]
    assert sorted(kept) == [f"drift.json{mark}" for mark in marks]
    assert kept["drift.json.aaaaaaaaaaaa"] == before


def test_a_file_of_the_same_bundle_that_came_meanwhile_is_never_overwritten(
    file: ReferenceFile,
) -> None:
    """As an operator may have put it there, with the requests that it is to be about."""
    before = saved(file)
    file.save(MANIFEST, counted(mixed(5, math=0.5)))
    aside = file.path.with_name("drift.json.aaaaaaaaaaaa")
    assert json.loads(aside.read_text()) == before
    assert json.loads(file.path.read_text())["num_requests"] == 5


def test_a_damaged_file_is_never_overwritten(file: ReferenceFile) -> None:
    file.path.write_text("mine")
    file.save(MANIFEST, counted(mixed(5, math=0.5)))
    assert file.path.with_name("drift.json.damaged").read_text() == "mine"
    assert file.read(MANIFEST, layout()) is not None
