"""``routewright serve``: the gateway, until a signal ends it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routewright.cli.bundle_names import bundle_named
from routewright.cli.extras import from_extra


def serve(
    config: Annotated[Path, typer.Option(help="The policy file.")],
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder instead of the file's own; without any, that of the package.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything as `check` does, serve nothing.")
    ] = False,
) -> None:
    """Serve requests by a policy: SIGHUP reloads, SIGTERM drains, a second one ends at once."""
    from routewright.cli.check import check_files
    from routewright.gateway.policy_file import read_policy_file

    if check:
        check_files(config, bundle, Console(highlight=False))
        return
    with from_extra("gateway"):
        from routewright.gateway.serve import run_gateway
    run_gateway(read_policy_file(config, bundle), announce=_print_line)


def _print_line(line: str) -> None:
    typer.echo(line)
