"""The entry point: registers the verbs and turns errors into one line and an exit code.

Exit codes: 0 done; 1 a bug (a traceback); 2 the user can fix it; 3 a quality gate failed; 130
interrupted.
"""

import codecs
import io
import json
import sys
from typing import Annotated, Any

import typer

from routewright.cli import (
    bench,
    calibrate,
    check,
    classify,
    compare,
    data,
    envoy_config,
    evaluate,
    export,
    import_config,
    relabel,
    replay,
    reproduce,
    route,
    serve,
    train,
    tune,
)
from routewright.errors import ConfigError, RoutewrightError

_INTERRUPTED = 130
_UsageError: Any = typer.BadParameter.__base__
"""Of click, which newer versions of typer contain and give no name outside."""

app = typer.Typer(
    name="routewright",
    help="Train, prove and serve the classifiers that route traffic to large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"routewright {version('routewright')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train, prove and serve the classifiers that route traffic to large language models."""


app.add_typer(data.app, name="data")
app.command()(classify.classify)
app.command()(train.train)
app.command()(tune.tune)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(calibrate.calibrate)
app.command()(export.export)
app.command()(bench.bench)
app.command()(reproduce.reproduce)
app.command()(route.route)
app.command()(replay.replay)
app.command()(serve.serve)
app.command()(relabel.relabel)
app.command()(check.check)
app.command("envoy-config")(envoy_config.envoy_config)
app.command("import-config")(import_config.import_config)


def main() -> None:
    """Run the command line and exit."""
    codecs.register_error("json", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json")
    try:
        code = _run()
    except RoutewrightError as exc:
        sys.stdout.flush()
        sys.stderr.write(f"routewright: {exc.code} error: {exc}\n")
        code = exc.exit_code
    if code == _INTERRUPTED:  # typer has turned the KeyboardInterrupt into it
        sys.stderr.write("routewright: interrupted\n")
    sys.exit(code)


def _run() -> int:
    """The exit code of the verb, with usage errors as ours: typer would draw a box.

    Raises:
        ConfigError: an option, argument or verb is wrong.
    """
    try:
        return int(app(standalone_mode=False) or 0)
    except _UsageError as exc:
        message = " ".join(exc.format_message().split()).rstrip(".")
        if not message:  # no arguments: the help is printed
            return int(exc.exit_code)
        where = exc.ctx.command_path if exc.ctx else _verb_of(sys.argv[1:])
        raise ConfigError(f"{message[0].lower()}{message[1:]}; see {where} --help") from exc


def _verb_of(arguments: list[str]) -> str:
    """The command of a command line, for an error that does not know its own."""
    command: Any = typer.main.get_command(app)
    names = ["routewright"]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        names.append(word)
    return " ".join(names)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""As ``\u4e2d`` what the encoding of the output lacks; inside JSON it is the same text."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
