"""Every verb that takes a bundle takes `default` for the one of the package."""

import json
from pathlib import Path

import pytest
from tests.tiny import write_tiny_bundle
from typer.testing import CliRunner

from routewright.bundle import Bundle
from routewright.cli.main import app
from routewright.errors import BundleError, RoutewrightError


def run(*arguments: object) -> tuple[str, str]:
    """Output and error output of a verb."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = [("xxxxx", "attack"), ("hello there", "benign")] * 2
    lines = [json.dumps({"text": text, "label": label}) for text, label in texts]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_package_s_bundle_is_evaluated_by_its_name(
    shipped_bundle: Bundle, rows: Path
) -> None:
    output, errors = run("evaluate", "default", "--task", "attack", "--data", rows, "--json")
    assert json.loads(output)["model"]["path"] == str(shipped_bundle.path)
    assert errors == ""


def test_a_folder_of_that_name_needs_its_path_and_that_is_said(
    shipped_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "default", name="mine")
    monkeypatch.chdir(tmp_path)
    output, errors = run("classify", "hi", "--bundle", "default", "--json")
    assert "the folder of that name is ./default" in errors
    assert json.loads(output)["num_windows"] == 1
    (shipped_bundle.path / "manifest.json").unlink()
    assert run("classify", "hi", "--bundle", "./default", "--json")[1] == ""
    with pytest.raises(BundleError, match="no bundle of its own"):
        run("classify", "hi", "--bundle", "default")


@pytest.mark.parametrize("verb", ["bench", "compare", "evaluate", "calibrate"])
def test_a_missing_bundle_of_the_package_is_one_error_in_every_verb(
    verb: str, shipped_folder: Path, rows: Path
) -> None:
    options = () if verb == "bench" else ("--task", "attack", "--data", rows)
    with pytest.raises(BundleError, match="this installation has no bundle of its own"):
        run(verb, "default", *options)


def test_the_bundle_of_the_package_is_not_written_to(
    shipped_bundle: Bundle, rows: Path
) -> None:
    with pytest.raises(BundleError, match="read only; copy the folder"):
        run("calibrate", "default", "--task", "attack", "--data", rows)
    with pytest.raises(BundleError, match=r"read only; write \./default"):
        run("export", "runs/mine", "--out", "default")
