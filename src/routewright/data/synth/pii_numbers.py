"""Contact data, documents and accounts; card and IBAN checksums are right."""

import ipaddress
import unicodedata

from routewright.data.synth.pii_draw import Draw
from routewright.data.synth.pii_people import new_person

_CARDS = (
    ("4", 16), ("4", 16), ("4", 13), ("4", 19), ("51", 16), ("55", 16), ("2221", 16),
    ("34", 15),
    ("37", 15), ("6011", 16), ("65", 16), ("3528", 16), ("3589", 16), ("30", 14), ("36", 14),
    ("5018", 12), ("6304", 12), ("2131", 15), ("1800", 15),
)  # fmt: skip
"""Issuer prefix and number of digits."""
_IBANS = {
    "GB": "@@@@##############", "DE": "##################", "FR": "####################@####",
    "ES": "####################", "IT": "@######################", "NL": "@@@@##########",
    "SE": "####################", "FI": "##############", "PL": "########################",
    "CZ": "####################", "DK": "##############", "NO": "###########",
    "BE": "############", "AT": "################", "CH": "#################",
    "PT": "#####################", "HU": "########################", "IE": "@@@@##############",
    "TR": "######################", "GR": "#######################", "SI": "###############",
}  # fmt: skip
"""Country and the pattern of its account part."""
_PATHS = (
    "blog",
    "shop",
    "news/2024",
    "index.html",
    "login",
    "wiki/Main_Page",
    "a?id=7",
    "faq",
    "docs/v2",
    "start",
    "docs/getting-started",
    "en/help#top",
    "search?q=boots",
    "v1/users/17",
    "item/5512",
    "2023/05/a-long-read.html",
    "~guest/",
)


def luhn_digit(digits: str) -> str:
    """The digit that makes ``digits + it`` pass the Luhn check (ISO/IEC 7812-1)."""
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(digits))]
    return str(-sum(n // 10 + n % 10 for n in doubled) % 10)


def card(draw: Draw) -> str:
    """A card number, grouped or not; one in fifty shows only its last digits."""
    prefix, length = draw.rng.choice(_CARDS)
    digits = draw.digits(prefix + "#" * (length - 1 - len(prefix)))
    digits += luhn_digit(digits)
    kind = draw.rng.random()
    if kind < 0.65 or length in (12, 13, 14, 19):
        return digits
    separator = "-" if kind > 0.87 else " "
    if kind > 0.98:
        return separator.join([draw.rng.choice(("****", "XXXX", "xxxx"))] * 3 + [digits[-4:]])
    cuts = (4, 10, 15) if length == 15 else (4, 8, 12, 16)
    starts = (0, *cuts[:-1])
    return separator.join(digits[a:b] for a, b in zip(starts, cuts, strict=True))


def card_ending(draw: Draw) -> str:
    """The last four digits by which people speak of a card."""
    return draw.digits("####")


def iban(draw: Draw) -> str:
    """An IBAN with valid check digits (ISO 13616), plain or in groups of four."""
    country = "GB" if draw.chance(0.2) else draw.rng.choice(sorted(_IBANS))
    account = draw.digits(_IBANS[country])
    # Letters count as 10 to 35, as base 36 has them.
    as_number = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    text = f"{country}{98 - int(as_number) % 97:02}{account}"
    if draw.chance(0.35):
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))
    return text


def social_security_number(draw: Draw) -> str:
    """A number of a valid area: not 000, 666 or 9xx."""
    area = draw.rng.choice([n for n in range(1, 900) if n != 666])
    rest = f"{draw.rng.randint(1, 99):02}", f"{draw.rng.randint(1, 9999):04}"
    separator = draw.rng.choices(("-", "", " ", "."), (70, 15, 13, 2))[0]
    return separator.join((f"{area:03}", *rest))


def driver_license(draw: Draw) -> str:
    """A number in the format of some state."""
    return draw.digits(draw.word("license_patterns"))


def phone(draw: Draw) -> str:
    """A phone number: national or international, dotted, with extension."""
    if draw.chance(0.45):
        return draw.rng.choice(draw.locale().phones)
    return draw.digits(draw.word("phone_patterns"))


def ip_address(draw: Draw) -> str:
    """IPv4 mostly, else IPv6 in full or short form."""
    if draw.chance(0.78):
        return ".".join(str(draw.rng.randint(1, 254)) for _ in range(4))
    address = ipaddress.IPv6Address(
        (0x2001 << 112) | (draw.rng.getrandbits(32) << 80) | draw.rng.getrandbits(48)
    )
    return draw.rng.choice((address.exploded, address.compressed, address.compressed))


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ø", "o"))
    return "".join(c for c in plain if c.isascii() and c.isalnum())


def bare_domain(draw: Draw) -> str:
    """A domain without scheme."""
    words = [draw.word("domain_words") for _ in range(draw.rng.choice((1, 2, 2)))]
    name = draw.rng.choice(("", "", "", "-")).join(words)
    if draw.chance(0.4):
        name = "".join(word.capitalize() for word in words)
    prefix = draw.rng.choices(("", "www.", "shop.", "mail.", "my."), (60, 30, 4, 3, 3))[0]
    return f"{prefix}{name}.{draw.word('top_domains')}"


def domain(draw: Draw) -> str:
    """A web address without a path: bare, or with scheme and slash."""
    kind = draw.rng.random()
    if kind < 0.5:
        return bare_domain(draw)
    scheme = "https" if draw.chance(0.6) else "http"
    return f"{scheme}://{bare_domain(draw)}{'/' if draw.chance(0.88) else ''}"


def url_path(draw: Draw) -> str:
    """What follows a domain; it is no part of the entity."""
    return "/" + draw.rng.choice(_PATHS)


def email(draw: Draw) -> str:
    """An e-mail address, mostly of the person the text named last."""
    person = draw.person
    if person is None or draw.chance(0.25):
        person = new_person(draw)
    first, last = _ascii(person.first) or "info", _ascii(person.last) or "office"
    if not draw.chance(0.3):
        first, last = first.lower(), last.lower()
    form = draw.rng.choice((
        "{first}.{last}", "{first}{last}", "{first}_{last}", "{f}{last}", "{first}{n}",
        "{last}.{first}", "{first}{middle}{last}", "{first}-{last}", "{first}.{last}{n}",
        "{first}", "{f}.{last}", "{first}+news", "{word}", "info", "office", "no-reply",
        "{word}{n}",
    ))  # fmt: skip
    local = form.format(
        first=first, last=last, f=first[0], n=draw.rng.randint(1, 99), middle=draw.digits("@"),
        word=draw.word("domain_words"),
    )  # fmt: skip
    host = draw.word("mail_hosts")
    if draw.chance(0.45):
        host = bare_domain(draw).removeprefix("www.").lower()
    return f"{local}@{host}"
