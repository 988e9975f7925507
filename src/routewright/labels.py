"""Label sets, entity spans and the BIO tagging scheme.

Knows names and positions; knows nothing of models, tokens or files. A label's id is its
position in the label set. Positions in text are Python string offsets (code points), end
exclusive.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from routewright.errors import TaskError

OUTSIDE = "O"


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """An entity: ``text[start:end]`` is its value, `label` its type."""

    start: int
    end: int
    label: str
    score: float = 1.0
    """Probability in [0, 1]; 1 for annotations."""

    def overlaps(self, other: "Span") -> bool:
        """Whether the two share at least one character."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of label names; the position of a name is its id."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        duplicates = sorted({n for n in self.names if self.names.count(n) > 1})
        if duplicates:
            raise TaskError(
                f"labels occur twice: {', '.join(duplicates)}; names must be unique"
            )
        if not self.names:
            raise TaskError("there are no labels; state them, or give data that has some")
        if not all(n and n == n.strip() for n in self.names):
            raise TaskError("labels must be non-empty names without surrounding spaces")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def id(self, name: str) -> int:
        """Id of `name`.

        Raises:
            TaskError: no such label.
        """
        if name not in self._ids:
            raise TaskError(f"unknown label {name!r}; known: {', '.join(self.names)}")
        return self._ids[name]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}


class BioScheme:
    """BIO tags over entity types: ``O``, then ``B-X``, ``I-X`` for each type in order.

    Source: Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107/ (the IOB2 variant).
    """

    def __init__(self, entity_types: Sequence[str]) -> None:
        self.entity_types = LabelSet(tuple(entity_types))
        tags = [OUTSIDE]
        for name in self.entity_types:
            tags += [f"B-{name}", f"I-{name}"]
        self.tags = LabelSet(tuple(tags))

    def begin_id(self, entity_type: str) -> int:
        """Tag id of ``B-entity_type``; its ``I-`` tag is the next id."""
        return 1 + 2 * self.entity_types.id(entity_type)

    def entity_type(self, tag_id: int) -> str | None:
        """Entity type of a tag, None for ``O``."""
        return None if tag_id == 0 else self.entity_types.names[(tag_id - 1) // 2]

    def is_begin(self, tag_id: int) -> bool:
        """Whether the tag is a ``B-`` tag."""
        return tag_id % 2 == 1

    def may_start(self, tag_id: int) -> bool:
        """Whether a sequence may start with the tag: ``I-`` may not."""
        return tag_id == 0 or self.is_begin(tag_id)

    def as_start(self, tag_ids: list[int]) -> list[int]:
        """Tags of a part of a text: one that was cut inside an entity begins it anew."""
        if not tag_ids or self.may_start(tag_ids[0]):
            return tag_ids
        return [tag_ids[0] - 1, *tag_ids[1:]]

    def may_follow(self, previous_id: int, tag_id: int) -> bool:
        """Whether the one may follow the other: ``I-X`` only follows ``B-X`` or ``I-X``."""
        if self.may_start(tag_id):
            return True
        return previous_id in (tag_id - 1, tag_id)


def encode_bio(
    spans: Iterable[Span], offsets: Sequence[tuple[int, int]], scheme: BioScheme
) -> list[int]:
    """Tag ids of tokens at `offsets`; a token belongs to a span when they share a character.

    Tokens without characters (``start == end``: special tokens, and white space in byte-level
    vocabularies) are ``O``, but between two tokens of a span they belong to it: ``I-`` never
    follows ``O``. Where spans overlap, the earlier (then longer) one wins.
    """
    tag_ids = [0] * len(offsets)
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        begin_id = scheme.begin_id(span.label)
        last: int | None = None
        for i, (start, end) in enumerate(offsets):
            if start >= end or end <= span.start or start >= span.end:
                continue
            if tag_ids[i] == 0:
                if last is None or any(tag_ids[last + 1 : i]):
                    tag_ids[i] = begin_id
                else:
                    tag_ids[last + 1 : i + 1] = [begin_id + 1] * (i - last)
                last = i
    return tag_ids


def check_spans(
    text: str, spans: Sequence[Span], entity_types: LabelSet | None = None
) -> str | None:
    """What is wrong with the spans, or None: range, emptiness, overlap, unknown type."""
    previous_end = 0
    for span in sorted(spans):
        value = f"[{span.start}, {span.end}) {span.label}"
        if not 0 <= span.start < span.end <= len(text):
            return f"span {value} is empty or outside the text of {len(text)} characters"
        if span.start < previous_end:
            return f"span {value} overlaps the one before it"
        if entity_types is not None and span.label not in entity_types:
            return f"span {value} has an unknown type; known: {', '.join(entity_types)}"
        previous_end = span.end
    return None
