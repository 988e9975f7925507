"""Many callers, one model: texts from coroutines to batches in worker threads.

Knows tokens, deadlines and the queue; knows nothing of requests or policy. All state belongs to
the event loop; a worker gets a batch and gives back its answers. A batch takes what waits and
never waits for more, so a lone text runs at once and batches grow with the load.
"""

import asyncio
import logging
import math
import traceback
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from pydantic import ConfigDict

from routewright.config import STRICT
from routewright.encoding import EncodedText
from routewright.errors import ClosedError, DeadlineError, OverloadedError, ServingError
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier
from routewright.runtime.machine import MOST_THREADS
from routewright.runtime.queue import BatchRule, Job, alike_windows, next_batch
from routewright.runtime.work import Classified, Work, Workers

logger = logging.getLogger(__name__)

_INLINE_CHARACTERS = 4096
"""Texts up to this length are tokenised on the event loop, without a hand-over to a thread."""
_CHARACTERS_PER_TOKEN = 4
"""Counts a text against the queue until it is tokenised."""
_CROWD = 32
"""Texts not answered yet, from which on a batch is handed over before a worker is free."""
_SMOOTHING = 0.2
"""Weight of the newest batch in the measured token rate."""


@dataclass(frozen=True, kw_only=True)
class BatcherConfig:
    """How much runs together, and how much may wait."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_batch_tokens: int = 512
    """Of one forward pass, padding included; one window runs however long. Larger batches take
    longer a token (benchmarks/gateway), and a text that arrives waits longer."""
    max_wait_s: float = 0.25
    """Shorter texts go first until a longer one has waited this long."""
    max_queue_tokens: int = 131_072
    """Texts that would wait behind more are refused; one text is never too long for an empty
    queue, and no text counts for more than half of it, as batches are shared out in turns."""
    num_workers: int | None = None
    """Batches that run at the same time; None runs one, and in the gateway as many as there are
    cores for. On short texts two passes of one thread do more than one pass of two."""
    max_padding: float = 0.1
    """Share of padding in a batch from which on a text waits for one of its own length."""
    inline_s: float | None = None
    """A lone text whose pass is expected to take at most this long runs on the event loop, if
    the model was idle for as long as its last pass took: that spares the way to a worker and
    back, and the loop does nothing else meanwhile. None is 0, where every text is handed over,
    and in the gateway .005."""

    def __post_init__(self) -> None:
        if min(self.max_batch_tokens, self.max_queue_tokens) < 1 or self.max_wait_s < 0:
            raise ValueError("needs max_batch_tokens, max_queue_tokens >= 1, max_wait_s >= 0")
        if self.num_workers is not None and not 1 <= self.num_workers <= MOST_THREADS:
            raise ValueError(f"num_workers must be 1 to {MOST_THREADS}, got {self.num_workers}")
        if not 0 <= self.max_padding < 1:
            raise ValueError("needs 0 <= max_padding < 1")
        if self.inline_s is not None and not 0 <= self.inline_s < math.inf:
            raise ValueError(f"needs 0 <= inline_s, got {self.inline_s}")


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


class Batcher:
    """Classifies for many callers at once; belongs to one event loop.

    Every text is answered whole by one classifier, as `Classifier` would answer it.
    """

    def __init__(self, classifier: Classifier, config: BatcherConfig | None = None) -> None:
        self.config = config or BatcherConfig()
        self.counters = BatcherCounters()
        self._classifier = classifier
        self._jobs: dict[Job, None] = {}
        self._long_jobs: set[Job] = set()
        self._share_tokens = max(1, self.config.max_queue_tokens // 2)
        """What one text counts for at most when others are admitted."""
        self._queued_tokens = 0
        self._num_callers = 0
        self._tokens_per_s: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = self._closed = False
        self._rule = BatchRule(
            self.config.max_batch_tokens, self.config.max_wait_s, self.config.max_padding
        )
        self._num_workers = self.config.num_workers or 1
        self._num_running = 0
        self._busy_until = 0.0
        """When the last batch was done, and as long again as it took."""
        self._lone_s_per_token: float | None = None
        """Measured on the last pass of one window alone, of the classifier of now."""
        self._scheduled = False
        self._workers = Workers(self._num_workers, self._finish)

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
        self._lone_s_per_token = None  # the new one may take ten times as long
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
        for job in self._jobs:
            job.fail(_closed())
        await asyncio.to_thread(self._workers.stop)

    async def __aenter__(self) -> "Batcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _admit(self, num_tokens: int) -> None:
        share, limit = self._share_tokens, self.config.max_queue_tokens
        excess = sum(max(0, job.waiting_tokens - share) for job in self._long_jobs)
        queued = self._queued_tokens - excess
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
            counted = min(estimate, self._share_tokens)
            self._queued_tokens += counted
            try:
                encoded, alike = await asyncio.to_thread(_tokenize, classifier, text)
            finally:
                self._queued_tokens -= counted
        if self._closed:
            raise _closed()
        tokenize_ms = (perf_counter() - started) * 1000
        future = asyncio.get_running_loop().create_future()
        job = Job(text, encoded, classifier, future, tokenize_ms, alike)
        self._admit(job.waiting_tokens)
        self._queued_tokens += job.waiting_tokens
        self._jobs[job] = None
        if job.waiting_tokens > self._share_tokens:
            self._long_jobs.add(job)
        self._schedule()
        return job

    def _leave(self, job: Job) -> None:
        job.future.cancel()
        self._queued_tokens -= job.waiting_tokens
        job.give_up()
        self._jobs.pop(job, None)
        self._long_jobs.discard(job)

    def _schedule(self) -> None:
        """Start a batch: at once if nothing runs, else when all who are about to ask have."""
        if self._is_lone:
            self._run_here()
        elif not self._num_running:
            self._dispatch()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    @property
    def _is_lone(self) -> bool:
        """Whether one text is all there is, and may run on the loop; see `BatcherConfig`."""
        rate, limit_s = self._lone_s_per_token, self.config.inline_s
        if not limit_s or rate is None or self._num_callers != 1 or self._num_running:
            return False
        # One that has failed is there until its caller has heard of it.
        jobs = [j for j in self._jobs if not j.dropped and j.classifier is self._classifier]
        num_tokens = sum(job.waiting_tokens for job in jobs)
        return 0 < num_tokens * rate <= limit_s and perf_counter() > self._busy_until

    def _run_here(self) -> None:
        """Answer the one text there is before anything else happens."""
        windows = next_batch(self._jobs, self._rule, perf_counter())
        work = Work(windows[0][0].classifier, windows)
        self._queued_tokens -= work.num_tokens
        self._num_running += 1
        exc = work.attempt()
        self._finish(work, exc)
        if isinstance(exc, KeyboardInterrupt | SystemExit):  # of this thread, unlike a worker's
            raise exc

    def _dispatch(self) -> None:
        """Give every free worker a batch, and all of them one in advance in a crowd."""
        self._scheduled = False
        loop = asyncio.get_running_loop()
        while self._num_running < self._num_wanted and not self._closed:
            windows = next_batch(self._jobs, self._rule, perf_counter())
            if not windows:
                return
            work = Work(windows[0][0].classifier, windows)
            self._queued_tokens -= work.num_tokens
            self._num_running += 1
            self._workers.run(work, loop)

    @property
    def _num_wanted(self) -> int:
        """Batches that should be with the workers.

        One more than run spares a worker the wait for this loop. No text can overtake it any
        more, which only in a crowd makes no difference.
        """
        return self._num_workers + (len(self._jobs) >= _CROWD)

    def _finish(self, work: Work, exc: BaseException | None) -> None:
        self._num_running -= 1
        self._busy_until = perf_counter() + work.inference_s
        if exc is not None:
            self._fail(work, exc)  # first: other windows of its texts need not run any more
        if self._jobs:
            self._schedule()
        if exc is None and work.windows:
            self._count(work)

    def _fail(self, work: Work, exc: BaseException) -> None:
        # Its message may quote a text, and so may its traceback; type and frame do not.
        place = traceback.extract_tb(exc.__traceback__, limit=-1)
        num, error = len(work.windows), type(exc)
        logger.error("batch failed windows=%d error=%s at=%s", num, error, place)
        for job, _ in work.windows:
            job.fail(_model_failure(exc))

    def _count(self, work: Work) -> None:
        num_tokens = work.num_tokens
        self.counters.num_batches += 1
        self.counters.num_tokens += num_tokens
        self.counters.inference_s += work.inference_s
        if len(work.windows) == 1 and work.classifier is self._classifier:
            self._lone_s_per_token = work.inference_s / num_tokens
        rate = self._num_workers * num_tokens / max(work.inference_s, 1e-6)
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


def _closed() -> ClosedError:
    return ClosedError("the classifier is shutting down; send the request elsewhere")


def _model_failure(exc: BaseException) -> ServingError:
    """Names the kind of failure only: messages of a backend may quote what it was given."""
    failure = ServingError(f"the model failed ({type(exc).__name__}); see the server's log")
    failure.__cause__ = exc
    return failure
