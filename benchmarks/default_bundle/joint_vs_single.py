"""Does one joint model do as well as a model for each task, trained on the same rows?

    python -m benchmarks.default_bundle.joint_vs_single --runs runs/budget --train --readme
    python -m benchmarks.default_bundle.joint_vs_single --runs runs/whole --train --readme
        --recipe recipes/default.yaml --name joint_vs_single_default

One model of a recipe against one for each task, of the same recipe cut to that task: the same
rows, epochs, learning rates and seed, one run each. Both answer the same rows, in processes of
their own; differences are joint minus single, with paired bootstrap intervals over rows.
recipes/router-minilm-small.yaml is a small budget, which compares ways of training and is no
measure of the bundle that ships. Complete runs are not repeated, interrupted ones go on. With
`--joint` a run of the whole recipe, which may average several, stands for the joint model.
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
    add_recipe_option,
    budget_line,
    joint,
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

ALLOWED_POINTS = 0.5
"""Points that the joint model may be worse by."""


def compare_task(
    task: str, joint_run: Path, single_run: Path, data: Path, limit: int | None
) -> dict[str, Any]:
    """Both models on the same rows; the difference is joint minus single."""
    request = MeasurementRequest(target="", task=task, data=str(data), limit=limit)
    comparison = compare([single_run / "bundle", joint_run / "bundle"], request)
    theirs, ours = comparison.targets
    return {
        "task": task,
        "metric": MAIN[task],
        "joint": ours,
        "single": theirs,
        "difference": comparison.differences[0].metrics[MAIN[task]],
        "single_run": recorded(single_run),
    }


def table(rows: Sequence[Mapping[str, Any]], joint_run: Mapping[str, Any]) -> str:
    """A row a task, then what either way costs as a whole."""
    cells = []
    for row in rows:
        points = row["difference"].value
        kept = points is not None and 100 * points >= -ALLOWED_POINTS
        cells.append(
            [
                row["task"],
                row["metric"],
                interval(row["joint"].metrics[row["metric"]]),
                interval(row["single"].metrics[row["metric"]]),
                interval(row["difference"]),
                "yes" if kept else "**no**",
                *(_confidences(row[model]) for model in ("joint", "single")),
                number(row["joint"].latency_p50_ms, 1),
                number(row["single"].latency_p50_ms, 1),
                f"{row['single_run']['num_rows']:,}",
                minutes(row["single_run"]["train_s"]),
            ]
        )
    head = (
        "task", "metric", "joint", "single", "joint - single", "within 0.5 points",
        "joint: confidence right / wrong", "single: confidence right / wrong",
        "joint ms", "single ms", "training rows", "single: time",
    )  # fmt: skip
    runs = [row["single_run"] for row in rows]
    costs = [
        [
            name,
            minutes(sum(run["train_s"] for run in group)),
            megabytes(max(run["peak_memory_bytes"] for run in group)),
            megabytes(sum(run["model_bytes"] for run in group)),
            f"{sum(run['num_trainable_parameters'] for run in group):,}",
        ]
        for name, group in (("one joint model", [joint_run]), (f"{len(runs)} single", runs))
    ]
    columns = (
        "models", "training", "peak memory (largest process)", "weights on disk",
        "trained parameters",
    )  # fmt: skip
    return "\n".join([markdown(head, cells, left=2), markdown(columns, costs)])


def _confidences(measured: Any) -> str:
    right, wrong = measured.confidence_right, measured.confidence_wrong
    return f"{number(right, 3)} / {number(wrong, 3)}"


def _precisions(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of the models that were run: times of different ones say nothing of joint or single."""
    used = {
        name: " and ".join(sorted({row[name].precision for row in rows}))
        for name in ("joint", "single")
    }
    if used["joint"] == used["single"]:
        return f"models in {used['joint']}"
    return f"the joint model in {used['joint']}, the single ones in {used['single']}"


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--tasks", nargs="*", default=list(FILES), choices=list(FILES))
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--limit", type=int, help="rows of each split: a stratified sample")
    parser.add_argument(
        "--name", default="joint_vs_single", help="of the record, and its place in README.md"
    )
    parser.add_argument(
        "--joint", type=Path, help="a complete run instead of a joint one of the recipe"
    )
    add_recipe_option(parser)
    add_run_options(parser, "runs/budget")
    args = parser.parse_args()
    record = Record(args.name, (__doc__ or "").splitlines()[0], args, perf_counter())
    recipe = read_budget(args)
    missing: list[Variant] = []
    joint_run = args.joint or finished_run(joint(recipe), args.runs, train=args.train)
    if joint_run is None:
        missing.append(joint(recipe))
    rows: list[dict[str, Any]] = []
    for task in args.tasks:
        run = finished_run(single(recipe, task), args.runs, train=args.train)
        if run is None:
            missing.append(single(recipe, task))
        elif joint_run is not None:
            data = args.data / FILES[task].format(args.split)
            rows.append(compare_task(task, joint_run, run, data, args.limit))
    costs = None if joint_run is None else recorded(joint_run)
    results = {
        "split": args.split,
        "recipe": recipe,
        "joint_run": costs,
        "tasks": rows,
        "missing": [v.name for v in missing],
    }
    shown = table(rows, costs) if rows and costs is not None else ""
    budget = budget_line(recipe, _precisions(rows))
    parts = [f"Split: {args.split}. {budget}", shown, missing_line(missing)]
    record.write(results, "\n".join(part for part in parts if part))


if __name__ == "__main__":
    main()
