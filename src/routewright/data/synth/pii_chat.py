"""Chats and running prose: names in lower case, names that are words, numbers in words."""

from routewright.data.synth import pii_extra as extra
from routewright.data.synth import pii_numbers as numbers
from routewright.data.synth import pii_people as people
from routewright.data.synth import pii_places as places
from routewright.data.synth import pii_times as times
from routewright.data.synth.pii_draw import Draw

_SHORT_DAYS = (
    "mon", "tue", "tues", "wed", "weds", "thu", "thurs", "fri", "fri", "monday", "tuesday",
    "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
_SMALL = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_ROUND = (
    "a hundred", "a dozen", "two hundred", "three hundred", "five hundred", "a thousand",
    "ten thousand", "one hundred and twenty", "two dozen", "a hundred and one",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def lower_word_name(draw: Draw) -> str:
    """A first name that is a word, as a chat writes it."""
    return draw.word("word_names").lower()


def double_first(draw: Draw) -> str:
    """Two first names in one: ``Kerry-Ann``, ``Jean-Luc``."""
    if draw.chance(0.2):
        return f"{people.first_name(draw)}-{draw.word('double_ends')}"
    return f"{draw.word('double_starts')}-{draw.word('double_ends')}"


def lower_double_first(draw: Draw) -> str:
    """Two first names in one, in lower case."""
    return double_first(draw).lower()


def pet_name(draw: Draw) -> str:
    """What friends call somebody."""
    return draw.word("pet_names" if draw.chance(0.7) else "nicknames")


def lower_pet_name(draw: Draw) -> str:
    """What friends call somebody, in lower case."""
    return pet_name(draw).lower()


def lower_last(draw: Draw) -> str:
    """A last name in lower case, now and then one that is a word."""
    if draw.chance(0.25):
        return draw.word("word_surnames").lower()
    return people.last_name(draw).lower()


def word_last(draw: Draw) -> str:
    """A last name that is a word: Baker, Young, Rich."""
    return draw.word("word_surnames")


def all_word_name(draw: Draw) -> str:
    """A first and a last name that are both words, or a common first name with such a last."""
    last = draw.word("word_surnames")
    if draw.chance(0.4):
        return f"{people.first_name(draw)} {last}"
    return f"{draw.word('word_names')} {last}"


def lower_city(draw: Draw) -> str:
    """A town as people type it in a chat, more often a known one than elsewhere."""
    return (draw.word("big_cities") if draw.chance(0.4) else places.city(draw)).lower()


def lower_country(draw: Draw) -> str:
    """A country in lower case."""
    return places.country(draw).lower()


def lower_weekday(draw: Draw) -> str:
    """A day of the week, short or long, in lower case."""
    return draw.rng.choice(_SHORT_DAYS)


def lower_month(draw: Draw) -> str:
    """A month in lower case, with or without its year."""
    return times.month(draw).lower()


def lower_honorific(draw: Draw) -> str:
    """What stands before a name, in lower case and without a full stop."""
    return draw.rng.choice(("mr", "mrs", "ms", "miss", "dr", "sir", "prof", "mr", "mrs"))


def lower_job(draw: Draw) -> str:
    """A job title in lower case."""
    return draw.word("jobs").lower()


def child_age_in_words(draw: Draw) -> str:
    """An age of three to twelve, spelled out."""
    return draw.rng.choice(_SMALL[2:])


def site(draw: Draw) -> str:
    """A web address with its scheme and no slash behind it: a port or a path follows."""
    return f"{draw.rng.choice(('https', 'https', 'http'))}://{numbers.bare_domain(draw)}"


def party(draw: Draw) -> str:
    """Who somebody is in a family, a contract, a case or on a journey: no TITLE."""
    return draw.word("parties")


def capital_party(draw: Draw) -> str:
    """A party as forms and beginnings of sentences write it."""
    text = party(draw)
    return text[0].upper() + text[1:]


def kind_of_thing(draw: Draw) -> str:
    """What a table's column of kinds, sizes and options holds."""
    return draw.word("kinds_of_things")


def spelled_number(draw: Draw) -> str:
    """A number in words that counts things; ages use the same words."""
    kind = draw.rng.random()
    if kind < 0.35:
        return draw.rng.choice(_TENS)
    if kind < 0.65:
        return extra.age_in_words(draw)
    return draw.rng.choice(_SMALL if kind < 0.88 else _ROUND)


def capital_spelled_number(draw: Draw) -> str:
    """A number in words at the beginning of a sentence."""
    return spelled_number(draw).capitalize()
