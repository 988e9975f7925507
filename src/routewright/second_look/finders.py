"""Entities that a text proves by their form, without any model.

The text is folded to ASCII. Every pattern is bounded and anchored, so no text, however hostile,
takes more than linear time.
"""

import ipaddress
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from routewright.labels import Span
from routewright.second_look.checksums import (
    digits_of,
    has_issuer,
    iban_end,
    international_end,
    is_luhn,
    is_social_security_number,
)
from routewright.second_look.folding import SPACED_LETTER

_LETTER = SPACED_LETTER
_WORD = f"{_LETTER}0-9_"
r"""For what may not stand beside a number: as ``\w``, but a Japanese sentence has no spaces."""
_NAME = rf"[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?"
HOST = (
    rf"(?:{_NAME}\.){{1,8}}(?:xn--[A-Za-z0-9-]{{2,59}}|[{_LETTER}]{{2,24}})(?![{_LETTER}0-9_])"
)
_LOCAL_PART = re.compile(rf"[{_LETTER}0-9_][{_LETTER}0-9_.+%'-]{{0,63}}\Z")
_MAIL_HOST = re.compile(HOST)
_NO_MAIL_BEHIND = re.compile(r":[^\s\d]|\(")
"""``user@host:path`` is how ssh and git name a file, ``x@y.mean()`` a product of matrices."""
_URL = re.compile(
    rf"(?<![{_WORD}])(?:https?|ftp)://(?:[^\s/@?#]{{1,128}}@)?{HOST}(?::\d{{1,5}}(?!\d))?"
    r"""(?:/(?=[.,;!?]?(?:\s|\Z)|[)\]}>"'|]))?""",
    re.IGNORECASE,
)
_WEB_HOST = re.compile(
    rf"(?<![{_WORD}.@/-])www\.{HOST}(?:/(?=[.,;!?]?(?:\s|\Z)))?", re.IGNORECASE
)
_BARE_HOST = re.compile(
    rf"(?<![{_WORD}.@/:=-])(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.){{1,8}}(?:com|net|org|edu|gov)"
    rf"(?![{_WORD}(@-]|\.[{_WORD}])"
)
"""In lower case, of the endings that programs use least; ``asp.net`` is taken for a host."""
_IPV4 = re.compile(
    rf"(?<![{_WORD}.])(?<![{_WORD}]-)\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![A-Za-z_]|\d|\.\d|-[A-Za-z])"
)
_HOST_NUMBER = re.compile(
    r"\b(?:ip|ipv4|hosts?|servers?|addr|address|ping|ssh|dns|gateway|router|subnet|node|client|"
    r"peer|proxy|listen|inet)\b|://|@",
    re.IGNORECASE,
)
_PORT_OR_MASK = re.compile(r":\d{2,5}(?!\d)|/\d{1,2}(?![\d/])")
_IPV6 = re.compile(rf"(?<![{_WORD}:.])[0-9A-Fa-f:]{{4,45}}(?![A-Za-z_])")
_LINK_LOCAL = re.compile(r"[0-9A-Fa-f]{3}\d::", re.ASCII)
"""Of two groups, where a name in a program has ``::`` too; a digit tells them apart."""
VERSION_BEFORE = re.compile(
    r"(?:(?:\b(?:v|ver|versions?|release|build|rev|revision|firmware|section|sec|chapter|"
    r"clause|article|paragraph|figure|fig|table)|§)[.:]?\s?|(?<!tc)(?<!ud)[A-Za-z]/|[=<>~]=\s?)\Z",
    re.IGNORECASE,
)
_CARD = re.compile(
    rf"(?<![{_WORD}])(?<!\d[.,])"
    r"(?:\d{12,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}|\d{4}([ -])\d{6}\2\d{4,5})"
    rf"(?![{_WORD}]|[.,]\d)"
)
CARD_BEFORE = re.compile(
    r"\b(?:cards?|cc|visa|amex|mastercard|maestro|debit|credit|ending|ends|last)\b",
    re.IGNORECASE,
)
_USUAL_CARD_LENGTHS = (14, 15, 16)
"""Of other lengths barcodes and parcel numbers are too common to go by the checksum alone."""
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9]{2})")
_SSN = re.compile(rf"(?<![{_WORD}-])(?<!\d\.)\d{{3}}-\d{{2}}-\d{{4}}(?![{_WORD}-]|\.\d)")
EXTENSION = r"(?:[ ,;-]{0,2}(?:x|ext|extension)[ .:#]{0,2}\d{1,6}(?!\d))?"
_NORTH_AMERICAN = re.compile(
    rf"(?<![{_WORD}.-])(?:(?:\+|00)?1[-. ])?"
    r"(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])\d{3}[-.]\d{4}"
    rf"(?:{EXTENSION})(?![{_WORD}-]|\.\d)",
    re.IGNORECASE,
)
_INTERNATIONAL = re.compile(r"(?<![\w)\].])\+\(?\d(?:[ ./()-]{0,2}\d){6,22}")
_EXTENSION = re.compile(EXTENSION, re.IGNORECASE)
CONTEXT_CHARS = 40
_NO_RELEASE = 40

Range = tuple[int, int]


def findings(text: str, types: Collection[str], score: float) -> list[Span]:
    """Proven entities of `types`, sorted; where two overlap, the one of the stricter form."""
    found: list[Span] = []
    num_digits = sum(map(text.count, "0123456789"))
    for label, (find, fewest_digits, sign) in _FINDERS.items():
        if label not in types or num_digits < fewest_digits or sign not in text:
            continue
        add_apart(found, (Span(start, end, label, score) for start, end in find(text)))
    return found


def add_apart(spans: list[Span], others: Iterable[Span]) -> None:
    """Put those of `others` into `spans`, which are sorted, that overlap none of them."""
    for other in others:
        place = bisect_left(spans, other)
        if not any(other.overlaps(span) for span in spans[max(place - 1, 0) : place + 1]):
            spans.insert(place, other)


def ip_addresses(text: str) -> Iterator[Range]:
    """IPv4 and IPv6 addresses that stand for one machine and are no version number."""
    for match in _IPV4.finditer(text):
        if not is_address(match[0]) or follows_version(text, match.start()):
            continue
        if _names_a_host(text, *match.span()):
            yield match.span()
    if text.count(":") < 2:
        return
    for match in _IPV6.finditer(text):
        # A ninth group is a port; a colon at the end is punctuation.
        value = ":".join(match[0].split(":")[:8]).rstrip(":")
        if (value.count(":") >= 3 or _LINK_LOCAL.match(value)) and is_address(value):
            yield match.start(), match.start() + len(value)


def _names_a_host(text: str, start: int, end: int) -> bool:
    """Whether four numbers are more than the shape of an address, which releases have too.

    A release hardly has a part of 40 or more; of all addresses one in 1,700 has none.
    """
    if max(map(int, text[start:end].split("."))) >= _NO_RELEASE:
        return True
    before = text[max(0, start - CONTEXT_CHARS) : start]
    return bool(_HOST_NUMBER.search(before) or _PORT_OR_MASK.match(text, end))


def is_address(value: str) -> bool:
    """Whether `value` is an IP address of a machine other than the speaker's own."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    own = address.is_loopback or address.is_unspecified
    return not (own or value.startswith(("0.", "255.")))  # of no machine, and masks


def follows_version(text: str, start: int) -> bool:
    """Whether the number at `start` is called a version or section."""
    return VERSION_BEFORE.search(text[max(0, start - 12) : start]) is not None


def _emails(text: str) -> Iterator[Range]:
    position = text.find("@")
    while position >= 0:
        local = _LOCAL_PART.search(text[max(0, position - 64) : position])
        host = _MAIL_HOST.match(text, position + 1, position + 256)
        if local and host and not _NO_MAIL_BEHIND.match(text, host.end()):
            yield position - len(local[0]), host.end()
        position = text.find("@", position + 1)


def _web_addresses(text: str) -> Iterator[Range]:
    """Scheme and host, with the slash that ends an address, or a host; no path."""
    if "://" in text:
        yield from (m.span() for m in _URL.finditer(text))
    yield from (m.span() for m in _WEB_HOST.finditer(text))
    yield from (m.span() for m in _BARE_HOST.finditer(text))


def _cards(text: str) -> Iterator[Range]:
    """By issuer and usual length, or called a card; 7 to 9 begin no payment card."""
    for match in _CARD.finditer(text):
        digits = digits_of(match[0])
        before = text[max(0, match.start() - CONTEXT_CHARS) : match.start()]
        is_named = digits[0] < "7" and CARD_BEFORE.search(before) is not None
        is_issued = len(digits) in _USUAL_CARD_LENGTHS and has_issuer(digits)
        if (is_named or is_issued) and is_luhn(digits):
            yield match.span()


def _ibans(text: str) -> Iterator[Range]:
    for match in _IBAN_START.finditer(text):
        end = iban_end(text, match.start())
        if end is not None:
            yield match.start(), end


def _social_security_numbers(text: str) -> Iterator[Range]:
    for match in _SSN.finditer(text):
        if is_social_security_number(digits_of(match[0])):
            yield match.span()


def _phone_numbers(text: str) -> Iterator[Range]:
    """International numbers with "+", and North American ones in their usual form."""
    for match in _INTERNATIONAL.finditer(text) if "+" in text else ():
        end = international_end(text, *match.span())
        if end is not None:
            extension = _EXTENSION.match(text, end)
            yield match.start(), extension.end() if extension else end
    yield from (m.span() for m in _NORTH_AMERICAN.finditer(text))


_FINDERS: Mapping[str, tuple[Callable[[str], Iterator[Range]], int, str]] = {
    "DOMAIN_NAME": (_web_addresses, 0, "."),
    "EMAIL_ADDRESS": (_emails, 0, "@"),
    "IP_ADDRESS": (ip_addresses, 2, ""),
    "IBAN_CODE": (_ibans, 10, ""),
    "CREDIT_CARD": (_cards, 12, ""),
    "US_SSN": (_social_security_numbers, 9, "-"),
    "PHONE_NUMBER": (_phone_numbers, 7, ""),
}
"""By strictness of the form: the finder, the fewest digits of such an entity, and a character
that it cannot be without."""
