"""The heads of a model: what it gave for texts to calibrated answers about them.

Shape letters: W = windows, of one text or of all, B = batch of texts, T = tokens, C = classes,
K = BIO tags, H = hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from routewright.calibration import TaskCalibration
from routewright.decoding import (
    FloatArray,
    ScoredText,
    SpanDecoder,
    combine_windows,
    probabilities,
)
from routewright.encoding import EncodedText
from routewright.labels import Span
from routewright.runtime.answers import SequenceAnswer
from routewright.second_look import SecondLookSettings, second_look
from routewright.sliced_decoding import SpanReader
from routewright.tasks import Task

LONG_WINDOWS = 32
"""A text of more windows is decoded in slices, as its scores would take much memory."""

WindowOutput = Mapping[str, FloatArray]
"""By output of the graph: ``(C,)`` or ``(T, K)`` of one window, special tokens removed."""


def l2_normalized(vector_H: FloatArray) -> FloatArray:
    """`vector_H` in its own direction."""
    unit_H: FloatArray = vector_H / max(float(np.sqrt(vector_H @ vector_H)), 1e-12)
    return unit_H


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What the model gave for one text, before calibration and decoding."""

    encoded: EncodedText
    sequence_logits: Mapping[str, FloatArray]
    """``(W, C)`` by sequence task."""
    token_logits: Mapping[str, FloatArray]
    """``(num_tokens, K)`` by token task: windows stitched, special tokens removed. None of a
    long text that was decoded as its windows came."""
    pooled_H: FloatArray
    """Mean token vector of the windows, weighted by their tokens; of any length."""
    tokenize_ms: float
    """Equal share of the call."""
    inference_ms: float
    """Sum over the windows of an equal share of their batches."""
    decoded: Mapping[str, list[Span]] = field(default_factory=dict)
    """By token task without logits, what its decoder found."""
    decode_ms: float = 0.0
    """Spent on that."""

    @property
    def embedding(self) -> FloatArray:
        """``(H,)``, of length 1: mean of the windows, weighted by their tokens."""
        return l2_normalized(self.pooled_H)

    @property
    def is_long(self) -> bool:
        """Whether it is decoded in slices."""
        return len(self.encoded.windows) > LONG_WINDOWS

    @property
    def window_sizes(self) -> list[int]:
        """Tokens of each window, special tokens not counted."""
        return [end - start for start, end in self.encoded.windows]


@dataclass(frozen=True)
class Head:
    """A task with what turns its logits into an answer."""

    task: Task
    calibration: TaskCalibration
    decoder: SpanDecoder | None = None
    """Of a token task."""
    second_look: SecondLookSettings | None = None
    """How rules check what the decoder found; None believes the model."""

    def __post_init__(self) -> None:
        if (self.task.kind == "token") != (self.decoder is not None):
            raise ValueError(f"task {self.task.name}: token tasks and only they need a decoder")

    @cached_property
    def positive_id(self) -> int | None:
        """Class id of a detector's positive label."""
        positive = self.task.positive
        return None if positive is None else self.task.labels.index(positive)

    def probabilities(self, raw: RawOutput) -> FloatArray:
        """Calibrated probabilities ``(C,)`` of one whole text; see `all_probabilities`."""
        return np.asarray(self.all_probabilities([raw])[0])

    def all_probabilities(self, raws: Sequence[RawOutput]) -> FloatArray:
        """Calibrated probabilities ``(B, C)`` of whole texts, float64, for a sequence task.

        The temperature applies to each window; then windows combine by the task's rule, and
        the confidence of the result is calibrated.
        """
        combined_BC = self._tempered(raws)
        beta = self.calibration.beta
        return combined_BC if beta is None else beta.apply(combined_BC)

    def _tempered(self, raws: Sequence[RawOutput]) -> FloatArray:
        pieces = [raw.sequence_logits[self.task.name] for raw in raws]
        logits_WC = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        logits_WC = logits_WC.astype(np.float64)
        by_window_WC = probabilities(logits_WC, temperature=self.calibration.temperature)
        if len(by_window_WC) == len(raws):
            return by_window_WC
        loudest = self.positive_id if self.task.windows == "maximum" else None
        borders = np.cumsum([len(piece) for piece in pieces])[:-1]
        combined = [
            combine_windows(of_text_WC, raw.window_sizes, positive_id=loudest)
            for of_text_WC, raw in zip(np.split(by_window_WC, borders), raws, strict=True)
        ]
        return np.stack(combined)

    def answers(self, raws: Sequence[RawOutput]) -> list[SequenceAnswer]:
        """The answers of a sequence task."""
        return [self._answer(values) for values in self.all_probabilities(raws).tolist()]

    def _answer(self, values: list[float]) -> SequenceAnswer:
        labels, threshold = self.task.labels, self.calibration.threshold
        if self.positive_id is None:
            label_id = values.index(max(values))
            flagged = None
            abstained = threshold is not None and values[label_id] < threshold
        else:
            flagged = values[self.positive_id] >= (0.5 if threshold is None else threshold)
            label_id = self.positive_id if flagged else 1 - self.positive_id
            abstained = False
        return SequenceAnswer(
            label=labels[label_id],
            confidence=values[label_id],
            probabilities=dict(zip(labels, values, strict=True)),
            abstained=abstained,
            flagged=flagged,
        )

    def spans(self, raw: RawOutput, text: str) -> list[Span]:
        """Entities of one text."""
        return self.all_spans([raw], [text])[0]

    def all_spans(self, raws: Sequence[RawOutput], texts: Sequence[str]) -> list[list[Span]]:
        """Entities of a token task in each of `texts`."""
        least = self.calibration.min_score
        found = self._decoded(raws, texts)
        if least > 0:
            found = [[span for span in spans if span.score >= least] for spans in found]
        if (settings := self.second_look) is not None:
            pairs = zip(texts, found, strict=True)
            found = [second_look(text, spans, settings) for text, spans in pairs]
        return found

    def reader(self, text: str) -> SpanReader:
        """Decodes `text` while its tokens come; only for a token task."""
        assert self.decoder is not None, "a token head has a decoder"
        temperature, threshold = self.calibration.temperature, self._span_threshold
        return SpanReader(self.decoder, text, temperature=temperature, threshold=threshold)

    @property
    def _span_threshold(self) -> float:
        return 0.5 if self.calibration.threshold is None else self.calibration.threshold

    def _decoded(self, raws: Sequence[RawOutput], texts: Sequence[str]) -> list[list[Span]]:
        assert self.decoder is not None, "a token head has a decoder"
        name = self.task.name
        if not any(raw.is_long for raw in raws):
            return self.decoder.decode_all(
                [
                    ScoredText(text, raw.encoded.offsets, raw.token_logits[name])
                    for raw, text in zip(raws, texts, strict=True)
                ],
                temperature=self.calibration.temperature,
                threshold=self._span_threshold,
            )
        if len(raws) > 1:
            pairs = zip(raws, texts, strict=True)
            return [self._decoded([raw], [text])[0] for raw, text in pairs]
        raw = raws[0]
        if name in raw.decoded:
            return [raw.decoded[name]]
        reader = self.reader(texts[0])
        reader.feed(raw.encoded.offsets, raw.token_logits[name])
        return [reader.finish()]

    def with_second_look(self, settings: SecondLookSettings | None) -> "Head":
        """The same head under other rules, as far as they know its labels."""
        if self.decoder is None:
            return self
        known = None if settings is None else settings.of_labels(self.task.labels)
        return replace(self, second_look=known)
