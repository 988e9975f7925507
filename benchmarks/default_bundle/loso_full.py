"""How does the fine-tuned network do on sources it never saw?

    python -m benchmarks.default_bundle.loso_full --task jailbreak --bundle BUNDLE --train

The task of the recipe is trained alone, from the pretrained backbone, without the rows of a
fold, and scored on them. Jailbreak: three folds of several sources, each source in one of them;
leaving several out together is harder than one at a time. Sources that share prompts are in
one fold: 65 of the 80 rows of gptfuzz_template have a near duplicate in verazuo. Intent: one
source a fold, BFCL's sets as one.

- Training: one epoch, at most ``--generated`` generated rows (the recipe has more), of those
  none that is near a row of the fold. They imitate no row, but their templates were written
  with the train rows of all sources in view: what they give on these sources flatters.
- Operating point: 1 % false positives on the validation rows of the sources that are kept.
  Temperature and weight of the n-grams come from them too.
- Sources that the recipe leaves out for their licence: no fold and no bundle trained on them.
  The bundle is scored on their rows without those of validation, on which its own operating
  point was fitted; each fold on all of them, the folds' mean counting.

Rows of quality noisy are out everywhere. Complete runs are not repeated, interrupted ones go
on; without ``--train`` missing ones are named and left out.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.default_bundle.loso import MIN_CLASSES, MIN_ROWS
from benchmarks.default_bundle.loso_folds import (
    FOLDS,
    SPLITS,
    Fold,
    left_out_by,
    recipe_without,
)
from benchmarks.default_bundle.quality_tables import Goal
from benchmarks.default_bundle.records import FILES, Record, interval, markdown, new_parser
from benchmarks.default_bundle.source_scores import SourceResult, mean, pooled, score_source
from benchmarks.default_bundle.training_runs import (
    Variant,
    add_run_options,
    finished_run,
    minutes,
    missing_line,
    recorded,
    tried,
)

from routewright import Classifier
from routewright.config import to_plain
from routewright.data.config import DataSpec
from routewright.data.examples import SequenceExample
from routewright.data.readers import read_examples
from routewright.train.recipe import load_recipe

GOALS: Mapping[str, tuple[Goal, ...]] = {
    "jailbreak": (
        Goal("jailbreak", "recall", 0.60, 0.85),
        Goal("jailbreak", "fpr", 0.05, 0.02, less_is_better=True),
    ),
    "intent": (
        Goal("intent", "macro_f1", 0.70, 0.85),
        Goal("intent", "macro_f1_all", 0.70, 0.85),
    ),
}
SHOWN = {"jailbreak": ("recall", "fpr"), "intent": ("macro_f1", "macro_f1_all", "accuracy")}
BUNDLE = "bundle"
ALL_FOLDS = "mean of the folds"


def read_sources(
    args: argparse.Namespace, splits: Sequence[str]
) -> dict[str, list[SequenceExample]]:
    """Rows of `splits` but noisy ones, by source; of each label ``--limit`` at most."""
    groups: dict[tuple[str, str], list[SequenceExample]] = {}
    for split in splits:
        spec = DataSpec(path=FILES[args.task].format(split))
        for example in read_examples(spec, "sequence", root=args.data):
            if example.meta.get("quality") != "noisy" and isinstance(example, SequenceExample):
                key = (str(example.meta["source"]), example.label)
                groups.setdefault(key, []).append(example)
    found: dict[str, list[SequenceExample]] = {}
    for (source, _), rows in groups.items():
        if args.limit is not None and len(rows) > args.limit:
            chosen = np.random.default_rng(0).permutation(len(rows))[: args.limit]
            rows = [rows[i] for i in sorted(chosen)]  # noqa: PLW2901
        found.setdefault(source, []).extend(rows)
    return found


def score_folds(
    args: argparse.Namespace, runs: Mapping[str, Path], others: Sequence[str]
) -> list[SourceResult]:
    """Each fold on its own sources, and the mean of all folds on sources of no fold.

    Each source of a jailbreak fold is scored alone, those of an intent fold as one.
    """
    rows = read_sources(args, args.splits)
    found: list[SourceResult] = []
    on_others: dict[str, list[SourceResult]] = {}
    for fold in FOLDS[args.task]:
        if fold.name not in runs:
            continue
        classifier = Classifier.open(runs[fold.name] / "bundle")
        groups = {source: [source] for source in (*fold.sources, *others)}
        if args.task == "intent":
            groups = {fold.name: list(fold.sources)}
        for name, sources in groups.items():
            chosen = [example for source in sources for example in rows.get(source, [])]
            if chosen:
                model = f"without {fold.name}"
                scored = score_source(classifier, args.task, name, chosen, model)
                (on_others.setdefault(name, []) if name in others else found).append(scored)
    return found + [pooled(name, ALL_FOLDS, each) for name, each in on_others.items()]


def score_bundle(args: argparse.Namespace, sources: Sequence[str]) -> list[SourceResult]:
    """The bundle on sources that its recipe leaves out, rows of validation aside."""
    classifier = Classifier.open(args.bundle)
    rows = read_sources(args, [split for split in args.splits if split != "validation"])
    return [
        score_source(classifier, args.task, source, rows[source], BUNDLE)
        for source in sources
        if source in rows
    ]


def views(task: str, found: Sequence[SourceResult]) -> dict[str, list[SourceResult]]:
    """Which results make up a mean: one for each source, in the order of preference."""
    folds = [r for r in found if r.model not in (BUNDLE, ALL_FOLDS)]
    bundle = [r for r in found if r.model == BUNDLE]
    spread = [r for r in found if r.model == ALL_FOLDS]
    if task == "intent":
        return {"folds": folds}
    return {
        "each licensed source by its fold, the others by the bundle": folds + bundle,
        "all by the folds": folds + spread,
        "licensed sources by their fold": folds,
        "the others by the bundle": bundle,
    }


def table(task: str, found: Sequence[SourceResult]) -> str:
    """Means of each view with verdicts on the first, then every source."""
    rows = []
    for number_of_view, (view, results) in enumerate(views(task, found).items()):
        for goal in GOALS[task]:
            estimate, count = mean(results, goal.metric)
            if count:
                verdict = goal.verdict(estimate.value) if number_of_view == 0 else ""
                floors = f"{goal.floor:.2f} / {goal.aim:.2f}"
                cells = [view, goal.metric, interval(estimate, 3), str(count), floors, verdict]
                rows.append(cells)
    head = (
        "mean over", "metric", "value (95 % interval)", "sources", "floor / aim", "reached"
    )  # fmt: skip
    by_source = [
        [
            result.source,
            result.model,
            str(result.num_rows),
            str(result.num_classes),
            *(_cell(result, name) for name in SHOWN[task]),
        ]
        for result in found
    ]
    columns = ("source", "model", "rows", f"classes of {MIN_ROWS} rows", *SHOWN[task])
    return "\n".join([markdown(head, rows, left=2), markdown(columns, by_source, left=2)])


def _cell(result: SourceResult, name: str) -> str:
    score = result.scores.get(name)
    if score is None:
        return "-"
    few = score.num_rows < MIN_ROWS if name in ("recall", "fpr") else False
    return interval(score.estimate(), 3) + (" (too few)" if few else "")


def variants(args: argparse.Namespace) -> tuple[dict[Fold, Variant], list[str]]:
    """The run of each fold, and the sources that the recipe leaves out."""
    recipe = to_plain(load_recipe(args.recipe, [f"data_dir={args.data.resolve()}"]))
    found = {}
    for fold in FOLDS[args.task]:
        if fold.name in (args.folds or [fold.name]):
            plain = recipe_without(
                recipe, args.task, fold, epochs=args.epochs, generated=args.generated
            )
            found[fold] = Variant(plain["name"], tried(plain, args.max_steps))
    return found, left_out_by(recipe, args.task)


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Train what is missing, score everything; results as plain values and the text."""
    folds, unlicensed = variants(args)
    runs: dict[str, Path] = {}
    missing = []
    for fold, variant in folds.items():
        folder = finished_run(variant, args.runs, train=args.train)
        if folder is None:
            missing.append(variant)
        else:
            runs[fold.name] = folder
    # Intent has one source of that kind, of a single class.
    others = unlicensed if args.task == "jailbreak" else []
    found = score_folds(args, runs, others)
    if args.bundle is not None:
        found += score_bundle(args, others)
    costs = {name: recorded(run) for name, run in runs.items()}
    results = {
        "task": args.task,
        "splits": args.splits,
        "limit": args.limit,
        "epochs": args.epochs,
        "generated": args.generated,
        "min_rows": MIN_ROWS,
        "min_classes": MIN_CLASSES,
        "folds": {fold.name: fold.sources for fold in folds},
        "runs": costs,
        "missing": [variant.name for variant in missing],
        "sources": [result.to_dict() for result in found],
        "means": {
            view: {g.metric: mean(chosen, g.metric) for g in GOALS[args.task]}
            for view, chosen in views(args.task, found).items()
        },
    }
    budget = "; ".join(
        f"{name}: {cost['num_rows']:,} rows, {cost['num_steps']} steps, "
        f"{minutes(cost['train_s'])}"
        for name, cost in costs.items()
    )
    limited = "" if args.limit is None else f", at most {args.limit} of a source and label"
    text = (
        f"Rows scored: {', '.join(args.splits)}{limited}. {args.epochs:g} epoch, at most "
        f"{args.generated:,} generated rows ({budget}).\n\n{table(args.task, found)}\n"
        f"{missing_line(missing)}"
    )
    return results, text


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--task", choices=list(FOLDS), required=True)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/default.yaml"))
    parser.add_argument("--folds", nargs="*", help="names of folds; by default all")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--generated", type=int, default=6000)
    parser.add_argument("--limit", type=int, help="rows scored of each source and label")
    parser.add_argument("--splits", nargs="*", default=["train", "validation"], choices=SPLITS)
    add_run_options(parser, "runs/loso")
    args = parser.parse_args()
    name = f"loso-full-{args.task}"
    record = Record(name, (__doc__ or "").splitlines()[0], args, perf_counter())
    results, text = measure(args)
    record.write(results, text)


if __name__ == "__main__":
    main()
