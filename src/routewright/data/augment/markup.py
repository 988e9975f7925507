"""Entities marked up in a text, as language models read and write them: ``<CITY>Rome</CITY>``.

Reading is strict: a text whose markup is not perfect would teach wrong borders, so it is no
example at all. What reads back to the same example was written without loss.
"""

import re
from collections.abc import Collection
from functools import lru_cache

from routewright.data.examples import TokenExample
from routewright.labels import Span

_ANY_NAME = r"[^\W\d][\w .:/-]*"
"""What is taken for the name of a tag, whether there is such a type or not."""
_COINCIDENT_DIGITS = 4
"""So many digits may well stand in two places for two things: an age and a number of cats."""


def marked_text(example: TokenExample) -> str:
    """The text with every entity between tags of its type."""
    parts, position = [], 0
    for span in example.spans:
        value = example.text[span.start : span.end]
        parts += [example.text[position : span.start], f"<{span.label}>{value}</{span.label}>"]
        position = span.end
    return "".join([*parts, example.text[position:]])


def read_marked(marked: str, entity_types: Collection[str]) -> TokenExample | str:
    """The example that a marked text stands for, or what is wrong with its markup.

    Wrong are tags of unknown types, tags in each other or without their other half, values that
    are empty or have white space at an end, and a value that is marked in one place and
    occurs as a word of its own in another.

    Args:
        marked: as a model wrote it; white space around it is dropped.
        entity_types: those that may occur.
    """
    marked = marked.strip()
    parts: list[str] = []
    spans: list[Span] = []
    opened: tuple[int, str] | None = None
    position = length = 0
    for tag in _tags(tuple(entity_types)).finditer(marked):
        closes, name = bool(tag[1]), tag[2]
        parts.append(marked[position : tag.start()])
        length += len(parts[-1])
        position = tag.end()
        if name not in entity_types:
            return "a tag of an unknown type"
        if not closes and opened is None:
            opened = (length, name)
        elif closes and opened is not None and opened[1] == name:
            spans.append(Span(opened[0], length, name))
            opened = None
        else:
            return "tags that do not match"
    if opened is not None:
        return "tags that do not match"
    text = "".join([*parts, marked[position:]])
    return _problem(text, spans) or TokenExample(text, tuple(spans))


def can_be_marked(example: TokenExample, entity_types: Collection[str]) -> bool:
    """Whether the marked text reads back to the same text and spans."""
    found = read_marked(marked_text(example), entity_types)
    return isinstance(found, TokenExample) and found.spans == tuple(
        Span(span.start, span.end, span.label) for span in example.spans
    )


def _problem(text: str, spans: list[Span]) -> str | None:
    values = {text[span.start : span.end] for span in spans}
    if not all(value and value == value.strip() for value in values):
        return "a value that is empty or has white space at its end"
    for value in values:
        if value.isdigit() and len(value) <= _COINCIDENT_DIGITS:
            continue
        for found in _as_words(value).finditer(text):
            if not any(s.start <= found.start() and found.end() <= s.end for s in spans):
                return "a value marked in one place and not in another"
    return None


@lru_cache(maxsize=8)
def _tags(entity_types: tuple[str, ...]) -> re.Pattern[str]:
    names = sorted(map(re.escape, entity_types), key=len, reverse=True)
    return re.compile(rf"<(/?)({'|'.join([*names, _ANY_NAME])})>")


@lru_cache(maxsize=256)
def _as_words(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
