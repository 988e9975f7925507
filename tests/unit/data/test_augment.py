"""Rows written by a model behind a real HTTP server, kept or dropped."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from tests.augment_parts import LETTERS, ROWS, augment, config, endpoint, written
from tests.writing_server import (
    Asked,
    WritingServer,
    completion,
    failure,
    fresh_texts,
    new_words,
)

from routewright.data.augment import collect_answers
from routewright.data.examples import SequenceExample, TokenExample
from routewright.errors import ConfigError, DataError, LeakError


def test_every_label_gets_its_rows_with_the_model_and_the_source(
    writing: WritingServer, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "more.jsonl"
    report = augment(writing, out)
    rows = written(out)
    assert (
        report.made
        == {"class_1": 12, "class_2": 12}
        == dict(Counter(row.label for row in rows if isinstance(row, SequenceExample)))
    )
    assert all(row.text.startswith(getattr(row, "label", "?")) for row in rows)
    assert {tuple(row.meta.items()) for row in rows} == {
        (("source", "augment"), ("model", "writer-2"))
    }
    assert [path.name for path in out.parent.iterdir()] == ["more.jsonl"]
    assert report.num_requests == len(writing.asked) == 4
    assert (report.num_prompt_tokens, report.num_completion_tokens) == (28, 20)
    assert not report.dropped_texts
    assert not report.dropped_answers


def test_a_request_shows_rows_of_the_label_and_of_others_and_says_what_they_are(
    writing: WritingServer, tmp_path: Path
) -> None:
    chosen = {"labels": ("class_2",), "about": "nonsense of two kinds", "num": 1}
    augment(writing, tmp_path / "o.jsonl", **chosen)
    (asked,) = writing.asked
    own, others = asked.prompt.split("Texts of other classes")
    shown = [row.text for row in ROWS if row.text in own]
    assert len(shown) == 6
    assert all(text.startswith("class_2") for text in shown)
    assert sum(row.text in others for row in ROWS) == 6
    assert "What the texts are: nonsense of two kinds" in own
    assert "5 to 500 characters" in others
    assert "temperature" not in asked.body


def test_several_models_are_asked_in_turn(writing: WritingServer, tmp_path: Path) -> None:
    writing.writer = lambda asked: completion(fresh_texts(asked), model=asked.model)
    augment(writing, tmp_path / "o.jsonl", models=("one", "two"), num=20)
    assert Counter(asked.model for asked in writing.asked) == {"one": 2, "two": 2}
    assert Counter(row.meta["model"] for row in written(tmp_path / "o.jsonl")) == {
        "one": 20,
        "two": 20,
    }


def test_what_repeats_or_does_not_fit_is_dropped_and_counted(
    writing: WritingServer, tmp_path: Path
) -> None:
    held_out = f"held out {new_words()}"
    twice = f"class_1 {new_words()}"
    bad = [
        ROWS[0].text.upper(), held_out + "!", twice, f"{twice}.", "tiny", new_words(30) * 9,
        17, "  ", "half \ud83d of it",
    ]  # fmt: skip

    def writer(asked: Asked) -> str:
        texts = json.loads(fresh_texts(asked))
        return json.dumps([*bad, *texts] if asked.number == 1 else texts)

    writing.writer = writer
    chosen = {"labels": ("class_1",), "num": 10, "concurrency": 1}
    report = augment(writing, tmp_path / "o.jsonl", held_out=[held_out], **chosen)
    assert report.dropped_texts == {
        "not a text": 3,
        "near a row there is": 1,
        "near a held-out text": 1,
        "near another new row": 1,
        "too short": 1,
        "too long": 1,
        "more than was asked for": 1,
    }
    assert report.made == {"class_1": 10}
    assert len(written(tmp_path / "o.jsonl")) == 10


def test_lengths_are_limited_by_those_of_the_rows_when_not_said(
    writing: WritingServer, tmp_path: Path
) -> None:
    rows = [SequenceExample("x" * n, "ab"[n % 2]) for n in range(100, 201)]
    augment(writing, tmp_path / "o.jsonl", rows=rows, num=1, min_chars=None, max_chars=None)
    assert "52 to 390 characters" in writing.asked[0].prompt


def test_marked_values_become_exact_spans(writing: WritingServer, tmp_path: Path) -> None:
    def writer(asked: Asked) -> str:
        if not asked.label:
            return json.dumps([f"plain {new_words()}", "with <CITY>Paris</CITY> in it"])
        name = f"Xy{new_words(1)}"
        good = f"{new_words(4)} <{asked.label}>{name}</{asked.label}> {new_words(4)}"
        return json.dumps([good, f"<{asked.label}>{name}", f"none at all {new_words()}"])

    writing.writer = writer
    report = augment(writing, tmp_path / "o.jsonl", rows=LETTERS, num=3, concurrency=1)
    assert report.made == {"(none)": 3, "CITY": 3, "PERSON": 3}
    assert report.dropped_texts == {
        "without the entity type asked for": 9,
        "tags that do not match": 6,
    }
    for row in written(tmp_path / "o.jsonl", "token"):
        assert isinstance(row, TokenExample)
        assert "<" not in row.text
        held = [(span.label, row.text[span.start : span.end]) for span in row.spans]
        wanted = row.meta["asked_for"]
        assert [label for label, _ in held] == ([] if wanted == "(none)" else [wanted])
        assert all(value == value.strip() and " " not in value for _, value in held)
    prompts = [asked.prompt for asked in writing.asked if asked.label == "PERSON"]
    assert '"<PERSON>Ann Lee</PERSON> lives in <CITY>Rome</CITY> now."' in prompts[0]


def test_answers_to_the_same_questions_are_labelled_with_the_model(
    writing: WritingServer, tmp_path: Path
) -> None:
    writing.writer = lambda asked: completion(f"{asked.model}: {new_words()}", asked.model)
    questions = [f"what is {new_words(3)}?" for _ in range(5)]
    out = tmp_path / "o.jsonl"
    report = collect_answers(
        questions, config(models=("one", "two"), num=4), endpoint(writing), out=out
    )
    rows = written(out)
    assert report.made == {"one": 4, "two": 4}
    assert all(row.text.startswith(f"{row.meta['model']}: ") for row in rows)
    asked = Counter(str(row.meta["question"]) for row in rows)
    assert asked == dict.fromkeys(questions[:4], 2)
    assert {a.prompt for a in writing.asked} == set(questions[:4])


def test_a_stopped_run_goes_on_where_it_was(writing: WritingServer, tmp_path: Path) -> None:
    def breaking(asked: Asked) -> str | Response:
        return fresh_texts(asked) if asked.number <= 2 else failure(503)

    out, partial = tmp_path / "more.jsonl", tmp_path / "more.partial.jsonl"
    writing.writer = breaking
    with pytest.raises(DataError, match=r"failed 6 times, last with 503: no; .* to go on"):
        augment(writing, out, num=20, concurrency=1)
    assert not out.exists()
    first = partial.read_text(encoding="utf-8")
    assert len(first.splitlines()) == 20
    with partial.open("a", encoding="utf-8") as file:
        file.write('{"text": "torn in the midd')
    writing.writer = fresh_texts
    writing.asked.clear()
    report = augment(writing, out, num=20, concurrency=1)
    assert (report.num_resumed, report.num_requests) == (20, 2)
    assert report.made == {"class_1": 20, "class_2": 20}
    assert out.read_text(encoding="utf-8").startswith(first)
    assert len(written(out)) == 40
    assert not partial.exists()


def test_answers_there_are_asked_for_no_second_time(
    writing: WritingServer, tmp_path: Path
) -> None:
    writing.writer = lambda asked: f"{asked.model} {new_words()}"
    out = tmp_path / "o.jsonl"
    chosen = config(models=("one",), num=2)
    collect_answers(["a?", "b?"], chosen, endpoint(writing), out=out)
    out.rename(tmp_path / "o.partial.jsonl")
    writing.asked.clear()
    more = config(models=("one",), num=3)
    report = collect_answers(["a?", "b?", "c?"], more, endpoint(writing), out=out)
    assert [asked.prompt for asked in writing.asked] == ["c?"]
    assert report.made == {"one": 3}


def test_rows_of_another_command_are_not_gone_on_with(
    writing: WritingServer, tmp_path: Path
) -> None:
    (tmp_path / "o.partial.jsonl").write_text('{"text": "a", "label": "class_1"}\n')
    with pytest.raises(DataError, match=r"o\.partial\.jsonl: holds rows of another command"):
        augment(writing, tmp_path / "o.jsonl")
    row = {"text": "a", "label": "other", "source": "augment"}
    (tmp_path / "o.partial.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"o\.partial\.jsonl: holds rows of another command"):
        augment(writing, tmp_path / "o.jsonl")
    assert not writing.asked


def test_a_label_that_nothing_new_comes_of_is_given_up_and_the_others_are_kept(
    writing: WritingServer, tmp_path: Path
) -> None:
    again = f"class_1 {new_words()}"

    def writer(asked: Asked) -> str:
        return json.dumps([again]) if asked.label == "class_1" else fresh_texts(asked)

    writing.writer = writer
    report = augment(writing, tmp_path / "o.jsonl", concurrency=2)
    assert report.made == {"class_1": 1, "class_2": 12}
    assert report.dropped_texts["near another new row"] >= 8


def test_rows_that_hold_held_out_texts_are_shown_to_no_model(
    writing: WritingServer, tmp_path: Path
) -> None:
    with pytest.raises(LeakError, match="are also in the training data"):
        augment(writing, tmp_path / "o.jsonl", held_out=[ROWS[3].text])
    assert not writing.asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("class_1", "nine")}, "no row has nine; known: class_1, class_2"),
        ({"models": ()}, "name a model"),
        ({"models": ("a", "a")}, "each model once"),
        ({"num": 0}, "1 or more"),
        ({"min_chars": 9, "max_chars": 8}, "--min-chars and --max-chars"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_asked(
    writing: WritingServer, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        augment(writing, tmp_path / "o.jsonl", **options)
    assert not writing.asked


def test_rows_that_cost_money_are_never_written_over(
    writing: WritingServer, tmp_path: Path
) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        augment(writing, out)
    with pytest.raises(ConfigError, match=r"ends in \.jsonl"):
        augment(writing, tmp_path / "o.csv")
    assert out.read_text() == "mine"
    assert not writing.asked
