"""Metrics of a token task, from true and predicted entity spans: micro averages over documents.

- span_precision, span_recall, span_f1, span_f2: boundaries and type must match exactly. F2
  weighs recall twice as much as precision.
- partial_f1, partial_f2: boundaries only; exact ones count 1, overlapping ones 0.5
  (nervaluate's ``partial``).
- type_f1: overlap with the right type (nervaluate's ``ent_type``).
- overlap_recall: share of the true spans with which a predicted span of their type shares a
  character; the recall that an operating point of a token task is fitted to.
- token_f1, token_f2: words instead of spans. A word is a run of letters, marks and digits, or
  one ideograph (`routewright.metrics.matching.words`), whatever the tokenizer makes of it. It
  has the label of the span that covers most of it; words outside all true spans count only
  when predicted.

Shape letters: R = resamples, D = documents, K = the fields of `_Counts`.

Each document is reduced once to a few counts; every metric is a ratio of their sums, so the
bootstrap over documents is one matrix product. What is undefined is NaN inside and None in a
report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from routewright.errors import DataError
from routewright.labels import OUTSIDE, LabelSet, Span
from routewright.metrics import matching
from routewright.metrics.bootstrap import (
    ConfusionMatrix,
    Estimate,
    FloatArray,
    WeightedMetrics,
    bootstrap,
    number_or_none,
    ratio,
)

Number = TypeVar("Number", float, FloatArray)


@dataclass(frozen=True)
class SpanReport:
    """What `span_report` found; ready for pydantic's JSON."""

    num_examples: int
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, float | int | None]]
    """Per entity type: precision (None if never predicted), recall (None without examples), f1,
    f2, partial_f1, token_f1 (None if neither occurs), support in true spans. Row ``O``, where
    it is asked for, is of the words outside all spans, as if "none" were their label: it has
    token_f1, as support the number of such words, and None elsewhere."""
    confusion_matrix: ConfusionMatrix
    """Rows are true types, columns predicted ones; spans that share most characters pair up,
    one to one. Column ``O`` counts missed spans, row ``O`` spurious ones."""


class _Counts(NamedTuple, Generic[Number]):
    """Of one document, or sums over documents."""

    exact: Number
    partial: Number
    type_matched: Number
    overlapped: Number
    predicted: Number
    true: Number
    words_matched: Number
    words_predicted: Number
    words_true: Number


class _Document:
    """The spans of one document that are scored."""

    def __init__(
        self, text: str, true: list[Span], predicted: list[Span], *, outside: bool
    ) -> None:
        self.true = sorted(true)
        self.predicted = sorted(predicted)
        offsets = matching.words(text) if true or predicted or outside else []
        self.true_words = matching.word_labels(offsets, self.true)
        self.predicted_words = matching.word_labels(offsets, self.predicted)

    @property
    def types(self) -> set[str]:
        return {span.label for span in (*self.true, *self.predicted)}

    def counts(self, types: set[str]) -> _Counts[float]:
        """Counts of the document as if it held only spans of `types`."""
        true = [s for s in self.true if s.label in types]
        predicted = [s for s in self.predicted if s.label in types]
        words = zip(self.true_words, self.predicted_words, strict=True)
        return _Counts(
            exact=matching.num_exact(true, predicted),
            partial=matching.partial_credit(true, predicted),
            type_matched=matching.num_type_matched(true, predicted),
            overlapped=matching.num_overlapped(true, predicted),
            predicted=len(predicted),
            true=len(true),
            words_matched=sum(t == p and t in types for t, p in words),
            words_predicted=sum(label in types for label in self.predicted_words),
            words_true=sum(label in types for label in self.true_words),
        )


def span_report(
    texts: Sequence[str],
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    entity_types: LabelSet,
    *,
    only_types: Sequence[str] | None = None,
    outside: bool = False,
    num_resamples: int = 1000,
) -> SpanReport:
    """Score predicted spans with the metrics of the module header.

    Args:
        texts: one for each document.
        gold: true spans, not overlapping within a document.
        predicted: predicted spans.
        entity_types: the types of the task, in order.
        only_types: restricts true and predicted spans alike to these types, for data that
            annotates only some: a prediction of another type is then neither right nor wrong.
        outside: adds row ``O`` to `per_class`, for data that annotates all of the types.
        num_resamples: bootstrap resamples of documents; 0 skips the intervals.

    Raises:
        DataError: there are no documents.
        TaskError: a span, or `only_types`, names a type outside `entity_types`.
        ValueError: the three sequences differ in length.
    """
    documents, types = _documents(
        texts, gold, predicted, entity_types, only_types, outside=outside
    )
    return SpanReport(
        num_examples=len(texts),
        metrics=bootstrap(_weighted(documents, types), len(texts), num_resamples=num_resamples),
        per_class=_per_class(documents, [*types, OUTSIDE] if outside else list(types)),
        confusion_matrix=_confusion_matrix(documents, types),
    )


def weighted_span_metrics(
    texts: Sequence[str],
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    entity_types: LabelSet,
    *,
    only_types: Sequence[str] | None = None,
) -> WeightedMetrics:
    """The metrics of `span_report` as a function of document weights ``(R, D)``."""
    return _weighted(*_documents(texts, gold, predicted, entity_types, only_types))


def _documents(
    texts: Sequence[str],
    gold: Sequence[Sequence[Span]],
    predicted: Sequence[Sequence[Span]],
    entity_types: LabelSet,
    only_types: Sequence[str] | None,
    *,
    outside: bool = False,
) -> tuple[list[_Document], LabelSet]:
    """Checked input: documents with the scored spans, and the types that are scored."""
    if not len(texts) == len(gold) == len(predicted):
        raise ValueError(
            f"{len(texts)} texts, {len(gold)} gold and {len(predicted)} predicted span lists"
        )
    if not texts:
        raise DataError("there are no documents to score; give a file with at least one row")
    types = _subset(entity_types, only_types)
    documents = [
        _Document(
            text,
            _restrict(t, entity_types, types),
            _restrict(p, entity_types, types),
            outside=outside,
        )
        for text, t, p in zip(texts, gold, predicted, strict=True)
    ]
    return documents, types


def _weighted(documents: Sequence[_Document], types: LabelSet) -> WeightedMetrics:
    all_types = set(types)
    counts_DK = np.array([document.counts(all_types) for document in documents], dtype=float)
    return lambda weights_RD: _metrics(weights_RD @ counts_DK)


def _subset(entity_types: LabelSet, only_types: Sequence[str] | None) -> LabelSet:
    if only_types is None:
        return entity_types
    ids = sorted({entity_types.id(name) for name in only_types})
    return LabelSet(tuple(entity_types.names[i] for i in ids))


def _restrict(spans: Sequence[Span], entity_types: LabelSet, types: LabelSet) -> list[Span]:
    # With a restriction, types that the task does not know may stay in the data.
    if types is entity_types:
        for span in spans:
            entity_types.id(span.label)
    return [span for span in spans if span.label in types]


def _metrics(sums_RK: FloatArray) -> dict[str, FloatArray]:
    sums: _Counts[FloatArray] = _Counts(*sums_RK.T)
    spans = (sums.predicted, sums.true)
    words = (sums.words_predicted, sums.words_true)
    return {
        "span_precision": ratio(sums.exact, sums.predicted),
        "span_recall": ratio(sums.exact, sums.true),
        "span_f1": _f_beta(sums.exact, *spans, beta=1),
        "span_f2": _f_beta(sums.exact, *spans, beta=2),
        "partial_f1": _f_beta(sums.partial, *spans, beta=1),
        "partial_f2": _f_beta(sums.partial, *spans, beta=2),
        "type_f1": _f_beta(sums.type_matched, *spans, beta=1),
        "overlap_recall": ratio(sums.overlapped, sums.true),
        "token_f1": _f_beta(sums.words_matched, *words, beta=1),
        "token_f2": _f_beta(sums.words_matched, *words, beta=2),
    }


def _f_beta(
    matched: FloatArray, predicted: FloatArray, true: FloatArray, *, beta: float
) -> FloatArray:
    """Undefined (NaN) only when nothing is predicted and nothing is true."""
    return ratio((1 + beta**2) * matched, predicted + beta**2 * true)


_PER_CLASS = {
    "precision": "span_precision",
    "recall": "span_recall",
    "f1": "span_f1",
    "f2": "span_f2",
    "partial_f1": "partial_f1",
    "token_f1": "token_f1",
}


def _per_class(
    documents: Sequence[_Document], names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    sums = {name: np.zeros(len(_Counts._fields)) for name in names}
    for document in documents:
        for name in {*document.types, OUTSIDE} & sums.keys():
            sums[name] += np.array(document.counts({name}))
    result: dict[str, dict[str, float | int | None]] = {}
    for name, sums_K in sums.items():
        metrics = _metrics(sums_K[None, :])
        result[name] = {
            key: number_or_none(metrics[metric][0]) for key, metric in _PER_CLASS.items()
        }
        counts = _Counts(*sums_K)
        result[name]["support"] = int(counts.words_true if name == OUTSIDE else counts.true)
    return result


def _confusion_matrix(documents: Sequence[_Document], types: LabelSet) -> ConfusionMatrix:
    labels = [*types, OUTSIDE]
    ids = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for document in documents:
        for true_label, predicted_label in matching.pair_up(document.true, document.predicted):
            counts[ids[true_label], ids[predicted_label]] += 1
    return ConfusionMatrix(labels, counts.tolist())
