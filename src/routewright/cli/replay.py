"""``routewright replay``: what a policy does with logged requests, beside another one."""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from routewright.cli.bundle_names import bundle_named
from routewright.cli.extras import from_extra
from routewright.errors import GateError

if TYPE_CHECKING:
    from routewright.replay import LoggedRequest, Verdict

_SHOWN = 20


def replay(
    traffic: Annotated[
        Path,
        typer.Argument(
            help="Logged requests: rows with messages, prompt, input, text or body."
        ),
    ],
    config: Annotated[Path, typer.Option(help="The policy file.")],
    against: Annotated[
        Path | None, typer.Option(help="The policy file to compare with: the one in place.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder for --config instead of the file's own.",
        ),
    ] = None,
    max_changed: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of changed requests that gives exit code 3."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send logged requests through a policy without any model, and count what it does.

    Prints names and line numbers, no text. With --against, also which lines change and how.
    """
    with from_extra("gateway"):
        from routewright.replay import read_traffic

    if max_changed is not None and against is None:
        raise typer.BadParameter("needs --against: without it nothing changes")
    requests = list(read_traffic(traffic))
    started = time.monotonic()
    files = [config] if against is None else [against, config]
    verdicts = _verdicts(requests, files, bundle)
    duration_s = time.monotonic() - started
    changes = {} if against is None else _changes(requests, *verdicts)
    if as_json:
        plain = _plain(requests, files, verdicts, changes)
        sys.stdout.write(json.dumps({**plain, "duration_s": round(duration_s, 1)}) + "\n")
    else:
        _show(traffic, files, verdicts, changes, duration_s)
    share = len(changes) / len(requests)
    if max_changed is not None and share > max_changed:
        raise GateError(
            f"{len(changes)} of {len(requests)} requests ({share:.1%}) are treated otherwise; "
            f"at most {max_changed:.1%} may be"
        )


def _verdicts(
    requests: "Sequence[LoggedRequest]", files: Sequence[Path], bundle: Path | None
) -> list[list["Verdict"]]:
    from routewright.gateway.deploying import load_deployment
    from routewright.gateway.policy_file import read_policy_file
    from routewright.replay import replay as replay_requests

    # The one that is compared with keeps its own bundle; both are checked before any work.
    *against, config = files
    parsed = [*map(read_policy_file, against), read_policy_file(config, bundle)]
    loaded = None
    deployments = []
    for file in parsed:
        loaded = load_deployment(file, before=loaded, with_secrets=False)
        deployments.append(loaded)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        found = []
        for path, deployment in zip(files, deployments, strict=True):
            advance = partial(
                progress.advance, progress.add_task(path.name, total=len(requests))
            )
            found.append(replay_requests(requests, deployment, on_done=advance))
    return found


def _changes(
    requests: "Sequence[LoggedRequest]", before: "list[Verdict]", now: "list[Verdict]"
) -> dict[int, dict[str, tuple[Any, Any]]]:
    """What differs, by line."""
    return {
        request.line: found
        for request, old, new in zip(requests, before, now, strict=True)
        if (found := old.differences(new))
    }


def _counts(verdicts: "Sequence[Verdict]") -> Counter[tuple[str, str]]:
    return Counter(
        (name, str(value))
        for verdict in verdicts
        for name, value in verdict.flat().items()
        if value is not None
    )


def _show(
    traffic: Path,
    files: Sequence[Path],
    verdicts: "Sequence[Sequence[Verdict]]",
    changes: Mapping[int, Mapping[str, tuple[Any, Any]]],
    duration_s: float,
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    num_requests = len(verdicts[0])
    console.print(Text(f"{traffic}: {num_requests:,} requests in {duration_s:.1f} s"))
    counts = [_counts(found) for found in verdicts]
    names = [str(file) for file in files]
    table = Table("what", "which", *map(escape, names))
    for name, value in sorted({key for found in counts for key in found}):
        numbers = [f"{found[name, value]:,}" for found in counts]
        changed = len(set(numbers)) > 1
        table.add_row(Text(name), Text(value), *numbers, style="bold" if changed else "")
    console.print(table)
    if len(files) == 1:
        return
    console.print(Text(f"{len(changes):,} of {num_requests:,} are treated otherwise"))
    for line, found in list(changes.items())[:_SHOWN]:
        told = ", ".join(f"{n} {_word(old)} -> {_word(new)}" for n, (old, new) in found.items())
        console.print(Text(f"  line {line}: {told}"))
    if len(changes) > _SHOWN:
        console.print(Text(f"  and {len(changes) - _SHOWN:,} more; --json has all"))


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _plain(
    requests: "Sequence[LoggedRequest]",
    files: Sequence[Path],
    verdicts: "Sequence[Sequence[Verdict]]",
    changes: Mapping[int, Mapping[str, tuple[Any, Any]]],
) -> dict[str, Any]:
    return {
        "num_requests": len(requests),
        "policies": [
            {
                "config": str(file),
                "counts": [
                    {"what": name, "which": value, "count": count}
                    for (name, value), count in sorted(_counts(found).items())
                ],
                "requests": [
                    {"line": request.line, **verdict.to_dict()}
                    for request, verdict in zip(requests, found, strict=True)
                ],
            }
            for file, found in zip(files, verdicts, strict=True)
        ],
        "changes": [
            {"line": line, **{n: {"before": a, "now": b} for n, (a, b) in found.items()}}
            for line, found in changes.items()
        ],
    }
