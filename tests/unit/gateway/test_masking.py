"""Values go out of the prompt and come back, however the answer is cut into pieces."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.masks import cut, masker_of

from routewright.gateway.masking import Masker, StreamUnmasker, unmask_answer
from routewright.labels import Span

ALPHABET = st.sampled_from([*'[]_1AB \\"é\U0001f600', "PERSON", "[PERSON_1]", "[A_2]", "[AB"])
MIXED = st.lists(ALPHABET, max_size=25).map("".join)
LABELS = st.sampled_from(["PERSON", "A", "EMAIL_ADDRESS"])


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(MIXED)
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pairs = zip(borders[::2], borders[1::2], strict=False)
    return text, [Span(start, end, draw(LABELS)) for start, end in pairs]


def test_placeholders_are_numbered_by_first_appearance_and_stable() -> None:
    first, second = "Ann and Bob met Ann", "Bob, ann@x.org"
    masker = Masker([first, second])
    spans = [Span(0, 3, "PERSON"), Span(8, 11, "PERSON"), Span(16, 19, "PERSON")]
    assert masker.mask(first, spans) == "[PERSON_1] and [PERSON_2] met [PERSON_1]"
    spans = [Span(0, 3, "PERSON"), Span(5, 14, "EMAIL_ADDRESS")]
    assert masker.mask(second, spans) == "[PERSON_2], [EMAIL_ADDRESS_1]"
    assert masker.unmask("Dear [PERSON_2] <[EMAIL_ADDRESS_1]>") == "Dear Bob <ann@x.org>"


def test_the_clients_own_placeholder_like_text_stays_the_clients() -> None:
    text = "the file says [PERSON_1], I am Ann"
    masker = Masker([text])
    masked = masker.mask(text, [Span(31, 34, "PERSON")])
    assert masked == "the file says [PERSON_1], I am [PERSON_2]"
    assert masker.unmask("[PERSON_1] [PERSON_2] [PERSON_3]") == "[PERSON_1] Ann [PERSON_3]"


def test_two_requests_share_nothing() -> None:
    one, two = masker_of(PERSON="Ann"), masker_of(PERSON="Bob")
    assert (one.unmask("[PERSON_1]"), two.unmask("[PERSON_1]")) == ("Ann", "Bob")
    assert Masker([]).unmask("[PERSON_1]") == "[PERSON_1]"


@pytest.mark.parametrize("span", [Span(0, 9, "A"), Span(2, 2, "A"), Span(-1, 2, "A")])
def test_a_span_outside_is_a_mistake_of_the_caller(span: Span) -> None:
    with pytest.raises(ValueError, match="is empty or outside"):
        Masker(["Ann"]).mask("Ann", [span])


def test_a_text_the_masker_was_not_made_with_is_refused_if_it_could_be_confused() -> None:
    with pytest.raises(ValueError, match="made with all texts"):
        masker_of(PERSON="Ann").mask("[PERSON_1]", [])


@given(texts_with_spans())
def test_masking_and_unmasking_gives_the_text_back(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    masker = Masker([text])
    masked = masker.mask(text, spans)
    assert masker.unmask(masked) == text
    assert len({text[s.start : s.end] for s in spans}) == masker.num_values


def test_a_value_that_was_overlooked_elsewhere_is_masked_there_too() -> None:
    masker = masker_of(EMAIL="ann@x.org", PERSON="Will", PHONE="555-0142")
    assert masker.mask_again("Will ann@x.org, 1555-0142 or 555-0142?") == (
        "Will [EMAIL_1], 1555-0142 or [PHONE_1]?"
    )


def test_a_value_that_was_overlooked_where_it_stands_alone_is_masked_whatever_it_is() -> None:
    masker = masker_of(PERSON="Will", EMAIL="ann@x.org")
    for text, masked in (("Will", "[PERSON_1]"), ("will", "will"), ("Will I?", "Will I?"),
                         ("to ann@x.org", "to [EMAIL_1]")):  # fmt: skip
        assert masker.mask_again(text, is_value=True) == masked
    assert masker.mask_again("Will") == "Will"


@given(texts_with_spans(), MIXED)
def test_masking_again_can_be_undone_too(case: tuple[str, list[Span]], other: str) -> None:
    text, spans = case
    masker = Masker([text, other])
    masked = [masker.mask(text, spans), masker.mask(other, [])]
    assert [masker.unmask(masker.mask_again(m)) for m in masked] == [text, other]


@given(MIXED, st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_however_a_stream_is_cut_the_whole_is_the_same(
    text: str, borders: list[int], json_string: bool
) -> None:
    masker = masker_of(PERSON='Ann "x" [A_2]', A="\\ é")
    stream = StreamUnmasker(masker, json_string=json_string)
    result = ""
    for piece in cut(text, borders):
        result += stream.feed(piece)
        assert len(stream.held) < masker.longest_placeholder
    assert result + stream.flush() == masker.unmask(text, json_string=json_string)
    assert stream.flush() == ""


def test_thousands_of_values_in_thousands_of_texts_take_no_time() -> None:
    texts = [f"5550{n:06}" for n in range(10_000)]
    masker = Masker(texts)
    started = time.process_time()
    masked = [masker.mask(text, [Span(0, len(text), "PHONE")]) for text in texts]
    assert [masker.mask_again(text) for text in masked] == masked
    assert time.process_time() - started < 3.0


def test_thousands_of_values_take_no_time_to_look_for_in_a_long_text() -> None:
    values = [f"+49 151 {n:07}" for n in range(10_000)]
    masker = masker_of(PHONE=values[0], EMAIL="ann@x.org")
    for value in values:
        masker.mask(value, [Span(0, len(value), "PHONE")])
    text = "+49 151 is where all of them begin, but none " * 10_000
    started = time.process_time()
    assert masker.mask_again(f"{text}, {values[-1]}") == f"{text}, [PHONE_10000]"
    assert time.process_time() - started < 3.0


@given(st.lists(ALPHABET | st.sampled_from("aA1@ "), max_size=25).map("".join), st.data())
def test_values_are_found_where_they_stand_in_full_the_longest_first(
    text: str, data: st.DataObject
) -> None:
    places = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(places, places), max_size=5))
    values = {text[min(pair) : max(pair)] for pair in pairs} - {""}
    masker = Masker([text])
    masks = {value: masker.mask(value, [Span(0, len(value), "A")]) for value in values}
    known = [v for v in values if len(v) >= 6 and re.search(r"[\d@\s]", v)]
    any_of = "|".join(re.escape(v) for v in sorted(known, key=len, reverse=True))
    pattern = rf"\[[A-Z0-9_]+\]|(?<!\w)(?:{any_of})(?!\w)"
    expected = re.sub(pattern, lambda m: masks.get(m[0], m[0]), text) if known else text
    assert masker.mask_again(text) == expected


def test_a_text_that_nearly_holds_a_value_everywhere_takes_no_longer_to_look_through() -> None:
    address = "a." * 31 + "a@b.com"
    text = "a." * 100_000
    plain, masker = masker_of(EMAIL="ann@x.org"), masker_of(EMAIL=address)
    assert plain.mask_again("") == masker.mask_again("") == ""

    def seconds(one: Masker) -> float:
        started = time.process_time()
        assert one.mask_again(text) == text
        return time.process_time() - started

    # A compiled comparison of a place with the value is a few times a glance at it; one in
    # Python was a hundred times that.
    assert min(seconds(masker) for _ in range(3)) < 25 * min(seconds(plain) for _ in range(3))
    assert masker.mask_again(f"to {address}.") == "to [EMAIL_1]."


@pytest.mark.parametrize(
    "ends", [["\U0001f600 9"], [chr(n) + " 9" for n in range(0x4E00, 0x4E50)]]
)
def test_values_that_branch_at_every_character_are_all_found(ends: list[str]) -> None:
    values = [("a." * 64)[:length] + end for length in range(4, 125) for end in ends]
    masker = Masker(values)
    masked = [masker.mask(value, [Span(0, len(value), "A")]) for value in values]
    chosen = range(0, len(values), 97)
    text = ", ".join(values[n] for n in chosen)
    assert masker.mask_again(text) == ", ".join(masked[n] for n in chosen)


def test_a_very_long_value_is_found_again_only_as_a_whole_string() -> None:
    value = "a." * 70 + "1"
    masker = masker_of(A=value)
    assert masker.mask_again(f"to {value}") == f"to {value}"
    assert masker.mask_again(value, is_value=True) == "[A_1]"


def test_nothing_keeps_the_values_when_the_request_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[Any, Any] = {}
    monkeypatch.setattr(re, "_cache", kept)
    assert masker_of(EMAIL="ann@x.org").mask_again("ann@x.org") == "[EMAIL_1]"
    assert "ann" not in str(kept)


def test_in_a_regular_expression_the_placeholders_alone_are_escaped() -> None:
    masker = masker_of(PHONE="555-0142")
    pattern = masker.mask_again("[ABC]+(555-0142|none)")
    assert masker.in_pattern(pattern) == r"[ABC]+(\[PHONE_1\]|none)"


def test_values_in_arguments_are_escaped_as_json() -> None:
    masker = masker_of(PERSON='Ann "the\nboss" O\\Neil')
    arguments = '{"to": "[PERSON_1]", "n": 1}'
    assert json.loads(masker.unmask(arguments, json_string=True)) == {
        "to": 'Ann "the\nboss" O\\Neil',
        "n": 1,
    }
    answer = {"choices": [{"message": {
        "content": "Hi [PERSON_1]",
        "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
    }}]}  # fmt: skip
    message = unmask_answer(answer, masker)["choices"][0]["message"]
    assert message["content"] == 'Hi Ann "the\nboss" O\\Neil'
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["n"] == 1
    assert answer["choices"][0]["message"]["content"] == "Hi [PERSON_1]"


def test_a_text_that_was_asked_for_as_json_stays_json() -> None:
    answer = {"choices": [{"message": {"content": '{"name": "[PERSON_1]"}'}}]}
    masker = masker_of(PERSON='A"B')
    content = unmask_answer(answer, masker, json_content=True)["choices"][0]["message"]
    assert json.loads(content["content"]) == {"name": 'A"B'}
