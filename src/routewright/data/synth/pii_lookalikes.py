"""Values that look like personal data and are none: what teaches a model not to flag them."""

from routewright.data.synth.pii_draw import Draw


def order_number(draw: Draw) -> str:
    """An order, ticket, case or invoice number."""
    return draw.digits(draw.word("order_patterns"))


def tracking_number(draw: Draw) -> str:
    """A parcel number."""
    return draw.digits(
        draw.rng.choice(
            ("1Z@##@############", "JD##############", "@@#########US", "#### #### ####")
        )
    )


def version(draw: Draw) -> str:
    """A version, some with four parts as an IP address has."""
    return draw.digits(draw.word("version_patterns"))


def isbn(draw: Draw) -> str:
    """A book number."""
    return draw.digits(draw.rng.choice(("978-#-##-######-#", "978##########", "0-###-#####-X")))


def price(draw: Draw) -> str:
    """A sum of money."""
    amount = draw.rng.randint(1, 9999)
    form = draw.rng.choice(
        (
            "${n}",
            "${n}.99",
            "{n} EUR",
            "€{n}",
            "£{n}.50",
            "{n} USD",
            "${n:,}",
            "{n} kr",
            "{n} zł",
        )
    )
    return form.format(n=amount)


def quantity(draw: Draw) -> str:
    """A plain number."""
    number = draw.rng.choice((draw.rng.randint(2, 99), draw.rng.randint(100, 99999)))
    return f"{number:,}" if draw.chance(0.3) else str(number)


def measure(draw: Draw) -> str:
    """A number with a unit; those with a point may look like part of an address."""
    number = draw.digits(
        draw.rng.choice(("##", "###", "####", "#.#", "##.##", "0.0#", "#,###"))
    )
    gap = "-" if draw.chance(0.1) else "" if draw.chance(0.1) else " "
    return f"{number}{gap}{draw.word('units')}"


def percentage(draw: Draw) -> str:
    """A share."""
    return (
        f"{draw.rng.randint(1, 99)}%" if draw.chance(0.7) else f"{draw.rng.uniform(0, 9):.1f} %"
    )


def duration(draw: Draw) -> str:
    """A length of time; it is neither a date nor an age."""
    unit = draw.rng.choice(("minutes", "hours", "days", "weeks", "months", "years"))
    return f"{draw.rng.randint(2, 48)} {unit}"


def relative_time(draw: Draw) -> str:
    """A time relative to now; presidio-research annotates only absolute ones."""
    return draw.word("relative_times")


def code(draw: Draw) -> str:
    """A hash, serial number, MAC address, colour, flight or licence plate."""
    forms = (
        f"{draw.rng.getrandbits(32):08x}",
        f"{draw.rng.getrandbits(128):032x}",
        f"#{draw.rng.getrandbits(24):06X}",
        ":".join(f"{draw.rng.randrange(256):02x}" for _ in range(6)),
        draw.digits(draw.word("code_patterns")),
        draw.digits(draw.word("code_patterns")),
    )
    return draw.rng.choice(forms)


def file_name(draw: Draw) -> str:
    """A file, some ending like a domain."""
    return draw.word("files")


def product(draw: Draw) -> str:
    """A product or work whose name has a number."""
    return draw.word("products")


def name_like_word(draw: Draw) -> str:
    """A tool or a prize that is called like a person."""
    return draw.word("names_of_things")


def work(draw: Draw) -> str:
    """A song, film, book or album; presidio-research annotates none of them."""
    form = draw.rng.choice((
        "The {a} {n}", "{a} {n}", "{n} of the {a} {m}", "The {n} and the {m}", "{n} in {m}",
        "My {a} {n}", "{a} {n} {m}", "{n}", "{n}s of {m}", "No {n} Tonight", "{a} {n}, {a} {m}",
        "Waiting for the {n}", "Don't Wake the {n}", "{n} for Two", "Where the {a} {n} Sleeps",
        "Run, {n}, Run", "All My {n}s", "Goodbye, {a} {n}", "The {n}'s {m}", "{n} {m}",
    ))  # fmt: skip
    return form.format(
        a=draw.word("works_adjectives"), n=draw.word("works_nouns"), m=draw.word("works_nouns")
    )


def band(draw: Draw) -> str:
    """A music group, known or made up; presidio-research annotates none."""
    if draw.chance(0.45):
        return draw.word("bands")
    adjective, noun = draw.word("works_adjectives"), draw.word("works_nouns")
    return draw.rng.choice((f"the {noun}s", f"the {adjective} {noun}s", f"{adjective} {noun}"))


def magazine(draw: Draw) -> str:
    """A magazine; presidio-research annotates none."""
    if draw.chance(0.5):
        return draw.word("magazines")
    stem = draw.word("org_fields" if draw.chance(0.6) else "works_nouns")
    return f"{stem} {draw.word('magazine_ends')}"


def proper_name(draw: Draw) -> str:
    """A prize, law, holiday, sight or dignitary: capitals without an entity."""
    kind = draw.rng.choice(("prizes", "laws", "holidays", "sights", "royals"))
    return draw.word(kind)


def acronym(draw: Draw) -> str:
    """An abbreviation that is no organisation, in any case people type it."""
    text = draw.word("acronyms")
    return text if draw.chance(0.75) else draw.rng.choice((text.lower(), text.capitalize()))


def role(draw: Draw) -> str:
    """Who somebody is in passing ("my manager", "trumpeter Ann"): no TITLE."""
    return draw.word("roles")
