"""Span metrics against nervaluate, words, confusion and restriction to some types."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from pydantic import TypeAdapter

from routewright.errors import DataError, TaskError
from routewright.labels import LabelSet, Span
from routewright.metrics import SpanReport, span_report
from routewright.metrics.matching import words

TYPES = LabelSet(("PERSON", "GPE", "AGE"))
TEXT_LENGTH = 60


@st.composite
def span_lists(draw: st.DrawFn) -> list[Span]:
    """Up to five spans without overlap, in order."""
    cuts = sorted(
        draw(st.lists(st.integers(0, TEXT_LENGTH), unique=True, min_size=0, max_size=10))
    )
    return [
        Span(start, end, draw(st.sampled_from(TYPES.names)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]


def as_dicts(documents: list[list[Span]]) -> list[list[dict[str, Any]]]:
    return [
        [{"label": s.label, "start": s.start, "end": s.end - 1} for s in document]
        for document in documents
    ]


def values(report: SpanReport) -> dict[str, float | None]:
    return {name: estimate.value for name, estimate in report.metrics.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(span_lists(), span_lists()), min_size=1, max_size=4))
def test_span_metrics_equal_those_of_nervaluate(
    documents: list[tuple[list[Span], list[Span]]],
) -> None:
    gold = [true for true, _ in documents]
    predicted = [found for _, found in documents]
    texts = ["x" * TEXT_LENGTH] * len(documents)
    report = span_report(texts, gold, predicted, TYPES, num_resamples=0)
    expected = Evaluator(
        as_dicts(gold), as_dicts(predicted), tags=list(TYPES), loader="dict"
    ).evaluate()
    ours, overall = values(report), expected["overall"]
    assert (ours["span_precision"] or 0) == pytest.approx(overall["strict"].precision)
    assert (ours["span_recall"] or 0) == pytest.approx(overall["strict"].recall)
    assert (ours["span_f1"] or 0) == pytest.approx(overall["strict"].f1)
    assert (ours["partial_f1"] or 0) == pytest.approx(overall["partial"].f1)
    assert (ours["type_f1"] or 0) == pytest.approx(overall["ent_type"].f1)
    for name, schemas in expected["entities"].items():
        assert report.per_class[name]["f1"] == pytest.approx(schemas["strict"].f1)
        assert report.per_class[name]["partial_f1"] == pytest.approx(schemas["partial"].f1)


@settings(max_examples=60, deadline=None)
@given(span_lists(), span_lists())
def test_the_confusion_matrix_holds_every_span_once(
    gold: list[Span], predicted: list[Span]
) -> None:
    report = span_report(["x" * TEXT_LENGTH], [gold], [predicted], TYPES, num_resamples=0)
    counts = report.confusion_matrix.counts
    assert report.confusion_matrix.labels == ["PERSON", "GPE", "AGE", "O"]
    assert sum(map(sum, counts[:3])) == len(gold)
    assert sum(sum(row[:3]) for row in counts) == len(predicted)
    assert counts[3][3] == 0


def test_a_confused_type_a_missed_and_a_spurious_span_have_their_cells() -> None:
    text = "Ann Lee, 41, lives in Oslo with Bob"
    gold = [Span(0, 7, "PERSON"), Span(9, 11, "AGE"), Span(22, 26, "GPE")]
    predicted = [Span(0, 3, "PERSON"), Span(22, 26, "PERSON"), Span(32, 35, "PERSON")]
    report = span_report([text], [gold], [predicted], TYPES, num_resamples=10)
    assert report.confusion_matrix.counts == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
    ]
    assert report.per_class["GPE"]["recall"] == 0.0
    assert report.per_class["GPE"]["precision"] is None


def test_words_carry_the_label_that_covers_most_of_them() -> None:
    text = "call Ann-Marie Lee, 41"
    gold = [Span(5, 18, "PERSON"), Span(20, 22, "AGE")]  # Ann, Marie, Lee; 41
    predicted = [Span(5, 8, "PERSON"), Span(9, 11, "GPE"), Span(11, 14, "PERSON")]
    report = span_report([text], [gold], [predicted], TYPES, num_resamples=0)
    # Two words predicted, both right; four are true.
    assert values(report)["token_f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert values(report)["token_f2"] == pytest.approx(5 * 2 / (2 + 4 * 4))
    assert report.per_class["PERSON"]["token_f1"] == pytest.approx(2 * 2 / (2 + 3))


def test_words_outside_all_spans_are_a_class_where_they_are_asked_for() -> None:
    texts = ["Ada met Bob, 42", "nobody at all here"]
    gold = [[Span(0, 3, "PERSON"), Span(8, 11, "PERSON")], []]
    predicted = [[Span(0, 7, "PERSON")], [Span(0, 6, "PERSON")]]
    plain = span_report(texts, gold, predicted, TYPES, num_resamples=0)
    report = span_report(texts, gold, predicted, TYPES, outside=True, num_resamples=0)
    # True: met, 42 and four words below; predicted: Bob, 42 and three; four of them agree.
    row = report.per_class.pop("O")
    assert row.pop("token_f1") == pytest.approx(2 * 4 / (6 + 5))
    assert row.pop("support") == 6
    assert set(row.values()) == {None}
    assert report == plain


def test_words_follow_the_script() -> None:
    hindi = "\u0939\u093f\u0928\u094d\u0926\u0940"
    text = f"cafe\u0301 O'Hara_7 \u6771\u4eac {hindi} \U0001f600!"
    found = [text[start:end] for start, end in words(text)]
    assert found == ["cafe\u0301", "O", "Hara", "7", "\u6771", "\u4eac", hindi]


@settings(deadline=None)
@given(st.text(max_size=30))
@example("")
def test_words_are_in_order_and_not_empty(text: str) -> None:
    end = 0
    for start, word_end in words(text):
        assert end <= start < word_end <= len(text)
        end = word_end


def test_only_types_restricts_both_sides() -> None:
    text = "Ann, 41, of Acme"
    gold = [Span(0, 3, "PERSON"), Span(12, 16, "COMPANY")]
    predicted = [Span(0, 3, "PERSON"), Span(5, 7, "AGE")]
    with pytest.raises(TaskError, match="unknown label 'COMPANY'"):
        span_report([text], [gold], [predicted], TYPES)
    report = span_report([text], [gold], [predicted], TYPES, only_types=["PERSON"])
    assert values(report)["span_f1"] == 1.0
    assert values(report)["token_f1"] == 1.0
    assert list(report.per_class) == ["PERSON"]
    assert report.confusion_matrix.labels == ["PERSON", "O"]


def test_a_true_span_is_found_only_once() -> None:
    report = span_report(
        ["Ann"], [[Span(0, 3, "PERSON")]], [[Span(0, 3, "PERSON")] * 2], TYPES, num_resamples=0
    )
    assert values(report)["span_precision"] == 0.5


def test_the_recall_of_overlaps_counts_what_redaction_would_cover() -> None:
    text = "Ann Lee, 41, lives in Oslo with Bob"
    gold = [Span(0, 3, "PERSON"), Span(4, 7, "PERSON"), Span(9, 11, "AGE"), Span(22, 26, "GPE")]
    predicted = [Span(0, 7, "PERSON"), Span(9, 12, "AGE"), Span(22, 26, "PERSON")]
    report = span_report([text], [gold], [predicted], TYPES, num_resamples=0)
    assert values(report)["overlap_recall"] == 3 / 4, "one covers two; a wrong type finds none"
    assert values(report)["span_recall"] == 0.0


def test_texts_without_any_span_have_no_f1() -> None:
    report = span_report(["nothing here"], [[]], [[]], TYPES, num_resamples=20)
    assert set(values(report).values()) == {None}
    assert report.per_class["AGE"]["f1"] is None
    assert report.per_class["AGE"]["support"] == 0


def test_intervals_enclose_the_value_and_the_report_survives_json() -> None:
    gold = [[Span(0, 3, "PERSON")]] * 40
    predicted = [[Span(0, 3, "PERSON")] if i % 4 else [Span(0, 2, "GPE")] for i in range(40)]
    report = span_report(["Ann Lee"] * 40, gold, predicted, TYPES, num_resamples=200)
    estimate = report.metrics["span_f1"]
    assert estimate.value == 0.75
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.55 < estimate.low < 0.75 < estimate.high < 0.95
    adapter = TypeAdapter(SpanReport)
    assert adapter.validate_json(adapter.dump_json(report)) == report


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="no documents"):
        span_report([], [], [], TYPES)
    with pytest.raises(ValueError, match="1 texts, 0 gold"):
        span_report(["a"], [], [[]], TYPES)
