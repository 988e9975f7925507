"""Rows to have more written of, and short ways to ask for them."""

from pathlib import Path
from typing import Any

from routewright.data.augment import AugmentConfig, AugmentReport, Endpoint, augment_rows
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.readers import ExampleKind, read_examples
from routewright.labels import Span
from tests.writing_server import WritingServer, new_words

ROWS: list[Example] = [
    SequenceExample(f"{label} {new_words()}", label) for label in ("class_1", "class_2") * 8
]
LETTERS: list[Example] = [
    TokenExample("Ann Lee lives in Rome now.", (Span(0, 7, "PERSON"), Span(17, 21, "CITY"))),
    TokenExample("We met in Oslo yesterday.", (Span(10, 14, "CITY"),)),
    TokenExample("Nothing to see here at all.", ()),
]


def endpoint(server: WritingServer, **options: Any) -> Endpoint:
    given = {"base_url": server.base_url, "backoff_s": 0.01, "timeout_s": 60.0, **options}
    return Endpoint(**given)


def config(**options: Any) -> AugmentConfig:
    given = {"models": ("writer",), "num": 12, "min_chars": 5, "max_chars": 500, **options}
    return AugmentConfig(**given)


def augment(server: WritingServer, out: Path, **options: Any) -> AugmentReport:
    held_out = options.pop("held_out", ())
    rows = options.pop("rows", ROWS)
    return augment_rows(rows, config(**options), endpoint(server), out=out, held_out=held_out)


def written(out: Path, kind: ExampleKind = "sequence") -> list[Example]:
    return read_examples(DataSpec(path=str(out)), kind, root=Path())
