"""How long does training take here, against the times that the specification names?

    python -m benchmarks.default_bundle.training_time --runs RUN [RUN ...] --readme

Everything is read from the ``run.json`` of each run, which `routewright train` writes: rows,
tokens, steps, seconds of training (resumed parts together, export and scoring afterwards not
counted; pauses by a stopped process and other work on the cores are). The specification names
41 min for PII, 2.6 h for jailbreak and 8.9 h for category on a processor, for adapters on a
larger backbone and few rows; a joint run stands against the sum of its tasks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.default_bundle.records import Record, markdown, new_parser, number
from benchmarks.default_bundle.training_runs import minutes, recorded

SPECIFICATION_S: Mapping[str, float] = {
    "category": 8.9 * 3600,
    "pii": 41 * 60,
    "jailbreak": 2.6 * 3600,
}
"""Training on a processor as the specification reports it, in seconds; intent has none."""


def describe(run: Path) -> dict[str, Any]:
    """What the table says of a run."""
    costs = recorded(run)
    tasks = list(costs["num_examples"])
    named = [SPECIFICATION_S[task] for task in tasks if task in SPECIFICATION_S]
    return {
        **costs,
        "run": run.name,
        "tasks": tasks,
        "is_lora": costs["num_trainable_parameters"] < costs["num_parameters"],
        "specification_s": sum(named) if named else None,
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A row a run."""
    cells = []
    for run in runs:
        seen = run["num_train_tokens"] * run["epochs"]
        named = run["specification_s"]
        cells.append(
            [
                run["run"],
                ", ".join(run["tasks"]),
                "LoRA" if run["is_lora"] else "full",
                f"{run['num_rows']:,}",
                f"{run['epochs']:.3g}",
                f"{run['num_steps']:,}",
                number(seen / run["train_s"], 0),
                minutes(run["train_s"]),
                minutes(named),
                "-" if named is None else f"{named / run['train_s']:.0f} times as fast",
            ]
        )
    head = (
        "run", "tasks", "training", "rows", "epochs", "steps", "tokens/s", "time here",
        "time in the specification", "here",
    )  # fmt: skip
    return markdown(head, cells, left=3)


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders")
    args = parser.parse_args()
    record = Record("training_time", (__doc__ or "").splitlines()[0], args, perf_counter())
    found = [describe(run) for run in args.runs]
    unfinished = [run["run"] for run in found if run["num_steps"] is None]
    if unfinished:
        parser.error(f"not trained to the end: {', '.join(unfinished)}")
    record.write({"runs": found}, table(found))


if __name__ == "__main__":
    main()
