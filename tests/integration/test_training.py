"""Training as a user runs it: every architecture, LoRA, resume after a kill, two processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.checkpoints import ARCHITECTURES, make_checkpoint
from tests.training_data import recipe, write_data

from routewright.train.run import Run, load_model, merged

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: make_checkpoint(folder / name, name) for name in ARCHITECTURES}


def run_training(
    recipe_path: Path, run: Path, *extra: str, num_processes: int = 1
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "tests.training_process",
        str(recipe_path),
        str(run),
        *extra,
    ]
    if num_processes > 1:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
        command = [sys.executable, *launcher, *command[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def write_recipe(path: Path, content: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_both_kinds_of_task(
    architecture: str, data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    path = write_recipe(tmp_path / "r.yaml", recipe(data, checkpoints[architecture]))
    done = run_training(path, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").recorded()["best_f1"] > 0.8


def test_a_model_is_the_mean_of_its_runs_also_after_a_kill(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    content = recipe(data, checkpoints["bert"])
    content["model"]["ngrams"] = {"tasks": ["topic"], "buckets": 256}
    content["train"]["num_train_epochs"] = 3
    content["average"] = [{}, {"share": 3, "changes": {"train.data_seed": 1}}]
    path = write_recipe(tmp_path / "r.yaml", content)
    killed = run_training(path, tmp_path / "run", "22")
    assert killed.returncode == -signal.SIGKILL
    done = run_training(path, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    one, other, mean = (
        load_file(folder / "model" / "model.safetensors")
        for folder in (*(tmp_path / "run" / "averaged" / n for n in "12"), tmp_path / "run")
    )
    assert set(mean) - set(one) == {name for name in mean if name.startswith("ngrams.")}
    head = "heads.topic.classifier.weight"
    assert (one[head] - other[head]).abs().max() > 1e-3
    for name, value in one.items():
        assert torch.allclose(mean[name], value / 4 + other[name] * 3 / 4, atol=1e-6), name
    recorded = Run(tmp_path / "run").recorded()
    assert recorded["num_steps"] == 2 * 48
    assert recorded["num_epochs"] == 2 * 3
    assert recorded["num_trainable_parameters"] == recorded["num_parameters"]
    assert recorded["best_f1"] > 0.8
    assert recorded["ngram_scales"].keys() == {"topic"}


def test_a_head_learns_what_its_teacher_says_and_not_the_labels(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """The teacher calls every colour an animal; with all the weight its own, so it is."""
    content = recipe(data, checkpoints["bert"])
    taught = {**content["tasks"]["topic"], "labels": ["animal", "colour"]}
    content["tasks"] = {"topic": {**taught, "train": _exchanged(taught["train"])}}
    content["tasks"]["topic"]["validation"] = _exchanged(taught["validation"])
    content["tasks"]["topic"]["test"] = []
    done = run_training(write_recipe(tmp_path / "t.yaml", content), tmp_path / "teacher")
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "teacher").recorded()["best_f1"] > 0.9
    teacher = {"model": str(tmp_path / "teacher"), "weight": 1.0}
    content = recipe(data, checkpoints["modernbert"])
    content["tasks"] = {"topic": {**taught, "teacher": teacher}}
    content["train"]["load_best_model_at_end"] = False
    content["average"] = [{}, {"changes": {"train.data_seed": 1}}]
    done = run_training(write_recipe(tmp_path / "s.yaml", content), tmp_path / "student")
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "student").recorded()["best_f1"] < 0.1
    # Both runs read the one file.
    assert [p.name for p in (tmp_path / "student").rglob("*.npz")] == ["topic.npz"]


def _exchanged(files: list[dict[str, object]]) -> list[dict[str, object]]:
    turned = {"colour": "animal", "animal": "colour"}
    return [{**file, "label_map": turned} for file in files]


@pytest.mark.parametrize("kilobytes", [20, 160])
def test_a_full_disk_ends_in_one_line_that_says_how_to_go_on(
    kilobytes: int, data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """A limit on the size of files fails as a full disk does, in one file or another."""
    path = write_recipe(tmp_path / "r.yaml", recipe(data, checkpoints["bert"]))
    program = Path(sys.executable).with_name("routewright")
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {kilobytes}; {program} train {path} --out {tmp_path}/run"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"{tmp_path / 'run'}: cannot be written: " in last
    assert f"routewright train --resume {tmp_path / 'run'}" in last


def test_merged_adapters_give_the_numbers_of_the_adapters(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    content = recipe(data, checkpoints["modernbert"], lora={"rank": 4, "target": "all"})
    done = run_training(write_recipe(tmp_path / "r.yaml", content), tmp_path / "run")
    assert done.returncode == 0, done.stderr
    run = Run(tmp_path / "run")
    recorded = run.recorded()
    assert recorded["num_trainable_parameters"] < recorded["num_parameters"] / 2
    saved = load_file(run.model_folder / "model.safetensors")
    assert all("lora_" in name or name.startswith("heads.") for name in saved)
    model, _, _ = load_model(run)
    ids = torch.randint(5, 90, (3, 20))
    mask = torch.ones_like(ids)
    mask[0, 12:] = 0
    with torch.no_grad():
        before = model.answer(ids, mask)
        after = merged(model).answer(ids, mask)
    for name, value in before.items():
        kept = mask.bool() if value.dim() == 3 else torch.ones(3, dtype=torch.bool)
        assert torch.allclose(value[kept], after[name][kept], atol=1e-4), name


def test_a_killed_run_resumes_to_the_model_of_an_uninterrupted_one(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    path = write_recipe(tmp_path / "r.yaml", recipe(data, checkpoints["bert"]))
    whole = run_training(path, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = run_training(path, tmp_path / "killed", "22")
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    resumed = run_training(path, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    expected = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    found = load_file(tmp_path / "killed" / "model" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_two_processes_train_the_model_of_one_with_the_same_global_batch(
    data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    content = recipe(data, checkpoints["bert"], model={
        "backbone": str(_without_dropout(checkpoints["bert"], tmp_path)), "dropout": 0.0,
    })  # fmt: skip
    one = write_recipe(tmp_path / "one.yaml", content)
    content["train"]["per_device_train_batch_size"] = 4
    two = write_recipe(tmp_path / "two.yaml", content)
    alone = run_training(one, tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    shared = run_training(two, tmp_path / "shared", num_processes=2)
    assert shared.returncode == 0, shared.stderr
    histories = [Run(tmp_path / name).recorded()["history"] for name in ("alone", "shared")]
    scores = [[e["eval_f1"] for e in history if "eval_f1" in e] for history in histories]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)
    assert Run(tmp_path / "shared").recorded()["num_processes"] == 2
    weights = [
        load_file(tmp_path / name / "model" / "model.safetensors")
        for name in ("alone", "shared")
    ]
    name = "heads.topic.classifier.weight"
    assert torch.allclose(weights[0][name], weights[1][name], atol=0.02)


def _without_dropout(checkpoint: Path, folder: Path) -> Path:
    copy = make_checkpoint(folder / "still", "bert")
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_gradient_checkpointing_changes_memory_and_not_the_loss(
    lora: dict[str, int] | None, data: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    losses = []
    for recompute in (False, True):
        content = recipe(data, checkpoints["modernbert"], lora=lora)
        content["train"] |= {
            "num_train_epochs": 1, "logging_steps": 2, "gradient_checkpointing": recompute,
        }  # fmt: skip
        path = write_recipe(tmp_path / f"{recompute}.yaml", content)
        done = run_training(path, tmp_path / f"run-{recompute}")
        assert done.returncode == 0, done.stderr
        history = Run(tmp_path / f"run-{recompute}").recorded()["history"]
        losses.append([entry["loss"] for entry in history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
