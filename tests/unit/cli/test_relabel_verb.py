"""``routewright relabel``: a person's answers become rows to train with."""

import csv
import json
import stat
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.gateway_parts import UNSURE, gateway_bundle
from tests.review_parts import TODAY, kept, unsure, unsure_requests
from typer.testing import CliRunner, Result

from routewright.cli import relabel
from routewright.cli.main import app
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample
from routewright.data.readers import read_examples
from routewright.errors import ConfigError, DataError, RoutewrightError, TaskError
from routewright.gateway.settings import ReviewReason
from routewright.labels import LabelSet

LABELS = LabelSet(("math", "law", "other"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gateway_bundle(tmp_path_factory.mktemp("relabel") / "bundle")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a gateway has kept of three requests, of which the model says ``other``."""
    path = tmp_path / "kept"
    assert len(kept(path, unsure_requests(3))) == 3
    return path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relabel, "at_terminal", lambda: True)


def ran(bundle: Path, *arguments: object, answers: str = "", task: str = "category") -> Result:
    words = ["relabel", *map(str, arguments), "--task", task, "--bundle", str(bundle)]
    return CliRunner().invoke(app, words, input=answers)


def shown(bundle: Path, *arguments: object, answers: str = "", task: str = "category") -> str:
    result = ran(bundle, *arguments, answers=answers, task=task)
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def examples(path: Path) -> list[Example]:
    """As a recipe reads them."""
    return read_examples(DataSpec(path=str(path)), "sequence", root=Path(), labels=LABELS)


def labels_in(path: Path) -> list[str]:
    found = examples(path)
    return [e.label for e in found if isinstance(e, SequenceExample)]


def add_row(folder: Path, task: str = "category", day: str = TODAY, **row: Any) -> None:
    with (folder / f"{task}-{day}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"label": None, "predicted": "law", **row}) + "\n")


def test_labels_by_name_number_and_enter_are_rows_that_a_recipe_reads(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.jsonl"
    text = shown(bundle, folder, "--out", out, answers="LAW\n1\n\n")
    assert "number or name, Enter for other (0.52), s skip, q quit" in text
    assert f"{out}: 3 labelled, 0 skipped, 0 left" in text
    assert labels_in(out) == ["law", "math", "other"]
    first = examples(out)[0]
    assert first.text == unsure(0)
    assert first.meta["reason"] == "abstained"
    assert first.meta["predicted"] == "other"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_what_is_labelled_or_skipped_is_not_asked_again(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.jsonl"
    text = shown(bundle, folder, "--out", out, answers="law\ns\nq\n")
    assert "1 labelled, 1 skipped, 1 left" in text
    text = shown(bundle, folder, "--out", out, answers="math\n")
    assert "1 of 1, 2026-11-22, abstained" in text
    assert unsure(2) in text
    assert unsure(1) not in text
    assert labels_in(out) == ["law", "math"]
    assert "nothing to label: 3 texts" in shown(bundle, folder, "--out", out)
    beside = out.with_name("labels.jsonl.skipped")
    assert unsure(1) not in beside.read_text(encoding="utf-8")


def test_every_label_is_on_disk_before_the_next_question(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "labels.jsonl"
    text = shown(bundle, folder, "--out", out, answers="law\n")  # then the input ends
    assert "1 labelled, 0 skipped, 2 left" in text
    assert labels_in(out) == ["law"]


def test_a_wrong_answer_is_asked_again(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.jsonl"
    text = shown(bundle, folder, "--out", out, answers="laws\n4\n0\n?\nlaw\nq\n")
    assert [f"no such label: {given}" in text for given in ("laws", "4", "0")] == [True] * 3
    assert text.count("  2  law") == 2
    assert labels_in(out) == ["law"]


def test_a_prediction_that_is_no_label_of_the_bundle_is_not_offered(
    terminal: None, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    add_row(folder, text="a", predicted="gardening")
    out = tmp_path / "labels.jsonl"
    text = shown(bundle, folder, "--out", out, answers="\nlaw\n")
    assert "Enter" not in text
    assert "no such label: (nothing)" in text
    assert labels_in(out) == ["law"]


def test_oldest_days_come_first_and_a_text_once(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    add_row(folder, day="2026-11-21", text="older")
    add_row(folder, day="2026-11-23", text=UNSURE.upper())
    text = shown(bundle, folder, "--out", tmp_path / "labels.jsonl", answers="q\n")
    assert "1 of 4" in text
    assert "older" in text


def test_rows_of_one_reason_make_a_set_of_their_own(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    add_row(folder, text="drawn", reason="random")
    out = tmp_path / "test.jsonl"
    shown(bundle, folder, "--out", out, "--reason", "random", answers="\n")
    assert [e.text for e in examples(out)] == ["drawn"]


@pytest.mark.parametrize("reasons", [("random", "abstained"), ("abstained", "random")])
def test_a_text_that_was_drawn_at_random_too_belongs_to_the_fair_sample_alone(
    terminal: None, bundle: Path, tmp_path: Path, reasons: tuple[str, str]
) -> None:
    """Else that would lack the hard texts, and training and test data would share some."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for reason in reasons:
        add_row(folder, text="hard", reason=reason)
    add_row(folder, text="unsure", reason="abstained")
    for number, (option, texts) in enumerate(
        {"random": ["hard"], "abstained": ["unsure"], None: ["hard", "unsure"]}.items()
    ):
        out = tmp_path / f"{number}.jsonl"
        options = () if option is None else ("--reason", option)
        shown(bundle, folder, "--out", out, *options, answers="law\nlaw\n")
        found = {e.text: e.meta["reason"] for e in examples(out)}
        assert list(found) == texts
        assert found.get("hard", "random") == "random"


def test_what_a_terminal_garbles_is_asked_again(
    terminal: None,
    folder: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = iter([b"L\xe4w", b"law", b"q"])
    monkeypatch.setattr("builtins.input", lambda: next(lines).decode("utf-8"))
    out = tmp_path / "labels.jsonl"
    assert "no such label: \ufffd" in shown(bundle, folder, "--out", out)
    assert labels_in(out) == ["law"]


def test_a_torn_line_is_named_and_left_out(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    path = folder / f"category-{TODAY}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"text": "hal')
    text = shown(bundle, folder, "--out", tmp_path / "labels.jsonl", answers="q\n")
    assert f"warning: left out: {path}:4: not valid JSON" in text
    assert "1 of 3" in text


def test_a_text_cannot_steer_the_terminal_or_the_markup(
    terminal: None, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    add_row(folder, text="a\x1b]0;canary\x07 \u202ereversed [bold]b[/]\ttab")
    text = shown(bundle, folder, "--out", tmp_path / "labels.jsonl", answers="q\n")
    assert "a\ufffd]0;canary\ufffd \ufffdreversed [bold]b[/]    tab" in text
    assert "\x1b]0" not in text


def test_a_spreadsheet_is_filled_in_and_read_as_data(
    folder: Path, bundle: Path, tmp_path: Path
) -> None:
    add_row(folder, text="=HYPERLINK(canary)", reason="random")
    add_row(folder, text='Größe, "quoted"\nand more')
    sheet = tmp_path / "labels.csv"
    text = shown(bundle, folder, "--to-csv", sheet)
    assert "5 texts; labels: math, law, other" in text
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [""] * 5
    assert rows[3]["text"] == " =HYPERLINK(canary)"
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    with pytest.raises(DataError, match=r"labels\.csv:2: label: the label is empty"):
        examples(sheet)
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"label": "law"} for row in rows)
    assert labels_in(sheet) == ["law"] * 5
    assert examples(sheet)[4].text == 'Größe, "quoted"\nand more'
    with pytest.raises(ConfigError, match="is there, perhaps with labels in it"):
        shown(bundle, folder, "--to-csv", sheet)


def test_a_spreadsheet_has_what_is_not_labelled_yet(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.jsonl"
    shown(bundle, folder, "--out", out, answers="law\nq\n")
    sheet = tmp_path / "rest.csv"
    assert "2 texts" in shown(bundle, folder, "--out", out, "--to-csv", sheet)


def test_rows_without_a_label_are_no_training_rows(folder: Path) -> None:
    path = folder / f"category-{TODAY}.jsonl"
    with pytest.raises(DataError, match=r"\.jsonl:1: label: must be .* found nothing \(null\)"):
        examples(path)
    result = CliRunner().invoke(app, ["data", "validate", str(path)])
    assert isinstance(result.exception, DataError)
    assert "3 of 3 rows are wrong" in str(result.exception)


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ("category", [], ConfigError, "say where labels go: --out labels.jsonl, or --to-csv"),
        ("category", ["--out", "a.jsonl"], ConfigError, "no terminal to ask at; .*--to-csv"),
        ("category", ["--out", "a.csv"], ConfigError, r"--out .*a\.csv: name a file that ends"),
        ("category", ["--to-csv", "a.txt"], ConfigError, r"name a file that ends in \.csv"),
        (
            "intent",
            ["--out", "a.jsonl"],
            DataError,
            "no rows of the task intent; it holds rows",
        ),
        ("topic", ["--out", "a.jsonl"], TaskError, "has no task 'topic'; it has: category,"),
        (
            "pii",
            ["--out", "a.jsonl"],
            TaskError,
            "the kept texts have none left; mark texts of",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    options: list[str],
    error: type[RoutewrightError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        shown(bundle, folder, *options, task=task)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("a.*"))


def test_a_folder_that_is_none_and_the_gateways_own_file_are_named(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"none: is no folder; name that of gateway\.review"):
        shown(bundle, tmp_path / "none", "--out", tmp_path / "a.jsonl")
    own = folder / f"category-{TODAY}.jsonl"
    before = own.read_bytes()
    with pytest.raises(ConfigError, match="is none of the gateway's"):
        shown(bundle, folder, "--out", own, answers="law\n")
    assert own.read_bytes() == before


def test_a_file_of_labels_with_a_foreign_label_is_refused_and_stays(
    terminal: None, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.jsonl"
    out.write_text('{"text": "a", "label": "gardening"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.jsonl:1: unknown label 'gardening'"):
        shown(bundle, folder, "--out", out, answers="law\n")
    assert out.read_text(encoding="utf-8").count("\n") == 1


def test_reasons_are_those_that_the_gateway_keeps_texts_for() -> None:
    """Written out again in the verb, which is not to wait for what the settings import."""
    assert {reason.value for reason in relabel.KeptFor} == {*get_args(ReviewReason), "random"}
