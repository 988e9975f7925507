"""The verbs of ``routewright data`` on real files."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from routewright.cli.data import app
from routewright.errors import ConfigError, DataError, LeakError


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [
        {"text": f"{word} number {i} {'xyzuvw'[i % 6] * 9}", "label": "ab"[i % 2], "g": i % 10}
        for i, word in enumerate(["alpha", "beta", "gamma", "delta"] * 10)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_validate_accepts_good_rows_and_guesses_their_kind(rows: Path) -> None:
    assert "40 sequence rows, all good" in run("validate", rows).output
    assert json.loads(run("validate", rows, "--json", "--labels", "a,b").output) == {
        "kind": "sequence",
        "num_good": 40,
        "errors": [],
    }


def test_validate_names_every_wrong_row_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": "a"}\n' + '{"text": "b", "label": "[z]"}\n' * 30)
    result = CliRunner().invoke(app, ["validate", str(path), "--labels", "a,b"])
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == f"{path}: 30 of 31 rows are wrong"
    assert f"{path}:2: unknown label '[z]'; known: a, b" in result.output
    assert "... and 10 more" in result.output


@pytest.mark.parametrize(
    ("name", "content", "wrong_lines"),
    [
        (
            "x.jsonl",
            '{"text": \n{"text": "a", "label": "b"}\n[1]\n{"text": ""}\n{"text": "q"}\n',
            [1, 3, 4, 5],
        ),
        ("x.json", '[{"text": "a", "label": "b"},\n1,\n{"text": "a"}]', [2, 3]),
        ("x.csv", "text,label\na,b\na,b,c\n,b\nq,\n", [3, 4, 5]),
    ],
)
def test_validate_goes_on_behind_a_row_that_cannot_be_read(
    tmp_path: Path, name: str, content: str, wrong_lines: list[int]
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(path), "--json"])
    found = json.loads(result.output)
    assert [error.removeprefix(f"{path}:").split(":")[0] for error in found["errors"]] == [
        str(line) for line in wrong_lines
    ]
    assert found["num_good"] == 1
    total = 1 + len(wrong_lines)
    assert str(result.exception) == f"{path}: {len(wrong_lines)} of {total} rows are wrong"


def test_a_file_without_a_single_readable_row_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": \n', encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert str(result.exception).startswith(f"{path}:1: not valid JSON")


def test_stats_are_printed_or_given_as_json(rows: Path) -> None:
    assert "labels" in run("stats", rows).output
    found: dict[str, Any] = json.loads(run("stats", rows, "--json").output)
    assert found["labels"] == {"a": 20, "b": 20}
    assert found["num_examples"] == 40


def test_labels_and_folders_in_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    path, out = tmp_path / "x.jsonl", tmp_path / "[bold]"
    labels = ["[/INST]", "[spam]"] * 3
    lines = [{"text": f"text {i}", "label": name} for i, name in enumerate(labels)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "[/INST]" in run("stats", path).output
    assert "[spam]" in run("split", path, "--out", out).output
    assert "[bold]" in run("convert", path, out / "y.csv").output.replace("\n", "")


def test_split_never_writes_over_the_file_it_splits(rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_bytes(rows.read_bytes())
    result = CliRunner().invoke(app, ["split", str(path), "--out", str(path.parent)])
    assert isinstance(result.exception, ConfigError)
    assert "train.jsonl there is the very file to split" in str(result.exception)
    assert path.read_bytes() == rows.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_split_writes_three_files_with_groups_kept_together(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("split", rows, "--out", out, "--group-by", "g", "--fractions", "0.6,0.2,0.2")
    groups = []
    for name in ("train", "validation", "test"):
        lines = (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        groups.append({json.loads(line)["g"] for line in lines})
    assert set.union(*groups) == set(range(10))
    assert sum(map(len, groups)) == 10
    report = json.loads(run("split", rows, "--out", out, "--seed", 3, "--json").output)
    assert sum(report["sizes"].values()) == 40 - report["num_exact_duplicates"]


def test_a_second_split_leaves_no_part_of_the_first(rows: Path, tmp_path: Path) -> None:
    run("split", rows, "--out", tmp_path / "parts")
    run("split", rows, "--out", tmp_path / "parts", "--fractions", "0.9,0.1,0")
    written = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert written == ["train.jsonl", "validation.jsonl"]


def test_a_split_that_fails_leaves_the_whole_of_the_first(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    run("split", rows, "--out", out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    (out / "validation.jsonl").unlink()
    (out / "validation.jsonl").mkdir()
    with pytest.raises(DataError, match=r"validation\.jsonl: cannot be written"):
        run("split", rows, "--out", out, "--seed", 7)
    kept = out / "train.jsonl", out / "test.jsonl"
    assert all(path.read_bytes() == before[path] for path in kept)


@pytest.mark.parametrize("below", [".", "parts"])
@pytest.mark.parametrize("verb", [["split", "ROWS"], ["synth", "all", "--num", "3"]])
def test_a_file_in_the_place_of_a_folder_is_refused_before_the_work(
    verb: list[str], below: str, tmp_path: Path
) -> None:
    # No rows: reading them would be another error.
    file = tmp_path / "rows.jsonl"
    file.touch()
    out = file / below
    arguments = [str(file) if a == "ROWS" else a for a in verb]
    with pytest.raises(ConfigError, match=rf"^{out}: cannot be written: .*is a file; name a"):
        run(*arguments, "--out", out)
    assert not file.read_bytes()


def test_convert_changes_the_format_and_renames_labels(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert (
        "20 rows written to"
        in run("convert", rows, out, "--label-map", "a=first", "--label-map", "b=").output
    )
    assert json.loads(run("stats", out, "--json").output)["labels"] == {"first": 20}


def test_convert_reads_a_local_copy_of_a_public_set(tmp_path: Path) -> None:
    (tmp_path / "copy.csv").write_text("prompt,type\nhello,benign\n", encoding="utf-8")
    out = tmp_path / "out.jsonl"
    run("convert", tmp_path / "copy.csv", out, "--source", "jailbreak_classification")
    assert json.loads(out.read_text(encoding="utf-8")) == {
        "text": "hello",
        "label": "benign",
        "source": "jailbreak_classification",
    }


def test_leaks_refuses_shared_texts_and_counts_near_ones(rows: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "something else", "label": "a"}\n', encoding="utf-8")
    assert "no shared texts in 40 training and 1 test rows" in run("leaks", rows, other).output
    assert json.loads(run("leaks", rows, other, "--json").output)["num_near_duplicates"] == 0
    result = CliRunner().invoke(app, ["leaks", str(rows), str(rows)])
    assert isinstance(result.exception, LeakError)


def test_sources_lists_every_public_set() -> None:
    listed = json.loads(run("sources", "--json").output)
    assert [row["name"] for row in listed][:2] == ["mmlu_pro", "presidio_research"]
    assert all(row["licence"] and row["url"] for row in listed)
    assert "toxic_chat" in run("sources").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "ROWS", "--out", "o", "--fractions", "1,2"], "expected three numbers"),
        (["split", "ROWS", "--out", "o", "--fractions", "1,1,1"], "sum to 1"),
        (["split", "ROWS", "--out", "o", "--fractions", "nan,0.5,0.5"], "sum to 1"),
        (["convert", "ROWS", "o.jsonl", "--label-map", "a"], "expected OLD=NEW"),
    ],
)
def test_a_wrong_option_says_what_to_give(
    rows: Path, arguments: list[str], message: str
) -> None:
    given = [str(rows) if a == "ROWS" else a for a in arguments]
    result = CliRunner().invoke(app, given)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [["convert", "LONG", "o.jsonl"], ["split", "ROWS", "--out", "LONG"]]
)
def test_a_name_that_the_system_refuses_gives_one_clear_line(
    rows: Path, arguments: list[str]
) -> None:
    names = {"LONG": "x" * 300, "ROWS": str(rows)}
    result = CliRunner().invoke(app, [names.get(a, a) for a in arguments])
    assert isinstance(result.exception, DataError)
    assert "cannot be read: File name too long" in str(result.exception)
