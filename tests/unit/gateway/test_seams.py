"""The places where parts of a message meet, and what lies across them."""

import time

from hypothesis import given
from hypothesis import strategies as st

from routewright.gateway.bodies.texts import TextPlace, find_texts
from routewright.gateway.seams import REACH, find_seams
from routewright.labels import Span

PARTS = st.lists(st.text(st.sampled_from("ab 1"), max_size=3 * REACH), min_size=1, max_size=5)


def places(*texts: str, turn: int = 0) -> list[TextPlace]:
    return [TextPlace(text, "user", turn, is_part=True) for text in texts]


def test_a_value_over_three_parts_is_brought_back_to_each() -> None:
    (seam,) = find_seams(places("I am 078", "-05-", "1120 you know"))
    assert seam.text == "I am 078-05-1120 you know"
    found = dict(seam.across([Span(5, 16, "US_SSN", 0.9)]))
    assert found == {
        0: Span(5, 8, "US_SSN", 0.9),
        1: Span(0, 4, "US_SSN", 0.9),
        2: Span(0, 4, "US_SSN", 0.9),
    }


def test_what_lies_within_one_part_is_left_to_that_part() -> None:
    (seam,) = find_seams(places("Ann", "Bob"))
    assert not list(seam.across([Span(0, 3, "PERSON"), Span(3, 6, "PERSON")]))


def test_long_parts_are_read_around_their_borders_alone() -> None:
    long = "a" * 1000
    first, second = find_seams(places(long, long + "b", long))
    assert (len(first.text), len(second.text)) == (2 * REACH, 2 * REACH)
    assert dict(second.across([Span(REACH - 1, REACH + 2, "X")])) == {
        1: Span(1000, 1001, "X"),
        2: Span(0, 2, "X"),
    }


def test_messages_of_one_text_have_no_seam() -> None:
    one = {"role": "user", "name": "Ann Li", "content": "hello"}
    image = {"type": "image_url", "image_url": {"url": "https://x"}}
    two = {"role": "user", "content": [{"type": "text", "text": "look"}, image]}
    texts, _ = find_texts("chat", {"messages": [one, two, one]})
    assert find_seams(texts) == ()
    texts, _ = find_texts("embeddings", {"input": ["one", "two"]})
    assert find_seams(texts) == ()
    assert find_seams([*places("a"), *places("b", turn=1)]) == ()


@given(PARTS, st.data())
def test_every_span_across_a_border_comes_back_as_the_same_characters(
    parts: list[str], data: st.DataObject
) -> None:
    given_places = places(*parts)
    for seam in find_seams(given_places):
        start = data.draw(st.integers(0, len(seam.text) - 1))
        end = data.draw(st.integers(start + 1, len(seam.text)))
        found = list(seam.across([Span(start, end, "X")]))
        values = [given_places[place].text[span.start : span.end] for place, span in found]
        assert not found or "".join(values) == seam.text[start:end]
        assert len(found) != 1


def test_thousands_of_parts_take_no_time() -> None:
    started = time.process_time()
    seams = find_seams(places(*(["x" * 300] * 8_000)))
    assert len(seams) == 7_999
    (short,) = find_seams(places(*(["ab"] * 8_000)))
    spans = [Span(i, i + 3, "X") for i in range(0, 15_000, 3)]
    assert len(list(short.across(spans))) >= 2 * len(spans)
    assert time.process_time() - started < 3.0
