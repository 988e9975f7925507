"""Scores of tokens and token pairs: what they learn, and how they join those of a head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoints import make_checkpoint

from routewright.data.examples import SequenceExample
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.errors import ConfigError, ExportError, TaskError
from routewright.export.folder import refuse_ngrams
from routewright.tasks import Task
from routewright.train.backbones import load_backbone, load_tokenizer
from routewright.train.batches import make_rows
from routewright.train.modeling import ModelConfig, MultiTaskModel, SequenceHead
from routewright.train.ngram_fit import fit_ngrams
from routewright.train.ngrams import NgramConfig, NgramScores, best_scale, class_bias
from routewright.train.recipe import parse_recipe
from routewright.train.task_data import TaskData

VOCABULARY, CLASSES = 50, 3
ROWS = st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=12)


def scores_with(table: torch.Tensor) -> NgramScores:
    ngrams = NgramScores(VOCABULARY, CLASSES, buckets=32)
    ngrams.table_FC.copy_(table)
    return ngrams


def random_scores(seed: int = 0) -> NgramScores:
    generator = torch.Generator().manual_seed(seed)
    return scores_with(torch.randn(VOCABULARY + 32, CLASSES, generator=generator))


@given(ROWS)
def test_the_graph_and_the_fitted_machine_see_the_same_features(ids: list[int]) -> None:
    ngrams = random_scores()
    counts = ngrams.features([ids]).toarray()[0]
    expected = counts @ ngrams.table_FC.numpy() / np.sqrt(counts.sum())
    found = ngrams(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
    assert np.allclose(found[0].numpy(), expected, atol=1e-5)


@given(ROWS, st.integers(1, 5))
def test_padding_changes_no_score(ids: list[int], num_padding: int) -> None:
    ngrams = random_scores()
    alone = ngrams(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
    mask = torch.tensor([[1] * len(ids) + [0] * num_padding])
    padded = ngrams(torch.tensor([ids + [0] * num_padding]), mask)
    assert torch.allclose(alone, padded, atol=1e-6)


def test_word_order_counts() -> None:
    ngrams = NgramScores(VOCABULARY, CLASSES, buckets=4096)
    texts = [[1, 5, 6, 2], [1, 6, 5, 2], [1, 7, 8, 2]] * 8
    ngrams.fit(texts, [0, 1, 2] * 8, seed=0)
    found = ngrams(torch.tensor(texts[:3]), torch.ones(3, 4, dtype=torch.long))
    assert found.argmax(1).tolist() == [0, 1, 2]


def test_two_classes_get_opposite_scores() -> None:
    ngrams = NgramScores(VOCABULARY, 2, buckets=64)
    ngrams.fit([[1, 5, 2], [1, 6, 2]] * 6, [0, 1] * 6, seed=0)
    found = ngrams(torch.tensor([[1, 5, 2], [1, 6, 2]]), torch.ones(2, 3, dtype=torch.long))
    assert found.argmax(1).tolist() == [0, 1]
    assert torch.allclose(found.sum(1), torch.zeros(2), atol=1e-5)


def test_a_class_without_rows_never_wins() -> None:
    ngrams = NgramScores(VOCABULARY, CLASSES, buckets=64)
    ngrams.fit([[1, 5, 2], [1, 6, 2]] * 6, [0, 2] * 6, seed=0)
    found = ngrams(torch.tensor([[1, 5, 2], [1, 6, 2]]), torch.ones(2, 3, dtype=torch.long))
    assert found.argmax(1).tolist() == [0, 2]


def test_scores_that_say_nothing_weigh_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 400)
    good = rng.normal(size=(400, CLASSES))
    good[np.arange(400), labels] += 4
    noise = rng.normal(size=(400, CLASSES))
    assert best_scale(good, noise, labels.tolist()) == 0
    assert best_scale(noise, good, labels.tolist()) > 1


@pytest.mark.parametrize("added", [[0, 0, 0], [1, 0, 0], [0.2, -0.1, 0], [3, 3, -3]])
def test_biases_take_back_what_was_added_to_the_scores_of_a_class(added: list[float]) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 600)
    scores = rng.normal(size=(600, CLASSES))
    scores[np.arange(600), labels] += 2
    leaning = np.array(added) - np.mean(added)
    plain = class_bias(scores, labels.tolist())
    found = class_bias(scores + leaning, labels.tolist())
    assert found.mean() == pytest.approx(0, abs=1e-9)
    # The cost of biases holds back a part.
    assert np.abs(found - plain + leaning).max() <= 0.35 * np.abs(leaning).max() + 1e-3

    def right(bias: np.ndarray) -> int:
        return int(((scores + leaning + bias).argmax(axis=1) == labels).sum())

    assert right(found) >= right(np.zeros(CLASSES)) - 6


def test_biases_stay_finite_where_every_answer_is_wrong() -> None:
    scores = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0]])
    assert class_bias(scores, [2, 2]).argmax() == 2
    assert np.abs(class_bias(scores, [2, 2])).max() < 500
    assert class_bias(scores, [0, 1]) == pytest.approx(np.zeros(CLASSES), abs=1e-3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("ngrams") / "bert", "bert")


def task_of(name: str) -> Task:
    return Task(name=name, kind="sequence", labels=("cooking", "sailing"))


def test_fitting_adds_the_tables_to_the_answers_of_their_task_alone(checkpoint: Path) -> None:
    torch.manual_seed(0)
    tasks = (task_of("topic"), task_of("other"))
    config = ModelConfig(backbone=str(checkpoint), ngrams=NgramConfig(tasks=("topic",)))
    model = MultiTaskModel(load_backbone(str(checkpoint)), tasks, config).eval()
    head = model.heads["topic"]
    assert isinstance(head, SequenceHead)
    torch.nn.init.zeros_(head.classifier.weight)
    head.classifier.bias.data = torch.tensor([0.0, 1.0])  # sailing, whatever the text
    tokenizer, pad_id = load_tokenizer(str(checkpoint))
    encoder = TextEncoder(
        tokenizer, EncodingConfig(max_tokens=32, overlap_tokens=8), pad_id=pad_id
    )
    train = [
        SequenceExample(text, label)
        for text, label in (("the a of", "cooking"), ("and in to", "sailing"))
        for _ in range(8)
    ]
    data = {"topic": TaskData(tasks[0], list(train), list(train), [])}
    rows = make_rows(tasks[0], train, encoder, max_windows=1)
    ids, mask = torch.tensor([rows[0].input_ids]), torch.ones(1, len(rows[0].input_ids))
    before = model.answer(ids, mask.long())
    scales = fit_ngrams(model, rows, data, encoder, seed=0)
    after = model.answer(ids, mask.long())
    assert scales["topic"] > 0
    assert after["topic"].argmax() == 0
    assert not torch.equal(before["topic"], after["topic"])
    assert torch.equal(before["other"], after["other"])
    with pytest.raises(ExportError, match=r"n-gram scores \(model.ngrams, topic\)"):
        refuse_ngrams(model)


def test_a_task_that_the_model_lacks_is_refused(checkpoint: Path) -> None:
    config = ModelConfig(backbone=str(checkpoint), ngrams=NgramConfig(tasks=("topic",)))
    with pytest.raises(TaskError, match=r"model\.ngrams\.tasks: topic is not a sequence task"):
        MultiTaskModel(load_backbone(str(checkpoint)), (task_of("other"),), config)


def test_a_table_without_rows_is_refused() -> None:
    given = {"name": "x", "tasks": {}, "model": {"ngrams": {"tasks": ["a"], "buckets": 0}}}
    with pytest.raises(ConfigError, match=r"model\.ngrams: needs 1 <= buckets"):
        parse_recipe(given, source="x.yaml")
