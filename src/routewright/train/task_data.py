"""The examples of each task of a recipe, checked before an hour is spent on them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.leaks import check_leaks
from routewright.data.near_duplicates import cluster_near_duplicates
from routewright.data.readers import read_examples
from routewright.data.split import split_examples
from routewright.errors import ConfigError, DataError, TaskError
from routewright.labels import OUTSIDE, LabelSet
from routewright.tasks import BUILT_IN, Task, TaskKind
from routewright.train.losses import balanced_weights
from routewright.train.recipe import Recipe, TaskRecipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskData:
    """One task with its examples; `test` may be empty."""

    task: Task
    train: list[Example]
    validation: list[Example]
    test: list[Example]


def load_task_data(recipe: Recipe) -> dict[str, TaskData]:
    """Read, check and complete the data of every task.

    Raises:
        DataError: a file or row is wrong, or a label is not one of the task's.
        LeakError: two of training, validation and test data share texts.
        TaskError: an own task without a kind, or labels that do not fit.
    """
    return {name: _load_one(name, task, recipe) for name, task in recipe.tasks.items()}


def with_losses_of(recipe: Recipe, data: Mapping[str, TaskData]) -> dict[str, TaskData]:
    """`data`, read for a recipe of the same rows and labels, with the tasks of `recipe`."""
    return {
        name: replace(d, task=recipe.tasks[name].resolve(name, d.task.labels))
        for name, d in data.items()
    }


def class_weights(task: Task, examples: Sequence[Example]) -> list[float] | None:
    """Weights of the loss counted on training data, None where the task wants none.

    A token task has one for each BIO tag, counted in words of entities and words outside.
    """
    if task.loss.class_weights == "none":
        return None
    if task.kind == "sequence":
        labels = [e.label for e in examples if isinstance(e, SequenceExample)]
        return balanced_weights([labels.count(name) for name in task.labels])
    counts = dict.fromkeys(task.scheme.tags, 0)
    for example in examples:
        assert isinstance(example, TokenExample)
        num_inside = 0
        for span in example.spans:
            num_words = len(example.text[span.start : span.end].split())
            counts[f"B-{span.label}"] += 1
            counts[f"I-{span.label}"] += num_words - 1
            num_inside += num_words
        counts[OUTSIDE] += len(example.text.split()) - num_inside
    return balanced_weights(list(counts.values()))


def _load_one(name: str, given: TaskRecipe, recipe: Recipe) -> TaskData:
    kind = _kind(name, given)
    known = given.labels or (BUILT_IN[name].labels if name in BUILT_IN else None)
    label_set = None if known is None else LabelSet(known)
    root = Path(recipe.data_dir)

    def read(specs: Iterable[DataSpec]) -> list[Example]:
        return [e for s in specs for e in read_examples(s, kind, root=root, labels=label_set)]

    validation, test = read(given.validation), read(given.test)
    train = read(spec for spec in given.train if spec.synthetic is None)
    made = read(spec for spec in given.train if spec.synthetic is not None)
    train += _without_copies(name, made, [*validation, *test])
    if not train:
        raise DataError(f"tasks.{name}.train: no rows are left; check keep, drop and limit")
    if not given.validation and any(spec.repeat > 1 for spec in given.train):
        raise ConfigError(
            f"tasks.{name}: repeat needs a validation file; splitting one off would undo it"
        )
    if not given.validation:
        split = split_examples(
            train, fractions=(0.9, 0.1, 0.0), group_by=None, seed=recipe.seed
        )
        train, validation = list(split.train), list(split.validation)
        logger.info("task=%s validation=%d split off from train", name, len(validation))
    if not validation:
        raise DataError(f"tasks.{name}.validation: no rows; add some or more training data")
    task = given.resolve(name, sorted(_labels(train)))
    for part, examples in (("train", train), ("validation", validation), ("test", test)):
        unknown = sorted(_labels(examples) - set(task.labels))
        if unknown:
            raise DataError(
                f"tasks.{name}.{part}: label {unknown[0]!r} is not one of the task's: "
                f"{', '.join(task.labels)}; rename it with label_map or leave it out with drop"
            )
    _refuse_leaks(name, train, validation, test)
    return TaskData(task, train, validation, test)


def _without_copies(
    name: str, made: Sequence[Example], held_out: Sequence[Example]
) -> list[Example]:
    """Generated rows without those that happen to be near a validation or test text.

    A generator knows no test data, and what people write into a prompt is sometimes the same
    few words.
    """
    if not made or not held_out:
        return list(made)
    clusters = cluster_near_duplicates([e.text for e in (*held_out, *made)])
    taken = set(clusters[: len(held_out)])
    kept = [
        example
        for example, cluster in zip(made, clusters[len(held_out) :], strict=True)
        if cluster not in taken
    ]
    if len(kept) < len(made):
        logger.info(
            "task=%s generated=%d near_held_out=%d", name, len(made), len(made) - len(kept)
        )
    return kept


def _refuse_leaks(
    name: str,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
) -> None:
    for seen, seen_name, part, examples in (
        (train, "the training data", "validation", validation),
        (train, "the training data", "test", test),
        # Checkpoint, temperature and threshold are chosen on validation data.
        (validation, "the validation data", "test", test),
    ):
        if examples:
            check_leaks(
                seen,
                examples,
                name=f"tasks.{name}.{part}",
                train_name=seen_name,
                near_duplicates=False,
            )


def _kind(name: str, given: TaskRecipe) -> TaskKind:
    if given.kind is not None:
        return given.kind
    if name in BUILT_IN:
        return BUILT_IN[name].kind
    raise TaskError(
        f"tasks.{name}: not a built-in task ({', '.join(BUILT_IN)}); "
        "state kind: sequence or token"
    )


def _labels(examples: Sequence[Example]) -> set[str]:
    labels: set[str] = set()
    for example in examples:
        if isinstance(example, SequenceExample):
            labels.add(example.label)
        else:
            labels.update(span.label for span in example.spans)
    return labels
