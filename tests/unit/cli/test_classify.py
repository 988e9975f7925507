"""``routewright classify``: texts from anywhere, JSON lines or a table."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from routewright.bundle import Bundle
from routewright.cli.main import app
from routewright.errors import BundleError, ConfigError, DataError, RoutewrightError


def classify(*arguments: str, stdin: str | bytes | None = None) -> str:
    result = CliRunner().invoke(app, ["classify", *arguments], input=stdin)
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def answers(*arguments: str, stdin: str | bytes | None = None) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in classify(*arguments, "--json", stdin=stdin).splitlines()
    ]


@pytest.fixture
def bundle(tiny_bundle: Bundle) -> str:
    return str(tiny_bundle.path)


def test_a_text_gives_one_json_line(bundle: str) -> None:
    (answer,) = answers("call 12", "--bundle", bundle)
    assert answer["entities"][0]["start"] == 5
    assert answer["entities"][0]["label"] == "NUMBER"
    assert answer["num_windows"] == 1


def test_standard_input_gives_one_answer_a_line(bundle: str) -> None:
    found = answers("-", "--bundle", bundle, stdin="\ufeffxxxx\r\n\nhello 7\n".encode())
    assert [a["attack"]["flagged"] for a in found] == [True, False]
    assert found[1]["entities"][0]["start"] == 6


def test_files_are_read_by_their_kind(bundle: str, tmp_path: Path) -> None:
    text, rows = tmp_path / "a.txt", tmp_path / "b.jsonl.gz"
    text.write_text("one 1\ntwo 2\n", encoding="utf-8")
    with gzip.open(rows, "wt", encoding="utf-8") as file:
        file.write('{"text": "three 3", "label": "law"}\n')
    assert len(answers("--file", str(text), "--bundle", bundle)) == 2
    assert len(answers("--file", str(rows), "--bundle", bundle)) == 1


def test_the_coarse_view_renames_and_drops_types(bundle: str) -> None:
    (answer,) = answers("call 12", "--bundle", bundle, "--coarse", "--tasks", "entities")
    assert [span["label"] for span in answer["entities"]] == ["DIGITS"]
    assert "topic" not in answer


def test_the_table_shows_entities_and_never_sends_control_characters(bundle: str) -> None:
    output = classify("call 12 \x1b[31m xxxxxx \ud800", "--bundle", bundle)
    assert "NUMBER" in output
    assert "attack (flagged)" in output
    assert "\x1b[31m xxx" not in output
    assert "␛[31m xxxxxx \ufffd" in output


@pytest.mark.parametrize("arguments", [[], ["text", "--file", "a.txt"]])
def test_exactly_one_source_of_texts_is_needed(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="name one of: a TEXT, --file FILE, or -"):
        classify(*arguments)


def test_without_a_bundle_that_of_the_package_answers(shipped_bundle: Bundle) -> None:
    (answer,) = answers("call 12")
    assert answer["entities"][0]["label"] == "NUMBER"


def test_without_a_bundle_the_error_says_what_to_do(shipped_folder: Path) -> None:
    with pytest.raises(BundleError, match=r"routewright export.*--bundle BUNDLE"):
        classify("hello")


def test_input_that_is_not_utf8_is_named_by_line_with_advice(bundle: str) -> None:
    message = "standard input:2: not UTF-8 text; convert it, for example with iconv"
    with pytest.raises(DataError, match=message):
        answers("-", "--bundle", bundle, stdin=b"ok\n\xff\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_file_without_texts_is_an_error_and_prints_nothing(
    options: list[str], bundle: str, tmp_path: Path
) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("text,label\n", encoding="utf-8")
    arguments = ["classify", "--file", str(path), "--bundle", bundle, *options]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == f"{path}: holds no rows"
    assert result.stdout == ""
