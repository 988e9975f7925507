"""Evaluation of a training run: the torch model behind the classifier that serves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data

from routewright.compare import MeasurementRequest, compare
from routewright.data.config import DataSpec
from routewright.errors import BundleError, RunError
from routewright.evaluate import evaluate_file, open_target, view_of
from routewright.train.recipe import parse_recipe
from routewright.train.run import Run, new_model, save_model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model as it is before training, adapters included."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_data(folder / "data", num_rows=8)
    checkpoint = make_checkpoint(folder / "checkpoint", "bert")
    plain = recipe(data, checkpoint)
    plain["tasks"]["topic"]["labels"] = ["animal", "colour"]
    plain["tasks"]["names"]["labels"] = ["NAME"]
    parsed = parse_recipe({**plain, "lora": {}}, source="test")
    run = Run.create(folder / "run", parsed)
    tasks = tuple(task.resolve(name) for name, task in parsed.tasks.items())
    model, saved, encoder = new_model(parsed, tasks)
    save_model(run, model, saved, encoder.tokenizer.to_str())
    run.record(
        {"train_s": 61.5, "peak_memory_bytes": 5_000_000, "peak_gpu_memory_bytes": 7_000_000}
    )
    return folder / "run"


@pytest.fixture
def num_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield 1
    torch.set_num_threads(before)


@pytest.mark.parametrize(("task", "metric"), [("topic", "accuracy"), ("names", "span_f1")])
def test_a_run_is_evaluated_like_a_bundle(
    task: str, metric: str, run_folder: Path, num_threads: int
) -> None:
    target = open_target(run_folder, num_threads=num_threads)
    data = DataSpec(path=str(run_folder.parent / "data" / task / "test.jsonl"))
    view = view_of(target.classifier, task)
    report = evaluate_file(target, view, data, num_resamples=10)
    assert report.num_examples == 8
    assert report.metrics[metric].value is not None
    assert (report.model.name, report.model.precision) == ("tiny", "fp32")
    assert report.versions["torch"] == torch.__version__
    json.dumps(report.to_dict(), allow_nan=False)


def test_adapters_and_heads_are_what_training_changed(run_folder: Path) -> None:
    target = open_target(run_folder)
    assert target.num_trained_parameters is not None
    assert 0 < target.num_trained_parameters < 10_000
    assert target.num_parameters is not None
    assert target.num_trained_parameters < target.num_parameters


def test_what_training_took_is_read_from_the_record_of_the_run(
    run_folder: Path, tmp_path: Path
) -> None:
    target = open_target(run_folder)
    assert (target.train_s, target.train_peak_memory_bytes) == (61.5, 5_000_000)
    assert target.train_peak_gpu_memory_bytes == 7_000_000
    unrecorded = tmp_path / "run"
    shutil.copytree(run_folder, unrecorded)
    (unrecorded / "run.json").unlink()
    target = open_target(unrecorded)
    assert (target.train_s, target.train_peak_memory_bytes) == (None, None)


@pytest.mark.integration
def test_runs_can_be_compared(run_folder: Path) -> None:
    data = str(run_folder.parent / "data" / "topic" / "test.jsonl")
    request = MeasurementRequest(target="", task="topic", data=data, num_threads=1)
    (measured,) = compare([run_folder], request).targets
    assert measured.kind == "run"
    assert measured.deterministic
    assert measured.num_trained_parameters
    assert (measured.train_s, measured.train_peak_memory_bytes) == (61.5, 5_000_000)
    assert measured.train_peak_gpu_memory_bytes == 7_000_000


def test_a_run_answers_in_fp32_only(run_folder: Path) -> None:
    with pytest.raises(BundleError, match="fp32 only; export it"):
        open_target(run_folder, precision="int8")


def test_a_run_without_a_model_says_how_to_finish_it(tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "recipe.yaml").write_text((run_folder / "recipe.yaml").read_text())
    with pytest.raises(RunError, match="has no trained model yet"):
        open_target(tmp_path)
