"""How the true and the predicted spans of one document match.

The schemas are those of nervaluate (https://github.com/MantisAI/nervaluate), after SemEval 2013
task 9.1, with one difference: any shared character counts as overlap, nervaluate asks for 1 %
of the true span. Span lists are sorted; each true span matches at most one predicted span.
"""

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from routewright.labels import OUTSIDE, Span

Offsets = tuple[int, int]


def num_exact(true: Sequence[Span], predicted: Sequence[Span]) -> int:
    """Predicted spans with the boundaries and the type of a true one; each counts once."""
    wanted = Counter((s.start, s.end, s.label) for s in true)
    found = Counter((s.start, s.end, s.label) for s in predicted)
    return (wanted & found).total()


def partial_credit(true: Sequence[Span], predicted: Sequence[Span]) -> float:
    """1 for each predicted span with right boundaries, 0.5 for overlap, whatever the types."""
    free = list(true)
    credit = 0.0
    for span in predicted:
        overlapping = [t for t in free if t.overlaps(span)]
        if not overlapping:
            continue
        exact = [t for t in overlapping if (t.start, t.end) == (span.start, span.end)]
        credit += 1.0 if exact else 0.5
        free.remove((exact or overlapping)[0])
    return credit


def num_type_matched(true: Sequence[Span], predicted: Sequence[Span]) -> int:
    """Predicted spans that overlap a true one of their type.

    A predicted span takes the nearest true span of its type; without one it uses up the first
    that it overlaps, which then counts as found with the wrong type.
    """
    free = list(true)
    num_matched = 0
    for span in predicted:
        overlapping = [t for t in free if t.overlaps(span)]
        same_type = [t for t in overlapping if t.label == span.label]
        if same_type:
            num_matched += 1
            free.remove(min(same_type, key=lambda t: _boundary_distance(t, span)))
        elif overlapping:
            free.remove(overlapping[0])
    return num_matched


def num_overlapped(true: Sequence[Span], predicted: Sequence[Span]) -> int:
    """True spans with which a predicted span of their type shares a character.

    One predicted span may find several: for redaction a wrong border is a blemish, a missed
    entity a leak.
    """
    return sum(any(p.label == t.label and p.overlaps(t) for p in predicted) for t in true)


def pair_up(true: Sequence[Span], predicted: Sequence[Span]) -> Iterator[tuple[str, str]]:
    """Labels of the spans that share most characters, one to one; `OUTSIDE` for no partner.

    The largest overlap pairs first; of equal ones the pair of one type, then the earliest.
    """
    candidates = sorted(
        (-min(t.end, p.end) + max(t.start, p.start), t.label != p.label, i, j)
        for i, t in enumerate(true)
        for j, p in enumerate(predicted)
        if t.overlaps(p)
    )
    free_true, free_predicted = set(range(len(true))), set(range(len(predicted)))
    for _, _, i, j in candidates:
        if i in free_true and j in free_predicted:
            free_true.remove(i)
            free_predicted.remove(j)
            yield true[i].label, predicted[j].label
    for i in sorted(free_true):
        yield true[i].label, OUTSIDE
    for j in sorted(free_predicted):
        yield OUTSIDE, predicted[j].label


def words(text: str) -> list[Offsets]:
    """Offsets of the words: runs of letters, marks and digits.

    Chinese and Japanese do not write spaces, so there each character is a word of its own.
    """
    result: list[Offsets] = []
    start: int | None = None
    for i, character in enumerate(text):
        kind = _kind(character)
        if start is not None and kind != "word":
            result.append((start, i))
            start = None
        if kind == "word" and start is None:
            start = i
        elif kind == "ideograph":
            result.append((i, i + 1))
    if start is not None:
        result.append((start, len(text)))
    return result


def word_labels(offsets: Sequence[Offsets], spans: Sequence[Span]) -> list[str]:
    """Label of each word: of the span that covers most of it, `OUTSIDE` without one."""
    labels = [OUTSIDE] * len(offsets)
    covered = [0] * len(offsets)
    ends = [end for _, end in offsets]
    for span in spans:
        for i in range(bisect_right(ends, span.start), len(offsets)):
            start, end = offsets[i]
            if start >= span.end:
                break
            shared = min(end, span.end) - max(start, span.start)
            if shared > covered[i]:
                covered[i], labels[i] = shared, span.label
    return labels


def _boundary_distance(one: Span, other: Span) -> int:
    return abs(one.start - other.start) + abs(one.end - other.end)


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if any(first <= character <= last for first, last in _IDEOGRAPHS):
        return "ideograph"
    return "word" if unicodedata.category(character)[0] in "LMN" else "other"


_IDEOGRAPHS = (
    ("\u3041", "\u3096"),  # hiragana
    ("\u30a1", "\u30fa"),  # katakana
    ("\u3400", "\u4dbf"),  # extension A
    ("\u4e00", "\u9fff"),  # unified ideographs
    ("\uf900", "\ufaff"),  # compatibility ideographs
    ("\U00020000", "\U0003ffff"),  # supplementary planes
)
