"""Rows to examples: columns, spans, filters, renaming, samples; errors with file and line."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import datasets
import pytest

from routewright.config import parse
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.readers import find_errors, guess_kind, read_examples, read_texts
from routewright.errors import ConfigError, DataError
from routewright.labels import LabelSet, Span

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(
    path: Path, kind: Literal["sequence", "token"] = "sequence", **options: Any
) -> list[Example]:
    labels = options.pop("labels", None)
    spec = DataSpec(path=path.name, **options)
    return read_examples(spec, kind, root=path.parent, labels=labels)


GOOD: dict[str, Any] = {
    "text": "Ada met Bob",
    "spans": [{"start": 0, "end": 3, "label": "PER"}],
}
WRONG_ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no text": ("sequence", {"label": "a"}, "no column 'text'; found: label"),
    "no label": ("sequence", {"text": "a"}, "no column 'label'; found: text"),
    "no spans": ("token", {"text": "a"}, "no column 'spans'; found: text"),
    "text type": ("sequence", {"text": 3, "label": "a"}, "text: must be text, found int"),
    "text null": ("sequence", {"text": None, "label": "a"}, "found nothing (null)"),
    "text empty": ("sequence", {"text": " \n", "label": "a"}, "text: the text is empty"),
    "surrogate": ("sequence", {"text": "\ud83d", "label": "a"}, "half of a surrogate pair"),
    "half label": ("sequence", {"text": "x", "label": "\ud83d"}, "label has half of a surrog"),
    "no number": ("sequence", {"text": "x", "label": float("nan")}, "a label name, found nan"),
    "half type": (
        "token",
        {"text": "x", "spans": [{"start": 0, "end": 1, "label": "\ud83d"}]},
        "span [0, 1): the label has half of a surrogate pair",
    ),
    "label list": (
        "sequence",
        {"text": "a", "label": ["a"]},
        "must be a label name, found list",
    ),
    "label empty": ("sequence", {"text": "a", "label": " "}, "label: the label is empty"),
    "label unknown": (
        "sequence",
        {"text": "a", "label": "z"},
        "unknown label 'z'; known: a, b",
    ),
    "spans type": ("token", GOOD | {"spans": 3}, "must be a list of spans, found int"),
    "spans text": ("token", GOOD | {"spans": "x"}, "spans: not a JSON list of spans"),
    "span type": (
        "token",
        GOOD | {"spans": [[0, 3, "PER"]]},
        "must be an object with start, end",
    ),
    "span start": (
        "token",
        GOOD | {"spans": [{"start": 0.0, "end": 3, "label": "PER"}]},
        "whole",
    ),
    "span range": (
        "token",
        GOOD | {"spans": [{"start": 3, "end": 99, "label": "a"}]},
        "outside",
    ),
    "span type unknown": ("token", GOOD, "unknown type; known: a, b"),
    "overlap": (
        "token",
        GOOD
        | {
            "spans": [
                {"start": 0, "end": 3, "label": "a"},
                {"start": 2, "end": 5, "label": "a"},
            ]
        },
        "overlaps the one before it",
    ),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, case: str) -> None:
    kind, row, message = WRONG_ROWS[case]
    path = tmp_path / "x.jsonl"
    write(path, {"text": "fine", "label": "a", "spans": []}, row)
    with pytest.raises(DataError) as caught:
        read(path, kind, labels=LabelSet(("a", "b")))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_numbers_are_accepted_as_labels(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {"text": "a", "label": 3}, {"text": "b", "label": True})
    assert [e.label for e in read(tmp_path / "x.jsonl")] == ["3", "true"]  # type: ignore[union-attr]


def test_other_columns_become_meta_and_spans_are_sorted(tmp_path: Path) -> None:
    spans = [{"start": 8, "end": 11, "label": "P"}, {"start": 0, "end": 3, "label": "P"}]
    write(tmp_path / "x.jsonl", {"body": "Ada met Bob", "tags": spans, "id": 7})
    found = read(tmp_path / "x.jsonl", "token", text_column="body", spans_column="tags")
    assert found == [
        TokenExample("Ada met Bob", (Span(0, 3, "P"), Span(8, 11, "P")), {"id": 7}),
    ]


def test_labels_are_renamed_and_null_drops_the_row_or_the_span(tmp_path: Path) -> None:
    write(tmp_path / "s.jsonl", {"text": "a", "label": "x"}, {"text": "b", "label": "y"})
    found = read(tmp_path / "s.jsonl", label_map={"x": "new", "y": None})
    assert found == [SequenceExample("a", "new")]
    spans = [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 11, "label": "MISC"}]
    write(tmp_path / "t.jsonl", {"text": "Ada met Bob", "spans": spans})
    renamed = read(
        tmp_path / "t.jsonl",
        "token",
        label_map={"PER": "PERSON", "MISC": None},
        labels=LabelSet(("PERSON",)),
    )
    assert renamed[0].spans == (Span(0, 3, "PERSON"),)  # type: ignore[union-attr]


def test_filters_keep_and_drop_by_meta_values(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write(
        path,
        {"text": "1", "label": "a", "quality": "noisy"},
        {"text": "2", "label": "a"},
        {"text": "3", "label": "b", "quality": "marked", "year": 2020},
    )

    def texts(**options: Any) -> list[str]:
        return [e.text for e in read(path, **options)]

    assert texts(drop={"quality": ["noisy"]}) == ["2", "3"]
    assert texts(keep={"quality": ["noisy", None]}) == ["1", "2"]
    assert texts(keep={"year": ["2020"]}) == texts(keep={"year": [2020]}) == ["3"]
    assert texts(drop={"label": ["a"]}, labels=LabelSet(("b",))) == ["3"]
    with pytest.raises(
        DataError, match="drop: no row has a column 'qualty'; known: label, quality"
    ):
        texts(drop={"qualty": ["noisy"]})
    with pytest.raises(DataError, match="keep, drop and label_map leave no rows"):
        texts(keep={"quality": ["?"]})


def test_a_limit_takes_the_same_stratified_sample_each_time(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write(path, *({"text": str(i), "label": "ab"[i % 4 == 0]} for i in range(400)))
    first, again = read(path, limit=40, seed=5), read(path, limit=40, seed=5)
    assert first == again != read(path, limit=40, seed=6)
    assert Counter(e.label for e in first) == {"a": 30, "b": 10}  # type: ignore[union-attr]
    assert [int(e.text) for e in first] == sorted(int(e.text) for e in first)
    assert len(read(path, limit=40, repeat=3)) == 120


def test_all_wrong_rows_are_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write(path, {"text": "a", "label": "x"}, {"text": ""}, {"text": "b", "label": ""})
    count, errors = find_errors(DataSpec(path="x.jsonl"), "sequence", root=tmp_path)
    assert count == 1
    assert [str(e).removeprefix(f"{path}:")[:2] for e in errors] == ["2:", "3:"]


def test_the_kind_is_guessed_from_the_first_row(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", {"text": "a", "spans": []})
    write(tmp_path / "s.jsonl", {"text": "a", "label": "x"})
    (tmp_path / "none.jsonl").touch()
    assert guess_kind(DataSpec(path="t.jsonl"), root=tmp_path) == "token"
    assert guess_kind(DataSpec(path="s.jsonl"), root=tmp_path) == "sequence"
    with pytest.raises(DataError, match="holds no rows"):
        guess_kind(DataSpec(path="none.jsonl"), root=tmp_path)


def test_texts_to_classify_come_from_lines_or_a_column(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\r\n\n two \n", encoding="utf-8")
    write(tmp_path / "x.jsonl", {"text": "one"}, {"prompt": "two"})
    assert list(read_texts(tmp_path / "x.txt")) == ["one", " two "]
    with pytest.raises(DataError, match=r"x\.jsonl:2: no column 'text'; found: prompt"):
        list(read_texts(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", "", "holds no rows"),
        ("x.csv", "text,label\n", "holds no rows"),
        ("x.txt", "\n \n", "holds no texts"),
    ],
)
def test_a_file_without_texts_to_classify_says_so(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_texts(path))
    assert str(caught.value) == f"{path}: {message}"


def test_a_hub_folder_is_read_without_the_network(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {"text": "a", "label": "x"})
    (tmp_path / "set").mkdir()
    (tmp_path / "x.jsonl").rename(tmp_path / "set" / "train.jsonl")
    found = read_examples(DataSpec(hub="set"), "sequence", root=tmp_path)
    assert [e.text for e in found] == ["a"]


def test_an_unreachable_hub_set_says_how_to_give_a_local_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # Only tests need httpx; the library that asks the hub brings another client.
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(DataError, match=r"hub data set no/such cannot.*give its local path"):
        read_examples(DataSpec(hub="no/such"), "sequence", root=tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"path": "a", "hub": "b"},
        {"path": "a", "local_copy": "b"},
        {"path": "a", "repeat": 0},
        {"synthetic": "pii"},
    ],
)
def test_a_spec_names_exactly_one_origin(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"needs|belongs"):
        parse(DataSpec, data, source="recipe.yaml")


def test_a_spec_is_read_from_plain_values() -> None:
    spec = parse(
        DataSpec,
        {"path": "x", "drop": {"quality": ["noisy", None, 3]}, "label_map": {"A": None}},
        source="recipe.yaml",
    )
    assert spec.drop == {"quality": ["noisy", None, 3]}
    assert spec.label_map == {"A": None}


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_the_shared_files_are_readable_as_they_are() -> None:
    files = [
        ("pii/presidio_v2_by_template_test.jsonl.gz", 213, {}),
        ("intent/mapped_test.jsonl.gz", 3098, {}),
        ("jailbreak/harmful_direct.jsonl.gz", 2589, {}),
        ("bench/conll2003_test.jsonl.gz", 3453, {"label_map": {"PER": "PERSON", "MISC": None}}),
    ]
    for name, num_rows, options in files:
        spec = DataSpec(path=name, **options)  # type: ignore[arg-type]
        found = read_examples(spec, guess_kind(spec, root=SHARED), root=SHARED)
        assert len(found) == num_rows
    entity_types = {s.label for e in found for s in e.spans}  # type: ignore[union-attr]
    assert entity_types == {"PERSON", "LOC", "ORG"}


@pytest.mark.parametrize("spelling", ["true", "True", "TRUE"])
def test_a_filter_finds_true_as_programs_spell_it_in_csv(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"text,label,noisy\none,a,{spelling}\ntwo,b,{spelling}ish\n")
    assert [e.text for e in read(path, drop={"noisy": [True]})] == ["two"]
    assert [e.text for e in read(path, keep={"noisy": [True]})] == ["one"]


def test_a_filter_on_a_value_that_no_row_has_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label,clean\none,a,no\ntwo,b,yes\n")
    assert len(read(path, drop={"clean": ["no"]})) == 1
    assert not caplog.records
    assert len(read(path, drop={"clean": [False]})) == 2  # what YAML makes of [no]
    [record] = caplog.records
    assert "drop: no row has clean 'false'; quote yes and no" in record.getMessage()


@pytest.mark.parametrize("origin", [{"source": "mmlu_pro"}, {"synthetic": "pii", "limit": 1}])
@pytest.mark.parametrize("column", ["text_column", "appended_column", "label_column"])
def test_a_column_that_would_not_be_looked_at_is_refused(
    origin: dict[str, Any], column: str
) -> None:
    with pytest.raises(ConfigError, match=f"{column} belongs to path or hub"):
        parse(DataSpec, {**origin, column: "options"}, source="x")


def test_nothing_is_appended_below_a_text_with_spans(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {**GOOD, "more": "text"})
    with pytest.raises(DataError, match="appended_column is for rows with a label"):
        read(tmp_path / "x.jsonl", "token", appended_column="more")


def test_one_label_for_all_rows_of_a_file_leaves_its_own_labels_and_spans_unread(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.jsonl"
    write(
        path,
        {"text": "I am Ada", "spans": [{"start": 99, "end": 1}], "label": 7.5, "source": "a"},
        {"text": "no label at all", "source": "b"},
        {"text": "dropped", "source": "c"},
    )
    rows = read(path, label="benign", drop={"source": ["c"]})
    assert rows == [
        SequenceExample("I am Ada", "benign", {"source": "a"}),
        SequenceExample("no label at all", "benign", {"source": "b"}),
    ]


def test_generated_token_rows_serve_a_sequence_task_under_one_label(tmp_path: Path) -> None:
    spec = DataSpec(synthetic="pii", limit=30, label="benign")
    assert guess_kind(spec, root=tmp_path) == "sequence"
    rows = read_examples(spec, "sequence", root=tmp_path)
    made = read_examples(DataSpec(synthetic="pii", limit=30), "token", root=tmp_path)
    assert rows == [SequenceExample(e.text, "benign", e.meta) for e in made]


def test_a_public_source_may_be_read_under_one_label(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", {"question": "What is a tort?", "category": "law"})
    spec = DataSpec(source="mmlu_pro", local_copy="x.jsonl", label="benign")
    [example] = read_examples(spec, "sequence", root=tmp_path)
    assert example == SequenceExample("What is a tort?", "benign", example.meta)


def test_one_label_for_all_rows_must_be_known_and_cannot_serve_a_token_task(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.jsonl"
    write(path, GOOD)
    with pytest.raises(DataError, match="unknown label 'harmless'; known: benign, jailbreak"):
        read(path, label="harmless", labels=LabelSet(("benign", "jailbreak")))
    with pytest.raises(DataError, match="label is for sequence tasks"):
        read(path, "token", label="benign")
    with pytest.raises(ConfigError, match="leave label_map out"):
        parse(DataSpec, {"path": "x", "label": "a", "label_map": {"b": "c"}}, source="x")


@pytest.mark.parametrize("none", [None, ""])
def test_null_in_a_filter_finds_the_empty_fields_of_csv(
    tmp_path: Path, none: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.csv").write_text("text,label,note\na,x,\nb,x,odd\n", encoding="utf-8")
    spec = DataSpec(path="x.csv", drop={"note": [none]})
    assert [e.text for e in read_examples(spec, "sequence", root=tmp_path)] == ["b"]
    assert not caplog.records


@pytest.mark.parametrize("origin", ["path", "hub"])
def test_a_name_that_the_system_refuses_gives_one_clear_line(
    tmp_path: Path, origin: str
) -> None:
    spec = parse(DataSpec, {origin: "x" * 300}, source="recipe")
    with pytest.raises(DataError, match=r"x: cannot be read: File name too long; check path"):
        read_examples(spec, "sequence", root=tmp_path)


def test_a_hub_set_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("while generating\nmore")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(DataError, match=r"no/such cannot be loaded \(DatasetGen") as caught:
        read_examples(DataSpec(hub="no/such"), "sequence", root=tmp_path)
    assert "\n" not in str(caught.value)
