"""Texts that wait for the model, and which of their windows run together next."""

from array import array
from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from time import perf_counter
from typing import Any

from routewright.encoding import EncodedText
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import LONG_WINDOWS, RawOutput, WindowOutput
from routewright.runtime.long_text import LongText

_LOOKAHEAD = 1024
"""Texts considered for a batch, so that choosing stays cheap however many wait."""
_REMEMBERED = 64
"""Windows whose like is looked for, as the output of each has to be kept until then."""
_CHEAP_TOKENS = 16
"""Padding that costs less than another pass does, whatever its tokens."""
_WAITS_SINCE, _WAITING_TOKENS = attrgetter("waits_since"), attrgetter("waiting_tokens")


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
    outputs: dict[int, WindowOutput] = field(default_factory=dict)
    """By number of the window, of those that ran; of a long text, of those still needed."""
    num_done: int = 0
    """Windows that ran."""
    long_text: LongText | None = field(init=False)
    """Reads the windows of a long text as they come."""
    running: list[int] = field(init=False)
    """Numbers of the windows that run."""
    num_waiting: int = field(init=False)
    """Windows that no batch has taken yet, the last ones of `running`."""
    window_size: int = field(init=False)
    """Tokens of a window, special tokens not counted; all windows of a text are as long."""
    pass_size: int = field(init=False)
    """The same, special tokens counted."""
    waiting_tokens: int = field(init=False)
    """Of the windows that no batch has taken yet, special tokens included."""
    waits_since: float = field(init=False)
    """When it arrived, or when a batch last took some of its windows."""
    inference_ms: float = 0.0
    queue_s: float = 0.0
    """Until the first of its windows ran."""

    def __post_init__(self) -> None:
        self.running = sorted(set(self.alike))
        start, end = self.encoded.windows[0]
        self.window_size = end - start
        self.pass_size = self.window_size + self.classifier.num_special
        self.num_waiting = len(self.running)
        self.waiting_tokens = self.num_waiting * self.pass_size
        self.waits_since = self.arrived
        self.long_text = (
            LongText(self.text, self.encoded, self.classifier.heads, self.alike)
            if len(self.encoded.windows) > LONG_WINDOWS
            else None
        )

    @property
    def dropped(self) -> bool:
        """Answered, failed or given up by its caller."""
        return self.future.done()

    @property
    def complete(self) -> bool:
        """Whether every window has run."""
        return self.num_done == len(self.running)

    def joined(self) -> RawOutput:
        """The output of the whole text, once it is complete."""
        times = (self.tokenize_ms, self.inference_ms)
        if self.long_text is not None:
            return self.long_text.finish(self.outputs, times)
        outputs = [self.outputs[number] for number in self.alike]
        return self.classifier.join(self.encoded, outputs, times)

    def take(self, now: float) -> int:
        """Let a batch have the next window; gives its number."""
        if self.num_waiting == len(self.running):
            self.queue_s = now - self.arrived
        number = self.running[len(self.running) - self.num_waiting]
        self.num_waiting -= 1
        self.waiting_tokens -= self.pass_size
        self.waits_since = now
        return number

    def give_up(self) -> None:
        """Let no batch have what waits."""
        self.num_waiting = self.waiting_tokens = 0

    def fail(self, exc: Exception) -> None:
        """Tell the caller, if there still is one."""
        if not self.future.done():
            self.future.set_exception(exc)


def alike_windows(encoded: EncodedText) -> list[int]:
    """For each window the number of the first one with the same tokens.

    Text that repeats itself over and over, as in a flood, costs one pass for each different
    window, of as many as are remembered.
    """
    if len(encoded.windows) == 1:
        return [0]
    recent: dict[bytes, int] = {}
    alike = []
    for number, (start, end) in enumerate(encoded.windows):
        tokens = array("i", encoded.ids[start:end]).tobytes()
        first = recent.pop(tokens, number)
        recent[tokens] = first  # the newest is last
        if len(recent) > _REMEMBERED:
            del recent[next(iter(recent))]
        alike.append(first)
    return alike


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
    lead = min(waiting, key=_WAITS_SINCE)
    if now - lead.waits_since <= rule.max_wait_s:
        lead = min(waiting, key=_WAITING_TOKENS)
    lead_size = lead.window_size
    fitting = [job for job in waiting if job.classifier is lead.classifier]
    fitting.remove(lead)
    fitting.sort(key=lambda job: abs(job.window_size - lead_size))
    batch: list[tuple[Job, int]] = []
    longest = used = 0
    for job in (lead, *fitting):
        size = job.pass_size
        new_longest = max(longest, size)
        for _ in range(job.num_waiting):
            padded = new_longest * (len(batch) + 1)
            most_padding = max(padded * rule.max_padding, _CHEAP_TOKENS)
            too_sparse = padded - used - size > most_padding
            if batch and (padded > rule.max_batch_tokens or too_sparse):
                return batch  # the others fit hardly better, and they may be a thousand
            batch.append((job, job.take(now)))
            longest, used = new_longest, used + size
    return batch
