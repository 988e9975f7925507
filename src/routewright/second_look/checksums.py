"""Numbers that prove themselves: cards, IBANs, social security numbers, phone numbers.

The text is folded to ASCII. Libraries are imported at first use, so that texts without such
numbers never pay for them.
"""

import re

from routewright.second_look.folding import SPACED_LETTER

_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}"  # Discover
    r"|3(?:0[0-59]|[689]\d)\d{11}"  # Diners Club
    r"|(?:2131|1800)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:0604|5018|5020|5038|5[6-8]\d\d|6304|67\d\d)\d{8,15}"  # Maestro
)
_NO_AREA = ("000", "666")
_JOINED = re.compile(f"[{SPACED_LETTER}0-9]")
_GROUP = re.compile(r"[ ./()-]+")
_SUM = re.compile(r"\+\d{1,3}(?:[ .]\d{3}){0,4}[ .]000")
_SHORTEST_IBAN, _LONGEST_IBAN = 15, 34


def load_libraries() -> None:
    """Import what numbers need, 50 ms, so that no first request waits for it."""
    import phonenumbers  # noqa: F401
    from stdnum import iban, luhn  # noqa: F401


def digits_of(value: str) -> str:
    """The ASCII digits of `value`, in order."""
    return "".join(c for c in value if "0" <= c <= "9")


def is_luhn(digits: str) -> bool:
    """Whether the last digit is right (ISO/IEC 7812-1)."""
    from stdnum import luhn

    valid: bool = luhn.is_valid(digits)
    return valid


def has_issuer(digits: str) -> bool:
    """Whether some card issuer gives out numbers of this prefix and length."""
    return _ISSUERS.fullmatch(digits) is not None


def iban_end(text: str, start: int) -> int | None:
    """Where the IBAN that begins at `start` ends, grouped or not; None if none begins there.

    Each country has its own length, which a following word must not add to; so every length
    is tried at which a word ends; the checksum comes before the slower form of the country.
    """
    from stdnum import iban

    compact, found = "", None
    for position in range(start, min(len(text), start + 2 * _LONGEST_IBAN)):
        character = text[position]
        # Not by its lower case: that of a Turkish capital I begins with an "i".
        if not (character.isascii() and character.isalnum()):
            if character not in " -" or text[position - 1] in " -":
                break
            continue
        compact += character
        if len(compact) > _LONGEST_IBAN:
            break
        ends = _JOINED.match(text, position + 1) is None
        if len(compact) < _SHORTEST_IBAN or not ends:
            continue
        if is_mod_97(compact) and iban.is_valid(compact, check_country=False):
            found = position + 1
    return found


def is_mod_97(compact: str) -> bool:
    """Whether letters and digits of an IBAN satisfy ISO 7064 mod 97-10."""
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def is_social_security_number(digits: str) -> bool:
    """Whether the nine digits can be one: no area 000 or 666, no part of zeros only.

    Areas from 900 on are individual taxpayer numbers, which are as personal.

    Source: https://www.ssa.gov/employer/randomization.html.
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in _NO_AREA and group != "00" and serial != "0000"


def international_end(text: str, start: int, end: int) -> int | None:
    """Where the phone number that begins with "+" at `start` ends; None if it is none.

    Numbers behind it may have been taken in up to `end`: of all ends between groups the last
    one that gives an assigned number counts. A number that is not assigned, as in examples,
    needs the length of a whole one as it stands, and not the zeros of a sum.
    """
    import phonenumbers

    ends = [start + m.start() for m in _GROUP.finditer(text[start:end])] + [end]
    possible = None
    for stop in sorted(ends, reverse=True):
        try:
            number = phonenumbers.parse(text[start:stop], None)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return stop
        if stop == end and _SUM.fullmatch(text, start, stop) is None:
            whole = phonenumbers.ValidationResult.IS_POSSIBLE
            if phonenumbers.is_possible_number_with_reason(number) == whole:
                possible = stop
    return possible
