"""Streets, addresses and postal codes, with the spans presidio-research gives them.

* An address that names its country, state or postal code in running text, after a label or
  under a company's name is one STREET_ADDRESS, line breaks included; so are "the corner of A
  and B" and a military post office.
* Where an address stands as separate fields (right under a person's name, quoted, or alone),
  house number, street with its own number, and unit are three STREET_ADDRESSes, town, state and
  country are GPEs. A postal code after a country is STREET_ADDRESS, after a state ZIP_CODE.
* "95 Rue Foch 3" in prose, with nothing behind it or with a town alone, counts as fields.
* A kind of street behind a complete street name is outside: "Elm Hills" of "Elm Hills Street".
"""

from routewright.data.synth.grammar import Piece
from routewright.data.synth.pii_draw import Draw
from routewright.data.synth.pii_places import city, coined_town, country, state_code

STREET_ADDRESS = "STREET_ADDRESS"
GPE = "GPE"
ZIP_CODE = "ZIP_CODE"


def named_street(draw: Draw) -> str:
    """A name and a last word such as Hills or Fork, without a number."""
    names = draw.names()
    name = draw.rng.choice(names.last if draw.chance(0.75) else names.first)
    return f"{name} {draw.word('street_suffixes')}"


def _foreign_street(draw: Draw) -> str:
    names = draw.names()
    form = draw.word("street_forms")
    for mark, value in (
        ("#1", draw.rng.choice(names.last)),
        ("#2", draw.rng.choice(names.first)),
        ("#3", coined_town(draw)),
    ):
        form = form.replace(mark, value)
    return form


def street(draw: Draw) -> str:
    """Street with its number on one line, as its country orders them."""
    kind = draw.rng.random()
    number = draw.rng.randint(1, 999) if draw.chance(0.6) else draw.rng.randint(1, 4999)
    if kind < 0.15:
        return " ".join(draw.rng.choice(draw.locale().streets).split())
    if kind < 0.3:
        return f"{number} {draw.word('street_names')} {draw.word('street_kinds')}"
    if kind < 0.38:
        return f"{number} {named_street(draw)}"
    if kind < 0.93:
        return _foreign_numbered(draw, number)
    return f"{draw.rng.choice(('P.O. Box', 'P.O. Box', 'PO Box', 'Postbox', 'C.P.'))} {number}"


def _foreign_numbered(draw: Draw, number: int) -> str:
    name = draw.word("foreign_streets") if draw.chance(0.15) else _foreign_street(draw)
    if draw.chance(0.05):
        return f"{number} {draw.rng.randint(1, 20)}{draw.rng.randint(4, 9)}th Street"
    if name.endswith((" utca", " u.", " út", " tér", " köz")) and draw.chance(0.8):
        return f"{name} {number}."
    if draw.chance(0.3):
        return f"{number} {name}"
    comma = "," if draw.chance(0.05) else ""
    letter = draw.rng.choice("abc") if draw.chance(0.05) else ""
    return f"{name}{comma} {number}{letter}"


def street_name(draw: Draw) -> str:
    """A street without a house number."""
    kind = draw.rng.random()
    if kind < 0.35:
        return f"{draw.word('street_names')} {draw.word('street_kinds')}"
    if kind < 0.7:
        return named_street(draw)
    return draw.word("foreign_streets") if kind < 0.8 else _foreign_street(draw)


def corner(draw: Draw) -> str:
    """A crossing of two streets."""
    form = draw.rng.choice(("the corner of {a} and {b}",) * 4 + ("{a} and {b}", "{a} & {b}"))
    first = street(draw) if draw.chance(0.5) else street_name(draw)
    return form.format(a=first, b=street(draw) if draw.chance(0.2) else street_name(draw))


def postal_code(draw: Draw) -> str:
    """A postal code of any country."""
    if draw.chance(0.35):
        return draw.rng.choice(draw.locale().postcodes)
    pattern = draw.rng.choice((
        "#####", "#####", "####", "####", "###", "#####-####", "### ##", "##-###", "#####-###",
        "####-###", "#### @@", "@# #@@", "@@## #@@", "@#@ #@#", "######", "@@-####", "CH-####",
    ))  # fmt: skip
    return draw.digits(pattern)


def unit(draw: Draw) -> str:
    """Flat or office within a house, often with three digits."""
    kind = draw.rng.choice(
        ("Apt.", "Suite", "Apt.", "Suite", "Apt", "Unit", "Flat", "Floor", "#")
    )
    if kind == "#":
        return f"#{draw.rng.randint(1, 999)}"
    return f"{kind} {draw.digits('###') if draw.chance(0.7) else draw.rng.randint(1, 99)}"


def house_number(draw: Draw) -> str:
    """Digits, at times with leading zeros."""
    return draw.digits(draw.rng.choice(("##", "###", "####", "#####")))


def military(draw: Draw) -> str:
    """A post office of the armed forces, on two lines."""
    kind = draw.rng.choice(("USS", "USNS", "USCGC", "USNV"))
    ship = f"{kind} {draw.rng.choice(draw.names().last)}"
    place = draw.rng.choice(("PSC ####, Box ####", "Unit #### Box ####", ship))
    post = "FPO" if place == ship else "APO" if place.startswith("PSC") else "DPO"
    line = f"{post} {draw.rng.choice(('AA', 'AE', 'AP'))} #####"
    return place.replace("####", "{}").format(*(draw.digits("####") for _ in range(2))) + (
        "\n" + draw.digits(line)
    )


_ONE_LINE = (
    "{n} {street}, {city}, {country}", "{n} {street} {unit}, {city}, {country} {zip}",
    "{n} {street} {unit}, {city}, {country} {zip}",
    "{n} {street} {unit} {unit}, {city}, {country} {zip}",
    "{n} {street} {unit} {city} {region}", "{n} {street} {unit} {city} {region}",
    "{n} {street} {unit} {city} {region}", "{n} {street} {unit} {city} {region}",
    "{n} {street}, {city}, {state} {zip}", "{street}, {city}, {country} {code}",
    "{street}, {city}, {country}", "{street}, {code} {city}",
    "{street}, {city}, {state} {code}", "{street} {city} {state}",
    "{street}, {city} {code}, {country}", "{street}, {city}, {code}",
    "{street} {city}, {state} {code}", "{street}; {code} {city}; {country}",
    "{unit}, {street}, {city} {code}", "{street}, {unit}, {city}, {state} {code}",
)  # fmt: skip
_LINES = (
    "{n} {street}\n {unit}\n {city}\n {country} {zip}",
    "{n} {street}\n {unit}\n {city}\n {country}",
    "{named}\n {unit}\n {city}\n {country} {zip}", "{named}\n {unit}\n {city}\n {country}",
    "{n} {street}\n{city}\n, {state}\n {zip}",
    "{n} {street} {unit}\n{city}\n, {state}\n {zip}",
    "{n} {street}\n{city}\n, {state}\n {country} {zip}", "{n} {street}\n{city}, {state} {zip}",
    "{n} {street} {unit}\n{city}\n, {state}\n {country} {zip}",
    "{n} {street} {unit}\n{city}, {state} {zip}", "{n} {street}\n{city}, {state} {zip}",
    "{street}\n{code} {city}\n{country}", "{street}\n{city}, {state} {code}",
    "{street}\n{city}\n{code}", "{street}\n{unit}\n{city}, {state} {code}",
    "{street}\n{city}\n{country} {code}", "{street},\n{code} {city},\n{country}",
    "{unit}\n{street}\n{city} {code}", "{street}\n{code} {city}",
    "{street}\n{city} {code}\n{country}",
)  # fmt: skip


def _address(draw: Draw, form: str) -> str:
    before = street(draw)
    return form.format(
        n=house_number(draw),
        street=before,
        named=f"{before} {named_street(draw)}",
        unit=unit(draw),
        city=city(draw),
        region=state_code(draw) if draw.chance(0.5) else country(draw),
        state=state_code(draw),
        country=country(draw),
        zip=draw.digits("#####"),
        code=postal_code(draw),
    )


def address_line(draw: Draw) -> str:
    """A whole address on one line."""
    if draw.chance(0.12):
        return ", ".join(draw.rng.choice(draw.locale().addresses).splitlines())
    return _address(draw, draw.rng.choice(_ONE_LINE))


def address_lines(draw: Draw) -> str:
    """A whole address over several lines."""
    kind = draw.rng.random()
    if kind < 0.12:
        return draw.rng.choice(draw.locale().addresses)
    return military(draw) if kind < 0.25 else _address(draw, draw.rng.choice(_LINES))


def any_address(draw: Draw) -> str:
    """An address as people give it in a sentence, over several lines or not."""
    kind = draw.rng.random()
    if kind < 0.38:
        return address_line(draw)
    if kind < 0.78:
        return address_lines(draw)
    return street(draw) if kind < 0.89 else corner(draw)


def _street_fields(draw: Draw) -> list[Piece]:
    return [
        Piece(house_number(draw), STREET_ADDRESS),
        Piece(" "),
        Piece(street(draw), STREET_ADDRESS),
    ]


def field_street(draw: Draw) -> tuple[Piece, ...]:
    """House number and street as fields, now and then with a town behind them."""
    pieces = _street_fields(draw)
    if draw.chance(0.35):
        pieces += [Piece(draw.rng.choice((", ", ", ", " in "))), Piece(city(draw), GPE)]
    return tuple(pieces)


def road(draw: Draw) -> tuple[Piece, ...]:
    """A complete street name and a kind of street that does not belong to it."""
    name = street(draw) if draw.chance(0.45) else named_street(draw)
    kind = draw.rng.choice(
        (" Street", " Street", " street", " St.", " St.", " St", " Avenue", " road")
    )
    return Piece(name, STREET_ADDRESS), Piece(kind)


def _last_line(draw: Draw, margin: str) -> list[Piece]:
    """What follows the town: country with code, or state with postal code."""
    kind = draw.rng.random()
    if kind < 0.4:
        code = draw.digits("#####")
        return [Piece(country(draw), GPE), Piece(" "), Piece(code, STREET_ADDRESS)]
    if kind < 0.5:
        return [Piece(country(draw), GPE)]
    code = postal_code(draw)
    gap = _new_line(draw, margin) if draw.chance(0.5) else Piece(" ")
    return [Piece(state_code(draw), GPE), gap, Piece(code, ZIP_CODE)]


def _new_line(draw: Draw, margin: str) -> Piece:
    """A line break, with a margin that people who indent by hand do not always hit."""
    slip = " " * draw.rng.randint(1, 4) if not margin.strip() and draw.chance(0.2) else ""
    return Piece("\n" + margin + slip)


def address_block(draw: Draw, margin: str) -> tuple[Piece, ...]:
    """An address as separate fields over several lines.

    Args:
        draw: the state of the text.
        margin: what every line but the first starts with, a quote mark for instance.
    """
    flat = Piece(unit(draw), STREET_ADDRESS)
    form = draw.rng.random()
    if form < 0.4:
        first = [*_street_fields(draw), _new_line(draw, margin), flat]
    elif form < 0.68:
        first = [*_street_fields(draw), Piece(" "), flat]
    elif form < 0.82:
        first = [flat, Piece(" "), *_street_fields(draw)]
    else:
        first = [Piece(street(draw), STREET_ADDRESS)]
    town = [_new_line(draw, margin), Piece(city(draw), GPE)]
    gap = draw.rng.choices((_new_line(draw, margin), Piece(" "), Piece(", ")), (80, 10, 10))[0]
    if gap.text.startswith("\n") and not margin.strip() and draw.chance(0.3):
        gap = Piece("\n" + gap.text)
    return (*first, *town, gap, *_last_line(draw, margin))
