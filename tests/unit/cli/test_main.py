"""Exit codes, one-line errors, and a command line that starts without the heavy libraries."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from routewright.bundle import Bundle
from routewright.cli.main import app, main

COMMAND = [sys.executable, "-c", "from routewright.cli.main import main; main()"]
STATS_TWICE = [
    sys.executable,
    "-c",
    "import sys\n"
    "from routewright.cli.main import main\n"
    "given = sys.argv\n"
    "for option in '--json', '--kind=sequence':\n"
    "    sys.argv = [given[0], 'data', 'stats', given[1], option]\n"
    "    try: main()\n"
    "    except SystemExit as ended: assert not ended.code\n",
]


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, check=False
    )


def test_help_lists_the_verbs_and_loads_no_model_library() -> None:
    program = (
        "import sys; sys.argv = ['routewright', '--help']\n"
        "from routewright.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'onnxruntime', 'onnx', 'sklearn'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert {"classify", "bench", "data"} <= set(result.stdout.split())


def test_a_search_without_its_extra_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['optuna'] = None\n"
        "sys.argv = ['routewright', 'tune', 'recipe.yaml', '--out', 'tuned']\n"
        "from routewright.cli.main import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "routewright: missing_extra error: optuna is not installed; "
        "run: pip install 'routewright[tune]'\n"
    )


def test_importing_the_package_loads_nothing() -> None:
    program = "import sys, routewright; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_user_error_is_one_line_and_exit_code_2() -> None:
    result = run("classify", "hello", "--bundle", "/nowhere")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "routewright: bundle error: /nowhere: no such bundle folder; check the path\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "--no-such-option"], "no such option: --no-such-option"),
        (["clasify"], "no such command 'clasify'"),
        (["data", "synth", "gold", "--num", "3"], "invalid value for 'kind': "),
        (["bench"], "missing argument 'BUNDLE'"),
        (["classify", "a", "b"], "got unexpected extra argument"),
    ],
)
def test_a_usage_error_is_one_line_with_the_help_to_see_and_exits_with_2(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["routewright", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"routewright: config error: {message}")
    assert re.search(r"; see .*routewright.* --help\n$", printed.err)
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["evaluate", "--task"], "routewright evaluate"),
        (["evaluate", "data", "--task"], "routewright evaluate"),
        (["data", "synth", "--num"], "routewright data synth"),
    ],
)
def test_an_option_without_its_value_points_to_the_help_of_its_verb(
    arguments: list[str],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["routewright", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith(f"; see {where} --help\n")


def test_without_arguments_the_help_is_printed_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["routewright", "data"])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr()
    assert "validate" in printed.out + printed.err
    assert "error" not in printed.err


@pytest.mark.parametrize(
    "verb",
    [
        ["classify", "hello"],
        ["bench"],
        ["compare", "default", "--task=pii", "--data=x.jsonl"],
        ["evaluate", "default"],
    ],
)
def test_a_number_of_threads_that_never_start_is_refused(verb: list[str]) -> None:
    result = CliRunner().invoke(app, [*verb, "--threads=9999999"])
    assert result.exit_code == 2
    assert "'--threads'" in result.stderr
    assert "less than or equal to 256" in " ".join(result.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", "utf-8"), ("latin-1", "latin-1"), ("utf-8", "utf-8")],  # typer avoids ASCII
)
def test_an_output_of_another_encoding_gets_escapes_that_json_means(
    encoding: str, written: str, tmp_path: Path
) -> None:
    label = "caf\u00e9 \u4e2d \U0001f600"
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "hello", "label": label}) + "\n", encoding="utf-8")
    result = subprocess.run(
        [*STATS_TWICE, str(path)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    as_json, _, table = result.stdout.decode(written).partition("\n")
    assert json.loads(as_json)["labels"] == {label: 1}
    assert "caf" in table


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("routewright 0.")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A shell's background job ignores interrupts and hands that on to what it starts."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_is_one_line_and_exit_code_130(tiny_bundle: Bundle) -> None:
    arguments = [*COMMAND, "classify", "-", "--bundle", str(tiny_bundle.path), "--json"]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n" * 256)
        process.stdin.flush()
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert errors == b"routewright: interrupted\n"
    assert process.returncode == 130


def test_a_closed_pipe_is_no_traceback(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("hello 12\n" * 5000, encoding="utf-8")
    read_end, write_end = os.pipe()
    arguments = ["classify", "--file", str(tmp_path / "texts.txt"), "--json"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--bundle", str(tiny_bundle.path)],
        stdout=write_end,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(write_end)
        os.read(read_end, 10)
        os.close(read_end)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
