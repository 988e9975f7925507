"""Texts with personal data and exact spans, assembled from templates, values and noise.

The annotation follows presidio-research, as its training rows show it:

* Only the value of a slot is marked: "Saturday" of "Saturday morning", "Golden Helix" of "The
  Golden Helix Orchestra", "Analytica" of "an Analytica spokesman", no possessive "'s".
* TITLE is an honorific with its full stop, and a job where it is stated as such: "works as a
  midwife", under a name in a signature, between commas. Roles in passing ("my manager",
  "trumpeter Ann", "the king") are none.
* DATE_TIME is absolute: a date, a time, a year, a day of the week. "Last night", "the 60s" and
  "8+ years" are none. AGE is the bare number, NRP a nation, belief or party.
  A calendar date and the time right behind it ("3 May 2021, 10:45 am") are one, a time stamp
  with its fractions and zone too; "Monday at 5 pm" are two.
* "Jr.", "III" and "PhD" behind a name belong to PERSON; the "v." between parties is outside.
* Keys, heads and tags of records are none, nor are dotted names of source code and files.
* Works, bands, magazines, prizes, laws, holidays and sights are no entity.
* Addresses: see ``pii_addresses``.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pydantic import ConfigDict

from routewright.config import STRICT
from routewright.data.examples import TokenExample
from routewright.data.synth.grammar import Piece, Template, fill, load_templates
from routewright.data.synth.pii_draw import Draw, build_pools
from routewright.data.synth.pii_noise import add_noise
from routewright.data.synth.pii_values import make_slot
from routewright.labels import Span

TEMPLATE_FILES = (
    "pii_talk.yaml", "pii_prose.yaml", "pii_forms.yaml", "pii_places.yaml",
    "pii_companies.yaml", "pii_culture.yaml", "pii_people.yaml", "pii_clauses.yaml",
    "pii_machine.yaml", "pii_more.yaml", "pii_open.yaml",
    "pii_prose_more.yaml", "pii_talk_more.yaml", "pii_documents.yaml",
    "pii_chat.yaml", "pii_word_names.yaml", "pii_spelled.yaml", "pii_rows.yaml",
    "pii_roles.yaml", "pii_hosts.yaml",
)  # fmt: skip
PLAIN_FILES: Mapping[str, float] = {
    "pii_plain.yaml": 1.0, "pii_plain_machine.yaml": 0.8, "pii_plain_open.yaml": 2.0,
    "pii_plain_prose.yaml": 1.2, "pii_plain_talk.yaml": 1.2, "pii_plain_documents.yaml": 1.2,
    "pii_plain_chat.yaml": 1.2, "pii_plain_roles.yaml": 1.2,
}  # fmt: skip
"""How often a template without personal data is used, by its file."""
SENTENCE_FILE = "pii_sentences.yaml"

REGISTER_WEIGHTS: Mapping[str, float] = {
    "statements": 1.2, "questions": 0.8, "film": 1.0, "music": 1.5, "reviews": 1.3,
    "story": 0.7, "hr": 0.8, "medical": 0.8, "log": 0.6, "data": 0.7, "travel": 0.8,
    "legal": 0.7, "letterhead": 6.5, "located": 2.5,
    "several_addresses": 2.4, "roads": 2.0, "fields": 2.6, "numbers": 3.0,
    "facts": 1.8, "documents": 4.5,
    "records": 8.0, "logs": 1.8, "traces": 2.4, "nested": 1.5,
    "settings": 1.4, "hosts": 1.6, "moments": 1.4,
    "greetings": 2.3, "verbs": 3.0, "words_as_names": 2.6, "suffixes": 2.0, "charts": 2.0,
    "cases": 2.5, "institutions": 2.2, "signature": 1.6, "jobs": 2.0, "ages": 1.6,
    "person_clauses": 3.0, "organization_clauses": 4.0, "place_clauses": 3.0,
    "open_people": 3.0, "open_firms": 3.0, "open_places": 3.0, "open_several": 3.0,
    "crossings": 2.5,
    "prose_people": 1.5, "prose_firms": 1.7, "prose_places": 1.3, "prose_mixed": 1.5,
    "talk_service": 1.5, "talk_chat": 1.3, "talk_prompts": 1.5, "talk_numbers": 1.5,
    "talk_addresses": 2.5,
    "docs_letters": 2.0, "docs_tables": 1.2, "docs_records": 1.2, "docs_legal": 1.3,
    "docs_lists": 1.3,
    "chat_low": 2.0, "word_people": 2.0, "spelled_ages": 2.0, "rows": 2.2,
    "roles_beside": 2.0, "roles_titles": 2.0, "web_running": 2.0,
}  # fmt: skip
"""How often a register is used per template of it; 1 where it is not named."""

LAYOUT_REGISTERS = frozenset({
    "form", "data", "log", "address", "letterhead", "email", "dialogue", "fields", "code",
    "records", "logs", "traces", "nested", "settings", "signature", "machine",
    "docs_letters", "docs_tables", "docs_records", "docs_legal", "docs_lists", "docs_plain",
    "rows", "rows_plain",
})  # fmt: skip
"""Registers whose texts stand alone: a sentence before or after them would be out of place."""

MACHINE_REGISTERS = frozenset(
    {"records", "logs", "traces", "nested", "settings", "machine", "rows", "rows_plain"}
)
"""Registers written by programs, which make few slips."""


@dataclass(frozen=True, kw_only=True)
class PiiConfig:
    """What the generated texts are like."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    plain_share: float = 0.22
    """Share of texts made from templates without personal data, in [0, 1]."""
    context_share: float = 0.3
    """Share of sentences that get another before or behind them, and again, in [0, 1)."""
    noise: bool = True
    """Whether case, punctuation, quotes, line breaks and typos vary."""

    def __post_init__(self) -> None:
        if not 0 <= self.plain_share <= 1:
            raise ValueError("needs 0 <= plain_share <= 1")
        if not 0 <= self.context_share < 1:
            raise ValueError("needs 0 <= context_share < 1")


@dataclass(frozen=True)
class _Templates:
    entities: Sequence[Template]
    weights: Sequence[float]
    plain: Sequence[Template]
    plain_weights: Sequence[float]
    openers: Sequence[Template]
    closers: Sequence[Template]
    joinable: Sequence[Template]


def pii_templates() -> list[Template]:
    """All templates with personal data, in the order of the files."""
    return [template for template, _ in _weighted_templates()]


def generate_pii(
    num_examples: int, *, seed: int, config: PiiConfig | None = None
) -> Iterator[TokenExample]:
    """Make rows; the same arguments give the same rows.

    Each row's meta has `template_id` and ``source: synthetic``. A template comes back with
    other values; short ones, and those without values, may repeat a text.

    Raises:
        MissingExtraError: Faker is not installed.
    """
    config = config or PiiConfig()
    # A str seed is hashed with SHA-512 and so does not change between processes.
    rng = random.Random(f"pii/{seed}")  # noqa: S311 - texts, not secrets
    pools = build_pools(seed)
    templates = _load()
    for _ in range(num_examples):
        if rng.random() < config.plain_share:
            template = rng.choices(templates.plain, templates.plain_weights)[0]
        else:
            template = rng.choices(templates.entities, templates.weights)[0]
        draw = Draw(rng, pools)
        pieces = _fill(template, draw)
        plain = template in templates.plain
        while _register(template) not in LAYOUT_REGISTERS and draw.chance(config.context_share):
            pieces = _in_context(pieces, draw, templates, plain=plain)
        untouched = _register(template) in MACHINE_REGISTERS and draw.chance(0.6)
        if config.noise and not untouched:
            pieces = add_noise(pieces, rng)
        text, spans = assemble(pieces)
        yield TokenExample(text, spans, {"template_id": template.id, "source": "synthetic"})


def assemble(pieces: Sequence[Piece]) -> tuple[str, tuple[Span, ...]]:
    """Join pieces; every labelled piece becomes a span without the space at its ends."""
    text = ""
    spans = []
    for piece in pieces:
        if piece.label is not None and piece.text.strip():
            start = len(text) + len(piece.text) - len(piece.text.lstrip())
            spans.append(Span(start, start + len(piece.text.strip()), piece.label))
        text += piece.text
    return text, tuple(spans)


def _fill(template: Template, draw: Draw) -> list[Piece]:
    return list(fill(template, draw.rng, partial(make_slot, draw)))


def _register(template: Template) -> str:
    return template.id.split("/")[1]


def _in_context(
    pieces: list[Piece], draw: Draw, templates: _Templates, *, plain: bool
) -> list[Piece]:
    """The sentence with an opening, a closing, or another sentence with entities."""
    kind = draw.rng.random()
    if kind < 0.3:
        return _join(_fill(draw.rng.choice(templates.openers), draw), pieces, draw)
    if kind < 0.75:
        return _join(pieces, _fill(draw.rng.choice(templates.closers), draw), draw)
    others = templates.plain if plain else templates.joinable
    return _join(pieces, _fill(draw.rng.choice(others), draw), draw)


def _join(first: list[Piece], second: list[Piece], draw: Draw) -> list[Piece]:
    gap = draw.rng.choice((" ", " ", " ", "\n", "\n\n"))
    ending = (
        ""
        if "".join(p.text for p in first).rstrip().endswith((".", "!", "?", ":", ","))
        else "."
    )
    return [*first, Piece(ending + gap), *second]


def _weighted_templates() -> list[tuple[Template, float]]:
    return [
        (template, REGISTER_WEIGHTS.get(register, 1.0))
        for name in TEMPLATE_FILES
        for register, templates in load_templates(name, "pii").items()
        for template in templates
    ]


def _load() -> _Templates:
    entities, weights = zip(*_weighted_templates(), strict=True)
    sentences = load_templates(SENTENCE_FILE, "plain")
    plain = [
        (template, weight)
        for name, weight in PLAIN_FILES.items()
        for group in load_templates(name, "plain").values()
        for template in group
    ] + [(template, 1.0) for template in sentences["asides"]]
    return _Templates(
        entities,
        weights,
        [template for template, _ in plain],
        [weight for _, weight in plain],
        sentences["openers"],
        sentences["closers"],
        [t for t in entities if _register(t) not in LAYOUT_REGISTERS],
    )
