"""Does one joint model do as well as a model for each task?

    python -m benchmarks.default_bundle.joint_vs_single --bundle BUNDLE --runs runs --train

Each task: the joint bundle against the bundle of recipes/TASK-minilm.yaml, on the same rows, in
processes of their own; differences are joint minus single, with paired bootstrap intervals. The
single-task runs are taken from ``--runs`` where complete. They train on their own rows of the
recipe, which may be fewer than the joint recipe's: the numbers of rows stand in the table.
``--joint-run`` names the run folder of the bundle, for its time and rows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.default_bundle.lora_vs_full import RECIPES, minutes
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

ALLOWED_POINTS = 0.5
"""Points that the joint model may be worse by."""


def compare_task(
    task: str, joint: Path, single: Path, data: Path, limit: int | None
) -> dict[str, Any]:
    """Both models on the same rows; the difference is joint minus single."""
    request = MeasurementRequest(target="", task=task, data=str(data), limit=limit)
    comparison = compare([single / "bundle", joint], request)
    ours, theirs = comparison.targets[1], comparison.targets[0]
    return {
        "task": task,
        "metric": MAIN[task],
        "joint": ours,
        "single": theirs,
        "difference": comparison.differences[0].metrics[MAIN[task]],
        "single_run": recorded(single),
    }


def table(rows: Sequence[Mapping[str, Any]], joint: Mapping[str, Any] | None) -> str:
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
                number(row["joint"].latency_p50_ms, 1),
                number(row["single"].latency_p50_ms, 1),
                f"{row['single_run']['num_rows']:,}",
                minutes(row["single_run"]["train_s"]),
                megabytes(row["single"].size_bytes),
            ]
        )
    head = (
        "task", "metric", "joint", "single", "joint - single", "within 0.5 points",
        "joint ms", "single ms", "single: rows", "single: time", "single: size",
    )  # fmt: skip
    text = markdown(head, cells, left=2)
    if rows:
        time_s = sum(row["single_run"]["train_s"] or 0 for row in rows)
        size = sum(row["single"].size_bytes for row in rows)
        latency = sum(row["single"].latency_p50_ms for row in rows)
        ours = rows[0]["joint"]
        text += (
            f"\nAll {len(rows)} single models: {minutes(time_s)} of training, "
            f"{megabytes(size)}, {latency:.1f} ms for a text (sum of medians, each task on its "
            f"own rows); the joint one: {minutes(joint['train_s'] if joint else None)}, "
            f"{megabytes(ours.size_bytes)}, one pass.\n"
        )
    return text


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--joint-run", type=Path, help="run folder of the bundle")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tasks", nargs="*", default=list(FILES), choices=list(FILES))
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--limit", type=int, help="rows of each split: a stratified sample")
    parser.add_argument("--train", action="store_true", help="train what is missing")
    args = parser.parse_args()
    record = Record("joint_vs_single", (__doc__ or "").splitlines()[0], args, perf_counter())
    joint = None
    if args.joint_run is not None:
        joint = json.loads((args.joint_run / "run.json").read_text(encoding="utf-8"))
        joint = {key: joint.get(key) for key in ("train_s", "num_rows", "peak_memory_bytes")}
    rows: list[dict[str, Any]] = []
    missing: list[Variant] = []
    for task in args.tasks:
        variant = Variant(f"{task}-minilm", RECIPES / f"{task}-minilm.yaml")
        run = finished_run(variant, args.runs, train=args.train)
        if run is None:
            missing.append(variant)
            continue
        data = args.data / FILES[task].format(args.split)
        rows.append(compare_task(task, args.bundle, run, data, args.limit))
    results = {
        "split": args.split,
        "joint_run": joint,
        "tasks": rows,
        "missing": [v.name for v in missing],
    }
    text = f"Split: {args.split}.\n\n{table(rows, joint)}\n{missing_line(missing)}"
    record.write(results, text)


if __name__ == "__main__":
    main()
