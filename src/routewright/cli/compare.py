"""``routewright compare``: several runs or bundles side by side on one labelled file."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from routewright.cli.bundle_names import bundle_named
from routewright.cli.evaluate import (
    CoarseOption,
    LabelMapOption,
    Listed,
    data_spec,
    split_names,
)
from routewright.cli.threads_option import ThreadsOption
from routewright.config import refuse_folder, write_text


def compare(
    targets: Annotated[
        list[Path],
        typer.Argument(
            parser=bundle_named,
            metavar="TARGET...",
            help="Runs or bundles; default is the bundle of the package.",
        ),
    ],
    task: Annotated[str, typer.Option(help="A task that all of them have.")],
    data: Annotated[Path, typer.Option(help="Labelled rows: JSONL, CSV (.gz) or Parquet.")],
    only_types: Listed = None,
    coarse: CoarseOption = False,
    label_map: LabelMapOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A stratified sample of so many rows.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="int8 or fp32 for every target; by default its own.")
    ] = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the comparison to this file.")] = None,
) -> None:
    """Compare accuracy, latency, memory and size; each target runs in its own process."""
    from routewright.cli.comparison_table import comparison_table
    from routewright.compare import MeasurementRequest
    from routewright.compare import compare as compare_targets

    if out is not None:
        refuse_folder(out)
    request = MeasurementRequest(
        target="",
        task=task,
        data=str(data),
        precision=precision,
        num_threads=threads,
        limit=limit,
        label_map=data_spec(data, label_map, limit).label_map,
        only_types=split_names(only_types),
        coarse=coarse,
    )
    errors = Console(stderr=True, quiet=not sys.stderr.isatty())
    comparison = compare_targets(
        targets,
        request,
        progress=lambda target: errors.print(f"measuring {escape(str(target))}"),
    )
    plain = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    if as_json:
        typer.echo(plain)
    else:
        Console().print(comparison_table(comparison))
    if out is not None:  # last: a file that cannot be written must not cost the comparison
        write_text(out, plain + "\n")
