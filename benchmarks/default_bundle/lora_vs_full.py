"""What do adapters cost and give against training all weights?

    python -m benchmarks.default_bundle.lora_vs_full --runs runs/budget --train --readme

For each task two runs of recipes/router-minilm-small.yaml cut to that task, the same rows and
epochs: all weights (the runs of joint_vs_single), and adapters of the specification's rank,
alpha and targets on a frozen backbone. Complete runs are not repeated, interrupted ones go on.
Quality is of both in fp32 on the same rows; differences are LoRA minus full, with paired
bootstrap intervals over rows. Memory is the training process's peak, data and libraries
included; size on disk is of the trained weights.
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
from benchmarks.default_bundle.small_budget import (
    adapted,
    add_recipe_option,
    budget_line,
    read_budget,
    single,
)
from benchmarks.default_bundle.training_runs import (
    Variant,
    add_run_options,
    finished_run,
    minutes,
    missing_line,
    recorded,
)

from routewright.compare import MeasurementRequest, compare


def compare_task(
    task: str, runs: Mapping[str, Path], data: Path, limit: int | None
) -> list[dict[str, Any]]:
    """A row for each run: costs from its record, quality from a measuring process."""
    request = MeasurementRequest(target="", task=task, data=str(data), limit=limit)
    comparison = compare([run / "bundle" for run in runs.values()], request)
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
            "num_examples_measured": measured.num_examples,
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
            number(100 * row["num_trainable_parameters"] / row["num_parameters"], 2),
            f"{row['num_rows']:,}",
            minutes(row["train_s"]),
            megabytes(row["peak_memory_bytes"]),
            megabytes(row["model_bytes"]),
            f"{row['metric']} {interval(row['quality'], 3)}",
            interval(row["against_first"], 3),
            f"{number(row['confidence_right'], 3)} / {number(row['confidence_wrong'], 3)}",
        ]
        for row in rows
    ]
    head = (
        "task", "training", "trained parameters", "% of all", "rows", "time", "peak memory",
        "weights on disk", "quality (95 % interval)", "LoRA - full",
        "mean confidence right / wrong",
    )  # fmt: skip
    return markdown(head, cells, left=2)


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--tasks", nargs="*", default=list(FILES), choices=list(FILES))
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--limit", type=int, help="rows of each split: a stratified sample")
    add_recipe_option(parser)
    add_run_options(parser, "runs/budget")
    args = parser.parse_args()
    record = Record("lora_vs_full", (__doc__ or "").splitlines()[0], args, perf_counter())
    recipe = read_budget(args)
    rows: list[dict[str, Any]] = []
    missing: list[Variant] = []
    for task in args.tasks:
        runs = {}
        for name, make in (("full", single), ("LoRA", adapted)):
            variant = make(recipe, task)
            run = finished_run(variant, args.runs, train=args.train)
            if run is None:
                missing.append(variant)
            else:
                runs[name] = run
        if "full" in runs:
            data = args.data / FILES[task].format(args.split)
            rows += compare_task(task, runs, data, args.limit)
    results = {
        "split": args.split,
        "recipe": recipe,
        "runs": rows,
        "missing": [v.name for v in missing],
    }
    budget = budget_line(recipe, "models in fp32")
    parts = [f"Split: {args.split}. {budget}", table(rows), missing_line(missing)]
    record.write(results, "\n".join(part for part in parts if part))


if __name__ == "__main__":
    main()
