"""Where the content parts of a message meet: a value split over them is in none of them.

A model reads the parts as one text. So the end of each part and the beginning of the next are
classified together, and what is found across a border is brought back to the parts. Pure.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from routewright.gateway.bodies.texts import TextPlace
from routewright.labels import Span

REACH = 128
"""Characters on each side of a border: room for an address, and little beside long parts."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A stretch of one message around one or more borders of its parts."""

    text: str
    pieces: tuple[tuple[int, int, int, int], ...]
    """Of each part in it: its place in the request, the position in the part that the stretch
    begins at, and where its piece begins and ends in `text`."""

    def across(self, spans: Iterable[Span]) -> Iterable[tuple[int, Span]]:
        """The pieces of those `spans` of `text` that lie across a border, by place."""
        borders = [start for _, _, start, _ in self.pieces[1:]]
        for span in spans:
            first, last = bisect_right(borders, span.start), bisect_left(borders, span.end)
            if first == last:
                continue
            for place, begins, start, end in self.pieces[first : last + 1]:
                own_start, own_end = max(span.start, start), min(span.end, end)
                shift = begins - start
                yield place, Span(own_start + shift, own_end + shift, span.label, span.score)


def find_seams(places: Sequence[TextPlace]) -> tuple[Seam, ...]:
    """The seams of all messages; most messages have one part and none."""
    parts = [(i, place) for i, place in enumerate(places) if place.is_part and place.text]
    seams: list[Seam] = []
    for _, group in groupby(parts, key=lambda part: part[1].turn):
        message = list(group)
        if len(message) > 1:
            seams += _seams_of(message)
    return tuple(seams)


def _seams_of(message: Sequence[tuple[int, TextPlace]]) -> Iterable[Seam]:
    """Stretches of the joined parts that reach around the borders; those that touch are one."""
    starts = [0]
    for _, place in message:
        starts.append(starts[-1] + len(place.text))
    stretches: list[tuple[int, int]] = []
    for border in starts[1:-1]:
        start, end = max(0, border - REACH), min(starts[-1], border + REACH)
        if stretches and start <= stretches[-1][1]:
            start = stretches.pop()[0]
        stretches.append((start, end))
    for start, end in stretches:
        pieces, texts, length = [], [], 0
        first, last = bisect_right(starts, start) - 1, bisect_left(starts, end)
        for number in range(first, last):
            (place_index, place), own_start = message[number], starts[number]
            begins = max(0, start - own_start)
            text = place.text[begins : end - own_start]
            if text:
                pieces.append((place_index, begins, length, length + len(text)))
                texts.append(text)
                length += len(text)
        yield Seam("".join(texts), tuple(pieces))
