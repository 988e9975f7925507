"""Texts that wait for the model, and which of their windows run together next."""

from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any

from routewright.encoding import EncodedText
from routewright.runtime.classifier import Classifier, WindowOutput

_LOOKAHEAD = 1024
"""Texts considered for a batch, so that choosing stays cheap however many wait."""


@dataclass(frozen=True, slots=True)
class BatchRule:
    """What a batch may be; the fields are those of `BatcherConfig`."""

    max_batch_tokens: int
    max_wait_s: float
    max_padding: float


@dataclass(eq=False, slots=True)
class Job:
    """One text on its way; its windows may run in several batches."""

    text: str
    encoded: EncodedText
    classifier: Classifier
    future: "Future[Any]"
    tokenize_ms: float
    alike: Sequence[int]
    """For each window the first one with the same tokens, which runs for it; see
    `alike_windows`."""
    arrived: float = field(default_factory=perf_counter)
    num_taken: int = 0
    """Windows that batches have taken, of those that run."""
    outputs: dict[int, WindowOutput] = field(default_factory=dict)
    """By number of the window, of those that run."""
    running: list[int] = field(init=False)
    """Numbers of the windows that run."""
    waits_since: float = field(init=False)
    """When it arrived, or when a batch last took some of its windows."""
    inference_ms: float = 0.0
    queue_s: float = 0.0
    """Until the first of its windows ran."""

    def __post_init__(self) -> None:
        self.running = sorted(set(self.alike))
        self.waits_since = self.arrived

    @property
    def dropped(self) -> bool:
        """Answered, failed or given up by its caller."""
        return self.future.done()

    @property
    def num_waiting(self) -> int:
        """Windows that no batch has taken yet."""
        return len(self.running) - self.num_taken

    @property
    def complete(self) -> bool:
        """Whether every window has its output."""
        return len(self.outputs) == len(self.running)

    @property
    def waiting_tokens(self) -> int:
        """Tokens of the windows that no batch has taken yet, special tokens included."""
        if self.num_waiting == 0:
            return 0
        return self.num_waiting * (self.window_size + self.classifier.num_special)

    @property
    def window_size(self) -> int:
        """Tokens of a window, special tokens not counted; all windows of a text are as long."""
        start, end = self.encoded.windows[0]
        return end - start

    def fail(self, exc: Exception) -> None:
        """Tell the caller, if there still is one."""
        if not self.future.done():
            self.future.set_exception(exc)


def alike_windows(encoded: EncodedText) -> list[int]:
    """For each window the number of the first one with the same tokens.

    Text that repeats itself over and over, as in a flood, costs one pass for each different
    window.
    """
    if len(encoded.windows) == 1:
        return [0]
    first: dict[tuple[int, ...], int] = {}
    return [
        first.setdefault(tuple(encoded.ids[start:end]), number)
        for number, (start, end) in enumerate(encoded.windows)
    ]


def next_batch(jobs: Iterable[Job], rule: BatchRule, now: float) -> list[tuple[Job, int]]:
    """Take the windows to run next out of `jobs`, which are in order of arrival.

    The text that waited too long leads, else the one with the least left to do; others of
    nearly its length fill up the token budget. All windows are for one classifier. A text that
    had its turn begins to wait anew, so one of a million tokens does not stop all others.
    """
    waiting = list(
        islice((job for job in jobs if job.num_waiting and not job.dropped), _LOOKAHEAD)
    )
    if not waiting:
        return []
    lead = min(waiting, key=lambda job: job.waits_since)
    if now - lead.waits_since <= rule.max_wait_s:
        lead = min(waiting, key=lambda job: job.waiting_tokens)
    lead_size = lead.window_size
    fitting = [job for job in waiting if job.classifier is lead.classifier]
    fitting.sort(key=lambda job: (job is not lead, abs(job.window_size - lead_size)))
    num_special = lead.classifier.num_special
    batch: list[tuple[Job, int]] = []
    longest = used = 0
    for job in fitting:
        size = job.window_size + num_special
        new_longest = max(longest, size)
        for _ in range(job.num_waiting):
            padded = new_longest * (len(batch) + 1)
            too_sparse = used + size < padded * (1 - rule.max_padding)
            if batch and (padded > rule.max_batch_tokens or too_sparse):
                break
            _take(job, batch, now)
            longest, used = new_longest, used + size
    return batch


def _take(job: Job, batch: list[tuple[Job, int]], now: float) -> None:
    if job.num_taken == 0:
        job.queue_s = now - job.arrived
    batch.append((job, job.running[job.num_taken]))
    job.num_taken += 1
    job.waits_since = now
