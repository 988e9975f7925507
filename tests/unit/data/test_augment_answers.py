"""What language models write, taken apart: lists of texts, and entities marked up in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.data.augment.markup import can_be_marked, marked_text, read_marked
from routewright.data.augment.prompts import read_list
from routewright.data.examples import TokenExample
from routewright.labels import Span

TYPES = ("CITY", "PERSON", "US-STATE", "e.mail", "2FA")


def test_marked_values_become_spans_of_the_text_without_marks() -> None:
    found = read_marked(" <PERSON>Ada Löw</PERSON> 💌 <e.mail>a@b.c</e.mail>, 1 < 2.\n", TYPES)
    assert found == TokenExample(
        "Ada Löw 💌 a@b.c, 1 < 2.", (Span(0, 7, "PERSON"), Span(10, 15, "e.mail"))
    )


@pytest.mark.parametrize(
    ("marked", "problem"),
    [
        ("<TOWN>Rome</TOWN>", "unknown type"),
        ("<b>no</b> <CITY>Rome</CITY>", "unknown type"),
        ("<CITY>Rome", "do not match"),
        ("Rome</CITY>", "do not match"),
        ("<CITY>Rome</PERSON>", "do not match"),
        ("<CITY><PERSON>Rome</PERSON></CITY>", "do not match"),
        ("<CITY>Rome <CITY>Oslo</CITY></CITY>", "do not match"),
        ("in <CITY></CITY>", "empty"),
        ("in <CITY> Rome</CITY>", "white space"),
        ("<PERSON>Ann</PERSON> said, and Ann went", "in one place and not in another"),
    ],
)
def test_markup_that_is_not_perfect_is_no_example(marked: str, problem: str) -> None:
    found = read_marked(marked, TYPES)
    assert isinstance(found, str)
    assert problem in found


@pytest.mark.parametrize(
    "marked",
    [
        "<PERSON>Ann</PERSON> in the Annex of <CITY>Annheim</CITY>",
        "code <2FA>5</2FA> for 5 cats",
        "<PERSON>Rome Lee</PERSON> of <CITY>Rome</CITY>",
    ],
)
def test_a_value_inside_a_longer_word_or_another_value_is_not_left_out(marked: str) -> None:
    assert isinstance(read_marked(marked, TYPES), TokenExample)


WORD = st.text(alphabet="abcdeé💌<>/", min_size=1, max_size=6)
PIECE = st.tuples(WORD, st.sampled_from([None, "CITY", "PERSON", "2FA"]))


@given(st.lists(PIECE, min_size=1, max_size=8))
def test_what_can_be_marked_reads_back_the_same(pieces: list[tuple[str, str | None]]) -> None:
    text, spans = "", []
    for value, label in pieces:
        if label is not None:
            spans.append(Span(len(text), len(text) + len(value), label))
        text += value + " "
    example = TokenExample(text.rstrip(), tuple(spans))
    if can_be_marked(example, TYPES):
        assert read_marked(marked_text(example), TYPES) == example


def test_a_row_with_tags_of_its_own_is_not_shown() -> None:
    assert can_be_marked(TokenExample("in Rome", (Span(3, 7, "CITY"),)), TYPES)
    assert not can_be_marked(TokenExample("<b>in</b> Rome", (Span(10, 14, "CITY"),)), TYPES)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Here you are:\n```json\n["a"]\n```\nAnything else?', ["a"]),
        ('<think>a list [of 3]\n</think>\n["a"]', ["a"]),
        ('["a", 1, null]', ["a", 1, None]),
        ("[]", []),
        ('["a", "b', None),
        ('["a" "b"]', None),
        ('{"texts": 1}', None),
        ("a\nb", None),
        ("", None),
        ("]" + "[" * 3, None),
        ("[" * 99_999 + "]" * 99_999, None),
    ],
)
def test_the_list_in_an_answer_is_found_or_the_answer_is_none(
    answer: str, found: list[object] | None
) -> None:
    assert read_list(answer) == found
