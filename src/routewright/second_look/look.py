"""Entities of the model and findings of the rules to one list of entities."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace
from itertools import islice

from routewright.labels import Span
from routewright.second_look.casing import is_common_word
from routewright.second_look.finders import add_apart, findings
from routewright.second_look.folding import FoldedText
from routewright.second_look.settings import SecondLookSettings
from routewright.second_look.shapes import checked

_PARTS = {("EMAIL_ADDRESS", "DOMAIN_NAME"), ("PHONE_NUMBER", "IP_ADDRESS")}
"""Entity and what its end may look like: ``john @ example.com``, ``(06) 12.34.56.78``."""
_MOST_PASSES = 8
"""A neighbour that was vetoed or trimmed leaves room for the borders of another entity."""


def second_look(text: str, spans: Sequence[Span], settings: SecondLookSettings) -> list[Span]:
    """Confirm, correct, veto and add entities by their form, whatever invisible stands in it.

    A proven entity takes the place of every entity of a checked type that it overlaps, and its
    part of those of other types, of which the rest stays; but a host does not take the place of
    an e-mail address around it, nor four numbers that of a phone number around them. What is
    left of the checked types gets the borders of its form, or goes if it has none. An unsure
    name without a capital goes where the text writes capitals. A second pass changes nothing.

    Args:
        text: of any length; time is linear in it.
        spans: sorted, not overlapping, inside `text`.
        settings: which types, and what may be done.

    Returns:
        Sorted, not overlapping, not empty, inside `text`.
    """
    if settings.veto:
        spans = [span for span in spans if not is_common_word(text, span)]
    folded = FoldedText(text)
    proven = findings(folded.text, settings.types, settings.score)
    if folded.leaves_out:
        # What has no width may also stand between two words.
        apart = findings(folded.with_invisible(), settings.types, settings.score)
        add_apart(proven, folded.inwards(apart))
    result = _decided(folded.text, folded.inwards(spans), proven, settings)
    return folded.outwards(result)


def _decided(
    text: str, spans: Sequence[Span], proven: list[Span], settings: SecondLookSettings
) -> list[Span]:
    """`spans` with the `proven` ones, which are sorted, and with the borders of their forms."""
    types = settings.types
    if not settings.find:
        proven = [p for p in proven if any(s.label in types for s in _overlapping(spans, p))]
    around = {s for s in spans for p in _overlapping(proven, s) if _is_part(text, p, s, types)}
    proven = [p for p in proven if around.isdisjoint(_overlapping(spans, p))]
    kept: list[Span] = []
    for span in spans:
        hits = _overlapping(proven, span)
        if span.label not in types:
            kept += _rest(text, span, hits)
        elif not hits:
            kept.append(span)
    result = sorted([*kept, *proven])
    if not any(span.label in types for span in kept):
        return result
    certain = set(proven)
    for _ in range(_MOST_PASSES):
        before, result = result, _with_borders(text, result, certain, settings)
        if result == before:
            break
    return result


def _is_part(text: str, proven: Span, span: Span, types: Collection[str]) -> bool:
    """Whether a proven entity is a piece of a larger one, which has a form too."""
    is_inside = span.start <= proven.start and proven.end <= span.end
    return (
        (span.label, proven.label) in _PARTS
        and span.label in types
        and is_inside
        and checked(text, span.label, (span.start, span.end)) is not None
    )


def _overlapping(spans: Sequence[Span], span: Span) -> Sequence[Span]:
    """Those of `spans`, sorted and not overlapping, that share a character with `span`."""
    first = bisect_right(spans, span.start, key=lambda s: s.end)
    return spans[first : bisect_left(spans, span.end, key=lambda s: s.start)]


def _rest(text: str, span: Span, hits: Sequence[Span]) -> Iterable[Span]:
    """The pieces of `span` outside of `hits` that hold a letter or digit."""
    if not hits:
        yield span
        return
    starts = [span.start, *(hit.end for hit in hits)]
    ends = [*(hit.start for hit in hits), span.end]
    for start, end in zip(starts, ends, strict=True):
        inside = [i for i in range(start, end) if text[i].isalnum()]
        if inside:
            yield replace(span, start=inside[0], end=inside[-1] + 1)


def _with_borders(
    text: str, spans: Sequence[Span], proven: Set[Span], settings: SecondLookSettings
) -> list[Span]:
    """`spans` with the shape of each unproven one of a checked type enforced.

    A span takes in those behind it that are pieces of the same entity.
    """
    result: list[Span] = []
    for i, span in enumerate(spans):
        if result and span.start < result[-1].end:
            continue  # taken in
        if span.label not in settings.types or span in proven:
            result.append(span)
            continue
        borders = checked(text, span.label, (span.start, span.end))
        if borders is None:
            if not settings.veto:
                result.append(span)
            continue
        first = result[-1].end if result else 0
        others = (
            s
            for s in islice(spans, i + 1, None)
            if s in proven or s.label != span.label or s.end > borders[1]
        )
        last = next((s.start for s in others), len(text))
        fits = first <= borders[0] and borders[1] <= last
        result.append(replace(span, start=borders[0], end=borders[1]) if fits else span)
    return result
