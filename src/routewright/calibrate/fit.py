"""A classifier and labelled validation texts to the calibration of one task.

Shape letters: N = examples or tokens, C = classes, K = BIO tags.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from routewright.calibration import (
    OperatingPoint,
    Target,
    TaskCalibration,
    fit_temperature,
    lower_bound,
    threshold_for_fpr,
    threshold_for_precision,
    threshold_for_recall,
)
from routewright.confidence import fit_confidence
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.errors import ConfigError, DataError, TaskError
from routewright.labels import Span, encode_bio
from routewright.metrics.matching import num_overlapped
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput
from routewright.tasks import Task

_GRID = [float(step) for step in range(-9, 10)]
"""Log odds of thresholds tried for token tasks: from 0.0001 to 0.9999."""
_NUM_BISECTIONS = 6
_MIN_PROBABILITY = 1e-12
_LOST_BY_MIN_SCORE = 0.005
"""Share of the right entities of the validation data that a lowest score may cost."""
_HIGHEST_MIN_SCORE = 0.5
_FEWEST_RIGHT = int(1 / _LOST_BY_MIN_SCORE)
"""Right entities a lowest score needs; among fewer that share is less than one of them."""
FEW_ROWS = 100
"""Below this a share is uncertain by ten points and more."""


def calibrate(
    classifier: Classifier,
    task: str,
    examples: Sequence[Example],
    target: Target | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> TaskCalibration:
    """Fit temperature and, with a target, the threshold of one task.

    Args:
        classifier: of its own calibration only the lowest score of entities counts, and that
            where the examples are too few for another.
        task: name of the task.
        examples: validation rows of that task.
        target: the operating point to reach; None leaves the threshold open.
        progress: called with the number of texts each batch completed.

    Raises:
        ConfigError: the target's metric does not fit the kind of task.
        DataError: no examples, or none of the kind that the target counts.
        TaskError: the classifier lacks the task, or an example's label is not one of it.
    """
    head = _head(classifier, task)
    one_head = Classifier(classifier.encoder, {task: head}, classifier.backend)
    raws = one_head.raw([example.text for example in examples], progress=progress)
    return fit_calibration(head, raws, examples, target)


def fit_calibration(
    head: Head, raws: Sequence[RawOutput], examples: Sequence[Example], target: Target | None
) -> TaskCalibration:
    """Like `calibrate`, on what the model already gave for the examples, in their order.

    Of a head's calibration the lowest score of entities counts as it does there; its second
    look counts where entities must be found, as it does in serving.
    """
    task = head.task
    if target is not None:
        check_target(target, task)
    if not examples:
        raise DataError(f"task {task.name}: no validation examples to calibrate on; add some")
    if target is not None:
        check_rows(target, task, examples)
    if task.kind == "token":
        return _fit_token(head, raws, _token_examples(task, examples), target)
    return _fit_sequence(head, raws, _label_ids(task, examples), target)


def check_target(target: Target, task: Task) -> None:
    """Refuse a metric that means nothing for the task.

    Raises:
        ConfigError: names the metrics that do.
    """
    if task.kind == "token":
        allowed: tuple[str, ...] = ("recall",)
    elif task.positive is not None:
        allowed = ("fpr", "recall", "precision")
    else:
        allowed = ("precision",)
    if target.metric not in allowed:
        what = "token" if task.kind == "token" else "sequence"
        detector = " without a positive label" if allowed == ("precision",) else ""
        raise ConfigError(
            f"--target {target.task}.{target.metric}: {task.name} is a {what} task{detector}; "
            f"use {' or '.join(allowed)}"
        )


def check_rows(target: Target, task: Task, examples: Sequence[Example]) -> None:
    """Refuse validation rows that hold nothing of what the target counts.

    Raises:
        DataError: names what is missing.
    """
    if task.kind == "token":
        needed = "entities"
        found = any(isinstance(e, TokenExample) and e.spans for e in examples)
    elif task.positive is None:
        return
    else:
        of_positive = target.metric != "fpr"
        needed = f"rows {'' if of_positive else 'not '}labelled {task.positive}"
        labels = [e.label for e in examples if isinstance(e, SequenceExample)]
        found = any((label == task.positive) == of_positive for label in labels)
    if not found:
        raise DataError(
            f"task {task.name}: target {target.metric}={target.goal:g} needs {needed} and the "
            "validation data has none; add some"
        )


def few_rows(task: Task, examples: Sequence[Example]) -> str | None:
    """What there is less of than `FEW_ROWS`, too little for values that hold elsewhere.

    Returns:
        For example ``12 rows, 4 labelled attack``; None where there is enough of everything.
    """
    counts = {"rows": len(examples)}
    if task.kind == "token":
        spans = [e.spans for e in examples if isinstance(e, TokenExample)]
        counts["entities"] = sum(map(len, spans))
    elif task.positive is not None:
        labels = [e.label for e in examples if isinstance(e, SequenceExample)]
        counts[f"labelled {task.positive}"] = labels.count(task.positive)
        counts[f"not labelled {task.positive}"] = len(labels) - labels.count(task.positive)
    few = [f"{count} {what}" for what, count in counts.items() if count < FEW_ROWS]
    return ", ".join(few) or None


def _head(classifier: Classifier, task: str) -> Head:
    if task not in classifier.heads:
        known = ", ".join(classifier.heads)
        raise TaskError(f"this model has no task {task!r}; it has: {known}")
    head = classifier.heads[task]
    return replace(head, calibration=TaskCalibration(min_score=head.calibration.min_score))


def _label_ids(task: Task, examples: Sequence[Example]) -> np.ndarray:
    ids = []
    for number, example in enumerate(examples, start=1):
        if not isinstance(example, SequenceExample):
            raise DataError(f"task {task.name} needs rows with a label; row {number} has spans")
        ids.append(task.label_set.id(example.label))
    return np.array(ids)


def _token_examples(task: Task, examples: Sequence[Example]) -> list[TokenExample]:
    found = []
    for number, example in enumerate(examples, start=1):
        if not isinstance(example, TokenExample):
            raise DataError(f"task {task.name} needs rows with spans; row {number} has a label")
        found.append(example)
    return found


def _fit_sequence(
    head: Head, raws: Sequence[RawOutput], label_ids_N: np.ndarray, target: Target | None
) -> TaskCalibration:
    """Temperature on the text's combined probabilities, threshold on calibrated ones.

    Between them the confidence of a task without a positive label; a detector's probability
    decides by its threshold and is calibrated by the temperature alone.

    Serving divides each window's logits before windows combine. For texts of one window, and
    for the `maximum` rule, that equals dividing the combined log probabilities; for the mean of
    several windows it is close to it.
    """
    combined_NC = np.stack([head.probabilities(raw) for raw in raws])
    temperature = fit_temperature(
        np.log(np.maximum(combined_NC, _MIN_PROBABILITY)), label_ids_N
    )
    calibration = TaskCalibration(temperature=temperature)
    probabilities_NC = Head(head.task, calibration).all_probabilities(raws)
    if head.positive_id is None:
        is_right_N = probabilities_NC.argmax(axis=1) == label_ids_N
        beta = fit_confidence(probabilities_NC.max(axis=1), is_right_N)
        calibration = replace(calibration, beta=beta)
        if beta is not None:
            probabilities_NC = beta.apply(probabilities_NC)
    if target is None:
        return calibration
    point = _sequence_point(head, probabilities_NC, label_ids_N, target)
    return replace(calibration, threshold=point.threshold, operating_point=point)


def _sequence_point(
    head: Head, probabilities_NC: np.ndarray, label_ids_N: np.ndarray, target: Target
) -> OperatingPoint:
    try:
        if head.positive_id is None:
            is_correct_N = probabilities_NC.argmax(axis=1) == label_ids_N
            confidence_N = probabilities_NC.max(axis=1)
            return threshold_for_precision(confidence_N, is_correct_N, target.goal)
        fit = {
            "fpr": threshold_for_fpr,
            "recall": threshold_for_recall,
            "precision": threshold_for_precision,
        }[target.metric]
        is_positive_N = label_ids_N == head.positive_id
        return fit(probabilities_NC[:, head.positive_id], is_positive_N, target.goal)
    except DataError as exc:
        raise DataError(f"task {head.task.name}: {exc}") from exc


def _fit_token(
    head: Head,
    raws: Sequence[RawOutput],
    examples: Sequence[TokenExample],
    target: Target | None,
) -> TaskCalibration:
    """Temperature on the tags of all tokens; threshold by bisection over the decoder's own."""
    logits, tags = [], []
    for raw, example in zip(raws, examples, strict=True):
        offsets = raw.encoded.offsets
        kept = [i for i, (start, end) in enumerate(offsets) if start < end]
        logits.append(raw.token_logits[head.task.name][kept])
        tag_ids = encode_bio(example.spans, offsets, head.task.scheme)
        tags.append(np.array([tag_ids[i] for i in kept], dtype=np.int64))
    temperature = fit_temperature(np.concatenate(logits), np.concatenate(tags))
    if target is None:
        calibration = TaskCalibration(temperature=temperature)
        # Before the second look: serving drops what scores less before it looks.
        min_score = _min_score(Head(head.task, calibration, head.decoder), raws, examples)
        if min_score is None:
            min_score = head.calibration.min_score
        return replace(calibration, min_score=min_score)

    def decode(threshold: float) -> list[list[Span]]:
        calibration = TaskCalibration(temperature=temperature, threshold=threshold)
        decoding = replace(head, calibration=calibration)
        return [decoding.spans(r, e.text) for r, e in zip(raws, examples, strict=True)]

    point = _recall_point(decode, examples, target.goal)
    return TaskCalibration(
        temperature=temperature, threshold=point.threshold, operating_point=point
    )


def _min_score(
    head: Head, raws: Sequence[RawOutput], examples: Sequence[TokenExample]
) -> float | None:
    """The score below which an entity is hardly ever right; None with too few right ones.

    Validation texts are full of entities; in ordinary prompts, which have few, nearly all that
    a head finds hesitantly is wrong.
    """
    right = [
        span.score
        for raw, example in zip(raws, examples, strict=True)
        for span in head.spans(raw, example.text)
        if any((span.start, span.end, span.label) == (s.start, s.end, s.label)
               for s in example.spans)
    ]  # fmt: skip
    if len(right) < _FEWEST_RIGHT:
        return None
    return min(float(np.quantile(right, _LOST_BY_MIN_SCORE)), _HIGHEST_MIN_SCORE)


def _recall_point(
    decode: Callable[[float], list[list[Span]]], examples: Sequence[TokenExample], goal: float
) -> OperatingPoint:
    """The highest threshold found at which enough true entities are found.

    The recall is the ``overlap_recall`` of `routewright.metrics.spans`, of what serving finds:
    second look included. It mostly falls as the threshold rises, but near 0 entities of wrong
    types crowd out right ones; so a grid of log odds comes first, then bisection above the best
    grid point. If none reaches the goal, the threshold of the highest recall is taken (of
    several, the highest) and `met` is False.
    """
    num_entities = sum(len(example.spans) for example in examples)

    def recall(log_odds: float) -> float:
        return _num_found(decode(_from_log_odds(log_odds)), examples) / num_entities

    recalls = [recall(log_odds) for log_odds in _GRID]
    wanted = min(goal, max(recalls))
    index = max(i for i, value in enumerate(recalls) if value >= wanted)
    low = _GRID[index]
    if index + 1 < len(_GRID):
        high = _GRID[index + 1]
        for _ in range(_NUM_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if recall(middle) >= wanted else (low, middle)
    threshold = _from_log_odds(low)
    found = decode(threshold)
    num_found = _num_found(found, examples)
    return OperatingPoint(
        metric="recall",
        goal=goal,
        threshold=threshold,
        achieved=num_found / num_entities,
        bound=lower_bound(num_found, num_entities),
        num_examples=num_entities,
        met=num_found / num_entities >= goal,
        coverage=sum(bool(spans) for spans in found) / len(examples),
    )


def _from_log_odds(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _num_found(predicted: Sequence[Sequence[Span]], examples: Sequence[TokenExample]) -> int:
    return sum(
        num_overlapped(example.spans, spans)
        for spans, example in zip(predicted, examples, strict=True)
    )
