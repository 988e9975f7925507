"""Many texts of one request: answered at once, but never so many as to fill the queue."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from routewright.errors import DeadlineError, RequestError
from routewright.gateway.api.answers import (
    TextAnswer,
    attack_score,
    attack_threshold,
    check_all,
    check_pii_options,
    classify_result,
    combined_result,
    head_of,
    intent_result,
    pii_result,
    rounded,
    security_result,
)
from routewright.gateway.api.requests import BatchRequest, TaskType
from routewright.gateway.api.results import (
    BatchIntentResult,
    BatchResult,
    IntentResult,
    PiiResult,
    SecurityResult,
    Statistics,
)
from routewright.gateway.engine import Deployment, Engine

_AT_ONCE = 64
"""Texts of one request that wait for the model at the same time."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model says about the texts of one request, in their order."""

    answers: list[TextAnswer]
    duration_s: float
    """Of all of them together."""

    @property
    def duration_ms(self) -> int:
        """In whole milliseconds, rounded up."""
        return math.ceil(self.duration_s * 1000)


async def answer_text(engine: Engine, deployment: Deployment, text: str) -> TextAnswer:
    """What the model says about one text.

    Raises:
        ServingError: see `Batcher.run`.
    """
    started = perf_counter()
    found = await engine.classify(text, deployment=deployment)
    return TextAnswer(text, deployment, found, perf_counter() - started)


async def answer_texts(
    engine: Engine, deployment: Deployment, texts: Sequence[str]
) -> Answered:
    """What the model says about each text.

    Raises:
        RequestError: more texts than the settings allow.
        ServingError: one of the texts was not answered; the others are given up.
    """
    limit = engine.settings.max_texts
    if len(texts) > limit:
        raise RequestError(
            f"texts: {len(texts)} texts, more than the gateway's {limit}; send several batches",
            param="texts",
        )
    started = perf_counter()
    answers: dict[int, TextAnswer] = {}
    waiting = iter(enumerate(texts))

    async def work() -> None:
        for number, text in waiting:
            answers[number] = await answer_text(engine, deployment, text)

    # A request must not fill the queue so far that its own later texts are refused.
    room = engine.settings.batching.max_queue_tokens // 4
    at_once = max(1, min(_AT_ONCE, room // max(map(len, texts)), len(texts)))
    workers = [asyncio.create_task(work()) for _ in range(at_once)]
    try:
        async with asyncio.timeout(engine.settings.deadline_s):
            await asyncio.gather(*workers)
    except TimeoutError as exc:
        raise DeadlineError(engine.settings.deadline_s) from exc
    finally:
        for worker in workers:
            worker.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*workers, return_exceptions=True)
    in_order = [answers[number] for number in range(len(texts))]
    return Answered(in_order, perf_counter() - started)


def check_batch(deployment: Deployment, request: BatchRequest) -> None:
    """Refuse what the bundle cannot do; errors as for `check_pii_options`."""
    if request.task_type == "all":
        check_all(deployment, request.pii_options(), path="options")
    elif request.task_type == "pii":
        check_pii_options(deployment, request.pii_options(), path="options")
    else:
        head_of(deployment, "domain" if request.task_type == "intent" else "jailbreak")


def batch_result(answered: Answered, request: BatchRequest) -> BatchResult:
    """The results of the request's task, or of all tasks, with their statistics."""
    results, statistics = _RESULTS[request.task_type](answered.answers, request)
    return BatchResult(
        results=results,
        total_count=len(results),
        processing_time_ms=answered.duration_ms,
        statistics=statistics,
    )


def classify_results(answered: Answered, tasks: Sequence[str] | None) -> dict[str, Any]:
    """What the heads say about every text."""
    results = [classify_result(answer, tasks) for answer in answered.answers]
    return {
        "results": results,
        "total_count": len(results),
        "processing_time_ms": answered.duration_ms,
    }


def _intents(answers: list[TextAnswer], request: BatchRequest) -> tuple[Any, Statistics]:
    options = request.intent_options()
    found = [intent_result(answer, options) for answer in answers]
    return [batch_intent(result) for result in found], intent_statistics(found)


def _pii(answers: list[TextAnswer], request: BatchRequest) -> tuple[Any, Statistics]:
    options = request.pii_options()
    found = [pii_result(answer, options) for answer in answers]
    return found, pii_statistics(found)


def _security(answers: list[TextAnswer], request: BatchRequest) -> tuple[Any, Statistics]:
    options = request.security_options()
    found = [security_result(answer, options) for answer in answers]
    return found, security_statistics(answers, found)


def _everything(answers: list[TextAnswer], request: BatchRequest) -> tuple[Any, Statistics]:
    options = (request.intent_options(), request.pii_options(), request.security_options())
    found = [combined_result(answer, *options) for answer in answers]
    return found, intent_statistics([result.intent for result in found])


_RESULTS: Mapping[
    TaskType, Callable[[list[TextAnswer], BatchRequest], tuple[Any, Statistics]]
] = {"intent": _intents, "pii": _pii, "security": _security, "all": _everything}


def batch_intent(result: IntentResult) -> BatchIntentResult:
    """The flat form that results of a batch have."""
    return BatchIntentResult(
        category=result.classification.category,
        confidence=result.classification.confidence,
        processing_time_ms=result.classification.processing_time_ms,
        probabilities=result.probabilities,
        recommended_model=result.recommended_model,
        routing_decision=result.routing_decision,
        threshold=result.threshold,
        decision=result.decision,
        explanation=result.explanation,
    )


def intent_statistics(results: Sequence[IntentResult]) -> Statistics:
    """Of texts by category."""
    return _statistics(
        [(r.classification.category, r.classification.confidence) for r in results],
        num_low=sum(r.routing_decision == "low_confidence_general" for r in results),
    )


def pii_statistics(results: Sequence[PiiResult]) -> Statistics:
    """Of entities by type."""
    return _statistics([(e.type, e.confidence) for r in results for e in r.entities], num_low=0)


def security_statistics(
    answers: Sequence[TextAnswer], results: Sequence[SecurityResult]
) -> Statistics:
    """Of texts by verdict; those count as unsure that sensitivities disagree about."""
    deployment = answers[0].deployment
    lowest = attack_threshold(deployment, "high")
    highest = attack_threshold(deployment, "low")
    return _statistics(
        [("jailbreak" if r.is_jailbreak else "benign", r.confidence) for r in results],
        num_low=sum(lowest <= attack_score(answer) < highest for answer in answers),
    )


def _statistics(counted: Sequence[tuple[str, float]], *, num_low: int) -> Statistics:
    mean = sum(confidence for _, confidence in counted) / len(counted) if counted else None
    return Statistics(
        category_distribution=dict(Counter(name for name, _ in counted)),
        avg_confidence=None if mean is None else rounded(mean),
        low_confidence_count=num_low,
    )
