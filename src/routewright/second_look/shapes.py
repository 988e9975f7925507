"""Whether an entity of the model can be what it is called, and where it then ends.

The text is folded to ASCII. Shapes are wide: they admit numbers that somebody masked or
mistyped a separator of, and refuse what no reader would take for one.
"""

import re
from collections.abc import Callable, Mapping

from routewright.second_look.checksums import (
    digits_of,
    is_luhn,
    is_mod_97,
    is_social_security_number,
)
from routewright.second_look.finders import (
    CARD_BEFORE,
    CONTEXT_CHARS,
    EXTENSION,
    HOST,
    Range,
    follows_version,
)

_MASKED = re.compile(r"[*#xX\u2022]{2}")
_AT = re.compile(
    r"[^\s@] ?(?:@|[(\[] ?at ?[)\]]|(?<= )at(?= )) ?"
    r"[^\s@]{1,64}?(?: dot |\.| ?[(\[]dot[)\]] ?)\w",
    re.IGNORECASE,
)
_SPOKEN_DOT = re.compile(r"\w(?: dot | ?[(\[]dot[)\]] ?)\w", re.IGNORECASE)
_HOST = re.compile(HOST)
_HOST_BEFORE = re.compile(r"[\w.-]{1,64}\Z")
_HOST_BEHIND = re.compile(r"[\w.-]{1,64}")
_FILE = re.compile(
    r"\.(?:csv|tsv|json|txt|pdf|jpe?g|png|gif|svg|html?|xml|ya?ml|docx?|xlsx?|pptx?|exe|log|js|"
    r"css|cpp|java|tar|gz|cfg|ini|toml|sql|tmp|bak|php|onnx)\Z",
    re.IGNORECASE,
)
_ADDRESS_LIKE = re.compile(
    r"(?:[\dxX*]{1,3}\.){3}[\dxX*]{1,3}|(?:[\da-fA-F*xX]{0,4}:){3,}|[\da-fA-F]{3}\d::"
)
_SSN_BEFORE = re.compile(r"\b(?:ssn|social|ending|ends|last)\b", re.IGNORECASE)
_DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:19|20)\d\d")
_PHONE = re.compile(r"\+?\(?\d(?:[ \t./()-]{0,4}\d)+" + EXTENSION, re.IGNORECASE)
_BETWEEN_PHONES = re.compile(r"\s*[/,;&]\s+|\s+(?:or|and)\s+", re.IGNORECASE)
_LETTERED_PHONE = re.compile(
    r"(?:\+?1[-. ])?\(?[89]\d\d\)?[-. ](?:\d{3}[-. ])?[A-Z][A-Z-]{3,9}"
)
_SHORT_PHONE = re.compile(r"\d{2}([ .-])\d{2}\1\d{2}|\d{3}[ -]\d{3}")
_PHONE_EDGE = re.compile(r"[^+(\d]*")
_CODE_BEFORE = re.compile(
    r"(?:\+\d{0,3}[ .-]?)?(?:\(\d{1,5}\)[ ./-]{0,2}|\(\d{0,4})\Z|\+\d{0,3}\Z"
)
_REST_BEHIND = re.compile(r"\d{0,20}" + EXTENSION, re.IGNORECASE)
_FEWEST_PHONE_DIGITS = 6
_NATIONAL_DIGITS = range(7, 13)
_INTERNATIONAL_DIGITS = range(7, 17)
_FEWEST_CARD_DIGITS = 12
_FEWEST_LICENSE_DIGITS = 3
_IBAN_CHARS = range(15, 35)
_LAST_FOUR = 4
_SSN_DIGITS = 9


def checked(text: str, label: str, borders: Range) -> Range | None:
    """The borders that an entity of a checked type should have; None if it cannot be one."""
    return _SHAPES[label](text, *borders)


def _email(text: str, start: int, end: int) -> Range | None:
    return (start, end) if _AT.search(text, start, end) else None


def _domain(text: str, start: int, end: int) -> Range | None:
    """The whole host name around what was found of it; no file, no function of a package."""
    before = _HOST_BEFORE.search(text[max(0, start - 64) : start])
    behind = _HOST_BEHIND.match(text, end)
    first = start - (len(before[0]) if before else 0)
    last = behind.end() if behind else end
    for match in _HOST.finditer(text, first, last):
        if match.start() < end and start < match.end():
            is_call = text.startswith("(", match.end())
            return None if is_call or _FILE.search(match[0]) else match.span()
    return (start, end) if _SPOKEN_DOT.search(text, start, end) else None


def _ip_address(text: str, start: int, end: int) -> Range | None:
    if follows_version(text, start) or not _ADDRESS_LIKE.search(text, start, end):
        return None
    return start, end


def _card(text: str, start: int, end: int) -> Range | None:
    """A full number needs its checksum; a part has to be masked or called a card's."""
    value = text[start:end]
    digits = digits_of(value)
    if len(digits) >= _FEWEST_CARD_DIGITS:
        return (start, end) if is_luhn(digits) else None
    before = text[max(0, start - CONTEXT_CHARS) : start]
    is_part = _MASKED.search(value) or CARD_BEFORE.search(before)
    return (start, end) if is_part and len(digits) >= _LAST_FOUR else None


def _iban(text: str, start: int, end: int) -> Range | None:
    """Its checksum, in a form no country is known to have, or masked."""
    value = text[start:end]
    compact = "".join(c for c in value if c.isascii() and c.isalnum())
    if _MASKED.search(value):
        return (start, end) if compact[:2].isalpha() else None
    proven = len(compact) in _IBAN_CHARS and compact[:2].isalpha() and is_mod_97(compact)
    return (start, end) if proven else None


def _social_security_number(text: str, start: int, end: int) -> Range | None:
    value = text[start:end]
    digits = digits_of(value)
    if len(digits) == _SSN_DIGITS:
        return (start, end) if is_social_security_number(digits) else None
    before = text[max(0, start - CONTEXT_CHARS) : start]
    is_part = _MASKED.search(value) or _SSN_BEFORE.search(before)
    return (start, end) if is_part and len(digits) == _LAST_FOUR else None


def _driver_license(text: str, start: int, end: int) -> Range | None:
    return (start, end) if len(digits_of(text[start:end])) >= _FEWEST_LICENSE_DIGITS else None


def _phone_number(text: str, start: int, end: int) -> Range | None:
    """With its country code, brackets and extension, without what stands around them."""
    edge = _PHONE_EDGE.match(text, start, end)
    start = edge.end() if edge else start
    while end > start and not text[end - 1].isalnum():
        end -= 1
    if start == end:
        return None
    code = _CODE_BEFORE.search(text[max(0, start - 12) : start])
    if code and (text[start] not in "+(" or code[0] == "+"):
        start -= len(code[0])
    if rest := _REST_BEHIND.match(text, end):
        end = rest.end()
    return (start, end) if _is_phone(text[start:end]) else None


def _is_phone(value: str) -> bool:
    """One number, one with digits left out, or several that the model took for one."""
    if _MASKED.search(value):
        return len(digits_of(value)) >= _LAST_FOUR
    return _is_one_phone(value) or all(map(_is_one_phone, _BETWEEN_PHONES.split(value)))


def _is_one_phone(value: str) -> bool:
    if _LETTERED_PHONE.fullmatch(value):
        return True
    if _PHONE.fullmatch(value) is None or _DATE.fullmatch(value):
        return False
    number = re.split("[A-Za-z,]", value)[0].rstrip()
    num_digits = len(digits_of(number))
    allowed = _INTERNATIONAL_DIGITS if number.startswith(("+", "00")) else _NATIONAL_DIGITS
    if num_digits == _FEWEST_PHONE_DIGITS:
        return _SHORT_PHONE.fullmatch(number) is not None
    num_groups = len(re.findall(r"\d+", number))
    is_spelled = num_groups == num_digits
    is_grouped = num_digits >= 2 * num_groups or is_spelled
    return num_digits in allowed and is_grouped and number.count("(") <= 1


_SHAPES: Mapping[str, Callable[[str, int, int], Range | None]] = {
    "CREDIT_CARD": _card,
    "DOMAIN_NAME": _domain,
    "EMAIL_ADDRESS": _email,
    "IBAN_CODE": _iban,
    "IP_ADDRESS": _ip_address,
    "PHONE_NUMBER": _phone_number,
    "US_DRIVER_LICENSE": _driver_license,
    "US_SSN": _social_security_number,
}
