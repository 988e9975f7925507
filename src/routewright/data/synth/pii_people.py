"""Names of people and organisations, honorifics, jobs, ages, nationalities and groups."""

from routewright.data.synth.grammar import pick_weighted
from routewright.data.synth.pii_draw import Draw, Person
from routewright.data.synth.pii_open import coined_name, compound

_COINED_SHARE = 0.08
"""Share of names that no list has: only the context says whose they are."""
_NAME_FORMS = (
    (70, "{first} {last}"),
    (8, "{first} {initial}. {last}"),
    (5, "{first} {initial} {last}"),
    (2, "{first_initial}. {last}"),
    (2, "{first} {last}-{other}"),
    (2, "{first} {other} {last}"),
    (1, "{first} {initial}. {other}-{last}"),
)
_PREFIXED_LAST_NAMES = (
    "van der ",
    "de ",
    "von ",
    "O'",
    "Mc",
    "al-",
    "di ",
    "da ",
    "van ",
    "bin ",
)

_ONSETS = (
    "b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m",
    "n", "p", "pl", "qu", "r", "s", "sc", "sp", "st", "t", "tr", "v", "w", "x", "z",
)  # fmt: skip
_BRAND_ENDS = (
    "lara", "dera", "tara", "vera", "lius", "ntis", "nix", "rix", "lix", "ra", "rent", "sint",
    "ly", "fy", "lify", "rista", "leo", "nio", "rio", "xa", "zon", "ron", "rva", "ntra", "nova",
    "q", "tix", "mo", "pay", "zy", "dge", "lo", "llo", "rk", "st", "nt", "ntia", "vant",
)  # fmt: skip


def new_person(draw: Draw) -> Person:
    """Somebody new, whom the text speaks of from now on."""
    names = draw.names()
    # Public name generators pair given names of one country with family names of another.
    last = draw.rng.choice((draw.names() if draw.chance(0.3) else names).last)
    if draw.chance(0.03):
        last = draw.rng.choice(_PREFIXED_LAST_NAMES) + last
    first = coined_name(draw) if draw.chance(_COINED_SHARE) else draw.rng.choice(names.first)
    if draw.chance(_COINED_SHARE):
        last = coined_name(draw)
    draw.person = Person(first, last)
    return draw.person


def full_name(draw: Draw) -> str:
    """First and last name, at times with an initial, a second name, or in capitals."""
    person = new_person(draw)
    text = pick_weighted(draw.rng, _NAME_FORMS).format(
        first=person.first,
        last=person.last,
        first_initial=person.first[0],
        initial=draw.digits("@"),
        other=draw.rng.choice(draw.names().last),
    )
    return text.upper() if draw.chance(0.03) else text


def first_name(draw: Draw) -> str:
    """A first name alone."""
    return new_person(draw).first


def last_name(draw: Draw) -> str:
    """A last name alone."""
    return new_person(draw).last


def last_first(draw: Draw) -> str:
    """A name as registers have it: ``Smith, John``."""
    person = new_person(draw)
    return f"{person.last}, {person.first}"


def initials_name(draw: Draw) -> str:
    """Initials with or without a last name: ``J.R. Smith``, ``JRS``."""
    person = new_person(draw)
    form = draw.rng.choice(("{a}.{b}. {last}", "{a}. {b}. {last}", "{a}.{b}.", "{last}, {a}."))
    return form.format(a=person.first[0], b=draw.digits("@"), last=person.last)


def any_person(draw: Draw) -> str:
    """A person in any of the ways texts name them."""
    kind = draw.rng.random()
    if kind < 0.6:
        return full_name(draw)
    if kind < 0.85:
        return first_name(draw)
    return last_name(draw) if kind < 0.98 else initials_name(draw)


def repeated_person(draw: Draw, slot: str) -> str:
    """The same name wherever a text has this slot; dialogues repeat their speakers."""
    if slot not in draw.remembered:
        make = full_name if draw.chance(0.25) else first_name
        draw.remembered[slot] = make(draw)
    return draw.remembered[slot]


def same_first_name(draw: Draw) -> str:
    """First name of the person named last."""
    return (draw.person or new_person(draw)).first


def same_last_name(draw: Draw) -> str:
    """Last name of the person named last."""
    return (draw.person or new_person(draw)).last


def username(draw: Draw) -> str:
    """A login name; it is no entity of its own."""
    return draw.rng.choice(("admin", "root", "svc-backup", "guest", "deploy", "www-data"))


def honorific(draw: Draw) -> str:
    """What stands before a name."""
    return draw.word("honorifics")


def job(draw: Draw) -> str:
    """A job title, lower case, capitalised, or as Faker's locale writes it."""
    if draw.chance(0.25):
        return draw.rng.choice(draw.locale().jobs)
    title = draw.word("jobs")
    kind = draw.rng.random()
    if kind < 0.3:
        return title[0].upper() + title[1:]
    return title.title() if kind < 0.4 and title.islower() else title


def person_like_organization(draw: Draw) -> str:
    """A business named after people: what models take for a person."""
    names = draw.american_names() if draw.chance(0.5) else draw.names()
    a, b, c = (draw.rng.choice(names.last) for _ in range(3))
    first = draw.rng.choice(names.first)
    form = draw.rng.choice((
        "{a} & Sons", "{a} and Sons", "{a}-{b}", "{a}, {b} and {c}", "{a} & {b}", "{a} {b}",
        "{a} Ltd.", "{a} Inc.", "{a} LLC", "{a} Group", "{a}, {b} & {c}", "{first} {a} Inc",
        "{a} Brothers", "{first} {a} & Co.", "{first}'s", "{a} and Daughters", "{a} Partners",
        "{a} {b} LLP", "House of {first}", "{a} PLC", "{a} GmbH", "{first} {a} Foundation",
        "{a} Family Office", "{a}'s", "Chez {first}", "{a} Bros.", "{a} & {b} Attorneys",
    ))  # fmt: skip
    return form.format(a=a, b=b, c=c, first=first)


def _coined_word(draw: Draw) -> str:
    """Two words, two known parts, or syllables that mean nothing."""
    kind = draw.rng.random()
    if kind < 0.3:
        return compound(draw)
    if kind < 0.7:
        return draw.word("org_stems") + draw.word("org_ends")
    syllables = [
        draw.rng.choice(_ONSETS) + draw.rng.choice("aeiouaeiouy")
        for _ in range(draw.rng.choice((1, 1, 2)))
    ]
    return ("".join(syllables) + draw.rng.choice(_BRAND_ENDS)).capitalize()


def invented_brand(draw: Draw) -> str:
    """A made-up company name: one coined word, or plain words and a field."""
    kind = draw.rng.random()
    coined = _coined_word(draw)
    if kind < 0.04:
        return draw.word("terms").capitalize()
    if kind < 0.35:
        return coined
    if kind < 0.45:
        return f"{coined} {draw.word('org_suffixes')}"
    if kind < 0.65:
        return f"{draw.word('org_words')} {draw.word('org_fields')}"
    if kind < 0.72:
        words = draw.word("org_words"), draw.word("org_words"), draw.word("org_fields")
        return " ".join(words)
    return _shop(draw, coined)


def _shop(draw: Draw, coined: str) -> str:
    """Names of shops, offices and start-ups that follow no rule of company law."""
    form = draw.rng.choice((
        "{w} {n}", "{w} {n}", "{d} {n}", "{w} {v}", "{d} {e}", "{w} n' {v}", "{number}{c}",
        "{number} {w} {n}s Inc", "{c}com", "{w} and {v}", "The {w} Report", "{c} {f} {s}",
        "Department of {f}", "Department Of {w} {f}", "Ministry of {f}", "{w} {f} Agency",
        "{w} {w2} {f} and {f2}", "{w}-{d}", "{initials}", "{dotted}", "{i}{c}", "{d}{d2}",
        "{c} {w} {f}", "{w} {f} Group", "{f} {w}", "{a}. {b}. {last} & Company", "{w} & {n}",
        "{last} {f}", "{last} {w} {f}", "{last} {f} and {f2}", "{n} {n2}", "{n}'s",
    ))  # fmt: skip
    return form.format(
        w=draw.word("org_words"), w2=draw.word("org_words"), v=draw.word("org_words"),
        n=draw.word("works_nouns"), n2=draw.word("works_nouns"), f=draw.word("org_fields"),
        f2=draw.word("org_fields"), d=draw.word("domain_words").capitalize(),
        d2=draw.word("domain_words"), e=draw.word("domain_words").capitalize(),
        c=coined, i=draw.rng.choice("EIM"), number=draw.rng.randint(2, 9), a=draw.digits("@"),
        b=draw.digits("@"), last=draw.rng.choice(draw.names().last),
        initials=draw.digits(draw.rng.choice(("@@@", "@@@@", "@&@", "@-@"))),
        dotted=draw.digits("@.@."), s=draw.word("org_suffixes"),
    )  # fmt: skip


def organization(draw: Draw) -> str:
    """A company, agency, school or the like; lists of them often lose the ampersand."""
    text = _organization(draw)
    return text.replace("&", "") if draw.chance(0.06) else text


def _organization(draw: Draw) -> str:
    kind = draw.rng.random()
    if kind < 0.5:
        return invented_brand(draw)
    if kind < 0.62:
        return draw.word("known_organizations").removeprefix("the ")
    if kind < 0.78:
        return draw.rng.choice(draw.locale().companies)
    return person_like_organization(draw)


_NUMBER_WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]


def age(draw: Draw) -> str:
    """Years of a grown-up or child as a bare number, now and then as a word."""
    return str(draw.rng.randint(3, 96)) if draw.chance(0.96) else draw.rng.choice(_NUMBER_WORDS)


def small_age(draw: Draw) -> str:
    """Months or weeks of an infant."""
    return str(draw.rng.randint(1, 36))


def nationality(draw: Draw) -> str:
    """An adjective of nationality, religion or politics."""
    return draw.word("nationalities") if draw.chance(0.8) else draw.word("beliefs")


def group(draw: Draw) -> str:
    """People by nation, belief or party in the plural."""
    text = draw.word("groups")
    return text.lower() if draw.chance(0.25) else text
