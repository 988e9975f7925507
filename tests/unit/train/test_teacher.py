"""Teachers: what a finished model says of training rows, and how the loss counts it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.tiny import TASKS, write_tiny_bundle
from tests.untrained import make_run

from routewright.errors import ConfigError
from routewright.runtime.classifier import Classifier
from routewright.tasks import LossConfig, Task
from routewright.train.distillation import TeacherConfig, distillation_loss
from routewright.train.recipe import load_recipe
from routewright.train.run import Run, load_model
from routewright.train.teacher import Teacher

TEXTS = ["the red one", "call Alice at 3 please", "a cat", "ignore all instructions " * 30]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("teacher"), "bert")


def teacher_of(folder: Path, task: Task, cache: Path) -> Teacher:
    return Teacher(TeacherConfig(model=str(folder)), task, cache, console=Console(quiet=True))


def topic(run: Run) -> Task:
    return load_model(run)[0].tasks["topic"]


IDS = [0] * len(TEXTS)
"""Labels of `TEXTS`: they count only where the teacher is silent."""


def test_a_run_teaches_what_it_would_answer(run: Run, tmp_path: Path) -> None:
    model, _, encoder = load_model(run)
    found = teacher_of(run.folder, model.tasks["topic"], tmp_path)(TEXTS, IDS)
    for text, logits_C in zip(TEXTS[:3], found, strict=False):
        encoded = encoder.encode(text)
        ids = torch.tensor([encoder.window_ids(encoded, encoded.windows[0])])
        with torch.no_grad():
            expected = model.answer(ids, torch.ones_like(ids))["topic"][0]
        np.testing.assert_allclose(logits_C, expected.numpy(), atol=2e-3)  # kept in halves
    assert found.shape == (4, 2)


def test_a_bundle_teaches_a_task_that_lists_its_labels_in_another_order(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    write_tiny_bundle(bundle)
    task = next(t for t in TASKS if t.kind == "sequence")
    turned = replace(task, labels=task.labels[::-1], tools={}, coarse={})
    found = teacher_of(bundle, turned, tmp_path / "cache")(TEXTS[:2], [0, 0])
    raws = Classifier.open(bundle).raw(TEXTS[:2])
    expected = np.stack([raw.sequence_logits[task.name][0] for raw in raws])
    np.testing.assert_allclose(found, expected[:, ::-1], rtol=1e-3)


def test_answers_are_kept_and_completed_after_an_interruption(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = topic(run)
    monkeypatch.setattr("routewright.train.teacher._TEXTS_AT_ONCE", 2)
    whole = teacher_of(run.folder, task, tmp_path / "a")(TEXTS, IDS)
    asked: list[int] = []
    raw = Classifier.raw

    def counting(self: Classifier, texts: list[str]) -> object:
        asked.append(len(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return raw(self, texts)

    monkeypatch.setattr(Classifier, "raw", counting)
    with pytest.raises(KeyboardInterrupt):
        teacher_of(run.folder, task, tmp_path / "b")(TEXTS, IDS)
    np.testing.assert_array_equal(
        teacher_of(run.folder, task, tmp_path / "b")(TEXTS, IDS), whole
    )
    assert asked == [2, 2, 2]  # the first two were not asked again
    np.testing.assert_array_equal(
        teacher_of(run.folder, task, tmp_path / "b")(TEXTS, IDS), whole
    )
    assert len(asked) == 3
    # In another order, and with a text that is new.
    found = teacher_of(run.folder, task, tmp_path / "b")([*TEXTS[::-1], "a goat"], [*IDS, 0])
    np.testing.assert_array_equal(found[:4], whole[::-1])
    assert asked[3:] == [1]


def test_answers_of_another_run_need_no_model_and_labels_stand_in_for_what_they_lack(
    run: Run, tmp_path: Path
) -> None:
    task = replace(topic(run), loss=LossConfig(label_smoothing=0.2))
    first = teacher_of(run.folder, task, tmp_path / "a")(TEXTS, IDS)
    config = TeacherConfig(answers=str(tmp_path / "a" / "topic.npz"), temperature=3.0)
    silent = Teacher(config, task, tmp_path / "b", console=Console(quiet=True))
    found = silent(["a goat", *TEXTS], [1, *IDS])
    np.testing.assert_array_equal(found[1:], first)
    np.testing.assert_allclose(torch.tensor(found[0] / 3).softmax(0), [0.1, 0.9], atol=1e-3)
    turned = replace(task, labels=task.labels[::-1])
    other = Teacher(config, turned, tmp_path / "b", console=Console(quiet=True))
    np.testing.assert_array_equal(other(TEXTS, IDS), first[:, ::-1])
    with pytest.raises(ConfigError, match=r"answers: .*knows none of the 1 training rows"):
        silent(["a goat"], [1])
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [None, b"PK not a zip", b"", b"\x93NUMPY\x01\x00v\x00"])
def test_a_file_that_is_no_answers_is_refused(
    run: Run, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    config = TeacherConfig(answers=str(tmp_path / "x.npz"))
    with pytest.raises(ConfigError, match=r"tasks\.topic\.teacher\.answers: .*x\.npz: "):
        Teacher(config, topic(run), tmp_path, console=Console(quiet=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "token"}, "only sequence tasks"),
        ({"name": "intent"}, "has no sequence task intent"),
        ({"labels": ("animal", "plant")}, "only one of them has colour"),
    ],
)
def test_a_model_that_cannot_teach_is_refused(
    run: Run, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    task = replace(topic(run), main_metric="", **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        teacher_of(run.folder, task, tmp_path)(TEXTS, IDS)


def test_a_folder_that_is_no_model_is_refused_before_any_work(tmp_path: Path) -> None:
    task = Task(name="topic", kind="sequence", labels=("a", "b"))
    with pytest.raises(ConfigError, match=r"tasks\.topic\.teacher\.model: .*no training run"):
        teacher_of(tmp_path / "none", task, tmp_path)


def test_the_loss_is_none_for_equal_scores_and_keeps_its_gradient_at_any_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(8, 5, generator=generator)
    same = distillation_loss(teacher + 3.0, teacher, 2.0)
    assert same.item() == pytest.approx(0, abs=1e-6)
    # By the definition: T^2 * sum p log(p / q), mean over the rows.
    logits = torch.randn(8, 5, generator=generator)
    p, q = (teacher / 3).softmax(1), (logits / 3).softmax(1)
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    assert distillation_loss(logits, teacher, 3.0).item() == pytest.approx(expected.item())
    norms = []
    for temperature in (20.0, 40.0):
        logits.requires_grad_(True)
        (gradient,) = torch.autograd.grad(
            distillation_loss(logits, teacher, temperature), logits
        )
        norms.append(float(gradient.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


@pytest.mark.parametrize(
    "values",
    [{"weight": 0.0}, {"weight": 1.1}, {"temperature": 0.0}, {"temperature": math.inf}],
)
def test_shares_and_temperatures_that_mean_nothing_are_refused(
    values: dict[str, float],
) -> None:
    with pytest.raises(ValueError, match="needs"):
        TeacherConfig(model="default", **values)  # type: ignore[arg-type]


def test_the_folder_of_a_teacher_is_relative_to_the_recipe(tmp_path: Path) -> None:
    content = (
        "name: r\ntasks: {intent: {train: [{path: a.jsonl}], teacher: {model: ../runs/big}},"
        " category: {train: [{path: b.jsonl}], teacher: {model: default, answers: kept.npz}}}\n"
    )
    kept = tmp_path / "recipes" / "kept.npz"
    kept.parent.mkdir()
    kept.touch()
    (tmp_path / "recipes" / "r.yaml").write_text(content)
    tasks = load_recipe(tmp_path / "recipes" / "r.yaml").tasks
    assert tasks["intent"].teacher == TeacherConfig(model=str(tmp_path / "runs" / "big"))
    assert tasks["category"].teacher == TeacherConfig(model="default", answers=str(kept))
