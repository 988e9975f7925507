"""One batch on its way: what a worker thread runs, and the answers that it completes."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from routewright.decoding import FloatArray
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier, WindowOutput
from routewright.runtime.queue import Job

_LOCK = threading.Lock()
"""Windows of one text may run in several workers at once; one of them completes it."""


@dataclass(frozen=True, slots=True)
class Classified:
    """The answer about a text, with its vector."""

    answer: Answer
    """Its ``timings_ms`` also has ``queue``."""
    embedding: FloatArray
    """``(H,)``, of length 1."""
    num_tokens: int
    """Of the text, special tokens not counted."""


@dataclass(slots=True)
class Work:
    """What a worker does in one go."""

    classifier: Classifier
    windows: list[tuple[Job, int]]
    answers: dict[int, Classified | Exception] = field(default_factory=dict)
    """By position in `windows`, of texts that this batch completed."""
    inference_s: float = 0.0

    @property
    def num_tokens(self) -> int:
        """Special tokens included, padding not."""
        num_special = self.classifier.num_special
        return sum(job.window_size + num_special for job, _ in self.windows)

    def run(self) -> None:
        """In a worker: one forward pass, then the answers of the texts it completed."""
        started = perf_counter()
        outputs = self.classifier.run_windows([(job.encoded, n) for job, n in self.windows])
        self.inference_s = perf_counter() - started
        share_ms = self.inference_s * 1000 / len(outputs)
        for position, output in enumerate(outputs):
            job, number = self.windows[position]
            with _LOCK:
                job.outputs[number] = output
                job.inference_ms += share_ms
                completed = job.complete
            if completed and not job.dropped:
                try:
                    self.answers[position] = _classified(job)
                except Exception as exc:  # noqa: BLE001  one text's failure is not the batch's
                    self.answers[position] = exc


def _classified(job: Job) -> Classified:
    outputs: Sequence[WindowOutput] = [job.outputs[number] for number in job.alike]
    times = (job.tokenize_ms, job.inference_ms)
    raw = job.classifier.join(job.encoded, outputs, times)
    answer = job.classifier.interpret(raw, job.text)
    timings_ms = {
        **answer.timings_ms,
        "queue": job.queue_s * 1000,
        "total": answer.timings_ms["total"] + job.queue_s * 1000,
    }
    answer = Answer(answer.text, answer.sequence, answer.spans, answer.num_windows, timings_ms)
    return Classified(answer, raw.embedding, len(raw.encoded.offsets))
