"""``routewright data augment`` from files and options to rows on disk."""

import json
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from tests.envoy_parts import wait_until
from tests.writing_server import (
    KEY,
    Asked,
    WritingServer,
    completion,
    failure,
    fresh_texts,
    new_words,
)
from typer.testing import CliRunner, Result

from routewright.cli.data import app
from routewright.errors import ConfigError, LeakError


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"{label} {new_words()},{label}" for label in ("c1", "[c2]") * 6]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def invoke(server: WritingServer, file: Path, out: Path, *options: object) -> Result:
    arguments = [file, "--out", out, "--base-url", server.base_url, "--num", 3, *options]
    return CliRunner().invoke(app, ["augment", *map(str, arguments)])


def test_a_csv_file_becomes_more_rows_of_its_labels(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    writing.key = KEY
    out = tmp_path / "more.jsonl"
    held_out = tmp_path / "test.jsonl"
    held_out.write_text('{"text": "something else altogether", "label": "c1"}\n')
    result = CliRunner(env={"MY_KEY": f"{KEY}\n"}).invoke(
        app,
        ["augment", str(rows), "--out", str(out), "--base-url", writing.base_url, "--num", "3",
         "--model", "writer", "--api-key-env", "MY_KEY", "--held-out", str(held_out)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"6 rows written to {out}" in result.output
    assert "2 requests (0 sent again), 14 tokens read and 10 written" in result.output
    assert "[c2]" in result.output
    assert KEY not in result.output
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert sorted(row["label"] for row in written) == ["[c2]"] * 3 + ["c1"] * 3
    assert {(row["source"], row["model"]) for row in written} == {("augment", "writer-2")}


def test_what_was_dropped_and_what_is_lacking_is_told(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    again = f"c1 {new_words()}"
    writing.writer = lambda asked: (
        json.dumps([again]) if asked.label == "c1" else fresh_texts(asked)
    )
    result = invoke(writing, rows, tmp_path / "more.jsonl", "--model", "m")
    assert result.exit_code == 0
    assert "near another new row" in result.output
    assert "warning: fewer rows than wanted of c1" in result.output
    other = tmp_path / "other.jsonl"
    report = json.loads(invoke(writing, rows, other, "--model", "m", "--json").output)
    assert report["made"] == {"[c2]": 3, "c1": 1}
    assert report["elapsed_s"] > 0


def test_questions_from_a_text_file_are_answered_by_every_model(
    writing: WritingServer, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("why is it so?\nhow does it work?\nwho was it?\n")
    writing.writer = lambda asked: completion(f"{asked.model}: {new_words()}", asked.model)
    out = tmp_path / "answers.jsonl"
    result = invoke(
        writing, questions, out, "--answers", "--model", "one", "--model", "two",
        "--num", 2, "--json",
    )  # fmt: skip
    assert json.loads(result.output)["made"] == {"one": 2, "two": 2}
    labels = [json.loads(line)["label"] for line in out.read_text().splitlines()]
    assert sorted(labels) == ["one", "one", "two", "two"]


def test_a_key_that_is_not_set_is_named_by_its_variable(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "more.jsonl"
    result = invoke(writing, rows, out, "--model", "m", "--api-key-env", "NO_SUCH_VARIABLE_7")
    assert isinstance(result.exception, ConfigError)
    assert "--api-key-env NO_SUCH_VARIABLE_7: no such environment variable" in str(
        result.exception
    )
    assert not writing.asked


def test_held_out_rows_among_the_training_rows_are_refused(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    result = invoke(writing, rows, tmp_path / "more.jsonl", "--model", "m", "--held-out", rows)
    assert isinstance(result.exception, LeakError)
    assert str(result.exception).startswith(f"{rows}: 12 of 12 texts are also in")
    assert not writing.asked


def start(server: WritingServer, rows: Path, out: Path, *options: str) -> Popen[str]:
    command = ["data", "augment", str(rows), "--out", str(out), "--base-url", server.base_url]
    return Popen(
        [sys.executable, "-m", "routewright", *command, "--model", "m", *options],
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )


def test_a_wrong_key_is_one_line_and_exit_code_2(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    writing.writer = lambda _: failure(401, "who are you?")
    with start(writing, rows, tmp_path / "more.jsonl", "--num", "1") as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert errors == (
        f"routewright: config error: --base-url {writing.base_url}: refuses the key (401: who "
        "are you?); name its variable: --api-key-env\n"
    )


def test_an_interrupt_ends_at_once_and_the_rows_are_kept(
    writing: WritingServer, rows: Path, tmp_path: Path
) -> None:
    def hold_after_the_first(asked: Asked) -> str:
        writing.is_held = True
        return fresh_texts(asked)

    writing.writer = hold_after_the_first
    options = ("--num", "50", "--concurrency", "1")
    with start(writing, rows, tmp_path / "more.jsonl", *options) as process:
        wait_until(lambda: writing.num_arrived == 2, "a second request", 60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors == "routewright: interrupted\n"
    partial = tmp_path / "more.partial.jsonl"
    assert len(partial.read_text(encoding="utf-8").splitlines()) == 10
    assert not (tmp_path / "more.jsonl").exists()
