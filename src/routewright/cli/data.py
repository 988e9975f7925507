"""``routewright data``: check, count, split and convert data sets, and make synthetic ones."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routewright.cli.augment import augment
from routewright.config import refuse_file
from routewright.data.config import DataSpec
from routewright.data.leaks import check_leaks
from routewright.data.readers import find_errors, guess_kind, read_examples
from routewright.data.rows import exists
from routewright.data.sources import SOURCES
from routewright.data.split import SPLIT_NAMES, split_examples
from routewright.data.statistics import Statistics, describe
from routewright.data.writers import write_examples, write_parts
from routewright.errors import ConfigError, DataError
from routewright.labels import LabelSet

if TYPE_CHECKING:
    from routewright.data.examples import Example

app = typer.Typer(no_args_is_help=True, help="Check, count, split and convert data sets.")

MAX_ERRORS_SHOWN = 20


class Kind(StrEnum):
    """Row formats."""

    SEQUENCE = "sequence"
    TOKEN = "token"  # noqa: S105 - a kind of row, not a secret


class SynthKind(StrEnum):
    """What `synth` can make."""

    PII = "pii"
    CATEGORY = "category"
    JAILBREAK = "jailbreak"
    INTENT = "intent"
    ALL = "all"


FileArgument = Annotated[
    Path, typer.Argument(help="A .jsonl, .json, .csv or .parquet file, or a `datasets` folder.")
]
KindOption = Annotated[
    Kind | None, typer.Option(help="Row format; by default guessed from the first row.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the random choices.")]


@app.command()
def validate(
    file: FileArgument,
    kind: KindOption = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels or entity types that may occur: A,B,C.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every row of a file; wrong rows are named by line."""
    spec = DataSpec(path=str(file))
    chosen = kind.value if kind else guess_kind(spec, root=Path())
    label_set = LabelSet(_names(labels)) if labels else None
    num_good, errors = find_errors(spec, chosen, root=Path(), labels=label_set)
    if as_json:
        wrong = [str(error) for error in errors]
        typer.echo(json.dumps({"kind": chosen, "num_good": num_good, "errors": wrong}))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for error in errors[:MAX_ERRORS_SHOWN]:
            console.print(str(error), markup=False, style="red")
        if len(errors) > MAX_ERRORS_SHOWN:
            console.print(f"... and {len(errors) - MAX_ERRORS_SHOWN} more")
    if errors:
        raise DataError(f"{len(errors)} of {num_good + len(errors)} rows are wrong", path=file)
    if not num_good:
        raise DataError("holds no rows", path=file)
    if not as_json:
        Console().print(f"{num_good} {chosen} rows, all good", highlight=False)


@app.command()
def stats(file: FileArgument, kind: KindOption = None, as_json: JsonOption = False) -> None:
    """Count labels, lengths, duplicates and sources."""
    statistics = describe(_read(DataSpec(path=str(file)), kind))
    if as_json:
        typer.echo(json.dumps(statistics.to_json(), ensure_ascii=False))
        return
    _print_statistics(statistics)


@app.command()
def split(
    file: FileArgument,
    out: Annotated[Path, typer.Option(help="Folder for train, validation, test .jsonl.")],
    kind: KindOption = None,
    group_by: Annotated[
        str | None, typer.Option(help="Column whose equal values stay together.")
    ] = None,
    fractions: Annotated[
        str, typer.Option(help="Shares of train, validation and test.")
    ] = "0.8,0.1,0.1",
    seed: SeedOption = 0,
    drop_near: Annotated[
        bool, typer.Option("--drop-near", help="Keep one of each near-duplicate cluster.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Split without duplicates: near duplicates and groups stay together, labels balanced."""
    refuse_file(out)
    _refuse_overwriting(file, out)
    parts = split_examples(
        _read(DataSpec(path=str(file)), kind),
        fractions=_fractions(fractions),
        group_by=group_by,
        seed=seed,
        near_duplicates="drop" if drop_near else "together",
    )
    write_parts({out / f"{name}.jsonl": getattr(parts, name) for name in SPLIT_NAMES})
    report = asdict(parts.report)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    strata = report.pop("strata")
    sizes = report.pop("sizes")
    report["near duplicates are"] = report.pop("near_duplicates")
    _print_counts("rows", {_plain(name): value for name, value in report.items()})
    table = Table("label", *SPLIT_NAMES, title=escape(str(out)))
    for label in sorted({name for part in strata.values() for name in part}):
        table.add_row(escape(label), *(str(strata[part].get(label, 0)) for part in SPLIT_NAMES))
    table.add_section()
    table.add_row("all", *(str(sizes[part]) for part in SPLIT_NAMES))
    Console().print(table)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A file or folder, or the name of a source.")
    ],
    out: Annotated[Path, typer.Argument(help="A .jsonl, .json, .csv or .parquet file.")],
    kind: KindOption = None,
    set_name: Annotated[
        str | None,
        typer.Option("--source", help="IN is a local copy of this public set, as published."),
    ] = None,
    config_name: Annotated[
        str | None, typer.Option("--config", help="Configuration of the public set.")
    ] = None,
    split_name: Annotated[
        str | None, typer.Option("--split", help="Split of the public set or folder.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    spans_column: Annotated[str, typer.Option(help="Column with the spans.")] = "spans",
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="A=B", help="Rename a label; `A=` drops it. May be repeated."),
    ] = None,
) -> None:
    """Convert between file formats, or a public set to the row format."""
    options: dict[str, Any] = {
        "config_name": config_name,
        "split": split_name,
        "label_map": dict(_renaming(entry) for entry in label_map or []),
    }
    if set_name is not None:
        spec = DataSpec(source=set_name, local_copy=source, **options)
    elif source in SOURCES and not exists(Path(source)):
        spec = DataSpec(source=source, **options)
    elif not exists(Path(source)):
        raise DataError(
            f"neither a file nor a public set; sets: {', '.join(SOURCES)}", path=source
        )
    else:
        spec = DataSpec(
            path=source,
            text_column=text_column,
            label_column=label_column,
            spans_column=spans_column,
            **options,
        )
    examples = _read(spec, kind)
    write_examples(out, examples)
    _note(f"{len(examples)} rows written to {out}")


@app.command()
def leaks(
    train: Annotated[Path, typer.Argument(help="Training data.")],
    test: Annotated[Path, typer.Argument(help="Validation or test data.")],
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse test data whose texts are also in the training data."""
    report = check_leaks(
        _read(DataSpec(path=str(train)), kind),
        _read(DataSpec(path=str(test)), kind),
        name=str(test),
    )
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"no shared texts in {report.num_train} training and {report.num_test} test rows"
    )
    if report.num_near_duplicates:
        console.print(
            f"warning: {report.num_near_duplicates} test rows have a near duplicate in the "
            "training data, so results may flatter",
            style="yellow",
        )


@app.command()
def sources(as_json: JsonOption = False) -> None:
    """List the public data sets that can be named in recipes."""
    fields = ("name", "task", "kind", "licence", "url", "revision", "rule")
    rows = [{field: getattr(source, field) for field in fields} for source in SOURCES.values()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    console = Console(soft_wrap=True, highlight=False)
    for source in SOURCES.values():
        console.print(
            f"[bold]{source.name}[/] ({source.task}, {source.kind} rows, {source.licence})"
        )
        console.print(f"    {source.url}\n    {source.rule}", markup=False)


@app.command()
def synth(
    kind: Annotated[SynthKind, typer.Argument(help="Task to make rows for, or all.")],
    num: Annotated[int, typer.Option(min=1, help="Rows to make (of each task for `all`).")],
    out: Annotated[Path, typer.Option(help="File to write; a folder for `all`.")],
    seed: SeedOption = 0,
) -> None:
    """Make synthetic rows from the project's own templates."""
    from routewright.data.synth import generate_pii, generate_samples, write_samples

    if kind is SynthKind.ALL:
        refuse_file(out)
        write_samples(out, num_examples=num, seed=seed)
    elif kind is SynthKind.PII:
        write_examples(out, list(generate_pii(num, seed=seed)))
    else:
        write_examples(out, list(generate_samples(kind.value, num, seed=seed)))
    _note(f"written to {out}")


app.command()(augment)


def _refuse_overwriting(file: Path, out: Path) -> None:
    """The rows that a split leaves out, or puts elsewhere, would be gone for good."""
    for name in SPLIT_NAMES:
        part = out / f"{name}.jsonl"
        if exists(part) and exists(file) and part.samefile(file):
            raise ConfigError(
                f"--out {out}: {part.name} there is the very file to split and would be "
                "replaced; name another folder"
            )


def _read(spec: DataSpec, kind: Kind | None) -> "list[Example]":
    chosen = kind.value if kind else guess_kind(spec, root=Path())
    return read_examples(spec, chosen, root=Path())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise ConfigError(
            f"--fractions {text}: expected three numbers, for example 0.8,0.1,0.1"
        ) from exc
    return train, validation, test


def _renaming(entry: str) -> tuple[str, str | None]:
    old, separator, new = entry.partition("=")
    if not separator or not old:
        raise ConfigError(f"--label-map {entry}: expected OLD=NEW, or OLD= to drop")
    return old, new or None


def _print_statistics(statistics: Statistics) -> None:
    values = statistics.to_json()
    groups = {name: value for name, value in values.items() if isinstance(value, dict)}
    _print_counts("rows", {_plain(n): v for n, v in values.items() if n not in groups})
    for name, counts in groups.items():
        if counts:
            _print_counts(name, counts)


def _plain(field: str) -> str:
    return field.removeprefix("num_").replace("_", " ")


def _note(line: str) -> None:
    # Without markup: names of files and labels may hold brackets.
    Console().print(line, highlight=False, soft_wrap=True, markup=False)


def _print_counts(title: str, counts: dict[str, Any]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, value in counts.items():
        table.add_row(escape(name), escape(str(value)))
    Console().print(table)
