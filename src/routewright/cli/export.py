"""``routewright export``: a run to a bundle, or to the files of another program."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routewright.cli.bundle_names import new_folder
from routewright.errors import MissingExtraError
from routewright.export import FORMATS


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=new_folder,
            metavar="FOLDER",
            help="Folder to write; an earlier export is replaced.",
        ),
    ],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="onnx is the bundle that `routewright classify` reads.",
        ),
    ] = "onnx",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK.METRIC=GOAL",
            help="Operating point, as jailbreak.fpr=0.01, pii.recall=0.98 or "
            "category.precision=0.95; without any, those of the recipe.",
        ),
    ] = None,
    max_int8_loss: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Points of a task's main metric that int8 may lose on the validation data; "
            "by default the recipe's (0.5).",
        ),
    ] = None,
    int8_only: Annotated[
        bool, typer.Option("--int8-only", help="Leave the fp32 graph out of the bundle.")
    ] = False,
) -> None:
    """Merge adapters and write a run as a bundle or in another format, proved against torch."""
    try:
        import torch as _torch  # noqa: F401  the first import, so a missing extra is named
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "torch", "train") from exc
    from routewright.export import export_run

    console = Console()
    export_run(
        run,
        out,
        format_name,
        targets=target or (),
        max_int8_loss=max_int8_loss,
        int8_only=int8_only,
        progress=lambda line: console.print(line, highlight=False, markup=False),
    )
    console.print(f"wrote {out}", highlight=False, markup=False)
