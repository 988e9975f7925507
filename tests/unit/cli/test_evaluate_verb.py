"""``routewright evaluate`` and ``compare`` as a user runs them."""

import json
import re
import sys
from pathlib import Path

import pytest

from routewright.bundle import Bundle
from routewright.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "attacks.jsonl"
    rows = [("x x", "attack"), ("hello [red]", "benign"), ("fix a box", "benign")] * 4
    path.write_text(
        "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows),
        encoding="utf-8",
    )
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``routewright ARGUMENTS`` in this process."""
    monkeypatch.setattr(sys, "argv", ["routewright", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return int(exit_info.value.code or 0)


def test_json_is_one_object_and_out_holds_the_same(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = data.parent / "new" / "report.json"
    options = ["--task", "attack", "--data", data, "--json", "--out", out]
    assert run(monkeypatch, "evaluate", tiny_bundle.path, *options) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(out.read_text(encoding="utf-8"))
    assert printed.err == ""


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_a_report_that_cannot_be_written_is_printed_all_the_same(
    verb: str,
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--task", "attack", "--data", data, "--json", "--out", data / "report.json"]
    assert run(monkeypatch, verb, tiny_bundle.path, *options) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["task"] == "attack"
    assert "report.json: cannot be written" in printed.err


@pytest.mark.parametrize("out", ["", ".", "/"])
@pytest.mark.parametrize(
    "verb",
    [
        ["evaluate", "--task", "t", "--data", "d"],
        ["compare", "--task", "t", "--data", "d"],
        ["bench"],
    ],
)
def test_a_folder_in_the_place_of_the_report_is_refused_before_the_work(
    verb: list[str],
    out: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *verb, "no-such-bundle", "--out", out) == 2
    error = capsys.readouterr().err
    assert f"{Path(out)}: cannot be written: Is a directory; name a file in it" in error
    assert error.count("\n") == 1


def test_the_table_shows_headline_classes_and_confusions(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--task", "attack", "--data", data, "--limit", "9", "--precision", "fp32"]
    assert run(monkeypatch, "evaluate", tiny_bundle.path, *options) == 0
    shown = capsys.readouterr().out
    assert "attack: 9 texts" in shown
    for part in ("roc_auc", "Per class", "Most confused", "By length", "calibration error"):
        assert part in shown


def test_a_failed_gate_exits_with_3_after_the_report(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--task", "attack", "--data", data, "--json", "--gate"]
    assert run(monkeypatch, "evaluate", tiny_bundle.path, *options, "accuracy>=0.5") == 0
    capsys.readouterr()
    assert run(monkeypatch, "evaluate", tiny_bundle.path, *options, "accuracy>=0.99") == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["num_examples"] == 12
    assert re.fullmatch(r"routewright: gate error: .*accuracy>=0.99.*\n", printed.err)


def test_a_gate_on_no_metric_is_refused_before_the_data_is_read(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = data.with_name("missing.jsonl")
    for task, metric in (("attack", "recall_at_threshold"), ("entities", "span_f1")):
        options = ["--task", task, "--data", missing, "--gate", "beauty>=0.5"]
        assert run(monkeypatch, "evaluate", tiny_bundle.path, *options) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert re.fullmatch(
            rf".*--gate beauty>=0.5: no such metric; {task} has: .*{metric}.*\n", printed.err
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label-map", "attack"], "--label-map attack: expected OLD=NEW"),
        (["--only-types", " , "], "--only-types: expected one or more types"),
        (["--only-types", "PERSON"], "attack is a sequence task"),
        (["--precision", "int4"], "has no precision 'int4'"),
        (
            ["--label-map", "benign=harmless"],
            ":2: unknown label 'harmless'; known: benign, attack",
        ),
    ],
)
def test_a_wrong_option_gives_one_line_and_exits_with_2(
    options: list[str],
    message: str,
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [tiny_bundle.path, "--task", "attack", "--data", data, *options]
    assert run(monkeypatch, "evaluate", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_label_can_be_renamed_or_dropped_on_the_way_in(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = data.read_text(encoding="utf-8").replace('"attack"', '"bad"')
    data.write_text(rows + '{"text": "y", "label": "odd"}\n', encoding="utf-8")
    options = ["--label-map", "bad=attack", "--label-map", "odd=", "--json"]
    arguments = [tiny_bundle.path, "--task", "attack", "--data", data, *options]
    assert run(monkeypatch, "evaluate", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["per_class"]["attack"]["support"] == 4


def test_compare_takes_the_options_that_its_advice_names(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data.write_text(data.read_text(encoding="utf-8").replace("benign", "fine"), "utf-8")
    arguments = ["compare", tiny_bundle.path, "--task", "attack", "--data", data, "--json"]
    assert run(monkeypatch, *arguments) == 2
    assert "rename labels with --label-map OLD=NEW" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--label-map", "fine=benign") == 0
    assert json.loads(capsys.readouterr().out)["targets"][0]["num_examples"] == 12
    assert run(monkeypatch, *arguments, "--only-types", "attack") == 2
    assert "attack is a sequence task" in capsys.readouterr().err


def test_compare_prints_a_column_for_each_target(
    data: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--task", "attack", "--data", data, "--out", data.parent / "c.json"]
    assert run(monkeypatch, "compare", tiny_bundle.path, *options) == 0
    shown = capsys.readouterr().out
    for part in ("tiny int8", "latency p50 / p95 (ms)", "peak memory (MB)", "deterministic"):
        assert part in shown
    assert len(json.loads((data.parent / "c.json").read_text())["targets"]) == 1
