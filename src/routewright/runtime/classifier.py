"""Texts to answers: one forward pass a window for all heads, long texts in windows.

Shape letters: W = windows of one text, B = batch of windows, T = tokens, C = classes,
K = BIO tags, H = hidden size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from routewright.bundle import Bundle
from routewright.decoding import SpanDecoder
from routewright.encoding import EncodedText, TextEncoder, stitch
from routewright.errors import BundleError, TaskError
from routewright.runtime.answers import Answer
from routewright.runtime.backend import EMBEDDING, Backend, OnnxBackend, logits_name
from routewright.runtime.golden import replay
from routewright.runtime.heads import Head, RawOutput, WindowOutput
from routewright.second_look import SecondLookSettings, load_libraries
from routewright.shipped import bundle_folder

_TOGETHER = 32
"""Texts decoded in one go: less work for each, and little memory."""


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
        probabilities may differ a little with the texts around: mostly in the third decimal,
        a span's score by up to a tenth.

        Args:
            texts: any length; long ones are read in overlapping windows, never cut.
            tasks: which heads answer; None means all. The forward pass is the same.

        Raises:
            TaskError: a task the classifier does not have.
        """
        texts = [texts] if isinstance(texts, str) else texts
        heads = self._selected(tasks)
        raws = self.raw(texts)
        return _answers(raws, texts, heads)

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

    def interpret(self, raws: Sequence[RawOutput], texts: Sequence[str]) -> list[Answer]:
        """Calibrate and decode what the model gave for `texts`."""
        return _answers(raws, texts, self.heads)

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
        total_H = outputs[0][EMBEDDING]
        if len(outputs) > 1:
            sizes_W = np.array([max(end - start, 1) for start, end in encoded.windows])
            total_H = sizes_W @ np.stack([output[EMBEDDING] for output in outputs])
        return RawOutput(encoded, sequence, token, total_H, *times)


def _heads(bundle: Bundle, precision: str) -> dict[str, Head]:
    calibration, transitions = bundle.calibration(precision), bundle.transitions()
    heads = {}
    for name, task in bundle.tasks.items():
        decoder = (
            SpanDecoder(task.scheme, transitions.get(name)) if task.kind == "token" else None
        )
        heads[name] = Head(task, calibration[name], decoder)
    return heads


def _answers(
    raws: Sequence[RawOutput], texts: Sequence[str], heads: Mapping[str, Head]
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(raws), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        answers += _answers_together(raws[part], texts[part], heads)
    return answers


def _answers_together(
    raws: Sequence[RawOutput], texts: Sequence[str], heads: Mapping[str, Head]
) -> Iterator[Answer]:
    started = perf_counter()
    sequence = {n: head.answers(raws) for n, head in heads.items() if head.decoder is None}
    spans = {n: head.all_spans(raws, texts) for n, head in heads.items() if head.decoder}
    decode_ms = (perf_counter() - started) * 1000 / len(raws)
    for i, (raw, text) in enumerate(zip(raws, texts, strict=True)):
        timings_ms = {
            "tokenize": raw.tokenize_ms,
            "inference": raw.inference_ms,
            "decode": decode_ms + raw.decode_ms,
            "total": raw.tokenize_ms + raw.inference_ms + decode_ms + raw.decode_ms,
        }
        yield Answer(
            text,
            {name: found[i] for name, found in sequence.items()},
            {name: found[i] for name, found in spans.items()},
            len(raw.encoded.windows),
            timings_ms,
        )
