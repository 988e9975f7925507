"""Where the values of one generated text come from: random numbers, name pools, one locale.

Pools are drawn from Faker once and read with the generator's own random numbers, since a Faker
call costs more than a text and its instances are slow to make.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from routewright.data.synth.grammar import lines_of, load_resource
from routewright.errors import MissingExtraError

LOCALES: Mapping[str, float] = {
    "en_US": 5, "en_GB": 2, "de_DE": 2, "fr_FR": 2, "es_ES": 2, "it_IT": 2, "nl_NL": 2,
    "sv_SE": 2, "fi_FI": 2, "pl_PL": 2, "cs_CZ": 2, "pt_BR": 2, "tr_TR": 1, "en_IN": 2,
    "hu_HU": 2, "da_DK": 2, "no_NO": 1.5, "sl_SI": 1.5, "hr_HR": 1.5, "pt_PT": 1, "es_MX": 1,
    "de_CH": 1, "de_AT": 1, "nl_BE": 1, "en_AU": 1, "en_CA": 1, "en_NZ": 0.7, "en_IE": 0.7,
    "ro_RO": 0.7, "sk_SK": 0.7, "et_EE": 0.7, "id_ID": 0.5, "el_GR": 0.5,
}  # fmt: skip
"""Faker locales and how often a text is set in each."""

WORD_FILES = (
    "pii_words.yaml",
    "pii_words_places.yaml",
    "pii_words_culture.yaml",
    "pii_words_science.yaml",
    "pii_words_machine.yaml",
    "pii_words_chat.yaml",
)

_FOREIGN_SHARE = 0.25
"""Share of values taken from another locale than that of the text."""


@dataclass(frozen=True, slots=True)
class Names:
    """First and last names that go together."""

    first: Sequence[str]
    last: Sequence[str]


@dataclass(frozen=True, slots=True)
class Locale:
    """Values of one Faker locale."""

    names: Names
    cities: Sequence[str]
    streets: Sequence[str]
    """Street with number; may hold a line break."""
    addresses: Sequence[str]
    """Whole addresses as the locale writes them, mostly on two lines."""
    postcodes: Sequence[str]
    phones: Sequence[str]
    companies: Sequence[str]
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody a text speaks of."""

    first: str
    last: str


@dataclass(frozen=True)
class Pools:
    """All values a generator draws from."""

    locales: Sequence[Locale]
    weights: Sequence[float]
    extra_names: Sequence[Names]
    """Romanised names of regions whose Faker locale writes another script, or is missing."""


@cache
def _faker(locale: str) -> Any:
    try:
        from faker import Faker
    except ImportError as exc:
        raise MissingExtraError("Faker", "train") from exc
    return Faker(locale)


@lru_cache(maxsize=4)
def build_pools(seed: int) -> Pools:
    """Draw the pools; the same seed gives the same pools.

    Raises:
        MissingExtraError: Faker is not installed.
    """
    regions = load_resource("pii_names.yaml")
    return Pools(
        locales=[_build_locale(name, seed) for name in LOCALES],
        weights=list(LOCALES.values()),
        extra_names=[
            Names(*(_comma_list(regions[r][part]) for part in ("first", "last")))
            for r in sorted(regions)
        ],
    )


def _build_locale(name: str, seed: int) -> Locale:
    fake = _faker(name)
    fake.seed_instance(f"{seed}/{name}")

    def sample(make: Callable[[], str], count: int) -> list[str]:
        # dict.fromkeys: distinct values in the order drawn.
        return list(dict.fromkeys(text for _ in range(count) if (text := make().strip())))

    return Locale(
        names=Names(sample(fake.first_name, 250), sample(fake.last_name, 250)),
        cities=sample(fake.city, 150),
        streets=sample(fake.street_address, 150),
        addresses=sample(fake.address, 100),
        postcodes=sample(fake.postcode, 60),
        phones=sample(fake.phone_number, 60),
        companies=sample(fake.company, 100),
        jobs=sample(fake.job, 60),
    )


def _comma_list(text: str) -> list[str]:
    return [item.strip() for line in lines_of(text) for item in line.split(",") if item.strip()]


@cache
def _word_lists() -> Mapping[str, str]:
    return {name: text for file in WORD_FILES for name, text in load_resource(file).items()}


@cache
def word_list(name: str) -> Sequence[str]:
    """Words of the list `name` of ``WORD_FILES``, where they are separated by commas."""
    return tuple(_comma_list(_word_lists()[name]))


class Draw:
    """The state of one text: random numbers, its locale, and whom it speaks of."""

    def __init__(self, rng: random.Random, pools: Pools) -> None:
        self.rng = rng
        self.person: Person | None = None
        """The person named last; e-mail addresses mostly belong to them."""
        self.remembered: dict[str, str] = {}
        """Values that a text repeats, by slot."""
        self._pools = pools
        self._home = self._any_locale()
        self._home_names = self._any_names()

    def locale(self) -> Locale:
        """Mostly the locale of the text, sometimes any other."""
        return self._any_locale() if self.rng.random() < _FOREIGN_SHARE else self._home

    def names(self) -> Names:
        """Mostly the names of the text's region, sometimes of any other."""
        return self._any_names() if self.rng.random() < _FOREIGN_SHARE else self._home_names

    def american_names(self) -> Names:
        """Names as they are frequent in the United States, wherever the text is set."""
        return self._pools.locales[list(LOCALES).index("en_US")].names

    def chance(self, share: float) -> bool:
        """True with the probability `share`."""
        return self.rng.random() < share

    def word(self, name: str) -> str:
        """A word of the list `name`."""
        return self.rng.choice(word_list(name))

    def digits(self, pattern: str) -> str:
        """The pattern with a digit for each ``#`` and a capital letter for each ``@``."""
        return "".join(
            self.rng.choice("0123456789")
            if c == "#"
            else self.rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            if c == "@"
            else c
            for c in pattern
        )

    def _any_locale(self) -> Locale:
        return self.rng.choices(self._pools.locales, self._pools.weights)[0]

    def _any_names(self) -> Names:
        if self.rng.random() < 0.3:
            return self.rng.choice(self._pools.extra_names)
        return self._any_locale().names
