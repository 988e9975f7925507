"""From what the model says about a text to the results that clients get.

Knows the policy's thresholds and the requests' options; knows nothing of HTTP. There is no
answer without the model: a task that the bundle lacks is an error that names it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from routewright.errors import RequestError, TaskError
from routewright.gateway.answer_signals import sequence_signals
from routewright.gateway.api.requests import (
    IntentOptions,
    PiiOptions,
    RouteRequest,
    SecurityOptions,
    Sensitivity,
)
from routewright.gateway.api.results import (
    HIDDEN_VALUE,
    Category,
    CombinedResult,
    Entity,
    IntentResult,
    PiiResult,
    SecurityResult,
)
from routewright.gateway.engine import Deployment
from routewright.gateway.masking import Masker
from routewright.labels import Span
from routewright.policy.decision import decide, with_thresholds
from routewright.policy.serialization import decision_to_plain
from routewright.policy.settings import Policy
from routewright.policy.signals import DETECTOR_THRESHOLD, Signals
from routewright.runtime.heads import Head
from routewright.runtime.work import Classified

Question = Literal["domain", "jailbreak", "pii"]

ODDS: Mapping[Sensitivity, float] = {"low": 4.0, "medium": 1.0, "high": 0.25}
"""What a sensitivity multiplies the odds of the detector's threshold by."""
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """What the model of a deployment says about a text."""

    text: str
    deployment: Deployment
    found: Classified
    duration_s: float
    """From the request for it to the answer."""

    @property
    def duration_ms(self) -> int:
        """In whole milliseconds, rounded up."""
        return math.ceil(self.duration_s * 1000)

    def signals(self) -> Signals:
        """As the policy reads them, for a request that is nothing but this text."""
        answer = self.found.answer
        return Signals(
            text=self.text,
            num_tokens=self.found.num_tokens,
            sequence=sequence_signals(self.deployment.classifier, answer),
            spans={name: tuple(spans) for name, spans in answer.spans.items()},
        )


def head_of(deployment: Deployment, question: Question) -> Head:
    """The head of the task that answers a question.

    Raises:
        TaskError: the bundle has no such task, or one of another kind.
    """
    name = getattr(deployment.policy.tasks, question)
    heads = deployment.classifier.heads
    if name not in heads:
        raise TaskError(
            f"the gateway's bundle has no task {name}, which tasks.{question} of its policy "
            f"names; it has: {', '.join(heads)}"
        )
    task = heads[name].task
    fits = task.kind == ("token" if question == "pii" else "sequence")
    if not fits or (question == "jailbreak" and task.positive is None):
        raise TaskError(
            f"the bundle's task {name} cannot answer tasks.{question} of the gateway's policy: "
            "it is of another kind"
        )
    return heads[name]


def intent_result(answer: TextAnswer, options: IntentOptions) -> IntentResult:
    """The domain of a text, and the policy's decision about the text alone."""
    policy = _with_domain_threshold(answer.deployment.policy, options.confidence_threshold)
    signals = with_thresholds(answer.signals(), policy)
    decision = decide(signals, policy)
    domain = signals.sequence[policy.tasks.domain]
    probabilities = {label: rounded(p) for label, p in domain.probabilities.items()}
    return IntentResult(
        classification=Category(
            category=domain.label,
            confidence=rounded(domain.confidence),
            processing_time_ms=answer.duration_ms,
        ),
        probabilities=probabilities if options.return_probabilities else None,
        recommended_model=decision.model,
        routing_decision=(
            "low_confidence_general" if domain.abstained else "high_confidence_specialized"
        ),
        threshold=domain.threshold,
        decision=decision.name,
        explanation=decision.reasons.chosen if options.include_explanation else None,
    )


def _with_domain_threshold(policy: Policy, threshold: float | None) -> Policy:
    if threshold is None:
        return policy
    own = policy.abstention
    others = {name: p for name, p in own.tasks.items() if name != policy.tasks.domain}
    return replace(policy, abstention=replace(own, domain=threshold, tasks=others))


def check_pii_options(deployment: Deployment, options: PiiOptions, *, path: str) -> None:
    """Refuse what the bundle cannot do, before it is asked.

    Args:
        deployment: whose bundle answers.
        options: of the request.
        path: where they stand in the request's body.

    Raises:
        RequestError: an entity type the bundle does not know, or a threshold below its own.
        TaskError: see `head_of`.
    """
    head = head_of(deployment, "pii")
    known = {name.upper() for name in head.task.labels}
    for number, name in enumerate(options.entity_types or ()):
        if name.upper() not in known:
            place = f"{path}.entity_types.{number}"
            message = f"{place}: no such type; known: {', '.join(head.task.labels)}"
            raise RequestError(message, param=place)
    lowest = DETECTOR_THRESHOLD if (own := head.calibration.threshold) is None else own
    if options.confidence_threshold is not None and options.confidence_threshold < lowest:
        place = f"{path}.confidence_threshold"
        raise RequestError(
            f"{place}: below the bundle's threshold {lowest:.6g}, under which entities are not "
            "kept; give at least that, or leave it out",
            param=place,
        )


def pii_result(answer: TextAnswer, options: PiiOptions) -> PiiResult:
    """The entities that the options ask for."""
    spans = answer.found.answer.spans[answer.deployment.policy.tasks.pii]
    wanted = {name.upper() for name in options.entity_types or ()}
    least = options.confidence_threshold or 0.0
    kept = [
        span
        for span in spans
        if span.score >= least and (not wanted or span.label.upper() in wanted)
    ]
    masker = Masker([answer.text])
    masked = masker.mask(answer.text, kept) if options.mask_entities else None
    return PiiResult(
        has_pii=bool(kept),
        entities=[_entity(span, answer.text, options, masker) for span in kept],
        masked_text=masked,
        security_recommendation="block" if kept else "allow",
        processing_time_ms=answer.duration_ms,
    )


def _entity(span: Span, text: str, options: PiiOptions, masker: Masker) -> Entity:
    value = text[span.start : span.end]
    whole = [Span(0, len(value), span.label)]
    return Entity(
        type=span.label,
        value=value if options.reveal_entity_text else HIDDEN_VALUE,
        confidence=rounded(span.score),
        start_position=span.start if options.return_positions else None,
        end_position=span.end if options.return_positions else None,
        masked_value=masker.mask(value, whole) if options.mask_entities else None,
    )


def security_result(answer: TextAnswer, options: SecurityOptions) -> SecurityResult:
    """Whether the text is an attack, at the threshold of the sensitivity."""
    deployment = answer.deployment
    score = attack_score(answer)
    threshold = attack_threshold(deployment, options.sensitivity)
    is_attack = score >= threshold
    reasoning = None
    if options.include_reasoning:
        reasoning = _reasoning(answer, options.sensitivity, score, threshold)
    return SecurityResult(
        is_jailbreak=is_attack,
        risk_score=rounded(score),
        threshold=threshold,
        detection_types=["jailbreak"] if is_attack else [],
        confidence=rounded(score if is_attack else 1 - score),
        recommendation="block" if is_attack else "allow",
        reasoning=reasoning,
        patterns_detected=[],
        processing_time_ms=answer.duration_ms,
    )


def attack_score(answer: TextAnswer) -> float:
    """Calibrated probability that the text is an attack."""
    positive = head_of(answer.deployment, "jailbreak").task.positive
    assert positive is not None, "head_of gives detectors for this question"
    task = answer.deployment.policy.tasks.jailbreak
    return answer.found.answer.sequence[task].probabilities[positive]


def attack_threshold(deployment: Deployment, sensitivity: Sensitivity) -> float:
    """The score from which on a text is an attack."""
    threshold, _ = _guard_threshold(deployment)
    return with_odds(threshold, ODDS[sensitivity])


def with_odds(threshold: float, factor: float) -> float:
    """The probability whose odds are `factor` times those of `threshold`.

    A threshold outside (0, 1) accepts everything or nothing, and stays as it is.
    """
    if factor == 1 or not 0 < threshold < 1:
        return threshold
    odds = factor * threshold / (1 - threshold)
    return odds / (1 + odds)


def _guard_threshold(deployment: Deployment) -> tuple[float, str]:
    """Of a request that no decision or model has settings for; and where it comes from."""
    guard = deployment.policy.guards.jailbreak
    if guard is not None and guard.threshold is not None:
        return guard.threshold, "of the policy's guard"
    calibration = head_of(deployment, "jailbreak").calibration
    if calibration.threshold is None:
        return DETECTOR_THRESHOLD, "by default, as the bundle has none"
    point = calibration.operating_point
    if point is None:
        return calibration.threshold, "of the bundle"
    sign = "<=" if point.metric == "fpr" else ">="
    return (
        calibration.threshold,
        f"of the bundle, fitted for {point.metric} {sign} {point.goal}",
    )


def _reasoning(
    answer: TextAnswer, sensitivity: Sensitivity, score: float, threshold: float
) -> str:
    num_windows = answer.found.answer.num_windows
    where = "" if num_windows == 1 else f", the highest of the text's {num_windows} windows,"
    sign = ">=" if score >= threshold else "<"
    own, origin = _guard_threshold(answer.deployment)
    reason = f"score {score:.6f}{where} {sign} threshold {threshold:.6f}"
    if sensitivity == "medium":
        return f"{reason} ({origin})"
    return f"{reason} ({sensitivity} sensitivity; {own:.6f} {origin})"


def check_all(deployment: Deployment, options: PiiOptions, *, path: str) -> None:
    """Refuse what the bundle cannot do of intent, pii and security together.

    Errors and arguments as for `check_pii_options`.
    """
    head_of(deployment, "domain")
    head_of(deployment, "jailbreak")
    check_pii_options(deployment, options, path=path)


def combined_result(
    answer: TextAnswer, intent: IntentOptions, pii: PiiOptions, security: SecurityOptions
) -> CombinedResult:
    """All three results about a text."""
    return CombinedResult(
        intent=intent_result(answer, intent),
        pii=pii_result(answer, pii),
        security=security_result(answer, security),
        processing_time_ms=answer.duration_ms,
    )


def classify_result(answer: TextAnswer, tasks: Sequence[str] | None) -> dict[str, Any]:
    """Everything the heads say, or those of the named tasks."""
    plain = answer.found.answer.to_dict()
    heads = answer.deployment.classifier.heads
    left_out = set(heads) - set(heads if tasks is None else tasks)
    kept = {name: value for name, value in plain.items() if name not in left_out}
    return {**kept, "processing_time_ms": answer.duration_ms}


def check_tasks(deployment: Deployment, tasks: Sequence[str] | None) -> None:
    """Refuse tasks that the bundle does not have.

    Raises:
        RequestError: the first of them, with the names of those it has.
    """
    known = deployment.classifier.heads
    for number, name in enumerate(tasks or ()):
        if name not in known:
            place = f"tasks.{number}"
            message = f"{place}: no such task; the bundle has: {', '.join(known)}"
            raise RequestError(message, param=place)


def route_result(answer: TextAnswer, request: RouteRequest) -> dict[str, Any]:
    """The policy's decision about the text, with its reasons, as ``routewright route`` has it.

    Raises:
        UnknownModelError: the request names a model that the policy does not have.
    """
    policy = answer.deployment.policy
    facts = replace(
        answer.signals(),
        requested_model=request.model,
        headers={name.lower(): value for name, value in request.headers.items()},
    )
    signals = with_thresholds(facts, policy)
    plain = decision_to_plain(decide(signals, policy), signals)
    return {**plain, "processing_time_ms": answer.duration_ms}


def rounded(value: float) -> float:
    """To the decimals that answers have."""
    return round(value, _DECIMALS)
