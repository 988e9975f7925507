"""``routewright reproduce``: the package's bundle trained again, tiny and from end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data
from tests.untrained import make_run

from routewright.bundle import Bundle
from routewright.export.bundle_export import export_bundle
from routewright.train.recipe import load_recipe
from routewright.train.run import Run

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PROGRAM = """
import pathlib, sys
from routewright import shipped
from routewright.cli.main import main
shipped.FOLDER = pathlib.Path(sys.argv.pop(1))
main()
"""


class Package:
    """A package with a small recipe and the bundle it gave, and the data they need."""

    def __init__(self, folder: Path) -> None:
        self.data = write_data(folder / "data")
        self.shipped = folder / "bundles"
        self.shipped.mkdir()
        self.recipe = self.shipped / "default.recipe.yaml"
        content = recipe(Path("elsewhere"), make_checkpoint(folder / "bert", "bert"))
        content["train"] |= {"num_train_epochs": 8}
        self.recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
        self.run("train", self.recipe, "--set", f"data_dir={self.data}", "--out", folder / "r")
        shutil.copytree(folder / "r" / "bundle", self.shipped / "default")

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, self.shipped, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        return subprocess.run(
            [str(part) for part in command],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def reproduced(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole reproduction."""
    folder = tmp_path_factory.mktemp("reproduced") / "run"
    done = package.run("reproduce", "default", "--data", package.data, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "default, validation rows" in done.stdout
    return folder


def test_the_same_recipe_and_seed_give_the_metrics_of_the_shipped_bundle(
    reproduced: Path,
) -> None:
    result = json.loads((reproduced / "reproduction.json").read_text(encoding="utf-8"))
    assert {row["task"] for row in result["metrics"]} == {"topic", "names"}
    for row in result["metrics"]:
        assert row["passes"]
        assert row["reproduced"]["value"] == pytest.approx(row["shipped"]["value"], abs=1e-6)
    assert not list((reproduced / "reports").glob("*.test.json"))  # nobody asked for them


def test_called_again_it_only_compares(package: Package, reproduced: Path) -> None:
    before = (reproduced / "model" / "model.safetensors").stat().st_mtime_ns
    done = package.run("reproduce", "default", "--out", reproduced, "--test", "--tolerance", 0)
    assert done.returncode == 0, done.stderr
    assert "default, test rows" in done.stdout
    assert (reproduced / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_worse_model_fails_the_gate(
    package: Package, reproduced: Path, tmp_path: Path
) -> None:
    shutil.copytree(reproduced, tmp_path / "run")
    untrained = make_run(tmp_path / "untrained", "bert")
    export_bundle(untrained, tmp_path / "run" / "bundle", max_int8_loss=100)
    done = package.run("reproduce", "default", "--out", tmp_path / "run")
    assert done.returncode == 3, done.stderr
    assert re.search(r"gate error: default is not reproduced: \w+ \w+ is 0\.\d+", done.stderr)


def test_an_interrupted_reproduction_goes_on_with_its_data_and_seed(
    package: Package, tmp_path: Path
) -> None:
    begun = load_recipe(package.recipe, [f"data_dir={package.data}", "seed=7"])
    Run.create(tmp_path / "run", begun)
    done = package.run("reproduce", "default", "--out", tmp_path / "run")
    assert done.returncode in (0, 3), done.stderr
    assert Run(tmp_path / "run").recorded()["status"] == "complete"
    assert Bundle.open(tmp_path / "run" / "bundle").tasks
