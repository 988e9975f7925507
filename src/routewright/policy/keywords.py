"""Whole-word search for words and phrases, also where words are not written apart.

Keyword and text are compared as people read them: without regard to how a character is encoded,
which apostrophe was typed, and what stands between that cannot be seen.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts that write words together (Thai, Lao, Burmese, Khmer, Han, Kana) or attach particles
(Hangul): there a keyword counts wherever it stands."""
_APOSTROPHES = "\u2018\u2019\u201b\u02bc\uff07"


@dataclass(frozen=True)
class SearchText:
    """A text that keywords are searched in; folded at the first search, and once."""

    text: str = field(repr=False)

    def holds(self, keyword: str, *, case_sensitive: bool = False) -> bool:
        """Whether `keyword` occurs as whole words; any white space between them will do."""
        folded = self._exact if case_sensitive else self._caseless
        return _keyword(keyword, case_sensitive).occurs_in(folded)

    @cached_property
    def _exact(self) -> str:
        return _exact(self.text)

    @cached_property
    def _caseless(self) -> str:
        return _caseless(self._exact)


@dataclass(frozen=True, slots=True)
class _Keyword:
    pattern: re.Pattern[str]
    starts_word: bool
    """Whether what stands before its first character can be part of the same word."""
    ends_word: bool

    def occurs_in(self, folded: str) -> bool:
        found = self.pattern.search(folded)
        while found is not None:
            start, end = found.span()
            # Vowel signs and accents are part of a word, and \w leaves them out.
            before = self.starts_word and start > 0 and _is_mark(folded[start - 1])
            after = self.ends_word and end < len(folded) and _is_mark(folded[end])
            if not before and not after:
                return True
            found = self.pattern.search(folded, start + 1)
        return False


@lru_cache(maxsize=4096)
def _keyword(keyword: str, case_sensitive: bool) -> _Keyword:
    folded = _exact(keyword) if case_sensitive else _caseless(_exact(keyword))
    first, *others = map(re.escape, folded.split())
    starts_word, ends_word = _is_spaced(folded.strip()[0]), _is_spaced(folded.strip()[-1])
    # The look behind comes after the word: re finds a literal start a hundred times faster.
    start = rf"{first}(?<!\w{first})" if starts_word else first
    body = r"\s+".join([start, *others])
    return _Keyword(re.compile(body + (r"(?!\w)" if ends_word else "")), starts_word, ends_word)


def _exact(text: str) -> str:
    """One spelling of a text: composed, with plain apostrophes and nothing invisible."""
    if text.isascii():
        return text
    for character in set(text):
        if character in _APOSTROPHES:
            text = text.replace(character, "'")
        elif unicodedata.category(character) == "Cf":
            text = text.replace(character, "")
    return unicodedata.normalize("NFC", text)


def _caseless(exact: str) -> str:
    """What all cases of a text have in common."""
    if exact.isascii():
        return exact.lower()
    folded = unicodedata.normalize("NFC", exact.casefold())
    # Turkish has an i with and one without a dot, in both cases; casefold knows but one pair.
    return folded.replace("i\u0307", "i").replace("\u0131", "i")


def _is_spaced(character: str) -> bool:
    """Whether a neighbour of this character can be part of the same word."""
    is_word = character.isalnum() or character == "_" or _is_mark(character)
    return is_word and _UNSPACED.match(character) is None


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
