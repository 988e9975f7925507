"""What is known about a request once it has ended, and who is told: metrics, log, traces.

A record holds names of the configuration, numbers and nothing of the request itself.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from routewright.gateway.exchange import EndedAnswer, Outcome
from routewright.gateway.telemetry import Telemetry
from routewright.policy.guards import GuardOutcome

logger = logging.getLogger(__name__)


_OUTCOMES = {
    Outcome.COMPLETE: "forwarded",
    Outcome.ABORTED: "aborted",
    Outcome.BROKEN: "failed",
}
"""Of the closed set ``outcome`` of `telemetry`, for answers that were left alone."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way through the gateway."""

    name: str
    """One of the closed set ``stage`` of `telemetry`."""
    start_s: float
    """Since the request's arrival."""
    duration_s: float


@dataclass(slots=True)
class RequestRecord:
    """One request, filled in on its way."""

    door: str
    endpoint: str = "other"
    outcome: str = "failed"
    """One of the closed set ``outcome`` of `telemetry`."""
    error: str | None = None
    """Code of the error that ended it."""
    kind: str | None = None
    """Of the decision."""
    decision: str | None = None
    model: str | None = None
    guards: tuple[GuardOutcome, ...] = ()
    timed_out: frozenset[str] = frozenset()
    """Guards that failed by their latency budget."""
    abstained: tuple[str, ...] = ()
    num_entities: dict[str, int] = field(default_factory=dict)
    """Found in the request, by entity type."""
    num_texts: int = 0
    num_tokens: int = 0
    num_unread: int = 0
    """Images, sounds, files and the like, which no guard has seen."""
    status: int | None = None
    """Of the answer, where the gateway knows it."""
    stages: list[Stage] = field(default_factory=list)
    added_s: float | None = None
    """From the arrival to the decision carried out."""
    duration_s: float | None = None
    """From the arrival to the end of the answer; None if that was left alone."""
    left: bool = False
    """Whether its end is told of apart, as an `EndedAnswer`."""
    traceparent: str | None = None
    """W3C trace context that the client sent."""
    own_traceparent: str | None = None
    """That of our span, which the model gets; None while nothing is traced."""
    span: object | None = None
    """Our span, which only the tracer that began it knows."""
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))
    started_unix_ns: int = field(default_factory=time.time_ns)
    started: float = field(default_factory=time.perf_counter)

    def elapsed_s(self) -> float:
        """Since the arrival."""
        return time.perf_counter() - self.started

    def stage(self, name: str, since_s: float) -> float:
        """Note a stage that began at `since_s` and ends now; returns now."""
        now_s = self.elapsed_s()
        self.stages.append(Stage(name, since_s, now_s - since_s))
        return now_s


Observer = Callable[[RequestRecord], None]
"""Told of a request that has ended, or begins."""


def counting(telemetry: Telemetry) -> Observer:
    """Counts ended requests in `telemetry`."""

    def observe(record: RequestRecord) -> None:
        door, endpoint = record.door, record.endpoint
        if not record.left:
            outcome = record.outcome
            telemetry.count("requests_total", door=door, endpoint=endpoint, outcome=outcome)
        if record.duration_s is not None:
            telemetry.observe(
                "request_seconds", record.duration_s, door=door, endpoint=endpoint
            )
        if record.added_s is not None:
            telemetry.observe("added_seconds", record.added_s, door=door)
        if record.error is not None:
            telemetry.count("errors_total", door=door, code=record.error)
        if record.kind is not None:
            telemetry.count(
                "decisions_total",
                decision=record.decision or "none",
                model=record.model or "none",
            )
        for task in record.abstained:
            telemetry.count("abstentions_total", task=task)
        for stage in record.stages:
            telemetry.observe("stage_seconds", stage.duration_s, stage=stage.name)
        if record.num_unread:
            telemetry.count("unread_parts_total", record.num_unread, door=door)
        _count_guards(telemetry, record)

    return observe


def _count_guards(telemetry: Telemetry, record: RequestRecord) -> None:
    for outcome in record.guards:
        action = guard_action(outcome, timed_out=outcome.guard in record.timed_out)
        telemetry.count("guards_total", guard=outcome.guard, mode=outcome.mode, action=action)
        for name, planned in outcome.types.items():
            shadow = outcome.action != outcome.would
            words = {"block": "blocked", "mask": "masked", "allow": "passed"}
            said = f"would_{planned}" if shadow and planned != "allow" else words[planned]
            telemetry.count(
                "pii_entities_total",
                record.num_entities.get(name, 1),
                entity_type=name,
                action=said,
            )


def guard_action(outcome: GuardOutcome, *, timed_out: bool = False) -> str:
    """The word of the closed set ``action`` for what a guard did."""
    if outcome.failed and timed_out:
        return "timed_out"
    if outcome.failed and outcome.mode != "shadow":
        return "failed_closed" if outcome.action == "block" else "failed_open"
    if outcome.action == outcome.would:
        return {"block": "blocked", "mask": "masked", "allow": "passed"}[outcome.action]
    return f"would_{outcome.would}"


def logging_requests(record: RequestRecord) -> None:
    """Writes a line for each guard that did not just pass the request, then one for its end."""
    for outcome in record.guards:
        action = guard_action(outcome, timed_out=outcome.guard in record.timed_out)
        if action != "passed":
            guard = {"guard": outcome.guard, "mode": outcome.mode, "action": action}
            logger.info("guard outcome", extra={**guard, "request_id": record.request_id})
    fields = {
        "door": record.door,
        "endpoint": record.endpoint,
        "outcome": record.outcome,
        "decision": record.decision,
        "model": record.model,
        "status": record.status,
        "duration_s": record.duration_s,
        "added_s": record.added_s,
        "num_texts": record.num_texts,
        "num_tokens": record.num_tokens,
        "num_unread": record.num_unread,
        "num_entities": sum(record.num_entities.values()),
        "code": record.error,
        "request_id": record.request_id,
    }
    extra = {k: v for k, v in fields.items() if v is not None}
    if record.left:
        logger.info("request sent on", extra=extra)
    else:
        logger.info("request ended", extra=extra)


def counting_answers(telemetry: Telemetry, door: str) -> Callable[[EndedAnswer], None]:
    """Counts the ends of requests whose answers were left alone by `door`."""

    def observe(answer: EndedAnswer) -> None:
        endpoint, outcome = answer.endpoint, _OUTCOMES[answer.outcome]
        telemetry.count("requests_total", door=door, endpoint=endpoint, outcome=outcome)
        telemetry.observe("request_seconds", answer.duration_s, door=door, endpoint=endpoint)
        if answer.code is not None:
            telemetry.count("errors_total", door=door, code=answer.code)

    return observe


def logging_answers(door: str) -> Callable[[EndedAnswer], None]:
    """Writes a line for each of them, with the request's id."""

    def observe(answer: EndedAnswer) -> None:
        fields = {
            "door": door,
            "endpoint": answer.endpoint,
            "outcome": _OUTCOMES[answer.outcome],
            "status": answer.status,
            "duration_s": answer.duration_s,
            "code": answer.code,
            "request_id": answer.request_id,
        }
        extra = {k: v for k, v in fields.items() if v is not None}
        logger.info("answer ended", extra=extra)

    return observe
