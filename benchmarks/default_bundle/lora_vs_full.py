"""What do adapters cost and give against training all weights, and how long does either take?

    python -m benchmarks.default_bundle.lora_vs_full --runs runs --split validation --train

For each task, three runs of one recipe family:

- ``lora``: recipes/TASK-minilm-lora.yaml, ranks, alphas, epochs and samples of the
  specification;
- ``full, same rows``: the same recipe with ``lora: null``, nothing else changed;
- ``full, all rows``: recipes/TASK-minilm.yaml.

Runs are taken from ``--runs`` where they are complete; without ``--train`` missing ones are
left out. Quality is of the runs in fp32, side by side, on ``--limit`` rows or all. Size is that
of the trained weights on disk; memory is the training process's peak, data and libraries
included.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.default_bundle.records import (
    FILES,
    MAIN,
    SPLITS,
    Record,
    interval,
    markdown,
    megabytes,
    new_parser,
    number,
)
from benchmarks.default_bundle.training_runs import (
    Variant,
    finished_run,
    missing_line,
    recorded,
)

from routewright.compare import MeasurementRequest, compare

RECIPES = Path("recipes")
SPECIFICATION_S: Mapping[str, float] = {
    "category": 8.9 * 3600,
    "pii": 41 * 60,
    "jailbreak": 2.6 * 3600,
}
"""Training on a processor as the specification reports it for LoRA, in seconds."""
FULL = ("lora=null",)


def variants(task: str) -> list[Variant]:
    """The three runs of a task."""
    lora = RECIPES / f"{task}-minilm-lora.yaml"
    return [
        Variant(f"{task}-minilm-lora", lora),
        Variant(f"{task}-minilm-same-rows", lora, FULL),
        Variant(f"{task}-minilm", RECIPES / f"{task}-minilm.yaml"),
    ]


NAMES = ("lora", "full, same rows", "full, all rows")


def compare_task(
    task: str, runs: Mapping[str, Path], data: Path, limit: int | None
) -> list[dict[str, Any]]:
    """A row for each run: costs from its record, quality from a measuring process."""
    request = MeasurementRequest(target="", task=task, data=str(data), limit=limit)
    comparison = compare(list(runs.values()), request)
    differences = [None, *comparison.differences]
    metric = MAIN[task]
    return [
        {
            "task": task,
            "variant": name,
            **recorded(run),
            "metric": metric,
            "quality": measured.metrics[metric],
            "against_first": None if difference is None else difference.metrics[metric],
            "confidence_right": measured.confidence_right,
            "confidence_wrong": measured.confidence_wrong,
            "ece": measured.ece,
            "num_examples": measured.num_examples,
            "specification_s": SPECIFICATION_S.get(task),
        }
        for (name, run), measured, difference in zip(
            runs.items(), comparison.targets, differences, strict=True
        )
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row a run."""
    cells = [
        [
            row["task"],
            row["variant"],
            f"{row['num_trainable_parameters']:,}",
            f"{row['num_rows']:,}",
            minutes(row["train_s"]),
            minutes(row["specification_s"]),
            megabytes(row["peak_memory_bytes"]),
            megabytes(row["model_bytes"]),
            f"{row['metric']} {interval(row['quality'], 3)}",
            interval(row["against_first"], 3),
            f"{number(row['confidence_right'], 3)} / {number(row['confidence_wrong'], 3)}",
        ]
        for row in rows
    ]
    head = (
        "task", "training", "trained parameters", "rows", "time", "specification's time",
        "peak memory", "weights on disk", "quality (95 % interval)", "against the first",
        "mean confidence right / wrong",
    )  # fmt: skip
    return markdown(head, cells, left=2)


def minutes(seconds: float | None) -> str:
    """In minutes."""
    return "-" if seconds is None else f"{seconds / 60:.1f} min"


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tasks", nargs="*", default=list(FILES), choices=list(FILES))
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--limit", type=int, help="rows of each split: a stratified sample")
    parser.add_argument("--train", action="store_true", help="train what is missing")
    args = parser.parse_args()
    record = Record("lora_vs_full", (__doc__ or "").splitlines()[0], args, perf_counter())
    rows: list[dict[str, Any]] = []
    missing: list[Variant] = []
    for task in args.tasks:
        runs = {}
        for name, variant in zip(NAMES, variants(task), strict=True):
            run = finished_run(variant, args.runs, train=args.train)
            if run is None:
                missing.append(variant)
            else:
                runs[name] = run
        if runs:
            data = args.data / FILES[task].format(args.split)
            rows += compare_task(task, runs, data, args.limit)
    results = {"split": args.split, "runs": rows, "missing": [v.name for v in missing]}
    text = f"Split: {args.split}.\n\n{table(rows)}\n{missing_line(missing)}"
    record.write(results, text)


if __name__ == "__main__":
    main()
