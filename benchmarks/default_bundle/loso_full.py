"""How does the fine-tuned network do on a source it never saw? Leave one source out, in full.

    python -m benchmarks.default_bundle.loso_full --task jailbreak --bundle BUNDLE \
        --recipe recipes/default.yaml --sources verazuo trustllm --runs runs/loso

Of the sources that the recipe itself leaves out (for their licence), the bundle is scored as it
is: it never trained on them, though its threshold was fitted on validation rows that include
them. For each of ``--sources`` the recipe's task is trained alone, without the rows of that
source in training and validation, and scored on all rows of the source in the chosen splits.
Ten minutes or more a source on two cores; runs that are complete are not repeated, interrupted
ones go on. What is trained is a single task for ``--epochs``, not the joint model. Rows of
quality noisy are out everywhere.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml
from benchmarks.default_bundle.loso import means
from benchmarks.default_bundle.records import FILES, Record, markdown, new_parser, number

from routewright import Classifier
from routewright.config import to_plain, write_text
from routewright.data.config import DataSpec
from routewright.data.examples import SequenceExample
from routewright.data.readers import read_examples
from routewright.evaluate import evaluate
from routewright.train.recipe import load_recipe

TASKS = ("jailbreak", "intent")
SPLITS = ("train", "validation", "test")


def left_out_by(recipe: Mapping[str, Any], task: str) -> list[str]:
    """Sources whose rows no origin of the task's training data may bring."""
    dropped = [
        set(spec["drop"].get("source", ()))
        for spec in recipe["tasks"][task]["train"]
        if spec["synthetic"] is None
    ]
    return sorted(set.intersection(*dropped)) if dropped else []


def recipe_without(
    recipe: Mapping[str, Any], task: str, source: str, epochs: float
) -> dict[str, Any]:
    """The recipe with one task, trained and validated without a source; no test."""
    own = dict(recipe["tasks"][task])
    for part in ("train", "validation"):
        own[part] = [_dropping(spec, source) for spec in own[part]]
    own["test"] = []
    targets = [t for t in recipe["calibration"]["targets"] if t.startswith(f"{task}.")]
    settings = {
        "num_train_epochs": epochs,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "early_stopping_patience": 0,
    }
    ngrams = recipe["model"].get("ngrams")
    if ngrams is not None and task not in ngrams["tasks"]:
        ngrams = None
    return {
        **recipe,
        "name": f"{task}-without-{source}",
        "model": {**recipe["model"], "ngrams": ngrams},
        "tasks": {task: own},
        "train": {**recipe["train"], **settings},
        "calibration": {**recipe["calibration"], "targets": targets},
        "export": {**recipe["export"], "int8": False},
    }


def _dropping(spec: Mapping[str, Any], source: str) -> dict[str, Any]:
    if spec["synthetic"] is not None:
        return dict(spec)
    dropped = [*spec["drop"].get("source", ()), source]
    return {**spec, "drop": {**spec["drop"], "source": dropped}}


def train_without(args: argparse.Namespace, recipe: Mapping[str, Any], source: str) -> Path:
    """The run folder of a source, trained now unless it is there."""
    folder: Path = args.runs / f"{args.task}-without-{source}"
    routewright = [sys.executable, "-m", "routewright", "train"]
    if (folder / "run.json").is_file():
        recorded = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if recorded.get("status") == "complete":
            return folder
        subprocess.run([*routewright, "--resume", str(folder)], check=True)
        return folder
    path = args.runs / f"{args.task}-without-{source}.yaml"
    plain = recipe_without(recipe, args.task, source, args.epochs)
    write_text(path, yaml.safe_dump(plain, sort_keys=False))
    subprocess.run([*routewright, str(path), "--out", str(folder)], check=True)
    return folder


def rows_of(args: argparse.Namespace, source: str) -> list[SequenceExample]:
    """All rows of a source in the chosen splits but noisy ones."""
    found: list[SequenceExample] = []
    for split in args.splits:
        spec = DataSpec(path=FILES[args.task].format(split))
        for example in read_examples(spec, "sequence", root=args.data):
            right = example.meta["source"] == source and example.meta.get("quality") != "noisy"
            if right and isinstance(example, SequenceExample):
                found.append(example)
    return found


def score_source(
    classifier: Classifier, task: str, source: str, rows: Sequence[SequenceExample]
) -> dict[str, Any]:
    """Recall and false positives at the threshold, or macro F1, in the form of `loso`."""
    result: dict[str, Any] = {"source": source, "num_rows": len(rows)}
    head = classifier.heads[task]
    if head.task.positive is None:
        report = evaluate(classifier, task, rows, num_resamples=1000)
        return {
            **result,
            "num_classes": len({e.label for e in rows}),
            "macro_f1": report.metrics["macro_f1"].value,
            "interval": [report.metrics["macro_f1"].low, report.metrics["macro_f1"].high],
            "accuracy": report.metrics["accuracy"].value,
        }
    answers = classifier([e.text for e in rows], tasks=[task])
    flagged_N = np.array([bool(a.sequence[task].flagged) for a in answers])
    positive_N = np.array([e.label == head.task.positive for e in rows])
    for name, chosen_N in (("fpr", flagged_N[~positive_N]), ("recall", flagged_N[positive_N])):
        result[f"num_{name}"] = len(chosen_N)
        result[name] = float(chosen_N.mean()) if len(chosen_N) else None
    return result


def table(task: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Means of both kinds, then every source."""
    columns = ("recall", "fpr") if task == "jailbreak" else ("macro_f1", "accuracy")
    rows = [
        [r["source"], r["model"], str(r["num_rows"]), *(number(r[c], 3) for c in columns)]
        for r in found
    ]
    lines = []
    for model in dict.fromkeys(r["model"] for r in found):
        chosen = [r for r in found if r["model"] == model]
        values = ", ".join(f"{k} {_short(v)}" for k, v in means(task, chosen).items())
        lines.append(f"Mean, {model}: {values}.\n")
    everything = ", ".join(f"{k} {_short(v)}" for k, v in means(task, found).items())
    lines.append(f"Mean over all: {everything}.\n")
    return "\n".join([*lines, markdown(("source", "model", "rows", *columns), rows, left=2)])


def _short(value: float | None) -> str:
    return str(value) if isinstance(value, int) else number(value, 3)


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/default.yaml"))
    parser.add_argument("--sources", nargs="*", default=[], help="sources to train without")
    parser.add_argument("--runs", type=Path, default=Path("runs/loso"))
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--splits", nargs="*", default=["train", "validation"], choices=SPLITS)
    args = parser.parse_args()
    name = f"loso-full-{args.task}"
    record = Record(name, (__doc__ or "").splitlines()[0], args, perf_counter())
    recipe = to_plain(load_recipe(args.recipe, [f"data_dir={args.data.resolve()}"]))
    found: list[dict[str, Any]] = []
    if args.bundle is not None:
        classifier = Classifier.open(args.bundle)
        for source in left_out_by(recipe, args.task):
            rows = rows_of(args, source)
            if rows:
                scored = score_source(classifier, args.task, source, rows)
                found.append({"model": "bundle", **scored})
    for source in args.sources:
        rows = rows_of(args, source)
        if not rows:
            parser.error(f"--sources {source}: no such source in {', '.join(args.splits)}")
        folder = train_without(args, recipe, source)
        scored = score_source(Classifier.open(folder / "bundle"), args.task, source, rows)
        found.append({"model": f"{args.task} alone", **scored})
        print(found[-1], flush=True)
    results = {"task": args.task, "splits": args.splits, "epochs": args.epochs,
               "sources": found, "means": means(args.task, found)}  # fmt: skip
    record.write(results, table(args.task, found))


if __name__ == "__main__":
    main()
