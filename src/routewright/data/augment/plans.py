"""Which request comes next, and which rows an answer holds: new texts, or models' own answers.

Plans know no files, no network and no duplicates.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from routewright.data.augment.chat import ChatAnswer, Messages
from routewright.data.augment.config import SOURCE, AugmentConfig
from routewright.data.augment.markup import can_be_marked, read_marked
from routewright.data.augment.prompts import (
    class_prompt,
    entity_prompt,
    question_prompt,
    read_list,
)
from routewright.data.augment.quotas import Quotas
from routewright.data.columns import text_of
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.selection import NO_ENTITY
from routewright.errors import ConfigError, DataError

ASKED_FOR = "asked_for"
"""Column of new token rows: the entity type that was asked for."""
UNLIMITED_CHARS = 2**31
QUESTION = "question"
"""Column of answers: what was asked, so that a split keeps answers to it together."""


@dataclass(frozen=True)
class Request:
    """One question to one model."""

    key: str
    """Of `Quotas`."""
    num: int
    """Texts asked for."""
    model: str
    messages: Messages
    question: str = ""


@dataclass
class Reading:
    """What an answer holds."""

    examples: list[Example] = field(default_factory=list)
    wrong_texts: list[str] = field(default_factory=list)
    """For each text that makes no row, why."""
    wrong_answer: str | None = None
    """Why the answer as a whole makes none."""


class SamplePlan:
    """New texts of each label, or with entities of each type."""

    def __init__(self, rows: Sequence[Example], config: AugmentConfig) -> None:
        self._config = config
        self._limits = length_limits(config, rows)
        self._models = itertools.cycle(config.models)
        self._numbers = itertools.count(1)
        self._types: tuple[str, ...] = ()
        if isinstance(rows[0], TokenExample):
            self._types = tuple(sorted({name for row in rows for name in _types_of(row)}))
            if not self._types:
                raise DataError("no row has an entity; there is no type to make rows of")
        held = [(_keys_of(row), row) for row in rows]
        known = sorted({key for keys, _ in held for key in keys})
        if unknown := [name for name in config.labels if name not in known]:
            raise ConfigError(
                f"--labels: no row has {', '.join(unknown)}; known: {', '.join(known)}"
            )
        self._shown = [(keys, row) for keys, row in held if self._can_be_shown(row)]
        self.quotas = Quotas(config.labels or known, config.num)

    @property
    def limits(self) -> tuple[int, int]:
        """Least and most characters of a new text."""
        return self._limits

    def key_of(self, row: Example) -> str:
        """Under which key a new row counts."""
        if isinstance(row, SequenceExample):
            return row.label
        return str(row.meta.get(ASKED_FOR))

    def resume(self, rows: Sequence[Example]) -> None:
        """Count the rows of an earlier run."""
        self.quotas.count(self.key_of(row) for row in rows)

    def next_request(self) -> Request | None:
        """What to ask now; None when enough is made or under way."""
        wanted = self.quotas.most_wanted()
        if wanted is None:
            return None
        key, lack = wanted
        num = min(lack, self._config.texts_per_request)
        self.quotas.begin(key, num)
        return Request(key, num, next(self._models), self._messages(key, num))

    def read(self, request: Request, answer: ChatAnswer) -> Reading:
        """The rows in the answer to a request of this plan."""
        texts = read_list(answer.text)
        if texts is None:
            cut = "cut off at the server's limit of tokens"
            return Reading(wrong_answer="no JSON list" if answer.is_whole else cut)
        reading = Reading(wrong_answer=None if texts else "an empty list")
        meta = {"source": SOURCE, "model": answer.model}
        for text in texts:
            found = self._example(request.key, text, meta)
            if isinstance(found, str):
                reading.wrong_texts.append(found)
            else:
                reading.examples.append(found)
        return reading

    def _can_be_shown(self, row: Example) -> bool:
        return isinstance(row, SequenceExample) or can_be_marked(row, self._types)

    def _messages(self, key: str, num: int) -> Messages:
        # What is made is part of the seed, so that a run that goes on shows other rows.
        place = f"{self._config.seed}/{key}/{self.quotas.made[key]}/{next(self._numbers)}"
        rng = random.Random(place)  # noqa: S311 - a sample, not a secret
        own = self._draw(rng, [row for keys, row in self._shown if key in keys])
        others = self._draw(rng, [row for keys, row in self._shown if key not in keys])
        if not self._types:
            return class_prompt(
                key, num,
                [e for e in own if isinstance(e, SequenceExample)],
                [e for e in others if isinstance(e, SequenceExample)],
                about=self._config.about, limits=self._limits,
            )  # fmt: skip
        return entity_prompt(
            None if key == NO_ENTITY else key, num,
            [e for e in own if isinstance(e, TokenExample)],
            [e for e in others if isinstance(e, TokenExample)],
            entity_types=self._types, about=self._config.about, limits=self._limits,
        )  # fmt: skip

    def _draw(self, rng: random.Random, rows: list[Example]) -> list[Example]:
        """Rows to show, of a length that new ones may have where there are such."""
        low, high = self._limits
        rows = [row for row in rows if low <= len(row.text) <= high] or rows
        return rng.sample(rows, min(len(rows), self._config.num_shown))

    def _example(self, key: str, text: object, meta: dict[str, str]) -> Example | str:
        try:
            given = text_of({"text": text}, "text").strip()
        except DataError:
            return "not a text"
        if not self._types:
            return SequenceExample(given, key, meta)
        found = read_marked(given, self._types)
        if isinstance(found, str):
            return found
        if key not in _keys_of(found):
            return "without the entity type asked for"
        return TokenExample(found.text, found.spans, {**meta, ASKED_FOR: key})


class AnswerPlan:
    """Answers of every model to the same questions, labelled with the model."""

    def __init__(self, questions: Sequence[str], config: AugmentConfig) -> None:
        self._questions = list(dict.fromkeys(questions))
        self._config = config
        self._next = dict.fromkeys(config.models, 0)
        self._answered: set[tuple[str, str]] = set()
        if config.labels:
            raise ConfigError("--labels: with --answers the labels are the models")
        self.quotas = Quotas(config.models, config.num)

    @property
    def limits(self) -> tuple[int, int]:
        """Least and most characters of an answer."""
        return length_limits(self._config, ())

    def key_of(self, row: Example) -> str:
        """Under which key a new row counts."""
        return row.label if isinstance(row, SequenceExample) else ""

    def resume(self, rows: Sequence[Example]) -> None:
        """Count the answers of an earlier run, and ask for none of them again."""
        self.quotas.count(self.key_of(row) for row in rows)
        self._answered |= {(self.key_of(r), str(r.meta.get(QUESTION))) for r in rows}

    def next_request(self) -> Request | None:
        """What to ask now; None when enough is made or under way, or no question is left."""
        while (wanted := self.quotas.most_wanted()) is not None:
            model = wanted[0]
            while self._next[model] < len(self._questions):
                question = self._questions[self._next[model]]
                self._next[model] += 1
                if (model, question) not in self._answered:
                    self.quotas.begin(model, 1)
                    return Request(model, 1, model, question_prompt(question), question)
            self.quotas.give_up(model)
        return None

    def read(self, request: Request, answer: ChatAnswer) -> Reading:
        """The answer as a row."""
        if not answer.is_whole:
            return Reading(wrong_answer="cut off at the server's limit of tokens")
        try:
            text = text_of({"text": answer.text}, "text").strip()
        except DataError:
            return Reading(wrong_answer="no text")
        meta = {"source": SOURCE, "model": answer.model, QUESTION: request.question}
        return Reading([SequenceExample(text, request.key, meta)])


Plan = SamplePlan | AnswerPlan


def length_limits(config: AugmentConfig, rows: Sequence[Example]) -> tuple[int, int]:
    """Least and most characters: as configured, else from the lengths of the rows."""
    lengths = sorted(len(row.text) for row in rows)
    low, high = 1, UNLIMITED_CHARS
    if lengths:
        low = max(1, lengths[len(lengths) // 20] // 2)
        high = 2 * lengths[-1 - len(lengths) // 20]
    low = config.min_chars if config.min_chars is not None else low
    high = config.max_chars if config.max_chars is not None else max(high, low)
    return min(low, high), high


def _keys_of(row: Example) -> set[str]:
    """What a row counts for when rows to show are looked for."""
    return {row.label} if isinstance(row, SequenceExample) else _types_of(row) or {NO_ENTITY}


def _types_of(row: Example) -> set[str]:
    return {span.label for span in row.spans} if isinstance(row, TokenExample) else set()
