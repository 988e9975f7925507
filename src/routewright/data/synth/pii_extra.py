"""People, institutions and jobs in the forms that plain name lists lack."""

from routewright.data.synth import pii_people as people
from routewright.data.synth.pii_draw import Draw
from routewright.data.synth.pii_places import coined_town

_SUFFIXES = (
    " Jr.",
    " Jr",
    ", Jr.",
    " Sr.",
    " Sr",
    " III",
    " II",
    " IV",
    " PhD",
    ", PhD",
    ", Ph.D.",
    ", MD",
    ", Esq.",
)


def suffixed_name(draw: Draw) -> str:
    """A full name with what is written as its end."""
    person = people.new_person(draw)
    middle = f" {draw.digits('@')}." if draw.chance(0.3) else ""
    return f"{person.first}{middle} {person.last}{draw.rng.choice(_SUFFIXES)}"


def word_name(draw: Draw) -> str:
    """A first name that is a word: Grace, Mark, Will."""
    return draw.word("word_names")


def word_full_name(draw: Draw) -> str:
    """A first name that is a word, with a last name."""
    return f"{draw.word('word_names')} {people.last_name(draw)}"


def lower_first(draw: Draw) -> str:
    """A first name as people type it in a chat."""
    kind = draw.rng.random()
    if kind < 0.15:
        return draw.word("nicknames").lower()
    if kind > 0.75:
        return draw.word("chat_first_names").lower()
    return (draw.word("word_names") if kind < 0.25 else people.first_name(draw)).lower()


def lower_name(draw: Draw) -> str:
    """A first and last name in lower case."""
    person = people.new_person(draw)
    return f"{person.first} {person.last}".lower()


def chat_name(draw: Draw) -> str:
    """A first name or a nickname."""
    kind = draw.rng.random()
    if kind < 0.25:
        return draw.word("nicknames")
    return draw.word("word_names") if kind < 0.4 else people.first_name(draw)


def repeated_first(draw: Draw) -> str:
    """The same first name wherever a text has this slot."""
    return draw.remembered.setdefault("again", chat_name(draw))


def age_in_words(draw: Draw) -> str:
    """An age of at least thirteen, spelled out."""
    if draw.chance(0.15):
        return draw.rng.choice(("thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
                                "eighteen", "nineteen"))  # fmt: skip
    ten = draw.rng.choice(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
    )
    if draw.chance(0.15):
        return ten
    one = draw.rng.choice(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    )
    return f"{ten}{'-' if draw.chance(0.85) else ' '}{one}"


def _town(draw: Draw) -> str:
    return draw.word("big_cities") if draw.chance(0.5) else coined_town(draw)


def institution(draw: Draw) -> str:
    """A hospital, clinic, insurer, school or bank named after a saint, place or person."""
    saint = f"{draw.rng.choice(('St.', 'St.', 'St', 'Saint'))} {draw.word('saints')}"
    form = draw.rng.choice((
        "{saint} Hospital", "{saint}'s Hospital", "{saint} Medical Center", "{saint}'s Clinic",
        "{saint}'s Primary School", "{saint} Academy", "{saint}'s College", "{saint} Hospice",
        "{town} General Hospital", "{town} Children's Hospital", "{town} Eye Clinic",
        "{town} Mutual", "{town} Mutual Insurance", "{town} Life", "{town} Health Trust",
        "University of {town}", "{town} State University", "{town} High School",
        "Bank of {town}",
        "{town} Savings Bank", "{town} Elementary", "{town} Grammar School",
        "{town} Dental Group",
        "{town} Community College", "{last} Memorial Hospital", "{last} Clinic",
        "{last} Institute",
        "Mercy Hospital of {town}", "Our Lady of {grace} Hospital", "Sacred Heart Clinic",
        "{org_word} Assurance", "{org_word} Life Insurance", "{org_word} Health Plan",
        "{last} College",
        "{town} Women's Clinic", "Royal {town} Infirmary", "{town} Rehabilitation Centre",
        "{town} Fire & Casualty", "{saint} Credit Union", "{town} Polytechnic",
        "{last} Hospital",
    ))  # fmt: skip
    return form.format(
        saint=saint, town=_town(draw), last=draw.rng.choice(draw.names().last),
        grace=draw.rng.choice(("Mercy", "Sorrows", "Grace", "Lourdes", "the Lake")),
        org_word=draw.word("org_words"),
    )  # fmt: skip


def trade_firm(draw: Draw) -> str:
    """A firm with a trade word, often with an ampersand."""
    names = draw.american_names() if draw.chance(0.4) else draw.names()
    a, b = draw.rng.choice(names.last), draw.rng.choice(names.last)
    form = draw.rng.choice((
        "{a} & {b} {t}", "{a} & {b} {t}", "{a} & Sons {t}", "{a} {t}", "{a} {t} Ltd",
        "{a} Bros. {t}",
        "{w} {t}", "{w} & {w2} {t}", "{a} & Daughter {t}", "{w} {t} Co.", "{a} and {b} {t}",
        "{town} {t}",
        "{town} {t} Inc.", "{a}, {b} & Co.", "{a} {t} & {t2}", "{w} {t} & {t2}",
        "{first}'s {t}",
        "{a} {t} Holdings", "{a} & {b} LLP", "{w} {t} GmbH", "{a} & Company {t}", "{n} & {n2}",
    ))  # fmt: skip
    return form.format(
        a=a, b=b, t=draw.word("trades"), t2=draw.word("trades"), w=draw.word("org_words"),
        w2=draw.word("org_words"), town=_town(draw), first=draw.rng.choice(names.first),
        n=draw.word("works_nouns"), n2=draw.word("works_nouns"),
    )  # fmt: skip


def case_party(draw: Draw) -> str:
    """A firm as courts name it."""
    kind = draw.rng.random()
    if kind < 0.5:
        names = draw.american_names() if draw.chance(0.5) else draw.names()
        return f"{draw.rng.choice(names.last)} {draw.word('company_ends')}"
    return trade_firm(draw) if kind < 0.75 else people.invented_brand(draw)


def long_job(draw: Draw) -> str:
    """A job title of two to five words."""
    if draw.chance(0.12):
        return people.job(draw)
    form = draw.rng.choice((
        "{r} {f} {j}", "{f} {j}", "{f} {j}", "{r} {j}", "Head of {f}", "Director of {f}",
        "{r} {f} {j}",
        "Vice President of {f}", "{f} {j}, {f2}", "Deputy Head of {f}", "{j} for {f}",
        "{f} {f2} {j}",
        "Chief {f} Officer", "{f} Shift {j}", "{f} and {f2} {j}", "{r} Shift Lead", "Night {j}",
    ))  # fmt: skip
    text = form.format(
        r=draw.word("job_ranks"),
        f=draw.word("job_fields"),
        f2=draw.word("job_fields"),
        j=draw.word("job_ends"),
    )
    return text.lower() if draw.chance(0.25) else text
