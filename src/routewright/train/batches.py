"""Examples to batches: windows, label alignment, length grouping, task mixing, sharding.

A batch holds rows of one task and of similar length. The order of batches is a function of
seed, epoch and number of rows alone; several processes take turns within each batch, so that
they see in one step what a single process with the same global batch size sees.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from routewright.data.examples import Example, TokenExample
from routewright.decoding import FloatArray
from routewright.encoding import EncodedText, TextEncoder
from routewright.labels import encode_bio
from routewright.tasks import Task
from routewright.train.losses import IGNORED

_GROUP_BATCHES = 50
"""Batches whose rows are sorted by length together: long enough to pad little, short enough to
keep the order random."""


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One window of a labelled text, ready for the model."""

    task: str
    input_ids: list[int]
    labels: int | list[int]
    """Class id, or one tag id for each input id with `IGNORED` at special tokens."""
    teacher_logits: FloatArray | None = field(default=None, compare=False)
    """Scores ``(C,)`` of the model that teaches the task, where there is one."""


def make_rows(
    task: Task,
    examples: Sequence[Example],
    encoder: TextEncoder,
    *,
    max_windows: int,
    teacher: Callable[[Sequence[str], Sequence[int]], FloatArray] | None = None,
) -> list[TrainRow]:
    """Training rows of one task; a long text gives at most `max_windows` rows.

    Texts without any token are left out: they teach nothing. A `teacher` sees what a row
    holds, which may be a part of a text, with its class id, and gives scores ``(N, C)``.
    """
    rows: list[TrainRow] = []
    pieces: list[str] = []
    encoded_texts = encoder.encode_batch([example.text for example in examples])
    for example, encoded in zip(examples, encoded_texts, strict=True):
        if not encoded.ids:
            continue
        tags: list[int] | None = None
        if isinstance(example, TokenExample):
            tags = encode_bio(example.spans, encoded.offsets, task.scheme)
        windows = encoded.windows if tags is not None else _spread(encoded, max_windows)
        for start, end in windows:
            labels: int | list[int]
            if tags is None:
                labels = task.label_set.id(example.label)  # type: ignore[union-attr]
            else:
                inside = task.scheme.as_start(tags[start:end])
                before, behind = len(encoder.prefix_ids), len(encoder.suffix_ids)
                labels = [IGNORED] * before + inside + [IGNORED] * behind
            rows.append(TrainRow(task.name, encoder.window_ids(encoded, (start, end)), labels))
            first, last = encoded.offsets[start][0], encoded.offsets[end - 1][1]
            pieces.append(example.text[first:last])
    if teacher is None:
        return rows
    class_ids = [row.labels for row in rows if isinstance(row.labels, int)]
    return [
        replace(row, teacher_logits=logits_C)
        for row, logits_C in zip(rows, teacher(pieces, class_ids), strict=True)
    ]


class RowDataset(Dataset[TrainRow]):
    """All rows of all tasks; a row's index never changes during a run."""

    def __init__(self, rows: Sequence[TrainRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TrainRow:
        return self.rows[index]


class TaskBatchSampler(Sampler[list[int]]):
    """Batches of one task each, rows of similar length together, tasks mixed by temperature.

    Args:
        rows: the rows that indices point into.
        batch_size: rows of a batch on one process.
        temperature: >= 1; tasks are drawn in proportion to ``num_rows ** (1 / temperature)``.
            The number of batches of an epoch does not depend on it, rounding aside.
        seed: of the order; the epoch is added by `set_epoch`.
        rank: this process, in ``[0, num_processes)``.
        num_processes: how many share every batch.

    Source of the temperature: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section
    3.5.2.
    """

    def __init__(
        self,
        rows: Sequence[TrainRow],
        *,
        batch_size: int,
        temperature: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.lengths = np.array([len(row.input_ids) for row in rows])
        self.by_task: dict[str, np.ndarray] = {}
        names = np.array([row.task for row in rows])
        for name in dict.fromkeys(names.tolist()):
            self.by_task[name] = np.flatnonzero(names == name)
        self.global_size = batch_size * num_processes
        self.seed, self.rank, self.num_processes = seed, rank, num_processes
        self.epoch = 0
        self.quota = _quotas(
            {name: len(indices) for name, indices in self.by_task.items()},
            self.global_size,
            temperature,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.quota.values())

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches: list[np.ndarray] = []
        for name, indices in self.by_task.items():
            batches += self._task_batches(indices, self.quota[name], generator)
        for i in generator.permutation(len(batches)):
            yield self._shard(batches[i])

    def _task_batches(
        self, indices: np.ndarray, quota: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        batches: list[np.ndarray] = []
        while len(batches) < quota:
            order = generator.permutation(indices)
            group = self.global_size * _GROUP_BATCHES
            one_pass: list[np.ndarray] = []
            for start in range(0, len(order), group):
                chunk = order[start : start + group]
                chunk = chunk[np.argsort(self.lengths[chunk], kind="stable")]
                one_pass += [
                    chunk[i : i + self.global_size]
                    for i in range(0, len(chunk), self.global_size)
                ]
            missing = quota - len(batches)
            if missing < len(one_pass):
                kept = generator.permutation(len(one_pass))[:missing]
                one_pass = [one_pass[i] for i in kept]
            batches += one_pass
        return batches

    def _shard(self, batch: np.ndarray) -> list[int]:
        # Every process needs equally many rows, or the mean of their gradients is not the
        # batch's.
        padded = np.resize(
            batch, math.ceil(len(batch) / self.num_processes) * self.num_processes
        )
        shard: list[int] = padded[self.rank :: self.num_processes].tolist()
        return shard


class EpochDataLoader(DataLoader[TrainRow]):
    """A loader whose `set_epoch` reaches the sampler; Trainer calls it before each epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`."""
        sampler = self.batch_sampler
        assert isinstance(sampler, TaskBatchSampler)
        sampler.set_epoch(epoch)


def collate(rows: Sequence[TrainRow], *, pad_id: int) -> dict[str, object]:
    """Arguments of ``MultiTaskModel.forward`` for rows of one task, padded to the longest."""
    width = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        input_ids[i, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask[i, : len(row.input_ids)] = 1
    if isinstance(rows[0].labels, int):
        labels = torch.tensor([row.labels for row in rows])
    else:
        labels = torch.full((len(rows), width), IGNORED)
        for i, row in enumerate(rows):
            assert isinstance(row.labels, list)
            labels[i, : len(row.labels)] = torch.tensor(row.labels)
    batch: dict[str, object] = {
        "task": rows[0].task,
        "input_ids": input_ids,
        "attention_mask": mask,
        "labels": labels,
    }
    taught = [row.teacher_logits for row in rows if row.teacher_logits is not None]
    if taught:
        batch["teacher_logits"] = torch.from_numpy(np.stack(taught))
    return batch


def _spread(encoded: EncodedText, count: int) -> list[tuple[int, int]]:
    """At most `count` windows, spread evenly from the first to the last."""
    windows = encoded.windows
    if len(windows) <= count:
        return windows
    if count == 1:
        return windows[:1]
    picked = np.linspace(0, len(windows) - 1, count).round().astype(int)
    return [windows[i] for i in picked]


def _quotas(num_rows: Mapping[str, int], batch_size: int, temperature: float) -> dict[str, int]:
    """Batches of each task in an epoch; their sum is about that of one pass over all rows."""
    natural = {name: math.ceil(n / batch_size) for name, n in num_rows.items()}
    if temperature == 1.0 or len(natural) == 1:
        return natural
    weights = {name: n ** (1 / temperature) for name, n in num_rows.items()}
    total, weight_sum = sum(natural.values()), sum(weights.values())
    return {name: max(1, round(total * w / weight_sum)) for name, w in weights.items()}
