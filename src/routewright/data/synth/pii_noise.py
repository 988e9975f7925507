"""Variation that real texts have and templates lack; it works on pieces: spans stay exact."""

import random
from collections.abc import Callable, Sequence

from routewright.data.synth.grammar import Piece

_WRAPPERS = (
    ('"', '"'),
    ("'", "'"),
    ("(", ")"),
    ("[", "]"),
    ("> ", ""),
    ("- ", ""),
    ("“", "”"),
    ("", "\n"),
)

_DASHES = (
    " - ", " \u2013 ", " \u2014 ", " -- ", " ... ",
    " \u00e2\u20ac\u201c ", " \u00e2\u20ac\u201d ", " \u05d2\u20ac\u201c ",
    " \u0432\u0402\u201c ", " \u2014", "\u2013 ",
)  # fmt: skip
"""What stands for a comma now and then, dashes read in the wrong encoding among them."""
_APOSTROPHES = (
    "\u2019",
    "\u2019",
    "\u00e2\u20ac\u2122",
    "\u05d2\u20ac\u2122",
    "\u0432\u0402\u2122",
    "`",
    "\u00b4",
    "?",
)
"""What stands for an apostrophe now and then: typographic, or read in the wrong encoding."""


def add_noise(pieces: Sequence[Piece], rng: random.Random) -> list[Piece]:
    """A copy with at most one change of case and a few of punctuation, layout and spelling."""
    result = list(pieces)
    kind = rng.random()
    if kind < 0.075:
        result = _map(result, str.lower)
    elif kind < 0.095:
        result = _map(result, str.upper)
    if rng.random() < 0.12:
        result = _drop_final_punctuation(result)
    if rng.random() < 0.06:
        result = _map(result, lambda text: _typo(text, rng), entities=False)
    if rng.random() < 0.04:
        result = _map(result, lambda text: text.replace(". ", ".\n", 1), entities=False)
    if rng.random() < 0.03:
        mark = rng.choice(_APOSTROPHES)
        result = _map(result, lambda text: text.replace("'", mark), entities=False)
    if rng.random() < 0.03:
        result = _map(result, lambda text: text.replace(", ", " "), entities=False)
    if rng.random() < 0.03:
        dash = rng.choice(_DASHES)
        result = _map(result, lambda text: text.replace(", ", dash, 1), entities=False)
    if rng.random() < 0.05:
        before, after = rng.choice(_WRAPPERS)
        result = [Piece(before), *result, Piece(after)]
    return result


def _map(
    pieces: Sequence[Piece], change: Callable[[str], str], *, entities: bool = True
) -> list[Piece]:
    return [
        Piece(change(piece.text), piece.label) if entities or piece.label is None else piece
        for piece in pieces
    ]


def _drop_final_punctuation(pieces: list[Piece]) -> list[Piece]:
    last = pieces[-1]
    return [*pieces[:-1], Piece(last.text.rstrip(".!?"))] if last.label is None else pieces


def _typo(text: str, rng: random.Random) -> str:
    """Swap, drop or double one letter inside a word."""
    inner = [i for i in range(1, len(text) - 2) if text[i - 1 : i + 3].isalpha()]
    if not inner:
        return text
    i = rng.choice(inner)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return text[:i] + text[i + 1 :] if kind == 1 else text[: i + 1] + text[i:]
