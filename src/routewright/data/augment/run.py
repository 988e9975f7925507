"""Rows written by language models: asked for, checked, kept, until there are enough.

Requests run at the same time in one event loop, so that a wrong key or Ctrl-C ends all of them
at once; everything else is plain code.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from routewright.data.augment.chat import ChatAnswer, ChatClient, Endpoint, Refusal
from routewright.data.augment.config import AugmentConfig
from routewright.data.augment.journal import Journal
from routewright.data.augment.plans import AnswerPlan, Plan, Reading, Request, SamplePlan
from routewright.data.augment.screen import Screen
from routewright.data.examples import Example, SequenceExample
from routewright.data.leaks import check_leaks
from routewright.errors import DataError

logger = logging.getLogger(__name__)

MAX_UNREADABLE = 5
"""First answers that may all be unreadable before the model is held to be unable."""

OnProgress = Callable[[int, int], None]
"""Hears how many rows there are and how many are wanted."""


@dataclass(frozen=True)
class AugmentReport:
    """What came of it."""

    made: dict[str, int]
    """New rows of each label, of an earlier run that was stopped too."""
    num_wanted: int
    """Of each label."""
    num_resumed: int
    """Rows of the earlier run."""
    dropped_texts: dict[str, int]
    """Texts of this run that were not kept, by reason; most frequent first."""
    dropped_answers: dict[str, int]
    """Whole answers of this run without a text, by reason."""
    num_requests: int
    """Sent in this run, with those sent again."""
    num_retries: int
    """Sent again: the server was busy or failed."""
    num_prompt_tokens: int
    """As the server counts them; 0 where it does not."""
    num_completion_tokens: int
    elapsed_s: float
    """Of this run."""


def augment_rows(
    rows: Sequence[Example],
    config: AugmentConfig,
    endpoint: Endpoint,
    *,
    out: Path,
    held_out: Sequence[str] = (),
    held_out_name: str = "the held-out data",
    on_progress: OnProgress | None = None,
) -> AugmentReport:
    """Write new rows of each label, or with each entity type, to `out`; not in an event loop.

    Args:
        rows: training rows, of which some are shown to the models.
        config: what is asked for.
        endpoint: where.
        out: a JSON lines file that does not exist yet.
        held_out: texts of validation and test data, which no new row may come near to.
        held_out_name: what messages call them.
        on_progress: hears of every answer.

    Raises:
        ConfigError: URL, key, model or a setting is wrong, or `out` exists.
        DataError: the server stopped answering (the rows so far are kept), no answer could be
            read, or `out` cannot be written.
        LeakError: the rows hold held-out texts, which the models would be shown.
    """
    if held_out:
        texts = [SequenceExample(text, "held-out") for text in held_out]
        check_leaks(rows, texts, name=held_out_name, near_duplicates=False)
    plan = SamplePlan(rows, config)
    screen = Screen(plan.limits, given=[row.text for row in rows], held_out=held_out)
    journal = Journal(out)
    kept = journal.resume("sequence" if isinstance(rows[0], SequenceExample) else "token")
    return _Run(plan, screen, journal, on_progress).run(config, endpoint, kept)


def collect_answers(
    questions: Sequence[str],
    config: AugmentConfig,
    endpoint: Endpoint,
    *,
    out: Path,
    held_out: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> AugmentReport:
    """Write the answers of every model to the questions, labelled with the model, to `out`.

    Arguments and errors are those of `augment_rows`.
    """
    plan = AnswerPlan(questions, config)
    screen = Screen(plan.limits, given=(), held_out=held_out)
    journal = Journal(out)
    kept = journal.resume("sequence")
    return _Run(plan, screen, journal, on_progress).run(config, endpoint, kept)


class _Run:
    """One run with its counts."""

    def __init__(
        self, plan: Plan, screen: Screen, journal: Journal, on_progress: OnProgress | None
    ) -> None:
        self._plan = plan
        self._screen = screen
        self._journal = journal
        self._on_progress = on_progress or (lambda _made, _wanted: None)
        self._dropped_texts: Counter[str] = Counter()
        self._dropped_answers: Counter[str] = Counter()
        self._num_unreadable = 0
        self._was_readable = False
        self._num_tokens = [0, 0]

    def run(
        self, config: AugmentConfig, endpoint: Endpoint, kept: Sequence[Example]
    ) -> AugmentReport:
        """Ask until there is enough, and give the file its name."""
        started = time.monotonic()
        quotas = self._plan.quotas
        if any(self._plan.key_of(row) not in quotas.keys for row in kept):
            raise self._journal.foreign()
        self._plan.resume(kept)
        self._screen.add(kept)
        self._report_progress()
        try:
            client = asyncio.run(self._ask_all(config, endpoint))
        finally:
            self._journal.drop_empty()
        made = {key: quotas.made[key] for key in quotas.keys}
        if not any(made.values()):
            found = self._dropped_texts + self._dropped_answers
            why = ", ".join(f"{n} {reason}" for reason, n in found.most_common())
            raise DataError(f"no answer held a row to keep ({why or 'nothing to ask'})")
        self._journal.finish()
        return AugmentReport(
            made=made,
            num_wanted=quotas.num,
            num_resumed=len(kept),
            dropped_texts=dict(self._dropped_texts.most_common()),
            dropped_answers=dict(self._dropped_answers.most_common()),
            num_requests=client.num_requests,
            num_retries=client.num_retries,
            num_prompt_tokens=self._num_tokens[0],
            num_completion_tokens=self._num_tokens[1],
            elapsed_s=time.monotonic() - started,
        )

    async def _ask_all(self, config: AugmentConfig, endpoint: Endpoint) -> ChatClient:
        async with ChatClient(endpoint) as client:
            workers = [
                asyncio.create_task(self._work(client)) for _ in range(config.concurrency)
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return client

    async def _work(self, client: ChatClient) -> None:
        while (request := self._plan.next_request()) is not None:
            answer = await client.ask(request.model, request.messages)
            num_kept = self._take(request, answer)
            self._plan.quotas.end(request.key, request.num, num_kept)

    def _take(self, request: Request, answer: ChatAnswer | Refusal) -> int:
        """Keep what is good of an answer; how many rows that is."""
        if isinstance(answer, Refusal):
            refused = f"refused by the server with {answer.status}"
            self._note_answer(request, refused, f"{refused}: {answer.message}")
            return 0
        self._num_tokens[0] += answer.num_prompt_tokens
        self._num_tokens[1] += answer.num_completion_tokens
        reading = self._plan.read(request, answer)
        self._note_reading(request, reading)
        kept: list[Example] = []
        for example in reading.examples:
            problem = self._problem(request.key, example)
            if problem is not None:
                self._dropped_texts[problem] += 1
                continue
            kept.append(example)
            self._screen.add([example])
            self._plan.quotas.count([request.key])
        self._journal.append(kept)
        self._report_progress()
        return len(kept)

    def _problem(self, key: str, example: Example) -> str | None:
        if self._plan.quotas.is_full(key):
            return "more than was asked for"
        return self._screen.problem(example)

    def _note_reading(self, request: Request, reading: Reading) -> None:
        self._dropped_texts.update(reading.wrong_texts)
        self._was_readable = self._was_readable or bool(reading.examples)
        if reading.wrong_answer is not None:
            self._note_answer(request, reading.wrong_answer, reading.wrong_answer)
        elif not reading.examples:
            self._note_unreadable(request, reading.wrong_texts[0])

    def _note_answer(self, request: Request, reason: str, detail: str) -> None:
        self._dropped_answers[reason] += 1
        logger.info("answer dropped model=%s key=%s %s", request.model, request.key, detail)
        self._note_unreadable(request, detail)

    def _note_unreadable(self, request: Request, detail: str) -> None:
        self._num_unreadable += 1
        if not self._was_readable and self._num_unreadable >= MAX_UNREADABLE:
            raise DataError(
                f"none of the first {MAX_UNREADABLE} answers could be used (model "
                f"{request.model}, last: {detail}); try another --model"
            )

    def _report_progress(self) -> None:
        quotas = self._plan.quotas
        self._on_progress(sum(quotas.made.values()), quotas.num * len(quotas.keys))
