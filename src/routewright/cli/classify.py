"""``routewright classify``: answers for a text, a file or standard input."""

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routewright.cli.bundle_names import bundle_named
from routewright.cli.threads_option import ThreadsOption
from routewright.errors import ConfigError, DataError

if TYPE_CHECKING:
    from routewright.labels import Span
    from routewright.runtime.answers import Answer
    from routewright.runtime.classifier import Classifier
    from routewright.tasks import Task

BATCH_TEXTS = 256
"""Texts answered together: enough to batch by length, few enough to stream."""


def classify(
    text: Annotated[
        str | None, typer.Argument(help="The text, or - for standard input, one text a line.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder; by default the bundle of the package.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A .txt file, one text a line, or rows with a text column."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a text, each on one line.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="int8 or fp32; by default what the bundle says.")
    ] = None,
    threads: ThreadsOption = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks that answer: A,B.")] = None,
    coarse: Annotated[
        bool, typer.Option("--coarse", help="Entity types in the coarse view of their task.")
    ] = False,
) -> None:
    """Classify texts with every head of a bundle in one pass."""
    from routewright.runtime.classifier import Classifier

    texts = _texts(text, file)
    classifier = Classifier.open(bundle, precision=precision, num_threads=threads)
    names = None if tasks is None else [name.strip() for name in tasks.split(",")]
    answers = _answers(classifier, texts, names)
    if coarse:
        answers = (coarse_view(answer, _tasks_of(classifier)) for answer in answers)
    if as_json:
        for answer in answers:
            sys.stdout.write(json.dumps(answer.to_dict()) + "\n")
            sys.stdout.flush()
    else:
        from routewright.cli.answer_view import show

        show(answers)


def coarse_view(answer: "Answer", tasks: "dict[str, Task]") -> "Answer":
    """The answer with entity types by their coarse names; types without one are left out."""
    spans: dict[str, list[Span]] = {
        name: [
            replace(span, label=tasks[name].coarse[span.label])
            for span in found
            if span.label in tasks[name].coarse
        ]
        for name, found in answer.spans.items()
    }
    return replace(answer, spans=spans)


def _tasks_of(classifier: "Classifier") -> "dict[str, Task]":
    return {name: head.task for name, head in classifier.heads.items()}


def _texts(text: str | None, file: Path | None) -> Iterator[str]:
    if (text is None) == (file is None):
        raise ConfigError("name one of: a TEXT, --file FILE, or - for standard input")
    if file is not None:
        from routewright.data.readers import read_texts

        return read_texts(file)
    return _standard_input() if text == "-" else iter([text or ""])


def _standard_input() -> Iterator[str]:
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            raise DataError(
                "not UTF-8 text; convert it, for example with iconv",
                path="standard input",
                line=number,
            ) from exc
        if line.strip():
            yield line.rstrip("\r\n")


def _answers(
    classifier: "Classifier", texts: Iterator[str], tasks: list[str] | None
) -> "Iterator[Answer]":
    size = 1 if sys.stdin.isatty() else BATCH_TEXTS  # a person waits for each answer
    while batch := list(itertools.islice(texts, size)):
        yield from classifier(batch, tasks=tasks)
