"""How a classifier does on the rows of one source, with bootstrap intervals, and means of that.

Knows rows and answers; knows nothing of how the classifier was trained.

Shape letters: N = rows, C = classes, R = resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.default_bundle.loso import MIN_CLASSES, MIN_ROWS
from numpy.typing import NDArray

from routewright import Classifier
from routewright.data.examples import SequenceExample
from routewright.metrics import Estimate, estimate

FloatArray = NDArray[np.float64]
_NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """A number of one source and its bootstrap resamples."""

    value: float
    resampled_R: FloatArray
    num_rows: int
    """Rows it was counted on."""

    def estimate(self) -> Estimate:
        """With its 95 % interval over rows."""
        return estimate(self.value, self.resampled_R)


@dataclass(frozen=True)
class SourceResult:
    """The scores of one source under one model."""

    source: str
    model: str
    """Which model, in words."""
    num_rows: int
    num_classes: int
    """Classes with at least `MIN_ROWS` rows."""
    scores: Mapping[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the resamples."""
        scores = {
            name: {"num_rows": score.num_rows, "estimate": score.estimate()}
            for name, score in self.scores.items()
        }
        return {
            "source": self.source,
            "model": self.model,
            "num_rows": self.num_rows,
            "num_classes": self.num_classes,
            "scores": scores,
        }


def score_source(
    classifier: Classifier, task: str, source: str, rows: Sequence[SequenceExample], model: str
) -> SourceResult:
    """Recall and false positives at the threshold of a detector, else macro F1 and accuracy.

    Args:
        classifier: with its own operating point.
        task: one of its sequence tasks.
        source: name of the rows.
        rows: of that source alone, at least one.
        model: what the classifier is, in words.
    """
    labels = classifier.heads[task].task.labels
    positive = classifier.heads[task].task.positive
    answers = classifier([e.text for e in rows], tasks=[task])
    true_N = np.array([labels.index(e.label) for e in rows])
    counts_C = np.bincount(true_N, minlength=len(labels))
    if positive is None:
        predicted_N = np.array([labels.index(a.sequence[task].label) for a in answers])
        scores = class_scores(true_N, predicted_N, len(labels))
    else:
        flagged_N = np.array([bool(a.sequence[task].flagged) for a in answers], dtype=float)
        is_attack_N = true_N == labels.index(positive)
        chosen = {"recall": flagged_N[is_attack_N], "fpr": flagged_N[~is_attack_N]}
        scores = {name: share(values_N) for name, values_N in chosen.items() if len(values_N)}
    return SourceResult(source, model, len(rows), int((counts_C >= MIN_ROWS).sum()), scores)


def share(values_N: FloatArray, *, seed: int = 0) -> Score:
    """The mean of at least one value in [0, 1], resampled by rows."""
    rng = np.random.default_rng(seed)
    drawn_R = [
        values_N[rng.integers(len(values_N), size=len(values_N))].mean()
        for _ in range(_NUM_RESAMPLES)
    ]
    return Score(float(values_N.mean()), np.array(drawn_R), len(values_N))


def class_scores(
    true_N: NDArray[np.intp], predicted_N: NDArray[np.intp], num_classes: int, *, seed: int = 0
) -> dict[str, Score]:
    """Macro F1 in two definitions, and accuracy.

    ``macro_f1`` is over the classes with at least `MIN_ROWS` true rows (none: undefined, and
    left out); ``macro_f1_all`` over every class that is true or predicted anywhere, so one odd
    answer adds a class of F1 0. Both choose the classes once, not for each resample.
    """
    num_rows = len(true_N)
    cells = np.bincount(true_N * num_classes + predicted_N, minlength=num_classes**2)
    drawn_RC = np.random.default_rng(seed).multinomial(
        num_rows, cells / num_rows, size=_NUM_RESAMPLES
    )
    matrices = np.concatenate([cells[None], drawn_RC]).reshape(-1, num_classes, num_classes)
    true_RC, predicted_RC = matrices.sum(axis=2), matrices.sum(axis=1)
    right_RC = np.diagonal(matrices, axis1=1, axis2=2)
    f1_RC = 2 * right_RC / np.maximum(true_RC + predicted_RC, 1)
    wanted = {
        "macro_f1": true_RC[0] >= MIN_ROWS,
        "macro_f1_all": (true_RC[0] > 0) | (predicted_RC[0] > 0),
    }
    values = {
        name: f1_RC[:, kept_C].mean(axis=1) for name, kept_C in wanted.items() if kept_C.any()
    }
    values["accuracy"] = right_RC.sum(axis=1) / num_rows
    return {name: Score(float(v[0]), v[1:], num_rows) for name, v in values.items()}


def pooled(source: str, model: str, results: Sequence[SourceResult]) -> SourceResult:
    """One source under several models: the mean of their scores.

    The resamples of a source draw the same rows under every model, so their mean is that of
    the models on these rows.
    """
    first = results[0]
    scores = {
        name: Score(
            float(np.mean([r.scores[name].value for r in results])),
            np.mean([r.scores[name].resampled_R for r in results], axis=0),
            score.num_rows,
        )
        for name, score in first.scores.items()
    }
    return SourceResult(source, model, first.num_rows, first.num_classes, scores)


def mean(results: Sequence[SourceResult], name: str) -> tuple[Estimate, int]:
    """The mean of a score over the sources that count, and their number.

    A source counts with at least `MIN_ROWS` rows of the label in question, for ``macro_f1`` and
    ``macro_f1_all`` with at least `MIN_CLASSES` classes. The interval is over rows, not over
    the choice of sources.
    """
    chosen = [
        r.scores[name]
        for r in results
        if name in r.scores
        and (
            r.num_classes >= MIN_CLASSES
            if name.startswith("macro")
            else r.scores[name].num_rows >= MIN_ROWS
        )
    ]
    if not chosen:
        return Estimate(None, None, None), 0
    value = float(np.mean([s.value for s in chosen]))
    # Resamples of different sources must not move together.
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(s.resampled_R) for s in chosen]
    return estimate(value, np.mean(shuffled, axis=0)), len(chosen)
