"""What capital letters say of a name: an encoder that reads lower case cannot know.

    my boss at acme called  ->  may be a name: nothing here is written with a capital
    Anna and the salarymen of Tokyo  ->  "salarymen" is none: who writes Anna writes names so

Unsure names alone are judged: in haste people leave a capital out, and of names the model is
nearly always sure.
"""

import re

from routewright.labels import Span

NAMES = frozenset({"PERSON", "ORGANIZATION"})
"""Types whose values are written with a capital, in English and most other languages."""
_SURE = 0.9
"""Seven of eight right names have this score or more (docs/log.md, seventh session)."""
_REACH_CHARS = 300
_CAPITALISED = re.compile(r"(?:[^\W_]|[^\W_][,;:])[ ](?P<first>[^\W\d_])(?P<second>[^\W\d_])")
"""Two letters that begin a word, but no sentence."""


def is_common_word(text: str, span: Span) -> bool:
    """Whether an unsure name has no capital letter though the text around it writes them."""
    if span.label not in NAMES or span.score >= _SURE:
        return False
    value = text[span.start : span.end]
    if any(c.isupper() for c in value) or not any(c.islower() for c in value):
        return False
    first, last = max(0, span.start - _REACH_CHARS), span.end + _REACH_CHARS
    return any(
        match["first"].isupper() and match["second"].islower()
        for match in _CAPITALISED.finditer(text, first, last)
    )
