"""How do simple models do on a source they never saw? The cheap form of leave one source out.

    python -m benchmarks.default_bundle.loso --data ../shared/data --readme

A proxy, and stated as one: the shipped model has seen its sources, so what is trained here
without each source in turn is a linear model, on n-grams or on the frozen pretrained embedding.
It says how hard an unseen source is and what the pooled figure hides; `loso_full` fine-tunes
the network itself.

Train rows of all sources but one train; the 1 % operating point is fitted on validation rows of
the same sources; all rows of the left-out source in the chosen splits are scored. Rows of
quality noisy are out everywhere. ``--by family`` leaves out sources of one origin together
(neuralchemy_*, tensortrust_*, trustllm_*, bfcl_*, ...), which is the harder and more honest
question.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.default_bundle.linear_models import (
    embed,
    hashed_ngrams,
    label_ids,
    linear_probe,
    tfidf_classifier,
    widened,
)
from benchmarks.default_bundle.records import FILES, Record, markdown, new_parser, number
from numpy.typing import NDArray

from routewright.calibration import threshold_for_fpr
from routewright.data.config import DataSpec
from routewright.data.examples import SequenceExample
from routewright.data.readers import read_examples
from routewright.metrics import sequence_report
from routewright.tasks import BUILT_IN

MIN_ROWS = 10
"""Sources with fewer rows of a label are listed and not averaged."""
MIN_CLASSES = 3
FEATURES = {"n-grams": hashed_ngrams, "probe": embed}
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Pool:
    """All rows of a task with their features, split and source."""

    task: str
    features: Any
    """Matrix with N rows, sparse or dense."""
    label_ids_N: NDArray[np.intp]
    splits_N: NDArray[np.str_]
    sources_N: NDArray[np.str_]
    """Names of sources or families."""
    scored_N: NDArray[np.bool_]
    """Rows of the splits that are scored."""


def source_of(example: SequenceExample, by: str) -> str:
    """The source of a row, or the family it belongs to."""
    name = str(example.meta["source"])
    return name.partition("_")[0] if by == "family" else name


def load_pool(args: argparse.Namespace, task: str, features: str) -> Pool:
    """Read and embed everything once; what is left out differs, the features do not."""
    examples: list[SequenceExample] = []
    splits: list[str] = []
    for split in SPLITS:
        if split == "test" and "test" not in args.splits:
            continue
        spec = DataSpec(
            path=FILES[task].format(split),
            drop={"quality": ["noisy"]} if task == "jailbreak" else {},
            limit=args.limit,
        )
        found = read_examples(spec, "sequence", root=args.data)
        examples += [e for e in found if isinstance(e, SequenceExample)]
        splits += [split] * len(found)
    return Pool(
        task=task,
        features=FEATURES[features]([e.text for e in examples]),
        label_ids_N=label_ids([e.label for e in examples], BUILT_IN[task].labels),
        splits_N=np.array(splits),
        sources_N=np.array([source_of(e, args.by) for e in examples]),
        scored_N=np.isin(splits, args.splits),
    )


def leave_out(pool: Pool, source: str, features: str) -> dict[str, Any]:
    """Train without a source, then score its rows."""
    is_left_out_N = pool.sources_N == source
    train = np.flatnonzero(~is_left_out_N & (pool.splits_N == "train"))
    held = np.flatnonzero(is_left_out_N & pool.scored_N)
    model: Any = tfidf_classifier() if features == "n-grams" else linear_probe()
    model.fit(pool.features[train], pool.label_ids_N[train])
    task = BUILT_IN[pool.task]

    def probabilities(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        found = model.predict_proba(pool.features[rows])
        return widened(found, model.classes_, len(task.labels))

    result: dict[str, Any] = {"source": source, "num_rows": len(held)}
    if task.positive is None:
        return {**result, **_classes(pool, held, probabilities(held))}
    validation = np.flatnonzero(~is_left_out_N & (pool.splits_N == "validation"))
    positive_id = task.labels.index(task.positive)
    point = threshold_for_fpr(
        probabilities(validation)[:, positive_id],
        pool.label_ids_N[validation] == positive_id,
        0.01,
    )
    flagged_N = probabilities(held)[:, positive_id] >= point.threshold
    for name, label_id in (("fpr", 1 - positive_id), ("recall", positive_id)):
        chosen_N = flagged_N[pool.label_ids_N[held] == label_id]
        result[f"num_{name}"] = len(chosen_N)
        result[name] = float(chosen_N.mean()) if len(chosen_N) else None
    return result


def _classes(
    pool: Pool, held: NDArray[np.intp], probabilities_NC: NDArray[np.float64]
) -> dict[str, Any]:
    report = sequence_report(
        probabilities_NC,
        pool.label_ids_N[held],
        BUILT_IN[pool.task].label_set,
        positive=None,
        threshold=None,
        num_resamples=0,
    )
    return {
        "num_classes": len(np.unique(pool.label_ids_N[held])),
        "macro_f1": report.metrics["macro_f1"].value,
        "accuracy": report.metrics["accuracy"].value,
    }


def means(task: str, found: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """The figures of the issue over the left-out sources."""
    if task == "jailbreak":
        attacks = [r["recall"] for r in found if r["num_recall"] >= MIN_ROWS]
        benign = [r["fpr"] for r in found if r["num_fpr"] >= MIN_ROWS]
        return {
            "recall": _mean(attacks),
            "num_attack_sources": len(attacks),
            "fpr": _mean(benign),
            "num_benign_sources": len(benign),
        }
    scores = [r["macro_f1"] for r in found if r["num_classes"] >= MIN_CLASSES]
    return {"macro_f1": _mean(scores), "num_sources": len(scores)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Means of each model, then every source."""
    totals, parts = [], []
    for result in results:
        shown = ", ".join(
            f"{name} {value}" if isinstance(value, int) else f"{name} {number(value, 3)}"
            for name, value in result["means"].items()
        )
        totals.append([result["task"], result["model"], shown])
    for task in dict.fromkeys(result["task"] for result in results):
        chosen = [result for result in results if result["task"] == task]
        parts.append(_by_source(task, chosen))
    head = ("task", "model", "mean over left-out sources")
    return "\n".join([markdown(head, totals, left=3), *parts])


def _by_source(task: str, results: Sequence[Mapping[str, Any]]) -> str:
    columns = ("recall", "fpr") if task == "jailbreak" else ("macro_f1", "accuracy")
    rows = []
    for sources in zip(*(result["sources"] for result in results), strict=True):
        first = sources[0]
        cells = [number(source[name], 3) for source in sources for name in columns]
        classes = [] if task == "jailbreak" else [str(first["num_classes"])]
        rows.append([task, first["source"], str(first["num_rows"]), *classes, *cells])
    names = [f"{result['model']}: {name}" for result in results for name in columns]
    classes = [] if task == "jailbreak" else ["classes"]
    return markdown(("task", "left out", "rows", *classes, *names), rows, left=2)


def main() -> None:
    parser = new_parser(__doc__, bundle=False)
    parser.add_argument("--tasks", nargs="*", default=["jailbreak", "intent"])
    parser.add_argument("--models", nargs="*", default=list(FEATURES), choices=list(FEATURES))
    parser.add_argument("--splits", nargs="*", default=["train", "validation"], choices=SPLITS)
    parser.add_argument("--by", choices=("source", "family"), default="source")
    parser.add_argument("--limit", type=int, help="rows of each split: a stratified sample")
    args = parser.parse_args()
    name = "loso" if args.by == "source" else "loso-family"
    record = Record(name, (__doc__ or "").splitlines()[0], args, perf_counter())
    results = []
    for task in args.tasks:
        for features in args.models:
            started = perf_counter()
            pool = load_pool(args, task, features)
            names = sorted(set(pool.sources_N[pool.scored_N].tolist()))
            found = [leave_out(pool, source, features) for source in names]
            results.append(
                {
                    "task": task,
                    "model": features,
                    "means": means(task, found),
                    "sources": found,
                    "duration_s": perf_counter() - started,
                }
            )
            print(task, features, results[-1]["means"], flush=True)
    record.write({"by": args.by, "splits": args.splits, "models": results}, table(results))


if __name__ == "__main__":
    main()
