"""The wheel: it carries a bundle, and classifies with nothing named."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources with the tiny bundle as `default`."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "default")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    write_tiny_bundle(source / "src" / "routewright" / "bundles" / "default")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", folder, source], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_whole_bundle_its_recipe_and_the_generators(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    bundle = "routewright/bundles/default"
    manifest = json.loads(zipfile.ZipFile(wheel).read(f"{bundle}/manifest.json"))
    assert {f"{bundle}/{name}" for name in manifest["files"]} <= names
    assert "routewright/bundles/default.recipe.yaml" in names
    assert "routewright/data/synth/pii_names.yaml" in names
    assert "routewright/py.typed" in names


def test_what_is_installed_classifies_at_once(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "routewright", "classify", "--json", "call 12 now"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entities"][0]["label"] == "NUMBER"
