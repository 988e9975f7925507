"""Texts to answers: one forward pass a window for all heads, long texts in windows.

Shape letters: W = windows of one text, B = batch of windows, T = tokens, C = classes,
K = BIO tags, H = hidden size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np

from routewright.bundle import Bundle
from routewright.calibration import TaskCalibration
from routewright.decoding import FloatArray, SpanDecoder, combine_windows, probabilities
from routewright.encoding import EncodedText, TextEncoder, stitch
from routewright.errors import BundleError, TaskError
from routewright.labels import Span
from routewright.runtime.answers import Answer, SequenceAnswer
from routewright.runtime.backend import EMBEDDING, Backend, OnnxBackend, logits_name
from routewright.runtime.golden import replay
from routewright.second_look import SecondLookSettings, load_libraries, second_look
from routewright.shipped import bundle_folder
from routewright.tasks import Task

WindowOutput = Mapping[str, FloatArray]
"""By output of the graph: ``(C,)`` or ``(T, K)`` of one window, special tokens removed."""


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What the model gave for one text, before calibration and decoding."""

    encoded: EncodedText
    sequence_logits: Mapping[str, FloatArray]
    """``(W, C)`` by sequence task."""
    token_logits: Mapping[str, FloatArray]
    """``(num_tokens, K)`` by token task: windows stitched, special tokens removed."""
    embedding: FloatArray
    """``(H,)``, of length 1: mean of the windows, weighted by their tokens."""
    tokenize_ms: float
    """Equal share of the call."""
    inference_ms: float
    """Sum over the windows of an equal share of their batches."""

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
        """Calibrated probabilities ``(C,)`` of the whole text, float64, for a sequence task.

        The temperature applies to each window; then windows combine by the task's rule.
        """
        logits_WC = raw.sequence_logits[self.task.name].astype(np.float64)
        by_window_WC = probabilities(logits_WC, temperature=self.calibration.temperature)
        loudest = self.positive_id if self.task.windows == "maximum" else None
        return combine_windows(by_window_WC, raw.window_sizes, positive_id=loudest)

    def answer(self, raw: RawOutput) -> SequenceAnswer:
        """The answer of a sequence task."""
        labels, threshold = self.task.labels, self.calibration.threshold
        values: list[float] = self.probabilities(raw).tolist()
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
        """Entities of a token task."""
        assert self.decoder is not None, "a token head has a decoder"
        threshold = self.calibration.threshold
        spans = self.decoder.decode(
            text,
            raw.encoded.offsets,
            raw.token_logits[self.task.name],
            temperature=self.calibration.temperature,
            threshold=0.5 if threshold is None else threshold,
        )
        if (least := self.calibration.min_score) > 0:
            spans = [span for span in spans if span.score >= least]
        return spans if self.second_look is None else second_look(text, spans, self.second_look)

    def with_second_look(self, settings: SecondLookSettings | None) -> "Head":
        """The same head under other rules, as far as they know its labels."""
        if self.decoder is None:
            return self
        known = None if settings is None else settings.of_labels(self.task.labels)
        return replace(self, second_look=known)


class Classifier:
    """An encoder, a backend and heads; safe to call from several threads."""

    def __init__(
        self, encoder: TextEncoder, heads: Mapping[str, Head], backend: Backend
    ) -> None:
        """Put one together from parts; `open` reads one from a bundle.

        Args:
            encoder: tokenizer and windows the model was trained with.
            heads: by task name; each needs its output of `backend`.
            backend: runs the model.
        """
        self.encoder = encoder
        self.heads = dict(heads)
        self.backend = backend

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        *,
        precision: str | None = None,
        num_threads: int | None = None,
        spinning: bool = True,
        verify: bool = True,
    ) -> "Classifier":
        """Open a bundle.

        Args:
            path: the bundle folder; None or the text ``default`` for the bundle of the
                package.
            precision: ``int8`` or ``fp32``; None takes the bundle's default.
            num_threads: threads of one forward pass; None takes one for each physical core.
            spinning: whether idle threads wait actively; see `OnnxBackend`.
            verify: whether to check the hash of every file and replay the golden cases.

        Raises:
            BundleError: not a bundle, or one of its files is not what it should be.
            IntegrityError: a file is missing, unlisted, cut short or changed.
            GoldenError: the model gives other logits than at export.
        """
        bundle = Bundle.open(bundle_folder(path), verify=verify)
        precision = bundle.precision(precision)
        backend = OnnxBackend(
            bundle.graph_path(precision), num_threads=num_threads, spinning=spinning
        )
        needed = {*(logits_name(name) for name in bundle.tasks), EMBEDDING}
        if missing := sorted(needed - set(backend.output_names)):
            raise BundleError(
                f"{bundle.graph_path(precision)}: has no output {missing[0]}; export again"
            )
        encoder = bundle.encoder()
        if verify:
            replay(bundle.golden(), precision, bundle.tasks, encoder, backend)
        classifier = cls(encoder, _heads(bundle, precision), backend)
        return classifier.with_second_look(bundle.manifest.second_look)

    def with_second_look(self, settings: SecondLookSettings | None) -> "Classifier":
        """The same model with entities checked by `settings`; None believes the model."""
        heads = {name: head.with_second_look(settings) for name, head in self.heads.items()}
        if any(head.second_look is not None for head in heads.values()):
            load_libraries()
        return Classifier(self.encoder, heads, self.backend)

    def __call__(
        self, texts: Sequence[str] | str, *, tasks: Sequence[str] | None = None
    ) -> list[Answer]:
        """Answers in the order of `texts`; a single string counts as a list of one.

        An empty text is a text. ``int8`` graphs scale activations by batch, so their
        probabilities may differ a little (in the third decimal) with the texts around.

        Args:
            texts: any length; long ones are read in overlapping windows, never cut.
            tasks: which heads answer; None means all. The forward pass is the same.

        Raises:
            TaskError: a task the classifier does not have.
        """
        texts = [texts] if isinstance(texts, str) else texts
        heads = self._selected(tasks)
        raws = self.raw(texts)
        return [_answer(raw, text, heads) for raw, text in zip(raws, texts, strict=True)]

    def raw(
        self,
        texts: Sequence[str],
        *,
        batch_tokens: int = 8192,
        progress: Callable[[int], None] | None = None,
    ) -> list[RawOutput]:
        """Logits and embeddings in the order of `texts`.

        Args:
            texts: any number; windows of all texts are batched together by length.
            batch_tokens: largest number of tokens of a batch, padding included; one window is
                run however long.
            progress: called after each batch with the number of texts it completed.
        """
        if not texts:
            return []
        started = perf_counter()
        encoded = (
            [self.encoder.encode(texts[0])]
            if len(texts) == 1
            else self.encoder.encode_batch(texts)
        )
        tokenize_ms = (perf_counter() - started) * 1000 / len(texts)
        if len(encoded) == 1 and len(encoded[0].windows) == 1 and progress is None:
            # A lone window, the usual case of serving, needs no sorting into batches.
            started = perf_counter()
            lone = self.run_windows([(encoded[0], 0)])
            times = (tokenize_ms, (perf_counter() - started) * 1000)
            return [self.join(encoded[0], lone, times)]
        outputs: list[list[WindowOutput]] = [[{}] * len(e.windows) for e in encoded]
        remaining = [len(e.windows) for e in encoded]
        inference_ms = [0.0] * len(texts)
        results: dict[int, RawOutput] = {}
        for places, rows, batch_ms in self._forward(encoded, batch_tokens):
            completed = 0
            for (i, window), row in zip(places, rows, strict=True):
                outputs[i][window] = row
                inference_ms[i] += batch_ms / len(rows)
                remaining[i] -= 1
                if remaining[i] == 0:
                    times = (tokenize_ms, inference_ms[i])
                    results[i] = self.join(encoded[i], outputs[i], times)
                    outputs[i] = []
                    completed += 1
            if progress is not None:
                progress(completed)
        return [results[i] for i in range(len(texts))]

    @property
    def num_special(self) -> int:
        """Special tokens that each window gets on top of its own."""
        return len(self.encoder.prefix_ids) + len(self.encoder.suffix_ids)

    def run_windows(self, windows: Sequence[tuple[EncodedText, int]]) -> list[WindowOutput]:
        """One forward pass over windows, each given as its text and its number in it."""
        ranges = [text.windows[number] for text, number in windows]
        rows = [
            self.encoder.window_ids(text, window)
            for (text, _), window in zip(windows, ranges, strict=True)
        ]
        values = self.backend.run(*self.encoder.pad(rows))
        first = len(self.encoder.prefix_ids)
        return [
            {
                name: value_B[b, first : first + end - start]
                if value_B.ndim == 3
                else value_B[b]
                for name, value_B in values.items()
            }
            for b, (start, end) in enumerate(ranges)
        ]

    def interpret(self, raw: RawOutput, text: str) -> Answer:
        """Calibrate and decode what `raw` gave for `text`."""
        return _answer(raw, text, self.heads)

    def _selected(self, tasks: Sequence[str] | None) -> Mapping[str, Head]:
        if tasks is None:
            return self.heads
        if unknown := [name for name in tasks if name not in self.heads]:
            known = ", ".join(self.heads)
            raise TaskError(f"this model has no task {unknown[0]!r}; it has: {known}")
        return {name: head for name, head in self.heads.items() if name in tasks}

    def _forward(
        self, encoded: Sequence[EncodedText], batch_tokens: int
    ) -> Iterator[tuple[list[tuple[int, int]], list[WindowOutput], float]]:
        """Run all windows, longest first; (text, window) numbers, outputs, milliseconds."""
        num_special = self.num_special
        places = [(i, k) for i, e in enumerate(encoded) for k in range(len(e.windows))]
        sizes = {
            (i, k): e - s for i, t in enumerate(encoded) for k, (s, e) in enumerate(t.windows)
        }
        places.sort(key=lambda place: -sizes[place])
        position = 0
        while position < len(places):
            longest = sizes[places[position]] + num_special
            batch = places[position : position + max(1, batch_tokens // max(longest, 1))]
            position += len(batch)
            started = perf_counter()
            rows = self.run_windows([(encoded[i], k) for i, k in batch])
            yield batch, rows, (perf_counter() - started) * 1000

    def join(
        self,
        encoded: EncodedText,
        outputs: Sequence[WindowOutput],
        times: tuple[float, float],
    ) -> RawOutput:
        """One text's output from those of all its windows.

        Args:
            encoded: the text.
            outputs: of each window in order, as `run_windows` gives them.
            times: milliseconds of tokenising and of inference, recorded as they are.
        """
        sequence, token = {}, {}
        for name, head in self.heads.items():
            pieces = [output[logits_name(name)] for output in outputs]
            if head.task.kind == "sequence":
                sequence[name] = pieces[0][None] if len(pieces) == 1 else np.stack(pieces)
            else:
                token[name] = stitch(encoded.windows, pieces)
        weights_W = [max(end - start, 1) for start, end in encoded.windows]
        total_H = np.zeros_like(outputs[0][EMBEDDING])
        for weight, output in zip(weights_W, outputs, strict=True):
            total_H += weight * output[EMBEDDING]
        norm = float(np.sqrt(total_H @ total_H))
        return RawOutput(encoded, sequence, token, total_H / max(norm, 1e-12), *times)


def _heads(bundle: Bundle, precision: str) -> dict[str, Head]:
    calibration, transitions = bundle.calibration(precision), bundle.transitions()
    heads = {}
    for name, task in bundle.tasks.items():
        decoder = (
            SpanDecoder(task.scheme, transitions.get(name)) if task.kind == "token" else None
        )
        heads[name] = Head(task, calibration[name], decoder)
    return heads


def _answer(raw: RawOutput, text: str, heads: Mapping[str, Head]) -> Answer:
    started = perf_counter()
    sequence, spans = {}, {}
    for name, head in heads.items():
        if head.decoder is None:
            sequence[name] = head.answer(raw)
        else:
            spans[name] = head.spans(raw, text)
    decode_ms = (perf_counter() - started) * 1000
    timings_ms = {
        "tokenize": raw.tokenize_ms,
        "inference": raw.inference_ms,
        "decode": decode_ms,
        "total": raw.tokenize_ms + raw.inference_ms + decode_ms,
    }
    return Answer(text, sequence, spans, len(raw.encoded.windows), timings_ms)
