"""``routewright relabel``: a person says what the model was unsure about."""

import sys
import unicodedata
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from routewright.cli.bundle_names import bundle_named
from routewright.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from routewright.cli.relabel_rows import Labelled, Waiting
    from routewright.labels import LabelSet

_SKIP, _QUIT, _HELP = "s", "q", "?"


class KeptFor(StrEnum):
    """Why the gateway kept a text."""

    ABSTAINED = "abstained"
    BLOCKED = "blocked"
    WOULD_BLOCK = "would_block"
    NEAR_THRESHOLD = "near_threshold"
    RANDOM = "random"


def relabel(
    folder: Annotated[Path, typer.Argument(help="That of `gateway.review.folder`.")],
    task: Annotated[str, typer.Option(help="Whose labels are asked for.")],
    out: Annotated[
        Path | None, typer.Option(help="JSONL file that each label is written to at once.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle with the labels; by default the bundle of the package.",
        ),
    ] = None,
    reason: Annotated[
        KeptFor | None, typer.Option(help="Only texts that were kept for this reason.")
    ] = None,
    to_csv: Annotated[
        Path | None,
        typer.Option(help="Ask nothing; write a spreadsheet with an empty label column."),
    ] = None,
) -> None:
    """Label the texts that a gateway has kept, one by one, or write them to a spreadsheet."""
    from routewright.cli.relabel_rows import Labelled, waiting_texts, write_spreadsheet

    if out is None and to_csv is None:
        raise ConfigError("say where labels go: --out labels.jsonl, or --to-csv labels.csv")
    labels = _labels(bundle, task)
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    texts = waiting_texts(
        folder,
        task,
        reason=None if reason is None else reason.value,
        warn=lambda line: errors.print(Text(f"warning: {line}", style="yellow")),
    )
    labelled = None if out is None else Labelled(out, labels)
    left = texts if labelled is None else labelled.left_of(texts)
    if to_csv is not None:
        write_spreadsheet(to_csv, left)
        console.print(Text(f"{to_csv}: {len(left):,} texts; labels: {', '.join(labels)}"))
    elif labelled is not None and left:
        _ask_all(console, labelled, left, labels)
    else:
        console.print(Text(f"nothing to label: {len(texts):,} texts are done or skipped"))


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _labels(bundle: Path | None, task: str) -> "LabelSet":
    from routewright.bundle import Bundle
    from routewright.shipped import bundle_folder

    folder = bundle_folder(bundle)
    tasks = Bundle.open(folder).tasks
    if task not in tasks:
        raise TaskError(f"{folder}: has no task {task!r}; it has: {', '.join(tasks)}")
    if tasks[task].kind == "token":
        raise TaskError(
            f"{task} marks values in a text, and the kept texts have none left; mark texts of "
            "your own (the token rows of docs/data.md) or make some: routewright data synth pii"
        )
    return tasks[task].label_set


def _ask_all(
    console: Console, labelled: "Labelled", left: "list[Waiting]", labels: "LabelSet"
) -> None:
    if not at_terminal():
        raise ConfigError(
            "there is no terminal to ask at; run this in one, or write a spreadsheet: "
            "--to-csv labels.csv"
        )
    num_labelled = num_skipped = 0
    _show_labels(console, labels)
    for number, waiting in enumerate(left, start=1):
        _show(console, waiting, f"{number:,} of {len(left):,}")
        answer = _ask(console, waiting, labels)
        if answer == _QUIT:
            break
        if isinstance(answer, int):
            labelled.add(waiting, labels.names[answer])
            num_labelled += 1
        else:
            labelled.skip(waiting)
            num_skipped += 1
    num_left = len(left) - num_labelled - num_skipped
    told = f"{num_labelled:,} labelled, {num_skipped:,} skipped, {num_left:,} left"
    console.print(Text(f"{labelled.path}: {told}"))


def _show_labels(console: Console, labels: "LabelSet") -> None:
    for number, name in enumerate(labels, start=1):
        console.print(Text(f"{number:>3}  {name}"))


def _show(console: Console, waiting: "Waiting", place: str) -> None:
    columns = waiting.columns
    about = [place, *(str(columns[name]) for name in ("date", "reason") if name in columns)]
    console.print(Rule(Text(visible(", ".join(about))), align="left"))
    console.print(Text(visible(waiting.text)))
    console.print()


def _ask(console: Console, waiting: "Waiting", labels: "LabelSet") -> int | str:
    """The id of the label, or ``s`` to skip, ``q`` to quit."""
    predicted, confidence = waiting.predicted, waiting.columns.get("confidence")
    offer = ""
    if predicted in labels:
        shown = f" ({confidence:.2f})" if isinstance(confidence, float) else ""
        offer = f"Enter for {predicted}{shown}, "
    prompt = Text(f"number or name, {offer}{_SKIP} skip, {_QUIT} quit, {_HELP} labels: ")
    while True:
        try:
            given = console.input(prompt).strip()
        except EOFError:
            console.print()
            return _QUIT
        except UnicodeDecodeError:  # of a terminal that is not set to UTF-8
            given = "\ufffd"
        if given in {_QUIT, _SKIP}:
            return given
        if not given and offer:
            return labels.id(predicted)
        if given == _HELP:
            _show_labels(console, labels)
        elif (label_id := _label_id(given, labels)) is not None:
            return label_id
        else:
            console.print(Text(f"no such label: {visible(given) or '(nothing)'}", style="red"))


def _label_id(given: str, labels: "LabelSet") -> int | None:
    """Of a label named or numbered from 1; a name counts first, then one in another case."""
    if given in labels:
        return labels.id(given)
    names = {name.casefold(): label_id for label_id, name in enumerate(labels)}
    if given.casefold() in names:
        return names[given.casefold()]
    numbers = {str(number): number - 1 for number in range(1, len(labels) + 1)}
    return numbers.get(given)


def visible(text: str) -> str:
    """What a stranger wrote, without characters by which it could steer the terminal."""
    plain = text.replace("\t", "    ").replace("\r\n", "\n")
    return "".join("\ufffd" if _steers(c) else c for c in plain)


def _steers(character: str) -> bool:
    kept = "\n\u200c\u200d"  # the joiners belong to emoji and to Persian
    return unicodedata.category(character) in {"Cc", "Cf"} and character not in kept
