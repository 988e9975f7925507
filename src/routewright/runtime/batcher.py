"""Many callers, one model: texts from coroutines to batches in one worker thread.

Knows tokens, deadlines and the queue; knows nothing of requests or policy. All state belongs to
the event loop; the worker gets a batch and gives back its outputs. A batch takes what waits and
never waits for more, so a lone text runs at once and batches grow with the load. Under load the
answers of one batch are decoded while the next one runs.
"""

import asyncio
import logging
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import ClassVar

from pydantic import ConfigDict

from routewright.config import STRICT
from routewright.decoding import FloatArray
from routewright.encoding import EncodedText
from routewright.errors import ClosedError, DeadlineError, OverloadedError, ServingError
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier, WindowOutput
from routewright.runtime.queue import BatchRule, Job, alike_windows, next_batch

logger = logging.getLogger(__name__)

_INLINE_CHARACTERS = 4096
"""Texts up to this length are tokenised on the event loop, without a hand-over to a thread."""
_CHARACTERS_PER_TOKEN = 4
"""Counts a text against the queue until it is tokenised."""
_SMOOTHING = 0.2
"""Weight of the newest batch in the measured token rate."""


@dataclass(frozen=True, kw_only=True)
class BatcherConfig:
    """How much runs together, and how much may wait."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_batch_tokens: int = 1024
    """Of one forward pass, padding included; one window runs however long. On few cores larger
    batches are no quicker a token, and a text that arrives waits longer."""
    max_wait_s: float = 0.25
    """Shorter texts go first until a longer one has waited this long."""
    max_queue_tokens: int = 131_072
    """Texts that would wait behind more are refused; one text is never too long for an empty
    queue."""
    max_padding: float = 0.1
    """Share of padding in a batch from which on a text waits for one of its own length."""

    def __post_init__(self) -> None:
        if min(self.max_batch_tokens, self.max_queue_tokens) < 1 or self.max_wait_s < 0:
            raise ValueError("needs max_batch_tokens, max_queue_tokens >= 1, max_wait_s >= 0")
        if not 0 <= self.max_padding < 1:
            raise ValueError("needs 0 <= max_padding < 1")


@dataclass(slots=True)
class BatcherCounters:
    """Since the start; only ever growing."""

    num_batches: int = 0
    num_texts: int = 0
    """Answered texts."""
    num_tokens: int = 0
    """Tokens that went through the model, special tokens included, padding not."""
    num_dropped: int = 0
    """Texts given up by their callers, or past their deadline, before they were answered."""
    num_refused: int = 0
    """Texts refused because the queue was full."""
    queue_s: float = 0.0
    """Sum over the answered texts: from tokenised to the start of their first batch."""
    inference_s: float = 0.0
    """Sum over the batches."""


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
class _Work:
    """What the worker does in one go."""

    classifier: Classifier
    windows: list[tuple[Job, int]]
    decodes: bool = True
    """Whether the worker turns outputs into answers too; else another thread does."""
    completed: list[int] = field(default_factory=list)
    """Positions in `windows` of the last window of a text."""
    answers: dict[int, Classified | Exception] = field(default_factory=dict)
    """By position, of completed texts."""
    inference_s: float = 0.0

    @property
    def num_tokens(self) -> int:
        """Special tokens included, padding not."""
        num_special = self.classifier.num_special
        return sum(job.window_size + num_special for job, _ in self.windows)


class Batcher:
    """Classifies for many callers at once; belongs to one event loop.

    Every text is answered whole by one classifier, as `Classifier` would answer it.
    """

    def __init__(self, classifier: Classifier, config: BatcherConfig | None = None) -> None:
        self.config = config or BatcherConfig()
        self.counters = BatcherCounters()
        self._classifier = classifier
        self._jobs: dict[Job, None] = {}
        self._queued_tokens = 0
        self._num_callers = 0
        self._tokens_per_s: float | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="routewright-model")
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="routewright-decode")
        self._decoding: set[asyncio.Task[None]] = set()

    @property
    def classifier(self) -> Classifier:
        """The one that answers texts arriving now."""
        return self._classifier

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait for a batch, and an estimate of those being tokenised."""
        return self._queued_tokens

    async def classify(self, text: str, *, deadline_s: float | None = None) -> Answer:
        """See `run`; the answer alone."""
        return (await self.run(text, deadline_s=deadline_s)).answer

    async def run(
        self,
        text: str,
        *,
        deadline_s: float | None = None,
        classifier: Classifier | None = None,
    ) -> Classified:
        """Classify one text of any length.

        Cancelling the caller takes the text out of the queue.

        Args:
            text: may be empty.
            deadline_s: seconds from now after which the answer is of no use; None waits.
            classifier: answers this text, so that all texts of a request meet one model while
                another is put in place; None takes the one of now.

        Raises:
            OverloadedError: the queue is full.
            DeadlineError: no answer in time; the text is dropped.
            ClosedError: `close` was called.
            ServingError: the model failed on this batch.
        """
        if self._closing:
            raise _closed()
        self._num_callers += 1
        self._idle.clear()
        job: Job | None = None
        try:
            async with asyncio.timeout(deadline_s):
                job = await self._enter(text, classifier or self._classifier)
                result: Classified = await job.future
                return result
        except TimeoutError as exc:
            self.counters.num_dropped += 1
            raise DeadlineError(deadline_s or 0.0) from exc
        except asyncio.CancelledError:
            self.counters.num_dropped += 1
            raise
        finally:
            if job is not None:
                self._leave(job)
            self._num_callers -= 1
            if not self._num_callers:
                self._idle.set()

    def swap(self, classifier: Classifier) -> Classifier:
        """Let `classifier` answer from now on; gives back the one before.

        Texts already taken in are answered by the classifier that tokenised them.
        """
        before, self._classifier = self._classifier, classifier
        return before

    async def close(self, *, drain_s: float = 30.0) -> None:
        """Take no more texts, answer those that wait, stop the worker.

        Args:
            drain_s: seconds after which texts still waiting fail with `ClosedError`.
        """
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*self._decoding)
        for executor in (self._worker, self._decoder):
            await asyncio.to_thread(executor.shutdown)

    async def __aenter__(self) -> "Batcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _admit(self, num_tokens: int) -> None:
        queued = self.queued_tokens
        limit = self.config.max_queue_tokens
        if queued and queued + num_tokens > limit:
            self.counters.num_refused += 1
            rate = self._tokens_per_s
            retry_after_s = 1.0 if rate is None else max(0.1, min(queued / rate, 60.0))
            raise OverloadedError(queued, limit, retry_after_s)

    async def _enter(self, text: str, classifier: Classifier) -> Job:
        """Tokenise `text` and queue it; a long one in a thread, for the loop's sake."""
        started = perf_counter()
        estimate = max(1, len(text) // _CHARACTERS_PER_TOKEN)
        self._admit(estimate)
        if len(text) <= _INLINE_CHARACTERS:
            encoded, alike = _tokenize(classifier, text)
        else:
            self._queued_tokens += estimate
            try:
                encoded, alike = await asyncio.to_thread(_tokenize, classifier, text)
            finally:
                self._queued_tokens -= estimate
        if self._closed:
            raise _closed()
        tokenize_ms = (perf_counter() - started) * 1000
        future = asyncio.get_running_loop().create_future()
        job = Job(text, encoded, classifier, future, tokenize_ms, alike)
        self._admit(job.waiting_tokens)
        self._queued_tokens += job.waiting_tokens
        self._jobs[job] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._serve())
        self._wake.set()
        return job

    def _leave(self, job: Job) -> None:
        job.future.cancel()
        self._queued_tokens -= job.waiting_tokens
        job.num_taken = len(job.running)
        self._jobs.pop(job, None)

    async def _serve(self) -> None:
        """Batch after batch, for as long as the engine lives."""
        loop = asyncio.get_running_loop()
        rule = BatchRule(
            self.config.max_batch_tokens, self.config.max_wait_s, self.config.max_padding
        )
        try:
            while True:
                windows = next_batch(self._jobs, rule, perf_counter())
                if not windows:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                others_wait = any(job.num_waiting and not job.dropped for job in self._jobs)
                work = _Work(windows[0][0].classifier, windows, decodes=not others_wait)
                self._queued_tokens -= work.num_tokens
                try:
                    await loop.run_in_executor(self._worker, _run, work)
                except Exception as exc:  # noqa: BLE001  a backend may raise anything
                    # Its message may quote a text, and so may its traceback.
                    frame = traceback.extract_tb(exc.__traceback__)[-1]
                    place = f"{Path(frame.filename).name}:{frame.lineno}"
                    num, error = len(windows), type(exc).__name__
                    logger.error("batch failed windows=%d error=%s at=%s", num, error, place)  # noqa: TRY400
                    _fail(work, exc)
                else:
                    self._finish(work)
        finally:  # nobody may wait for an engine that has stopped
            for job in self._jobs:
                job.fail(_closed())

    def _finish(self, work: _Work) -> None:
        """Give the answers out, those not decoded yet as soon as they are."""
        if work.decodes:
            self._count(work)
            return
        task = asyncio.get_running_loop().create_task(self._decode(work))
        self._decoding.add(task)
        task.add_done_callback(self._decoding.discard)

    async def _decode(self, work: _Work) -> None:
        await asyncio.get_running_loop().run_in_executor(self._decoder, _decode, work)
        self._count(work)

    def _count(self, work: _Work) -> None:
        num_tokens = work.num_tokens
        self.counters.num_batches += 1
        self.counters.num_tokens += num_tokens
        self.counters.inference_s += work.inference_s
        rate = num_tokens / max(work.inference_s, 1e-6)
        before = rate if self._tokens_per_s is None else self._tokens_per_s
        self._tokens_per_s = before + _SMOOTHING * (rate - before)
        for position, result in work.answers.items():
            job = work.windows[position][0]
            if job.dropped:
                continue
            if isinstance(result, Exception):
                job.fail(_model_failure(result))
                continue
            self.counters.num_texts += 1
            self.counters.queue_s += job.queue_s
            job.future.set_result(result)


def _tokenize(classifier: Classifier, text: str) -> tuple[EncodedText, list[int]]:
    encoded = classifier.encoder.encode(text)
    return encoded, alike_windows(encoded)


def _run(work: _Work) -> None:
    """In the worker: one forward pass, and maybe the answers of the texts it completed."""
    started = perf_counter()
    outputs = work.classifier.run_windows([(job.encoded, n) for job, n in work.windows])
    work.inference_s = perf_counter() - started
    share_ms = work.inference_s * 1000 / len(outputs)
    for position, ((job, number), output) in enumerate(zip(work.windows, outputs, strict=True)):
        job.outputs[number] = output
        job.inference_ms += share_ms
        if job.complete:
            work.completed.append(position)
    if work.decodes:
        _decode(work)


def _decode(work: _Work) -> None:
    """The answers of the texts that a batch completed."""
    for position in work.completed:
        job = work.windows[position][0]
        if job.dropped:
            continue
        try:
            work.answers[position] = _classified(job)
        except Exception as exc:  # noqa: BLE001  one text's failure is not the batch's
            work.answers[position] = exc


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


def _closed() -> ClosedError:
    return ClosedError("the classifier is shutting down; send the request elsewhere")


def _fail(work: _Work, exc: Exception) -> None:
    for job, _ in work.windows:
        job.fail(_model_failure(exc))


def _model_failure(exc: Exception) -> ServingError:
    """Names the kind of failure only: messages of a backend may quote what it was given."""
    failure = ServingError(f"the model failed ({type(exc).__name__}); see the server's log")
    failure.__cause__ = exc
    return failure
