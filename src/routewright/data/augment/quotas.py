"""How many rows of each label are there, under way and wanted."""

from collections import Counter
from collections.abc import Iterable, Sequence

MAX_FRUITLESS = 8
"""Answers in a row without a row to keep, after which a label is given up: the model repeats
itself, or cannot write what is asked."""


class Quotas:
    """Counts of each key: a label, an entity type, or a model whose answers are its label."""

    def __init__(self, keys: Sequence[str], num: int) -> None:
        self.keys = tuple(keys)
        self.num = num
        self.made: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._fruitless: Counter[str] = Counter()
        self._given_up: set[str] = set()

    def count(self, keys: Iterable[str]) -> None:
        """Count rows that are kept."""
        self.made.update(keys)

    def most_wanted(self) -> tuple[str, int] | None:
        """The key that lacks most rows and how many, those under way counted as made."""
        lacks = {
            key: self.num - self.made[key] - self._under_way[key]
            for key in self.keys
            if key not in self._given_up
        }
        key = max(lacks, key=lambda k: lacks[k], default=None)
        return None if key is None or lacks[key] <= 0 else (key, lacks[key])

    def is_full(self, key: str) -> bool:
        """Whether no further row is wanted."""
        return self.made[key] >= self.num

    def begin(self, key: str, num: int) -> None:
        """`num` rows are asked for."""
        self._under_way[key] += num

    def end(self, key: str, num: int, num_kept: int) -> None:
        """The answer to a request for `num` rows came, and `num_kept` of it were kept."""
        self._under_way[key] -= num
        self._fruitless[key] = 0 if num_kept else self._fruitless[key] + 1
        if self._fruitless[key] >= MAX_FRUITLESS:
            self.give_up(key)

    def give_up(self, key: str) -> None:
        """Ask for no more of it."""
        self._given_up.add(key)
