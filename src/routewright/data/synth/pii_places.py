"""Political places: countries, states, and towns, known ones and ones put together."""

from routewright.data.synth.pii_draw import Draw

_TOWN_FAMILIES = (
    "germanic", "germanic", "dutch", "nordic", "nordic", "finnic", "english", "english",
    "slavic", "hungarian",
)  # fmt: skip
_CAPITALS_SHARE = 0.15
"""Postal registers of Scandinavia, Austria and Cyprus write towns in capitals."""


def coined_town(draw: Draw) -> str:
    """A town that need not exist, of the parts towns of its language are made of."""
    family = draw.rng.choice(_TOWN_FAMILIES)
    return draw.word(f"town_{family}") + draw.word(f"town_{family}_ends")


def city(draw: Draw) -> str:
    """A town of any size."""
    kind = draw.rng.random()
    if kind < 0.2:
        text = draw.word("big_cities")
    elif kind < 0.3:
        text = draw.word("villages")
    elif kind < 0.6:
        text = coined_town(draw)
    elif kind < 0.68:
        name = coined_town(draw) if draw.chance(0.5) else draw.rng.choice(draw.names().last)
        text = draw.word("town_phrases").replace("#1", name)
    elif kind < 0.71:
        return draw.word("greek_places")
    else:
        text = draw.rng.choice(draw.locale().cities)
    return text.upper() if draw.chance(_CAPITALS_SHARE) else text


def country(draw: Draw) -> str:
    """A country, as people or as registers call it."""
    return draw.word("countries_more" if draw.chance(0.25) else "countries")


def state(draw: Draw) -> str:
    """A state of the United States or a region elsewhere."""
    return draw.word("us_states" if draw.chance(0.7) else "regions")


def state_code(draw: Draw) -> str:
    """Short form of a state or province; presidio-research has ``nan`` where none is known."""
    return "nan" if draw.chance(0.2) else draw.word("state_codes")


def any_place(draw: Draw) -> str:
    """Any political place: city, country or state."""
    kind = draw.rng.random()
    if kind < 0.6:
        return city(draw)
    return country(draw) if kind < 0.88 else state(draw)
