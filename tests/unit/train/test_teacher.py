"""Teachers: what a finished model says of training rows, and how the loss counts it."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.tiny import TASKS, tiny_encoder, write_tiny_bundle
from tests.untrained import make_run

from routewright.data.examples import SequenceExample
from routewright.decoding import FloatArray
from routewright.errors import ConfigError
from routewright.runtime.classifier import Classifier
from routewright.tasks import LossConfig, Task
from routewright.train.batches import collate, make_rows
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
    raws = Classifier.open(bundle, precision="fp32").raw(TEXTS[:2])
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
    np.testing.assert_allclose(torch.tensor(found[0]).softmax(0), [0.1, 0.9], atol=1e-3)
    turned = replace(task, labels=task.labels[::-1])
    other = Teacher(config, turned, tmp_path / "b", console=Console(quiet=True))
    np.testing.assert_array_equal(other(TEXTS, IDS), first[:, ::-1])
    with pytest.raises(ConfigError, match=r"answers: .*knows none of the 1 training rows"):
        silent(["a goat"], [1])
    assert not (tmp_path / "b").exists()


def test_a_detector_is_taught_by_the_window_that_would_serve(tmp_path: Path) -> None:
    """One suspicious window among harmless ones is what the classifier answers by."""
    write_tiny_bundle(tmp_path / "bundle")
    classifier = Classifier.open(tmp_path / "bundle", precision="fp32")
    attack = classifier.heads["attack"].task
    assert attack.windows == "maximum"
    texts = [" ".join(words) for words in (["fine"] * 40, ["fine"] * 30 + ["q", "z", "x"])]
    found = teacher_of(tmp_path / "bundle", attack, tmp_path / "cache")(texts, [0, 0])
    for text, logits_C in zip(texts, found, strict=True):
        logits_WC = classifier.raw([text])[0].sequence_logits["attack"]
        assert len(logits_WC) > 1
        positive = attack.labels.index(attack.positive)
        loudest = (logits_WC[:, positive] - logits_WC[:, 1 - positive]).argmax()
        np.testing.assert_allclose(logits_C, logits_WC[loudest], rtol=2e-3)


def test_what_is_kept_serves_when_the_teacher_is_gone(run: Run, tmp_path: Path) -> None:
    folder, task = tmp_path / "teacher", topic(run)
    shutil.copytree(run.folder, folder)
    whole = teacher_of(folder, task, tmp_path)(TEXTS, IDS)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(teacher_of(folder, task, tmp_path)(TEXTS, IDS), whole)
    with pytest.raises(ConfigError, match=r"is gone, and 1 training rows have no answer"):
        teacher_of(folder, task, tmp_path)([*TEXTS, "a goat"], [*IDS, 0])


def test_a_damaged_cache_is_asked_for_again_and_no_text_needs_no_answer(
    run: Run, tmp_path: Path
) -> None:
    task = topic(run)
    whole = teacher_of(run.folder, task, tmp_path)(TEXTS, IDS)
    content = bytearray((tmp_path / "topic.npz").read_bytes())
    begin = content.index(b"logits.npy") + 30
    content[begin : begin + 20] = b"\xff" * 20
    (tmp_path / "topic.npz").write_bytes(content)
    np.testing.assert_array_equal(teacher_of(run.folder, task, tmp_path)(TEXTS, IDS), whole)
    assert teacher_of(run.folder, task, tmp_path)([], []).shape == (0, 2)


def test_scores_that_are_no_numbers_are_refused(run: Run, tmp_path: Path) -> None:
    task = topic(run)
    teacher_of(run.folder, task, tmp_path)(TEXTS, IDS)
    with np.load(tmp_path / "topic.npz") as kept:
        content = {name: kept[name] for name in kept.files}
    content["logits"][1, 0] = np.nan
    np.savez(tmp_path / "topic.npz", **content)
    with pytest.raises(ConfigError, match="scores that are no numbers"):
        teacher_of(run.folder, task, tmp_path)(TEXTS, IDS)


def test_rows_carry_what_the_teacher_says_of_their_own_piece_of_text() -> None:
    encoder = tiny_encoder()
    task = next(t for t in TASKS if t.kind == "sequence")
    text = " ".join(chr(97 + n % 26) for n in range(60))
    seen: list[str] = []

    def teacher(pieces: Sequence[str], ids: Sequence[int]) -> FloatArray:
        seen.extend(pieces)
        return np.stack([[len(piece) for piece in pieces], ids], axis=1)

    examples = [SequenceExample(t, task.labels[i]) for i, t in enumerate((text, "", "a"))]
    rows = make_rows(task, examples, encoder, max_windows=3, teacher=teacher)
    assert len(rows) == 4  # the empty text teaches nothing
    for row, piece in zip(rows, seen, strict=True):
        assert piece in text or piece == "a"
        alone = encoder.encode(piece)
        assert encoder.window_ids(alone, (0, len(alone.ids))) == row.input_ids
        assert row.teacher_logits is not None
        assert row.teacher_logits.tolist() == [len(piece), row.labels]
    batch = collate(rows, pad_id=0)
    assert batch["teacher_logits"].shape == (4, 2)  # type: ignore[attr-defined]


def test_a_loss_is_shared_between_labels_and_teacher(run: Run) -> None:
    model, _, _ = load_model(run)
    task = model.tasks["topic"]
    model.tasks["topic"] = replace(task, loss=LossConfig(weight=3.0))
    model.teachers = {"topic": TeacherConfig(model="default", weight=0.25, temperature=2.0)}
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 5, 3]])
    labels, said = torch.tensor([0, 1]), torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.no_grad():
        alone = model("topic", **given)
        shared = model("topic", **given, teacher_logits=said)
    divergence = distillation_loss(alone["logits"], said, 2.0)
    expected = 0.75 * alone["loss"] + 0.25 * 3.0 * divergence
    assert shared["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


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
