"""Files to rows: every format, and one clear line for every way a file can be wrong."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.readers import read_examples
from routewright.data.rows import read_rows
from routewright.data.writers import write_examples, write_jsonl, write_parts
from routewright.errors import DataError
from routewright.labels import Span

SEQUENCE: list[Example] = [
    SequenceExample("naïve 🙂 text, with a comma", "a", {"source": "x", "n": 1}),
    SequenceExample('line one\nline "two"\u2028still two', "b", {"source": "y", "n": 2}),
]
TOKEN: list[Example] = [
    TokenExample(
        "Ada met 王小明 🙂.", (Span(0, 3, "PERSON"), Span(8, 11, "PERSON")), {"id": 1}
    ),
    TokenExample("Nobody here.", (), {"id": 2}),
]
WRITABLE = [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet"]


def read(path: Path, kind: str = "sequence") -> list[Example]:
    return read_examples(DataSpec(path=path.name), kind, root=path.parent)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", WRITABLE)
def test_every_format_gives_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    for name, kind, examples in (("s", "sequence", SEQUENCE), ("t", "token", TOKEN)):
        path = tmp_path / f"{name}{suffix}"
        write_examples(path, examples)
        found = read(path, kind)
        assert [(e.text, getattr(e, "label", None)) for e in found] == [
            (e.text, getattr(e, "label", None)) for e in examples
        ]
        assert [getattr(e, "spans", ()) for e in found] == [
            getattr(e, "spans", ()) for e in examples
        ]
        assert {k: str(v) for k, v in found[0].meta.items()} == {
            k: str(v) for k, v in examples[0].meta.items()
        }


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)))
def test_any_text_survives_json_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    write_jsonl(path, [SequenceExample(text, "a") for text in texts])
    assert [row["text"] for _, row in read_rows(path)] == texts


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), min_size=1)
)
def test_any_text_survives_csv(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_examples(path, [SequenceExample(text, "a") for text in texts])
    assert [row["text"] for _, row in read_rows(path)] == texts


def test_packing_the_same_rows_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl.gz", SEQUENCE)
    write_jsonl(tmp_path / "b.jsonl.gz", SEQUENCE)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(path, SEQUENCE)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_jsonl(path, [*SEQUENCE, SequenceExample("\ud800", "a")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Interrupting(list[Example]):
    """Examples that somebody does not wait for."""

    def __iter__(self) -> Iterator[Example]:
        yield SEQUENCE[0]
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([SequenceExample("\ud800", "a")], UnicodeEncodeError),
        (Interrupting(SEQUENCE), KeyboardInterrupt),
    ],
)
def test_files_that_belong_together_change_together(
    last: list[Example], error: type[BaseException], tmp_path: Path
) -> None:
    paths = [tmp_path / "parts" / f"{name}.jsonl" for name in ("train", "validation", "test")]
    write_parts(dict.fromkeys(paths, SEQUENCE))
    before = [path.read_bytes() for path in paths]
    with pytest.raises(error):
        write_parts(dict(zip(paths, [SEQUENCE[:1], [], last], strict=True)))
    assert [path.read_bytes() for path in paths] == before
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_a_folder_in_the_place_of_a_file_is_found_before_all_writing(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    second.mkdir()
    with pytest.raises(DataError, match=r"b\.jsonl: cannot be written: is a folder"):
        write_parts({first: SEQUENCE, second: SEQUENCE})
    assert list(tmp_path.iterdir()) == [second]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.touch()
    with pytest.raises(DataError, match=rf"b\.csv: cannot be written: {file} is a file, not a"):
        write_examples(file / "b.csv", SEQUENCE)


def test_lines_count_through_quoted_line_breaks_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('\ufefftext,label\n"two\nlines",a\n\nplain,b\n', encoding="utf-8")
    assert [(n, row["text"]) for n, row in read_rows(path)] == [(2, "two\nlines"), (5, "plain")]


def test_rows_of_a_json_list_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[\n {"text": "a"},\n\n {"text": "b"}\n]\n', encoding="utf-8")
    assert [n for n, _ in read_rows(path)] == [2, 4]


def test_json_lines_named_json_are_read_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    assert [row["text"] for _, row in read_rows(path)] == ["a", "b"]


def test_class_labels_of_a_saved_data_set_get_their_names(tmp_path: Path) -> None:
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    data = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    data.save_to_disk(str(tmp_path / "saved"))
    data.to_parquet(str(tmp_path / "saved.parquet"))
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "both"))
    for name in ("saved", "saved.parquet", "both"):
        assert [e.label for e in read(tmp_path / name)] == ["yes", "no"]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no split test; known: train"):
        read_examples(DataSpec(path="both", split="test"), "sequence", root=tmp_path)


WRONG_FILES = {
    "missing.jsonl": (None, "missing.jsonl: no such file"),
    "x.tsv": (b"text\tlabel\n", "x.tsv: unknown kind of file; known endings: .jsonl"),
    "bad.jsonl": (
        b'{"text": "a"}\n{"text": \n',
        "bad.jsonl:2: not valid JSON: Expecting value",
    ),
    "deep.jsonl": (b"[" * 100_000, "deep.jsonl:1: not valid JSON: nested too deeply"),
    "list.jsonl": (b"[1]\n", "list.jsonl:1: expected an object with columns, found list"),
    "latin.jsonl": (b'{"text": "a"}\n{"text": "\xe9"}\n', "latin.jsonl:2: not UTF-8 text"),
    "wide.csv": ("text,label\n".encode("utf-16"), "wide.csv:1: not UTF-8 text"),
    "cut.jsonl.gz": (gzip.compress(b'{"text": "a"}\n' * 999)[:-9], "damaged gzip after line"),
    "fake.jsonl.gz": (b'{"text": "a"}\n', "fake.jsonl.gz: damaged gzip after line 0"),
    "comma.json": (b'[{"a": 1}\n {"a": 2}]', "comma.json:2: not valid JSON: expected a comma"),
    "cut.json": (b'[{"a": 1},\n', "cut.json:2: not valid JSON: Expecting value"),
    "fields.csv": (b"text,label\na,b\na,b,c\n", "fields.csv:3: expected 2 columns, found 3"),
    "quote.csv": (b'text,label\n"a,b\n', "quote.csv:2: not valid CSV"),
    "twice.csv": (
        b"text,text\na,b\n",
        "twice.csv:1: the first line must name each column once",
    ),
    "empty.csv": (b"", "empty.csv: empty; the first line must name the columns"),
    "bad.parquet": (b"PAR1 nothing", "bad.parquet: not a readable Parquet file"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_gives_one_clear_line(tmp_path: Path, name: str) -> None:
    content, message = WRONG_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_rows(path))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a data set that `datasets` can load"):
        list(read_rows(tmp_path))


def test_meta_values_of_mixed_types_reach_parquet_as_json(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_examples(
        path, [SequenceExample("a", "l", {"m": 1}), SequenceExample("b", "l", {"m": ["x"]})]
    )
    assert [json.loads(row["m"]) for _, row in read_rows(path)] == [1, ["x"]]


def test_a_folder_that_cannot_be_loaded_says_so_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{broken\n')
    with pytest.raises(DataError, match="not a data set that `datasets` can load"):
        list(read_rows(tmp_path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [{}, [{}], {"a": {}}, 10**30], ids=str)
def test_parquet_takes_meta_values_that_it_has_no_type_for(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "x.parquet"
    write_examples(path, [SequenceExample("one", "a", {"m": value})])
    [(_, row)] = read_rows(path)
    assert json.loads(row["m"]) == value


@pytest.mark.parametrize("suffix", WRITABLE)
def test_an_emoji_cut_in_half_in_another_column_does_not_stop_the_rows(
    tmp_path: Path, suffix: str
) -> None:
    source = tmp_path / "scraped.jsonl"
    rows = [{"text": "hi", "label": "a", "note": "\ud83d", "more": [{"x": "so \ud83d"}]}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [example] = read(source)
    assert example.meta == {"note": "\ufffd", "more": [{"x": "so \ufffd"}]}
    write_examples(tmp_path / f"y{suffix}", [example])
    assert read(tmp_path / f"y{suffix}")[0].meta["note"] == "\ufffd"
