"""Words of the whole language and names nobody bears: what leaves only the context to tell.

A model that knows the words of a few hundred templates calls a word it never saw an entity, and
a name it never saw a firm. Here the words come from Faker's English parts of speech (2,000 of
them), and names from syllables.
"""

from collections.abc import Sequence
from functools import cache

from routewright.data.synth.pii_draw import Draw

_NAME_ONSETS = (
    "", "b", "ch", "d", "dr", "f", "g", "gl", "h", "j", "k", "kr", "l", "m", "n", "p", "r",
    "br", "s", "sh", "st", "t", "th", "tr", "v", "vl", "w", "y", "z", "zh",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "ia", "ie", "ei", "au", "aa", "y")
_NAME_ENDS = (
    "", "", "n", "s", "r", "l", "na", "ra", "lda", "ko", "sk", "tte", "nd", "rt", "va", "da",
    "mir", "nga", "ssa", "vik", "nen", "zek", "tu", "eb", "ith",
)  # fmt: skip


@cache
def _parts_of_speech(kind: str) -> Sequence[str]:
    # Not at the top: the base install has no Faker; `build_pools` has said so by now.
    from faker.providers.lorem.en_US import Provider

    return tuple(Provider.parts_of_speech[kind])


def noun(draw: Draw) -> str:
    """Any common noun, lower case."""
    return draw.rng.choice(_parts_of_speech("noun"))


def verb(draw: Draw) -> str:
    """Any verb in its base form."""
    return draw.rng.choice(_parts_of_speech("verb"))


def adjective(draw: Draw) -> str:
    """Any adjective."""
    return draw.rng.choice(_parts_of_speech("adjective"))


def adverb(draw: Draw) -> str:
    """Any adverb."""
    return draw.rng.choice(_parts_of_speech("adverb"))


def capital_noun(draw: Draw) -> str:
    """A noun as headings, genres and menus write it."""
    return noun(draw).capitalize()


def capital_adjective(draw: Draw) -> str:
    """An adjective as headings and beginnings of sentences write it."""
    return adjective(draw).capitalize()


def trade(draw: Draw) -> str:
    """A job spoken of in general ("experienced welder", "two welders"): no TITLE."""
    kind = draw.rng.random()
    if kind < 0.5:
        return draw.word("jobs")
    return draw.rng.choice(draw.locale().jobs).lower() if kind < 0.6 else draw.word("roles")


def coined_name(draw: Draw) -> str:
    """A first or last name that no list has."""
    syllables = [
        draw.rng.choice(_NAME_ONSETS) + draw.rng.choice(_VOWELS)
        for _ in range(draw.rng.choice((1, 2, 2, 3)))
    ]
    text = "".join(syllables) + draw.rng.choice(_NAME_ENDS)
    return (text if len(text) > 2 else text + "ra").capitalize()


def compound(draw: Draw) -> str:
    """Two words in one, as start-ups are named: ``Lanternmill``, ``FairQuote``."""
    first = (adjective if draw.chance(0.3) else noun)(draw)
    second = (verb if draw.chance(0.2) else noun)(draw)
    return first.capitalize() + (second.capitalize() if draw.chance(0.2) else second)
