"""``--threads``, the same for every verb that runs a model."""

from typing import Annotated

import typer

from routewright.runtime.machine import MOST_THREADS

ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        help="Threads of one forward pass; by default one for each physical core.",
    ),
]
