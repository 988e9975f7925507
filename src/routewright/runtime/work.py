"""One batch on its way: what a worker thread runs, and the answers that it completes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from time import perf_counter

from routewright.decoding import FloatArray
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import l2_normalized
from routewright.runtime.queue import Job

_LOCK = threading.Lock()
"""Windows of one text may run in several workers at once; one of them completes it."""


@dataclass(frozen=True, slots=True)
class Classified:
    """The answer about a text, with its vector."""

    answer: Answer
    """Its ``timings_ms`` also has ``queue``."""
    pooled_H: FloatArray
    """See `RawOutput`."""
    num_tokens: int
    """Of the text, special tokens not counted."""

    @property
    def embedding(self) -> FloatArray:
        """``(H,)``, of length 1."""
        return l2_normalized(self.pooled_H)


@dataclass(slots=True)
class Work:
    """What a worker does in one go."""

    classifier: Classifier
    windows: list[tuple[Job, int]]
    """Of texts that somebody waits for, once it has run."""
    answers: dict[int, Classified | Exception] = field(default_factory=dict)
    """By position in `windows`, of texts that this batch completed."""
    inference_s: float = 0.0
    handed_over: float = field(default_factory=perf_counter)

    @property
    def num_tokens(self) -> int:
        """Special tokens included, padding not."""
        return sum(job.pass_size for job, _ in self.windows)

    def attempt(self) -> BaseException | None:
        """`run`, and what it raised: a backend may raise anything."""
        try:
            self.run()
        except BaseException as exc:  # noqa: BLE001
            return exc
        return None

    def run(self) -> None:
        """One forward pass, then the answers of the texts it completed; mostly in a worker."""
        self.windows = [place for place in self.windows if not place[0].dropped]
        if not self.windows:
            return
        started = perf_counter()
        for job, number in self.windows:
            if number == job.running[0]:
                job.queue_s += started - self.handed_over
        outputs = self.classifier.run_windows([(job.encoded, n) for job, n in self.windows])
        self.inference_s = perf_counter() - started
        share_ms = self.inference_s * 1000 / len(outputs)
        completed = []
        for position, output in enumerate(outputs):
            job, number = self.windows[position]
            with _LOCK:
                job.outputs[number] = output
                job.num_done += 1
                job.inference_ms += share_ms
                is_complete = job.complete
            if is_complete and not job.dropped:
                completed.append(position)
        for job in {job for job, _ in self.windows}:
            if job.long_text is not None and not job.dropped:
                job.long_text.advance(job.outputs)
        jobs = [self.windows[position][0] for position in completed]
        self.answers = dict(zip(completed, _answers(self.classifier, jobs), strict=True))


class Workers:
    """Threads that run batches; half of the way of an executor's, which counts for one text."""

    def __init__(self, num: int, finish: Callable[[Work, BaseException | None], None]) -> None:
        """Let `finish` be called on the event loop with each batch that has run."""
        self._finish = finish
        self._batches: SimpleQueue[Work | None] = SimpleQueue()
        self._num = num
        self._threads: list[threading.Thread] = []

    def run(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        """Hand a batch over; the first one starts the threads."""
        while len(self._threads) < self._num:
            thread = threading.Thread(
                target=self._serve, args=(loop,), name="routewright-model", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._batches.put(work)

    def stop(self) -> None:
        """Wait for the batches handed over, and end the threads."""
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (work := self._batches.get()) is not None:
            failure = work.attempt()
            with suppress(RuntimeError):  # the loop was closed without the engine
                loop.call_soon_threadsafe(self._finish, work, failure)


def _answers(classifier: Classifier, jobs: list[Job]) -> list[Classified | Exception]:
    """Together, which costs less; if that fails one by one, as others are not to suffer."""
    if not jobs:
        return []
    try:
        return list(_classified(classifier, jobs))
    except Exception as exc:  # noqa: BLE001  whatever it is, its text's caller has to hear it
        if len(jobs) == 1:
            return [exc]
        return [answer for job in jobs for answer in _answers(classifier, [job])]


def _classified(classifier: Classifier, jobs: list[Job]) -> Iterator[Classified]:
    raws = [job.joined() for job in jobs]
    answers = classifier.interpret(raws, [job.text for job in jobs])
    for job, raw, answer in zip(jobs, raws, answers, strict=True):
        timings_ms = {
            **answer.timings_ms,
            "queue": job.queue_s * 1000,
            "total": answer.timings_ms["total"] + job.queue_s * 1000,
        }
        timed = replace(answer, timings_ms=timings_ms)
        # A copy: what is remembered of a text must not keep those that ran beside it.
        yield Classified(timed, raw.pooled_H.copy(), len(raw.encoded.offsets))
