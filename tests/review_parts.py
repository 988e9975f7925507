"""Decided requests, and a review queue that they can be told to."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from routewright.gateway.exchange import Outcome
from routewright.gateway.review import ReviewQueue
from routewright.gateway.settings import Review
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.watching import Decided
from tests.gateway_parts import Gateway, chat, make_gateway, run

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TODAY = "2026-11-22"

Body = Mapping[str, Any]


def decided_about(
    *bodies: Body, path: str = "/v1/chat/completions", **gateway: Any
) -> list[Decided]:
    """What a watcher hears of these requests."""
    seen: list[Decided] = []

    async def scene() -> None:
        made: Gateway = make_gateway(**gateway)
        made.watchers = (seen.append,)
        for body in bodies:
            asked = await made.ask(body, path=path)
            asked.handler.on_end(Outcome.COMPLETE)
        await made.engine.close()

    run(scene())
    return seen


@contextmanager
def opened(
    folder: Path,
    *,
    now: Callable[[], datetime] = lambda: NOON,
    draw: Callable[[], float] = lambda: 0.99,
    seen: Sequence[Decided] = (),
    **settings: Any,
) -> Iterator[ReviewQueue]:
    """A queue that has written everything once the block ends."""
    telemetry = Telemetry()
    for decided in seen:
        telemetry.extend(decided.deployment.vocabulary())
    given = Review(folder=str(folder), **settings)
    rows = ReviewQueue(given, folder, telemetry, source="test.yaml", now=now, draw=draw)
    rows.open()
    try:
        yield rows
    finally:
        rows.close()


def kept(folder: Path, seen: Sequence[Decided], **settings: Any) -> list[dict[str, Any]]:
    """Rows that are kept of requests."""
    with opened(folder, seen=seen, **settings) as rows:
        for decided in seen:
            rows(decided)
    return rows_in(folder)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def counted(rows: ReviewQueue, outcome: str, task: str = "category") -> float:
    found = rows._telemetry.registry.get_sample_value(
        "routewright_review_rows_total", {"task": task, "outcome": outcome}
    )
    return found or 0.0


def unsure(number: int) -> str:
    """One of 19 texts of which the model is equally unsure; that of 0 is `UNSURE`."""
    return "a" * number + "q" + "a" * (18 - number)


def unsure_requests(count: int) -> list[Decided]:
    """Requests with different texts, decided about."""
    return decided_about(*(chat(unsure(number)) for number in range(count)))
