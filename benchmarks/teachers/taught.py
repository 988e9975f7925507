"""Does a head do better that learns from a larger model beside the labels?

    python -m benchmarks.teachers.taught --recipe recipes/default.yaml --task category
        --teacher runs/category-teacher --runs runs/taught --train
        --out benchmarks/teachers/results/NAME.json

Two runs of the recipe cut to one task, with the same rows, epochs, learning rates and seed: one
learns from the labels alone, one from the teacher too. Both answer the validation rows; the
difference is taught minus untaught, with a paired bootstrap interval over rows. n-grams, which
are fitted beside either head, are part of both. Complete runs are not repeated.
"""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.default_bundle.records import (
    FILES,
    MAIN,
    Record,
    interval,
    markdown,
    new_parser,
)
from benchmarks.default_bundle.small_budget import budget_line, read_budget, single
from benchmarks.default_bundle.training_runs import (
    Variant,
    add_run_options,
    finished_run,
    minutes,
    missing_line,
    recorded,
)

from routewright.compare import MeasurementRequest, compare
from routewright.config import to_plain
from routewright.tasks import BUILT_IN
from routewright.train.distillation import TeacherConfig


def untaught(recipe: Mapping[str, Any], task: str) -> Variant:
    """The task alone, from its labels."""
    plain = single(recipe, task).recipe
    own = {**plain["tasks"][task], "teacher": None}
    name = f"{task}-untaught"
    return Variant(name, {**plain, "name": name, "tasks": {task: own}})


def taught(recipe: Mapping[str, Any], task: str, teacher: TeacherConfig) -> Variant:
    """The same with a teacher."""
    plain = untaught(recipe, task).recipe
    own = {**plain["tasks"][task], "teacher": to_plain(teacher)}
    name = f"{task}-taught-{teacher.weight:g}-{teacher.temperature:g}"
    return Variant(name, {**plain, "name": name, "tasks": {task: own}})


def teacher_of(folder: Path, weight: float, temperature: float) -> TeacherConfig:
    """A run or bundle, or a file of what one said."""
    place = str(folder.resolve())
    given = {"answers": place} if folder.is_file() else {"model": place}
    return TeacherConfig(**given, weight=weight, temperature=temperature)


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    sequence = [name for name in FILES if BUILT_IN[name].kind == "sequence"]
    parser.add_argument("--task", default="category", choices=sequence)
    recipe_path = Path("recipes/default.yaml")
    parser.add_argument("--recipe", type=Path, default=recipe_path, help="what is cut")
    parser.add_argument("--teacher", type=Path, required=True, help="run, bundle or answers")
    parser.add_argument("--weight", type=float, default=0.5, help="of the teacher")
    parser.add_argument("--temperature", type=float, default=2.0, help="of both")
    add_run_options(parser, "runs/taught")
    args = parser.parse_args()
    if not args.teacher.exists():
        parser.error(f"--teacher {args.teacher}: no such folder or file")
    record = Record("taught", (__doc__ or "").splitlines()[0], args, perf_counter())
    recipe = read_budget(args)
    teacher = teacher_of(args.teacher, args.weight, args.temperature)
    variants = [untaught(recipe, args.task), taught(recipe, args.task, teacher)]
    runs = [finished_run(v, args.runs, train=args.train) for v in variants]
    missing = [v for v, run in zip(variants, runs, strict=True) if run is None]
    results: dict[str, Any] = {"task": args.task, "teacher": teacher, "recipe": recipe}
    shown = missing_line(missing)
    folders = [run for run in runs if run is not None]
    if not missing:
        data = args.data / FILES[args.task].format("validation")
        request = MeasurementRequest(target="", task=args.task, data=str(data))
        comparison = compare([run / "bundle" for run in folders], request)
        metric = MAIN[args.task]
        rows = [
            [
                variant.name,
                interval(target.metrics[metric]),
                minutes(recorded(run)["train_s"]),
            ]
            for variant, target, run in zip(variants, comparison.targets, folders, strict=True)
        ]
        difference = comparison.differences[0].metrics[metric]
        results |= {"comparison": comparison, "runs": [recorded(run) for run in folders]}
        shown = f"{markdown(('run', metric, 'training'), rows)}\n"
        shown += f"Taught - untaught: {interval(difference)}. {budget_line(recipe, 'fp32')}"
    record.write(results, shown)


if __name__ == "__main__":
    main()
