"""Recipes for larger backbones run as they are on small checkpoints of their architecture."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.checkpoints import ARCHITECTURES, make_checkpoint

from routewright import Classifier
from routewright.data.examples import SequenceExample
from routewright.data.synth import generate_pii, generate_samples
from routewright.tasks import BUILT_IN

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
FILES = {
    "category": "category/mmlu_pro",
    "pii": "pii/presidio_v2_by_template",
    "jailbreak": "jailbreak/prompts",
    "intent": "intent/mapped",
}
NUM_ROWS = 24
NUM_GENERATED = 40
"""Of the thousands that the recipes ask for; everything else is read from them."""
TRAIN_ALL = """
import sys
from pathlib import Path
from rich.console import Console
from routewright.cli.train import quiet_libraries
from routewright.pipeline import start_recipe

quiet_libraries()
folder, data, *architectures = sys.argv[1:]
for name in architectures:
    overrides = [
        f"model.backbone={folder}/{name}-backbone",
        f"data_dir={data}",
        "train.max_steps=2",
        # Small tokenizers make a token of nearly every letter.
        "encoding={max_tokens: 64, overlap_tokens: 16}",
        "export.int8=false",  # test_bundle_export has it, of every architecture
    ]
    path, run = Path(folder, f"{name}.yaml"), Path(folder, name)
    start_recipe(path, overrides, run, console=Console())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated rows under the names of the shared data."""
    folder = tmp_path_factory.mktemp("data")
    for task, stem in FILES.items():
        for seed, split in enumerate(("train", "validation", "test"), start=10):
            write_rows(folder / f"{stem}_{split}.jsonl.gz", rows_of(task, split, seed))
    write_rows(folder / "pii/presidio_v1_aux_train.jsonl.gz", rows_of("pii", "old", 20))
    return folder


def rows_of(task: str, split: str, seed: int) -> list[dict[str, Any]]:
    # The first word tells the splits apart: a recipe refuses to train on what it tests.
    if task == "pii":
        shift = len(split) + 2
        return [
            {
                "text": f"{split}: {e.text}",
                "spans": [
                    {"start": s.start + shift, "end": s.end + shift, "label": s.label}
                    for s in e.spans
                ],
            }
            for e in generate_pii(NUM_ROWS, seed=seed)
        ]
    return [
        {"text": f"{split}: {e.text}", "label": e.label, "quality": "marked", "source": "x"}
        for e in generate_samples(task, NUM_ROWS, seed=seed)
        if isinstance(e, SequenceExample)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of every architecture, all trained in one process: imports take a while."""
    folder = tmp_path_factory.mktemp("runs")
    for architecture in ARCHITECTURES:
        content = yaml.safe_load((ROOT / "recipes" / f"router-{architecture}.yaml").read_text())
        for task in content["tasks"].values():
            for spec in task["train"]:
                if "synthetic" in spec:
                    spec["limit"] = NUM_GENERATED
        (folder / f"{architecture}.yaml").write_text(yaml.safe_dump(content))
        make_checkpoint(folder / f"{architecture}-backbone", architecture)
    command = [sys.executable, "-c", TRAIN_ALL, str(folder), str(data), *ARCHITECTURES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_recipe_for_a_larger_backbone_ends_with_a_bundle(
    architecture: str, runs: Path
) -> None:
    run = runs / architecture
    recorded = json.loads((run / "run.json").read_text())
    assert (recorded["status"], recorded["num_steps"]) == ("complete", 2)
    assert json.loads((run / "model" / "config.json").read_text())["model_type"] == architecture
    assert len(list((run / "reports").glob("*.test.json"))) == len(BUILT_IN)
    (answer,) = Classifier.open(run / "bundle")(["What is the capital of France?"])
    assert {*answer.sequence, *answer.spans} == set(BUILT_IN)
