"""Typographic variants of ASCII characters made ASCII, each in its place."""

import unicodedata

SPACED_LETTER = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
"""Of scripts that set spaces between words; in others a name would run into its sentence."""


class _Folding(dict[int, str]):
    """Code point to one character, computed once for each that occurs."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


def fold(text: str) -> str:
    """`text` with other digits, dashes, spaces and full-width forms as their ASCII twins.

    Every character becomes exactly one, so positions in the two texts are the same.
    """
    return text if text.isascii() else text.translate(_FOLDING)


def _fold(character: str) -> str:
    if character.isascii():
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    category = unicodedata.category(character)
    if category == "Pd":
        return "-"
    if category == "Zs":
        return " "
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 and plain.isascii() else character


_FOLDING = _Folding()
