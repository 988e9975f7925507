r"""Templates: literal text, ``{{slot}}`` filled by a maker, ``{{a|b}}`` a choice.

A template file is YAML that maps a register (the kind of text) to one string with a template on
each line; ``\n`` and ``\t`` in a template stand for a line break and a tab. Knows nothing of
what slots mean.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

_SLOT = re.compile(r"\{\{([^{}]*)\}\}")


class Piece(NamedTuple):
    """A stretch of text and the entity type it is, None for text around entities."""

    text: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template that a maker fills."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A place in a template that holds one of several literal texts."""

    alternatives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    id: str
    """Register and a digest of the text: stable when other templates come, go or move."""
    parts: tuple[str | Slot | Choice, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots in order, repetitions included."""
        return tuple(part.name for part in self.parts if isinstance(part, Slot))


def parse_template(text: str, register: str) -> Template:
    """Parse one template; a slot without ``|`` is filled, one with it is a choice."""
    parts: list[str | Slot | Choice] = []
    breaking = text.replace("\\n", "\n").replace("\\t", "\t")
    for i, part in enumerate(_SLOT.split(breaking)):
        if i % 2 == 0:
            if part:
                parts.append(part)
        elif "|" in part:
            parts.append(Choice(tuple(part.split("|"))))
        else:
            parts.append(Slot(part))
    digest = hashlib.blake2s(text.encode("utf-8"), digest_size=4).hexdigest()
    return Template(f"{register}/{digest}", tuple(parts))


@cache
def load_resource(name: str) -> Any:
    """Content of a YAML file that lies beside this module."""
    return yaml.safe_load((files("routewright.data.synth") / name).read_text(encoding="utf-8"))


def load_templates(name: str, prefix: str) -> dict[str, tuple[Template, ...]]:
    """Templates of a file by register; their ids start with ``prefix/register``."""
    return parse_registers(load_resource(name), prefix)


def parse_registers(
    registers: Mapping[str, str], prefix: str
) -> dict[str, tuple[Template, ...]]:
    """Templates of registers that hold one template a line."""
    return {
        register: tuple(parse_template(line, f"{prefix}/{register}") for line in lines_of(text))
        for register, text in registers.items()
    }


def lines_of(text: str) -> list[str]:
    """Lines that hold something, without the spaces around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def fill(
    template: Template, rng: random.Random, make: Callable[[str], Iterable[Piece]]
) -> Iterator[Piece]:
    """Pieces of one instance of a template.

    Args:
        template: what to fill.
        rng: picks alternatives.
        make: pieces for the name of a slot.
    """
    for part in template.parts:
        if isinstance(part, Slot):
            yield from make(part.name)
        elif isinstance(part, Choice):
            yield Piece(rng.choice(part.alternatives))
        else:
            yield Piece(part)


def pick_weighted(rng: random.Random, options: Sequence[tuple[float, str]]) -> str:
    """One of the names, each with its weight."""
    return rng.choices([name for _, name in options], [weight for weight, _ in options])[0]
