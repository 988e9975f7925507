"""``routewright data augment``: more training rows, written by language models."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from routewright.data.config import DataSpec
from routewright.data.readers import guess_kind, read_examples, read_texts
from routewright.errors import ConfigError

if TYPE_CHECKING:
    from routewright.data.augment import AugmentReport


FileArgument = Annotated[
    Path,
    typer.Argument(
        help="Training rows, of which some are shown to the models: .jsonl, .json, .csv, "
        ".parquet or a `datasets` folder; with --answers the questions."
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="New .jsonl file; a stopped run goes on with its rows.")
]
BaseUrlOption = Annotated[
    str, typer.Option(help="OpenAI-compatible API, as in https://HOST/v1.")
]
ModelOption = Annotated[
    list[str], typer.Option(help="Model to ask; repeat it for several, asked in turn.")
]
NumOption = Annotated[
    int, typer.Option(min=1, help="Rows to make for each label, or entity type.")
]
ApiKeyEnvOption = Annotated[
    str | None, typer.Option(help="Environment variable with the key; none is sent else.")
]
LabelsOption = Annotated[
    str | None, typer.Option(help="Only these labels or entity types: A,B,C.")
]
AboutOption = Annotated[
    str | None, typer.Option(help="What the texts are, in words for the model.")
]
AnswersOption = Annotated[
    bool,
    typer.Option(
        "--answers",
        help="Put each text of FILE to every model as a question; its answer is the row, "
        "the model its label.",
    ),
]
HeldOutOption = Annotated[
    list[Path] | None,
    typer.Option(help="Validation or test rows that no new row may come near; repeatable."),
]
MinCharsOption = Annotated[
    int | None, typer.Option(help="Least characters; by default from the rows' lengths.")
]
MaxCharsOption = Annotated[
    int | None, typer.Option(help="Most characters; by default from the rows' lengths.")
]
TemperatureOption = Annotated[
    float | None, typer.Option(help="Sampling temperature; by default the server's own.")
]
ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests at a time.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait for one answer.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the rows that are shown.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def augment(
    file: FileArgument,
    out: OutOption,
    base_url: BaseUrlOption,
    model: ModelOption,
    num: NumOption,
    api_key_env: ApiKeyEnvOption = None,
    labels: LabelsOption = None,
    about: AboutOption = None,
    answers: AnswersOption = False,
    held_out: HeldOutOption = None,
    min_chars: MinCharsOption = None,
    max_chars: MaxCharsOption = None,
    temperature: TemperatureOption = None,
    concurrency: ConcurrencyOption = 4,
    timeout: TimeoutOption = 120.0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Have language models write more training rows; those shown to them go to their API."""
    from routewright.data.augment import (
        AugmentConfig,
        Endpoint,
        augment_rows,
        collect_answers,
    )

    config = AugmentConfig(
        models=tuple(model), num=num, labels=_names(labels), about=about, min_chars=min_chars,
        max_chars=max_chars, concurrency=concurrency, seed=seed,
    )  # fmt: skip
    endpoint = Endpoint(
        base_url=base_url, api_key=_key(api_key_env), api_key_env=api_key_env,
        temperature=temperature, timeout_s=timeout,
    )  # fmt: skip
    options: dict[str, Any] = {
        "out": out,
        "held_out": [text for path in held_out or [] for text in read_texts(path)],
    }
    console = Console(stderr=True)
    with _progress(console) as bar:
        work = bar.add_task("rows", total=None)
        options["on_progress"] = lambda n, total: bar.update(work, completed=n, total=total)
        if answers:
            report = collect_answers(list(read_texts(file)), config, endpoint, **options)
        else:
            spec = DataSpec(path=str(file))
            rows = read_examples(spec, guess_kind(spec, root=Path()), root=Path())
            name = ", ".join(map(str, held_out or []))
            report = augment_rows(rows, config, endpoint, held_out_name=name, **options)
    if as_json:
        typer.echo(json.dumps(asdict(report), ensure_ascii=False))
    else:
        _print_report(report, out)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise ConfigError(f"--api-key-env {variable}: no such environment variable; set it")
    return os.environ[variable].strip()


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _print_report(report: "AugmentReport", out: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table("label", "rows", "wanted")
    for label, num in report.made.items():
        table.add_row(escape(label), str(num), str(report.num_wanted))
    console.print(table)
    for title, dropped in (
        ("texts dropped", report.dropped_texts),
        ("answers without a text", report.dropped_answers),
    ):
        if dropped:
            found = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
            console.print(f"{sum(dropped.values())} {title}: {found}", markup=False)
    total = sum(report.made.values())
    earlier = f", {report.num_resumed} of them by an earlier run" if report.num_resumed else ""
    console.print(f"{total} rows written to {out}{earlier}", markup=False)
    console.print(
        f"{report.elapsed_s:.1f} s, {report.num_requests} requests ({report.num_retries} sent "
        f"again), {report.num_prompt_tokens} tokens read and {report.num_completion_tokens} "
        "written by the models"
    )
    if short := [name for name, num in report.made.items() if num < report.num_wanted]:
        console.print(
            f"warning: fewer rows than wanted of {', '.join(short)}: nothing new came any more",
            style="yellow", markup=False,
        )  # fmt: skip
