"""Keeps texts that a person should look at, with personal data taken out: a `Watcher`.

Off unless ``gateway.review`` is set. On the event loop a request costs a look at its answers;
one thread masks, leaves out what is there already, and writes. What goes wrong costs rows and
is counted, and no request hears of it.
"""

import hashlib
import logging
import math
import os
import queue
import random
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from routewright.gateway.policy_file import PolicyFile, review_folder
from routewright.gateway.review_files import (
    append_line,
    make_folder,
    remove_before,
    review_file,
    task_and_day,
)
from routewright.gateway.review_texts import Question, UserText, questions, user_text
from routewright.gateway.settings import Review
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.watching import Decided

logger = logging.getLogger(__name__)

MAX_WAITING = 256
"""Texts in memory that wait for the writer; more are dropped."""
_MAX_REMEMBERED = 20_000
"""Rows that are not kept a second time."""
_LOOK_S = 600.0
"""How often old files are looked for where nothing is written."""
_HOURS = 24
_DIGITS = 12
_RANDOM = b'"reason": "random"'
"""As it stands in a line; in a text every quote has a backslash."""

_Kind = tuple[str, bool]
"""A task, and whether rows were drawn at random: each has its own share of a day."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A text on its way to the file."""

    text: UserText
    questions: tuple[Question, ...]
    bundle: str
    """Whose answer it was: the first digits of the SHA-256 of its manifest."""


class ReviewQueue:
    """Told of decided requests; its thread runs from `open` to `close`."""

    def __init__(
        self,
        settings: Review,
        folder: Path,
        telemetry: Telemetry,
        *,
        source: str,
        now: Callable[[], datetime] = _utc_now,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`source` is the policy file, for messages; `draw` gives numbers in [0, 1)."""
        self._settings = settings
        self._folder = folder
        self._source = source
        self._telemetry = telemetry
        self._now = now
        self._draw = draw
        self._reasons = frozenset(settings.reasons)
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._day = date.min
        self._counts: Counter[_Kind] = Counter()
        """Rows of `_day`; the thread alone changes them."""
        self._key = os.urandom(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()
        self._writes = True
        """Whether the last row could be written: of many failures one is logged."""

    def open(self) -> None:
        """Make the folder and begin.

        Raises:
            ConfigError: the folder cannot be written to, or others may look into it.
        """
        make_folder(self._folder, self._source)
        self._thread = threading.Thread(target=self._write_all, name="review", daemon=True)
        self._is_open = True
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, then stop; what takes longer than `timeout_s` is lost."""
        self._is_open = False
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            logger.warning("review rows are lost: the folder takes none")
            return
        thread.join(timeout_s)

    def __call__(self, decided: Decided) -> None:
        """Keep the text of a request if a person should look at it."""
        share = self._settings.random
        is_random = share > 0 and self._draw() < share
        asked = questions(decided, self._reasons, is_random=is_random)
        if not asked or not self._is_open:
            return
        now = self._now()
        open_to = tuple(q for q in asked if self._has_room(_kind(q), now))
        self._count("over_limit", (q for q in asked if q not in open_to))
        if not open_to:
            return
        text = user_text(decided, self._settings.max_characters)
        if isinstance(text, str):
            self._count(text, open_to)
            return
        try:
            bundle = decided.deployment.manifest_sha256[:_DIGITS]
            self._queue.put_nowait(_Waiting(text, open_to, bundle))
        except queue.Full:
            self._count("dropped", open_to)

    def _has_room(self, kind: _Kind, now: datetime) -> bool:
        """Whether the day has a row left: each hour opens another 24th of them.

        Else those of the first minutes after midnight would stand for the day.
        """
        if now.date() != self._day:
            return True  # the thread begins the new day, and asks again
        opened = math.ceil(self._settings.max_rows * (now.hour + 1) / _HOURS)
        return self._counts[kind] < opened

    def _write_all(self) -> None:
        self._begin_day(self._now().date())
        while True:
            try:
                waiting = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                self._begin_day(self._now().date())
                continue
            if waiting is None:
                return
            self._begin_day(self._now().date())
            self._keep(waiting)

    def _begin_day(self, day: date) -> None:
        """Let go of days long gone; count what the day has from before a restart."""
        if day == self._day:
            return
        counts: Counter[_Kind] = Counter()
        # Not by timedelta: there may be more days to keep than the calendar has.
        oldest = date.fromordinal(max(1, day.toordinal() - self._settings.keep_days))
        try:
            remove_before(self._folder, oldest)
            counts = _rows_of(self._folder, day)
        except OSError as exc:
            logger.warning("review folder cannot be looked through error=%s", type(exc))
        self._counts, self._day = counts, day

    def _keep(self, waiting: _Waiting) -> None:
        for question in waiting.questions:
            try:
                outcome = self._kept(waiting, question)
            except Exception as exc:  # noqa: BLE001 - its message may quote the text
                outcome = "dropped"
                if self._writes:
                    logger.error("review row is not kept error=%s", type(exc))  # noqa: TRY400
                self._writes = False
            self._count(outcome, (question,))

    def _kept(self, waiting: _Waiting, question: Question) -> str:
        """What became of a row, as an ``outcome``."""
        now, kind = self._now(), _kind(question)
        if not self._has_room(kind, now):
            return "over_limit"
        text = waiting.text.masked()
        known = self._name(text, kind)
        if known in self._remembered:
            return "duplicate"
        row = {
            "text": text,
            "label": None,
            "task": question.task,
            "predicted": question.predicted,
            "confidence": round(question.confidence, 4),
            "reason": question.reason,
            "bundle": waiting.bundle,
            "date": self._day.isoformat(),
        }
        append_line(review_file(self._folder, question.task, self._day), row)
        self._writes = True
        self._counts[kind] += 1
        self._remembered[known] = None
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return "kept"

    def _name(self, text: str, kind: _Kind) -> bytes:
        """By which equal texts are known, but for case and spaces; holds no text."""
        plain = " ".join([*map(str, kind), *text.casefold().split()])
        return hashlib.blake2b(plain.encode(), key=self._key, digest_size=16).digest()

    def _count(self, outcome: str, asked: Iterable[Question]) -> None:
        for question in asked:
            self._telemetry.count("review_rows_total", task=question.task, outcome=outcome)


def review_queue(file: PolicyFile, telemetry: Telemetry) -> ReviewQueue | None:
    """The queue that the settings ask for, not open yet; None if they ask for none."""
    settings, folder = file.settings.review, review_folder(file)
    if settings is None or folder is None:
        return None
    return ReviewQueue(settings, folder, telemetry, source=str(file.path))


def _kind(question: Question) -> _Kind:
    return question.task, question.reason == "random"


def _rows_of(folder: Path, day: date) -> Counter[_Kind]:
    """How many rows of a day are there from before a restart.

    Raises:
        OSError: a file cannot be read.
    """
    counts: Counter[_Kind] = Counter()
    for path in folder.iterdir():
        found = task_and_day(path.name)
        if found is not None and found[1] == day:
            with path.open("rb") as lines:
                counts.update((found[0], _RANDOM in line) for line in lines)
    return counts
