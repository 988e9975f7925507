"""The two row formats: a text with a label, and a text with entity spans.

Every reader produces these and everything downstream takes them. Offsets are Python string
offsets (code points), end exclusive.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from routewright.labels import Span


@dataclass(frozen=True, slots=True)
class SequenceExample:
    """A text and the name of its one label."""

    text: str
    label: str
    meta: Mapping[str, object] = field(default_factory=dict)
    """Every other column of the row: source, quality, group; never read by a model."""


@dataclass(frozen=True, slots=True)
class TokenExample:
    """A text and the entities in it, sorted by position and not overlapping."""

    text: str
    spans: tuple[Span, ...]
    meta: Mapping[str, object] = field(default_factory=dict)
    """Every other column of the row: source, template_id; never read by a model."""


Example = SequenceExample | TokenExample


def normalise(text: str) -> str:
    """The form in which two texts count as the same: NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
