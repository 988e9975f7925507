"""Batches: one task each, all rows seen, equal shards, the same order every time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import byte_level_tokenizer, word_piece_tokenizer
from tokenizers import Tokenizer

from routewright.data.examples import TokenExample
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.labels import Span
from routewright.tasks import BUILT_IN
from routewright.train.batches import TaskBatchSampler, TrainRow, collate, make_rows
from routewright.train.losses import IGNORED


def rows_of(sizes: dict[str, int]) -> list[TrainRow]:
    generator = np.random.default_rng(0)
    return [
        TrainRow(task, [1] * int(generator.integers(3, 40)), 0)
        for task, size in sizes.items()
        for _ in range(size)
    ]


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 60), min_size=1),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 3),
)
def test_an_epoch_sees_every_row_once_in_batches_of_one_task(
    sizes: dict[str, int], batch_size: int, epoch: int
) -> None:
    rows = rows_of(sizes)
    sampler = TaskBatchSampler(rows, batch_size=batch_size, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    assert all(len({rows[i].task for i in batch}) == 1 for batch in batches)


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    rows = rows_of({"a": 50, "b": 20})
    first, second = (TaskBatchSampler(rows, batch_size=4, seed=7) for _ in range(2))
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_processes_share_each_batch_of_the_global_size(temperature: float) -> None:
    rows = rows_of({"a": 51, "b": 7})
    whole = list(TaskBatchSampler(rows, batch_size=6, seed=3, temperature=temperature))
    shards = [
        list(
            TaskBatchSampler(
                rows, batch_size=3, seed=3, temperature=temperature, rank=r, num_processes=2
            )
        )
        for r in range(2)
    ]
    for batch, one, other in zip(whole, *shards, strict=True):
        assert len(one) == len(other)
        assert {*one, *other} == set(batch)


def test_a_sampling_temperature_evens_out_the_tasks_and_keeps_the_epoch_length() -> None:
    rows = rows_of({"large": 800, "small": 40})
    shares = {}
    for temperature in (1.0, 5.0):
        sampler = TaskBatchSampler(rows, batch_size=8, temperature=temperature)
        shares[temperature] = Counter(rows[batch[0]].task for batch in sampler)
    assert shares[1.0] == {"large": 100, "small": 5}
    assert shares[5.0]["small"] > 30
    assert abs(shares[5.0].total() - 105) <= 1


def test_length_grouping_pads_little() -> None:
    rows = rows_of({"a": 2000})
    batches = list(TaskBatchSampler(rows, batch_size=16))
    lengths = [[len(rows[i].input_ids) for i in batch] for batch in batches]
    padded = sum(max(batch) * len(batch) for batch in lengths)
    assert padded < 1.1 * sum(sum(batch) for batch in lengths)


def test_collate_pads_ids_mask_and_labels() -> None:
    batch = collate(
        [TrainRow("t", [5, 6, 7], [IGNORED, 1, IGNORED]), TrainRow("t", [5, 7], [IGNORED] * 2)],
        pad_id=9,
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 7, 9]]  # type: ignore[attr-defined]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]  # type: ignore[attr-defined]
    assert batch["labels"].tolist() == [[IGNORED, 1, IGNORED], [IGNORED] * 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("tokenizer", [word_piece_tokenizer(), byte_level_tokenizer()])
def test_the_tags_of_every_window_are_possible(tokenizer: Tokenizer) -> None:
    encoder = TextEncoder(tokenizer, EncodingConfig(max_tokens=8, overlap_tokens=2), pad_id=0)
    text = "at 1  elm\nroad, york; ask bob"
    task = BUILT_IN["pii"]
    spans = (Span(3, 20, "STREET_ADDRESS"), Span(26, 29, "PERSON"))
    rows = make_rows(task, [TokenExample(text, spans)], encoder, max_windows=1)
    assert len(rows) > 3
    for row in rows:
        assert isinstance(row.labels, list)
        tags = [tag for tag in row.labels if tag != IGNORED]
        assert task.scheme.may_start(tags[0])
        assert all(task.scheme.may_follow(a, b) for a, b in pairwise(tags))
