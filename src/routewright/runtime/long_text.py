"""One long text on its way from windows to its answer, in memory that hardly grows with it.

A window's scores of tokens are let go as soon as those before it have been decoded.

Shape letters: W = windows, C = classes, T = tokens, K = BIO tags, H = hidden size.
"""

import threading
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from routewright.decoding import FloatArray
from routewright.encoding import EncodedText, border_after
from routewright.runtime.backend import EMBEDDING, logits_name
from routewright.runtime.heads import Head, RawOutput, WindowOutput


class LongText:
    """Takes the windows of one text in order; several threads may bring them."""

    def __init__(
        self,
        text: str,
        encoded: EncodedText,
        heads: Mapping[str, Head],
        alike: Sequence[int],
    ) -> None:
        """Begin; `alike` has for each window the number of the one that runs for it."""
        self._encoded = encoded
        self._alike = alike
        self._last_use = {first: number for number, first in enumerate(alike)}
        self._readers = {n: head.reader(text) for n, head in heads.items() if head.decoder}
        self._names = [name for name, head in heads.items() if head.decoder is None]
        self._logits: dict[str, FloatArray] = {}
        """``(W, C)`` by sequence task."""
        self._total_H: FloatArray = np.zeros(1)
        self._num_taken = 0
        self._position = 0
        """Tokens before it have been decoded."""
        self._decode_s = 0.0
        self._failure: Exception | None = None
        self._lock = threading.Lock()

    def advance(self, outputs: dict[int, WindowOutput]) -> None:
        """Take out of `outputs`, which are by number of the window, what comes next."""
        with self._lock:
            if self._failure is not None:
                return
            started = perf_counter()
            try:
                self._advance(outputs)
            except Exception as exc:  # noqa: BLE001 - whoever asks for the answer hears it
                self._failure = exc
            self._decode_s += perf_counter() - started

    def finish(self, outputs: dict[int, WindowOutput], times: tuple[float, float]) -> RawOutput:
        """The text's output, once `outputs` has the last window; see `Classifier.join`."""
        self.advance(outputs)
        if self._failure is not None:
            raise self._failure
        assert self._num_taken == len(self._alike), "a window is missing"
        decoded = {name: reader.finish() for name, reader in self._readers.items()}
        decode_ms = self._decode_s * 1000
        return RawOutput(
            self._encoded, self._logits, {}, self._total_H, *times, decoded, decode_ms
        )

    def _advance(self, outputs: dict[int, WindowOutput]) -> None:
        while self._num_taken < len(self._alike):
            runs_for_it = self._alike[self._num_taken]
            output = outputs.get(runs_for_it)
            if output is None:
                return
            self._take(output)
            if self._last_use[runs_for_it] == self._num_taken:
                del outputs[runs_for_it]
            self._num_taken += 1

    def _take(self, output: WindowOutput) -> None:
        number, windows = self._num_taken, self._encoded.windows
        start, end = windows[number]
        for name in self._names:
            logits_C = output[logits_name(name)]
            if name not in self._logits:
                self._logits[name] = np.empty((len(windows), *logits_C.shape), logits_C.dtype)
            self._logits[name][number] = logits_C
        self._total_H = self._total_H + max(end - start, 1) * output[EMBEDDING].astype(float)
        border = border_after(windows, number)
        offsets = self._encoded.offsets[self._position : border]
        for name, reader in self._readers.items():
            piece_TK = output[logits_name(name)]
            reader.feed(offsets, piece_TK[self._position - start : border - start])
        self._position = border
