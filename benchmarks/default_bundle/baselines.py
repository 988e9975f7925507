"""Is the bundle better than simple models of the same rows, and at what cost?

    python -m benchmarks.default_bundle.baselines --bundle BUNDLE --split test --readme

- n-grams: TF-IDF of 2 to 5 characters within words under logistic regression;
- probe: logistic regression on the frozen embedding of the backbone (all-MiniLM-L6-v2);
- descriptions: intent only, untrained: the class whose description is nearest in that
  embedding.

Trained on the shared train files, rows of quality noisy left out; the bundle's recipe adds
generated rows. Each runs in a process of its own; time to train counts the embedding of the
training rows. Texts a second are of the whole file in batches. Peak memory is of training and
answering together for the linear models, of answering alone for the bundle.
"""

import argparse
import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.default_bundle.linear_models import (
    FloatArray,
    embed,
    hashed_ngrams,
    label_ids,
    linear_probe,
    tfidf_classifier,
    widened,
)
from benchmarks.default_bundle.records import (
    FILES,
    SPLITS,
    Record,
    interval,
    markdown,
    megabytes,
    new_parser,
    number,
)

from routewright.compare import MeasurementRequest, compare
from routewright.data.config import DataSpec
from routewright.data.examples import SequenceExample
from routewright.data.readers import read_examples
from routewright.labels import LabelSet
from routewright.metrics import Estimate, sequence_report
from routewright.runtime.machine import peak_memory_bytes
from routewright.tasks import BUILT_IN

DESCRIPTIONS: Mapping[str, str] = {
    "information_retrieval": "Look up facts, news or the weather: a question that a search, a "
    "weather service or a knowledge base answers.",
    "data_transformation": "Convert data from one format, unit or language into another.",
    "calculation": "Calculate a number: arithmetic, statistics, equations, interest.",
    "communication": "Send or read a message: e-mail, text message, Slack, social media.",
    "scheduling": "Plan time: calendar, meetings, appointments, reminders and alarms.",
    "file_operations": "Read, write, find, copy or delete files and folders.",
    "analysis": "Analyse a data set or summarise a document and draw conclusions.",
    "no_function_needed": "Small talk, jokes, role play, creative writing; no tool is needed.",
}
SHOWN: Mapping[str, tuple[str, ...]] = {
    "category": ("accuracy", "macro_f1"),
    "jailbreak": ("roc_auc", "recall_at_fpr_1pct"),
    "intent": ("macro_f1", "accuracy"),
}


@dataclass(frozen=True)
class Question:
    """What one process trains and scores."""

    task: str
    data: Path
    split: str
    limit: int | None
    """Training rows: a stratified sample."""

    def rows(self, split: str) -> list[SequenceExample]:
        """Rows of a split; those to train on without the noisy ones."""
        spec = DataSpec(
            path=FILES[self.task].format(split),
            drop={"quality": ["noisy"]} if self._may_drop(split) else {},
            limit=self.limit if split == "train" else None,
        )
        found = read_examples(spec, "sequence", root=self.data)
        return [e for e in found if isinstance(e, SequenceExample)]

    def _may_drop(self, split: str) -> bool:
        return self.task == "jailbreak" and split == "train"

    @property
    def labels(self) -> LabelSet:
        """Of the built-in task."""
        return BUILT_IN[self.task].label_set


@dataclass(frozen=True)
class Result:
    """One model on one task."""

    task: str
    model: str
    num_train: int
    train_s: float | None
    texts_per_s: float
    size_bytes: int
    peak_memory_bytes: int
    metrics: dict[str, Estimate]


def ngrams(question: Question) -> Result:
    """TF-IDF and logistic regression."""
    return _trained(question, "n-grams", hashed_ngrams, tfidf_classifier())


def probe(question: Question) -> Result:
    """Logistic regression on the frozen embedding."""
    return _trained(question, "probe", embed, linear_probe())


def descriptions(question: Question) -> Result:
    """The class whose description has the highest cosine similarity."""
    classes_CH = embed([DESCRIPTIONS[name] for name in question.labels])
    examples = question.rows(question.split)
    started = perf_counter()
    similarity_NC = embed([e.text for e in examples]) @ classes_CH.T
    # The temperature only spreads the scores; the nearest class stays the nearest.
    scaled_NC = np.exp(20 * (similarity_NC - similarity_NC.max(axis=1, keepdims=True)))
    speed = len(examples) / (perf_counter() - started)
    probabilities_NC = scaled_NC / scaled_NC.sum(axis=1, keepdims=True)
    return _result(question, "descriptions", examples, probabilities_NC, (0, None, speed, 0))


def _trained(
    question: Question, name: str, features: Callable[[list[str]], Any], model: Any
) -> Result:
    train = question.rows("train")
    started = perf_counter()
    model.fit(
        features([e.text for e in train]),
        label_ids([e.label for e in train], [*question.labels]),
    )
    train_s = perf_counter() - started
    examples = question.rows(question.split)
    started = perf_counter()
    probabilities_NK = model.predict_proba(features([e.text for e in examples]))
    speed = len(examples) / (perf_counter() - started)
    probabilities_NC = widened(probabilities_NK, model.classes_, len(question.labels))
    size = len(pickle.dumps(model))
    costs = (len(train), train_s, speed, size)
    return _result(question, name, examples, probabilities_NC, costs)


def _result(
    question: Question,
    model: str,
    examples: list[SequenceExample],
    probabilities_NC: FloatArray,
    costs: tuple[int, float | None, float, int],
) -> Result:
    memory = peak_memory_bytes()  # before the metrics, which take memory of their own
    report = sequence_report(
        probabilities_NC,
        label_ids([e.label for e in examples], [*question.labels]),
        question.labels,
        positive=BUILT_IN[question.task].positive,
        threshold=None,
    )
    num_train, train_s, speed, size = costs
    return Result(
        task=question.task,
        model=model,
        num_train=num_train,
        train_s=train_s,
        texts_per_s=speed,
        size_bytes=size,
        peak_memory_bytes=memory,
        metrics=report.metrics,
    )


def of_bundle(bundle: Path, question: Question) -> Result:
    """The bundle on the same rows, measured in a process of its own."""
    path = question.data / FILES[question.task].format(question.split)
    request = MeasurementRequest(target="", task=question.task, data=str(path), num_threads=1)
    found = compare([bundle], request).targets[0]
    return Result(
        task=question.task,
        model=f"bundle ({found.precision})",
        num_train=0,
        train_s=None,
        texts_per_s=found.texts_per_s,
        size_bytes=found.size_bytes,
        peak_memory_bytes=found.peak_memory_bytes,
        metrics=found.metrics,
    )


MODELS: Mapping[str, Callable[[Question], Result]] = {
    "n-grams": ngrams,
    "probe": probe,
    "descriptions": descriptions,
}


def in_own_process(model: str, question: Question) -> Result:
    """Run one model where its memory is its alone, on one thread."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_one_thread) as pool:
        return pool.submit(MODELS[model], question).result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def table(results: list[Result]) -> str:
    """A row a model, its two main metrics under their names."""
    rows = [
        [
            result.task,
            result.model,
            *(f"{m} {interval(result.metrics.get(m), 3)}" for m in SHOWN[result.task]),
            str(result.num_train or "-"),
            number(result.train_s, 0),
            number(result.texts_per_s, 0),
            megabytes(result.size_bytes),
            megabytes(result.peak_memory_bytes),
        ]
        for result in results
    ]
    head = ("task", "model", "main metric (95 % interval)", "another", "rows trained on",
            "seconds to train", "texts/s", "size", "peak memory")  # fmt: skip
    return markdown(head, rows, left=4)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--tasks", nargs="*", default=list(SHOWN), choices=list(SHOWN))
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--limit", type=int, help="training rows of each task")
    args: argparse.Namespace = parser.parse_args()
    record = Record("baselines", (__doc__ or "").splitlines()[0], args, perf_counter())
    results = []
    for task in args.tasks:
        question = Question(task, args.data, args.split, args.limit)
        results.append(of_bundle(args.bundle, question))
        for model in args.models:
            if model != "descriptions" or task == "intent":
                results.append(in_own_process(model, question))
                print(results[-1].task, results[-1].model, "done", flush=True)
    record.write(
        {"split": args.split, "limit": args.limit, "models": results},
        f"Split: {args.split}.\n\n{table(results)}",
    )


if __name__ == "__main__":
    main()
