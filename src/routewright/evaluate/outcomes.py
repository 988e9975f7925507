"""What a model answered to labelled examples, and the metrics of any part of them.

Shape letters: N = examples, C = classes, T = tokens, K = BIO tags.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routewright.config import to_plain
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.decoding import FloatArray, probabilities
from routewright.errors import TaskError
from routewright.evaluate.report import CalibrationRecord
from routewright.evaluate.view import View
from routewright.labels import Span, encode_bio
from routewright.metrics import (
    SequenceReport,
    SpanReport,
    WeightedMetrics,
    expected_calibration_error,
    sequence_report,
    span_report,
    weighted_sequence_metrics,
    weighted_span_metrics,
)
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput

BoolArray = NDArray[np.bool_]
_CHUNK = 512
"""Texts whose raw logits are in memory at once."""


class SequenceOutcome:
    """Class probabilities beside label ids."""

    def __init__(self, head: Head, view: View, examples: Sequence[SequenceExample]) -> None:
        self.head = head
        self.view = view
        self._examples = examples
        num_labels = len(view.labels)
        self.num_tokens_N = np.zeros(len(examples), dtype=np.intp)  # special ones not counted
        self.probabilities_NC = np.zeros((len(examples), num_labels))
        self._uncalibrated_NC = np.zeros((len(examples), num_labels))
        self.label_ids_N = np.array([view.labels.id(view.label(e.label)) for e in examples])
        without = replace(head.calibration, temperature=1.0, beta=None)
        self._uncalibrated = replace(head, calibration=without)
        names = [view.labels.id(view.label(name)) for name in head.task.labels]
        self._merge_CC = np.eye(num_labels)[names]

    def add(self, row: int, raw: RawOutput) -> None:
        """Take in the output for one example."""
        self.num_tokens_N[row] = len(raw.encoded.ids)
        self.probabilities_NC[row] = self.head.probabilities(raw) @ self._merge_CC
        self._uncalibrated_NC[row] = self._uncalibrated.probabilities(raw) @ self._merge_CC

    @property
    def threshold(self) -> float | None:
        """Where a detector flags, or below which other tasks abstain."""
        if self.head.calibration.threshold is None and self.head.task.positive is not None:
            return 0.5
        return self.head.calibration.threshold

    def report(
        self, rows: NDArray[np.intp] | None = None, *, num_resamples: int = 0
    ) -> SequenceReport:
        """Metrics of the examples at `rows`; None means all."""
        kept = slice(None) if rows is None else rows
        return sequence_report(
            self.probabilities_NC[kept],
            self.label_ids_N[kept],
            self.view.labels,
            positive=self.head.task.positive,
            threshold=self.threshold,
            num_resamples=num_resamples,
        )

    def weighted(self) -> WeightedMetrics:
        """The metrics of all examples as a function of their weights."""
        return weighted_sequence_metrics(
            self.probabilities_NC,
            self.label_ids_N,
            self.view.labels,
            positive=self.head.task.positive,
            threshold=self.threshold,
        )

    def flagged(self) -> BoolArray | None:
        """Which texts a detector flags; None for other tasks."""
        if self.head.positive_id is None or self.threshold is None:
            return None
        flagged_N: BoolArray = self.probabilities_NC[:, self.head.positive_id] >= self.threshold
        return flagged_N

    def calibration(self) -> CalibrationRecord:
        """What the probabilities are worth."""
        confidence_N, correct_N = self._answers(self.probabilities_NC)
        abstains = self.head.positive_id is None and self.threshold is not None
        accepted_N = confidence_N >= (self.threshold or 0.0)
        flagged_N = self.flagged()
        return _calibration_record(
            self.head,
            ece_before=expected_calibration_error(*self._answers(self._uncalibrated_NC)),
            ece_after=expected_calibration_error(confidence_N, correct_N),
            abstained_share=_mean(~accepted_N) if abstains else None,
            accepted_accuracy=_mean(correct_N[accepted_N]) if abstains else None,
            flagged_share=None if flagged_N is None else _mean(flagged_N),
            confidence_right=_mean(confidence_N[correct_N]),
            confidence_wrong=_mean(confidence_N[~correct_N]),
        )

    def _answers(self, probabilities_NC: FloatArray) -> tuple[FloatArray, BoolArray]:
        correct_N: BoolArray = probabilities_NC.argmax(axis=1) == self.label_ids_N
        return probabilities_NC.max(axis=1), correct_N


class SpanOutcome:
    """Predicted entities beside true ones."""

    def __init__(self, head: Head, view: View, examples: Sequence[TokenExample]) -> None:
        self.head = head
        self.view = view
        self._examples = examples
        self.num_tokens_N = np.zeros(len(examples), dtype=np.intp)  # special ones not counted
        self.gold = [view.spans(e.spans) for e in examples]
        self.predicted: list[list[Span]] = [[] for _ in examples]
        self._tokens: dict[int, tuple[FloatArray, FloatArray, BoolArray]] = {}

    def add(self, row: int, raw: RawOutput) -> None:
        """Take in the output for one example."""
        example = self._examples[row]
        self.num_tokens_N[row] = len(raw.encoded.ids)
        self.predicted[row] = self.view.spans(self.head.spans(raw, example.text))
        if self._tokens_are_known:
            self._tokens[row] = self._score_tokens(raw, example)

    @property
    def _tokens_are_known(self) -> bool:
        """Whether every token has a true tag: not under another view of the types."""
        return self.view.only_types is None and not self.view.coarse

    def _score_tokens(
        self, raw: RawOutput, example: TokenExample
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Of each token: confidence at temperature 1 and as fitted, whether it is right."""
        logits_TK = raw.token_logits[self.head.task.name]
        offsets = raw.encoded.offsets
        kept_T = np.array([start < end for start, end in offsets], dtype=bool)
        tags_T = np.array(
            encode_bio(example.spans, offsets, self.head.task.scheme), dtype=np.intp
        )
        temperature = self.head.calibration.temperature
        plain_T = probabilities(logits_TK).max(axis=-1)
        fitted_T = probabilities(logits_TK, temperature=temperature).max(axis=-1)
        correct_T = logits_TK.argmax(axis=-1) == tags_T
        return plain_T[kept_T], fitted_T[kept_T], correct_T[kept_T]

    def report(
        self, rows: NDArray[np.intp] | None = None, *, num_resamples: int = 0
    ) -> SpanReport:
        """Metrics of the examples at `rows`; None means all."""
        kept = range(len(self._examples)) if rows is None else rows.tolist()
        return span_report(
            [self._examples[i].text for i in kept],
            [self.gold[i] for i in kept],
            [self.predicted[i] for i in kept],
            self.view.labels,
            only_types=self.view.only_types,
            # The coarse label set has "none" among its labels.
            outside=self.view.coarse and self.view.only_types is None,
            num_resamples=num_resamples,
        )

    def weighted(self) -> WeightedMetrics:
        """The metrics of all examples as a function of their weights."""
        return weighted_span_metrics(
            [e.text for e in self._examples],
            self.gold,
            self.predicted,
            self.view.labels,
            only_types=self.view.only_types,
        )

    def flagged(self) -> BoolArray | None:
        """None: a token task flags no texts."""
        return None

    def calibration(self) -> CalibrationRecord:
        """What the probabilities are worth."""
        before = after = None
        if self._tokens:
            plain_T, fitted_T, correct_T = (
                np.concatenate(parts) for parts in zip(*self._tokens.values(), strict=True)
            )
            before = expected_calibration_error(plain_T, correct_T)
            after = expected_calibration_error(fitted_T, correct_T)
        score_N, exact_N = self._entities()
        return _calibration_record(
            self.head,
            ece_before=before,
            ece_after=after,
            abstained_share=None,
            accepted_accuracy=None,
            flagged_share=None,
            confidence_right=_mean(score_N[exact_N]),
            confidence_wrong=_mean(score_N[~exact_N]),
        )

    def _entities(self) -> tuple[FloatArray, BoolArray]:
        """Score of each compared predicted entity, and whether bounds and type are right."""
        types = self.view.only_types or self.view.labels
        scored = [
            (span.score, (span.start, span.end, span.label) in wanted)
            for predicted, gold in zip(self.predicted, self.gold, strict=True)
            for wanted in [{(g.start, g.end, g.label) for g in gold}]
            for span in predicted
            if span.label in types
        ]
        return (
            np.array([score for score, _ in scored], dtype=np.float64),
            np.array([exact for _, exact in scored], dtype=bool),
        )


Outcome = SequenceOutcome | SpanOutcome


def run_model(
    classifier: Classifier,
    view: View,
    examples: Sequence[Example],
    *,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run `classifier` over all examples, each text in full.

    Args:
        classifier: has the task of `view`; its other heads are computed and dropped.
        view: which labels are compared.
        examples: fit `view`.
        progress: called with the number of texts done since the last call.

    Raises:
        TaskError: the classifier does not have the task.
        DataError: the examples do not fit `view`.
    """
    view.check(examples)
    head = head_of(classifier, view.task.name)
    outcome = _empty_outcome(head, view, examples)
    only = Classifier(classifier.encoder, {view.task.name: head}, classifier.backend)
    # Neighbours of one length share a chunk, so little of a batch is padding.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    for first in range(0, len(order), _CHUNK):
        chunk = order[first : first + _CHUNK]
        raws = only.raw([examples[i].text for i in chunk], progress=progress)
        for row, raw in zip(chunk, raws, strict=True):
            outcome.add(row, raw)
    return outcome


def metric_names(classifier: Classifier, view: View) -> list[str]:
    """The metrics that a report under `view` will have, known before anything is answered.

    Raises:
        TaskError: the classifier does not have the task.
    """
    example: Example = (
        TokenExample("", ())
        if view.task.kind == "token"
        else SequenceExample("", view.task.labels[0])
    )
    outcome = _empty_outcome(head_of(classifier, view.task.name), view, [example])
    return list(outcome.weighted()(np.ones((1, 1))))


def head_of(classifier: Classifier, task: str) -> Head:
    """The head of a task.

    Raises:
        TaskError: the classifier does not have it.
    """
    if task not in classifier.heads:
        known = ", ".join(classifier.heads)
        raise TaskError(f"this model has no task {task!r}; it has: {known}")
    return classifier.heads[task]


def _empty_outcome(head: Head, view: View, examples: Sequence[Example]) -> Outcome:
    if head.task.kind == "sequence":
        return SequenceOutcome(
            head, view, [e for e in examples if isinstance(e, SequenceExample)]
        )
    return SpanOutcome(head, view, [e for e in examples if isinstance(e, TokenExample)])


def _calibration_record(head: Head, **values: float | None) -> CalibrationRecord:
    point = head.calibration.operating_point
    return CalibrationRecord(
        temperature=head.calibration.temperature,
        threshold=head.calibration.threshold,
        operating_point=None if point is None else to_plain(point),
        **values,
    )


def _mean(values_N: NDArray[np.floating] | BoolArray) -> float | None:
    return float(values_N.mean()) if len(values_N) else None
