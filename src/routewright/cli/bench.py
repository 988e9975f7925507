"""``routewright bench``: what a bundle costs on this machine."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from routewright.cli.bundle_names import bundle_named
from routewright.cli.threads_option import ThreadsOption
from routewright.config import refuse_folder, write_text


def bench(
    bundle: Annotated[
        Path,
        typer.Argument(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder; default is the bundle of the package.",
        ),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="A single-task bundle to compare with; repeat for each task.",
        ),
    ] = None,
    threads: ThreadsOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds at 32 tokens.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON object here.")] = None,
) -> None:
    """Time the classifier against the bare graph and against separate single-task models."""
    from routewright.bundle import Bundle
    from routewright.runtime.benchmark import BenchmarkPlan, run_benchmark

    if out is not None:
        refuse_folder(out)
    for other in against or []:  # they are measured last; what is wrong is said first
        Bundle.open(other)
    messages = Console(stderr=True, highlight=False)
    plan = BenchmarkPlan(bundle, tuple(against or ()), threads, rounds)
    result = run_benchmark(
        plan, progress=lambda step: messages.print(f"{step} ...", style="dim")
    )
    text = json.dumps(result, indent=1)
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        _show(result, Console(highlight=False))
    if out is not None:  # last: a file that cannot be written must not cost the result
        write_text(out, text + "\n")


def _show(result: dict[str, Any], console: Console) -> None:
    machine, bundle, made = result["machine"], result["bundle"], result["created"]
    console.print(
        f"{bundle['name']} ({bundle['precision']}) on {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load_average']}; {made}, commit "
        f"{result['commit']}",
        markup=False,
    )
    table = Table("tokens", "windows", "rounds", "bare graph", "classifier", "ratio")
    table.add_column("separate")
    table.add_column("ratio")
    for row in result["latency"]:
        separate = row.get("separate_ms")
        table.add_row(
            str(row["tokens"]),
            str(row["windows"]),
            str(row["rounds"]),
            _times(row["bare_ms"]),
            _times(row["classifier_ms"]),
            f"{row['ratio_to_bare']:.3f}",
            _times(separate) if separate else "-",
            f"{row['ratio_to_separate']:.3f}" if separate else "-",
        )
    console.print(table)
    console.print("milliseconds, median (95th percentile); ratios are of the classifier")
    console.print(f"separate: {result['separate']['origin']}", markup=False)
    console.print(
        f"{result['throughput']['texts_per_s']} texts/s in one call, peak memory "
        f"{_megabytes(result['peak_memory_bytes'])}, graph "
        f"{_megabytes(bundle['graph_bytes'])}, bundle {_megabytes(bundle['bytes'])}"
    )


def _times(summary: dict[str, float]) -> str:
    return f"{summary['median']:.2f} ({summary['p95']:.2f})"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
