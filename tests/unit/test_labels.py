"""Label sets, BIO tags and spans."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.errors import TaskError
from routewright.labels import BioScheme, LabelSet, Span, check_spans, encode_bio

SCHEME = BioScheme(("PERSON", "CITY"))


def test_tags_are_outside_then_begin_and_inside_of_each_type() -> None:
    assert list(SCHEME.tags) == ["O", "B-PERSON", "I-PERSON", "B-CITY", "I-CITY"]
    assert [SCHEME.entity_type(i) for i in (0, 2, 3)] == [None, "PERSON", "CITY"]


@pytest.mark.parametrize(
    ("previous", "tag", "allowed"),
    [
        ("O", "I-PERSON", False),
        ("B-PERSON", "I-PERSON", True),
        ("I-PERSON", "I-PERSON", True),
        ("B-CITY", "I-PERSON", False),
        ("I-CITY", "B-CITY", True),
        ("I-CITY", "O", True),
    ],
)
def test_inside_follows_only_its_own_type(previous: str, tag: str, allowed: bool) -> None:
    assert SCHEME.may_follow(SCHEME.tags.id(previous), SCHEME.tags.id(tag)) is allowed


def test_a_token_belongs_to_a_span_when_they_share_a_character() -> None:
    offsets = [(0, 0), (0, 4), (5, 8), (8, 9), (10, 14), (0, 0)]
    spans = [Span(5, 7, "PERSON"), Span(8, 12, "CITY")]
    tags = [SCHEME.tags.names[i] for i in encode_bio(spans, offsets, SCHEME)]
    assert tags == ["O", "O", "B-PERSON", "B-CITY", "I-CITY", "O"]


def test_of_overlapping_spans_the_earlier_then_longer_one_wins() -> None:
    offsets = [(0, 1), (1, 2), (2, 3)]
    spans = [Span(1, 3, "CITY"), Span(0, 1, "CITY"), Span(0, 2, "PERSON")]
    tags = [SCHEME.tags.names[i] for i in encode_bio(spans, offsets, SCHEME)]
    assert tags == ["B-PERSON", "I-PERSON", "B-CITY"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5))
def test_encoded_tags_are_always_well_formed(pairs: list[tuple[int, int]]) -> None:
    spans = [Span(a, b, "PERSON" if a % 2 else "CITY") for a, b in pairs]
    words = [(i, i + 2) for i in range(0, 30, 3)]
    blank = [(end, end) for _, end in words]  # as byte-level vocabularies have them
    mixed = [offsets for pair in zip(words, blank, strict=True) for offsets in pair]
    for offsets in (words, mixed):
        tags = encode_bio(spans, offsets, SCHEME)
        assert SCHEME.may_start(tags[0])
        assert all(SCHEME.may_follow(a, b) for a, b in pairwise(tags))


def test_a_token_of_white_space_inside_a_span_belongs_to_it() -> None:
    offsets = [(0, 2), (3, 4), (5, 8), (9, 9), (9, 13), (13, 13), (14, 16)]
    tags = encode_bio([Span(3, 13, "CITY")], offsets, SCHEME)
    names = [SCHEME.tags.names[i] for i in tags]
    assert names == ["O", "B-CITY", "I-CITY", "I-CITY", "I-CITY", "O", "O"]


@pytest.mark.parametrize("names", [("a", "a"), (), ("a", ""), (" a",)])
def test_label_names_are_unique_and_clean(names: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match="labels"):
        LabelSet(names)


def test_an_unknown_label_is_named_with_the_known_ones() -> None:
    with pytest.raises(TaskError, match="unknown label 'c'; known: a, b"):
        LabelSet(("a", "b")).id("c")


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([Span(0, 2, "CITY"), Span(2, 4, "CITY")], None),
        ([Span(3, 3, "CITY")], "is empty or outside the text of 5 characters"),
        ([Span(3, 6, "CITY")], "is empty or outside the text of 5 characters"),
        ([Span(0, 3, "CITY"), Span(2, 4, "CITY")], "overlaps the one before it"),
        ([Span(0, 3, "DATE")], "has an unknown type; known: PERSON, CITY"),
    ],
)
def test_wrong_spans_are_described(spans: list[Span], problem: str | None) -> None:
    found = check_spans("hello", spans, SCHEME.entity_types)
    assert found is None if problem is None else problem in (found or "")
