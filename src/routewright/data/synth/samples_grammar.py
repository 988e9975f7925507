"""The grammars of the sample texts: for each label terms and frames, and words they share."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from routewright.data.synth.grammar import (
    Piece,
    Template,
    fill,
    lines_of,
    load_resource,
    parse_registers,
    parse_template,
)
from routewright.data.synth.samples_disguise import (
    BROKEN,
    DISGUISES,
    break_up,
    disguise,
    encode_harmless,
    random_noise,
    separator,
)

_SHARED_FRAME_SHARE = 0.25
"""Share of category texts whose form says nothing about the domain."""


@dataclass(frozen=True)
class Grammar:
    """How the texts of one label are made."""

    terms: Sequence[Template]
    registers: Mapping[str, Sequence[Template]]
    """Kinds of frames; each kind is used as often as the others."""
    vocabulary: Mapping[str, Sequence[Template]]
    """Slot to what may fill it."""
    shared_frames: Sequence[Template] = ()
    """Frames that texts of all labels use."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, and the template and topic it was made from."""

    text: str
    template_id: str
    """Id of the template, a colon, and the topic: equal only for texts that share both."""


@cache
def load_grammars(task: str) -> Mapping[str, Grammar]:
    """Grammars of a task by label, in the order of the labels."""
    if task == "category":
        frames = parse_registers(load_resource("samples_category_frames.yaml"), "category")
        return {
            label: _grammar(task, label, content, {}, frames["shared"])
            for label, content in sorted(_merged(_CATEGORY_FILES).items())
        }
    content = _content(task)
    words = {k: _split_terms(v) for k, v in content.pop("words").items()}
    sentences = {k: lines_of(v) for k, v in content.pop("sentences", {}).items()}
    vocabulary = {
        slot: [parse_template(text, slot) for text in texts]
        for slot, texts in (words | sentences).items()
    }
    return {
        label: _grammar(task, label, registers, vocabulary, ())
        for label, registers in content.items()
    }


_CATEGORY_FILES = (
    "samples_category_sciences.yaml",
    "samples_category_society.yaml",
    "samples_category_everyday.yaml",
    "samples_category_work.yaml",
    "samples_category_long.yaml",
    "samples_category_follow_ups.yaml",
)
"""Files of the domains: terms and frames of each are in one of the first two."""

_FURTHER = {
    "jailbreak": (
        "samples_injection.yaml",
        "samples_statements.yaml",
        "samples_documents.yaml",
        "samples_guardrails.yaml",
    ),
    "intent": (
        "samples_requests.yaml",
        "samples_intent_everyday.yaml",
        "samples_intent_talk.yaml",
    ),
}
"""Further files of a task, whose sections add to those of the first."""


def _content(task: str) -> dict[str, Any]:
    return _merged((f"samples_{task}.yaml", *_FURTHER.get(task, ())))


def _merged(names: Sequence[str]) -> dict[str, Any]:
    """Sections of several files; what a later file has for a section adds to it."""
    content: dict[str, Any] = {}
    for name in names:
        for section, entries in load_resource(name).items():
            content[section] = {**content.get(section, {}), **entries}
    return content


def _grammar(
    task: str,
    label: str,
    content: Mapping[str, str],
    vocabulary: Mapping[str, Sequence[Template]],
    shared_frames: Sequence[Template],
) -> Grammar:
    registers = {name: text for name, text in content.items() if name != "terms"}
    return Grammar(
        terms=[parse_template(term, "term") for term in _split_terms(content["terms"])],
        registers=parse_registers(registers, f"{task}/{label}"),
        vocabulary=vocabulary,
        shared_frames=shared_frames,
    )


def _split_terms(text: str) -> list[str]:
    return [term.strip() for term in " ".join(lines_of(text)).split(",") if term.strip()]


def make_sample(
    grammar: Grammar, rng: random.Random, ordinary_prompt: Callable[[], Sample]
) -> Sample:
    """One text of a label.

    Args:
        grammar: of the label.
        rng: what is drawn from.
        ordinary_prompt: makes the texts of the slot ``prompt``.
    """
    if grammar.shared_frames and rng.random() < _SHARED_FRAME_SHARE:
        template = rng.choice(grammar.shared_frames)
    else:
        template = rng.choice(grammar.registers[rng.choice(list(grammar.registers))])
    filling = _Filling(grammar, rng, ordinary_prompt)
    text = filling.render(template)
    text = text[0].upper() + text[1:] if rng.random() < 0.8 else text
    topic = "-".join(filling.topic.casefold().split())
    return Sample(text, f"{template.id}:{topic}")


_MADE = {"harmless_base64": encode_harmless, "sep": separator, "noise": random_noise}
"""Slots that hold neither a term nor a word of the file."""
_URL = "_url"
"""Ends the slots whose filling is written as in a URL."""
_ONE_PER_TEXT = ("persona", "persona_benign", "language")
"""Slots that have the same filling wherever a text uses them."""


class _Filling:
    """Fills the slots of one text; what is drawn first is its topic."""

    def __init__(
        self, grammar: Grammar, rng: random.Random, ordinary_prompt: Callable[[], Sample]
    ) -> None:
        self.topic = ""
        self._grammar = grammar
        self._rng = rng
        self._ordinary_prompt = ordinary_prompt
        self._term: Template | None = None
        self._remembered: dict[str, Template] = {}

    def render(self, template: Template) -> str:
        return "".join(piece.text for piece in fill(template, self._rng, self._make))

    def _make(self, slot: str) -> Iterator[Piece]:
        yield Piece(self._value(slot))

    def _value(self, slot: str) -> str:
        if slot.endswith(_URL):
            return quote(self._value(slot.removesuffix(_URL)), safe="")
        if slot == "n":
            return str(self._rng.choice((self._rng.randint(2, 20), self._rng.randint(21, 999))))
        if slot == "few":
            return str(self._rng.randint(3, 12))
        if slot in ("term", "other"):
            return self._draw_term(other=slot == "other")
        if slot in DISGUISES:
            return disguise(slot, self._draw_term(other=False), self._rng)
        if slot in BROKEN:
            words, form = BROKEN[slot]
            return break_up(form, self._draw_word(words), self._rng)
        if slot in _MADE:
            return _MADE[slot](self._rng)
        if slot == "prompt":
            prompt = self._ordinary_prompt()
            self.topic = self.topic or prompt.template_id
            return prompt.text
        return self._draw_word(slot)

    def _draw_term(self, *, other: bool) -> str:
        if self._term is None or other:
            term = self._rng.choice([t for t in self._grammar.terms if t is not self._term])
            self._term = self._term or term
            self.topic = self.topic or term.id
        else:
            term = self._term
        return self.render(term)

    def _draw_word(self, slot: str) -> str:
        if slot in _ONE_PER_TEXT:
            word = self._remembered.setdefault(
                slot, self._rng.choice(self._grammar.vocabulary[slot])
            )
        else:
            word = self._rng.choice(self._grammar.vocabulary[slot])
            self.topic = self.topic or word.id
        return self.render(word)
