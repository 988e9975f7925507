"""A decision carried out: the body and the headers that go to the model, and to the client.

Pure functions. Personal data is replaced before the gateway adds texts of its own, so these are
never taken for the client's.
"""

import ipaddress
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from routewright.gateway.bodies.reading import RequestFacts
from routewright.gateway.bodies.rewriting import (
    INSTRUCTED,
    set_model,
    set_reasoning,
    set_system_prompt,
    set_tools,
)
from routewright.gateway.bodies.texts import replace_texts
from routewright.gateway.engine import Deployment
from routewright.gateway.exchange import Forward, LeftAnswer
from routewright.gateway.masking import Masker
from routewright.gateway.scan import Scan
from routewright.gateway.tool_ranking import as_function
from routewright.policy.decision import Decision
from routewright.policy.settings import Endpoint, Policy

MODEL_HEADER = "x-selected-model"
DESTINATION_HEADER = "x-vsr-destination-endpoint"
_READABLE = " ,.;:=+*/()[]{}<>@!?$&'|~^-_"
"""Characters beside letters and digits that stand in a header as they are."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes to a model."""

    body: dict[str, Any]
    masker: Masker
    tools: tuple[str, ...] | None
    """Names of the tools chosen; None if the choice was not ours."""
    instructed: bool = False
    """Whether a system prompt was added."""


def outgoing(
    deployment: Deployment,
    facts: RequestFacts,
    body: Mapping[str, Any],
    decision: Decision,
    scanned: Scan,
) -> Outgoing:
    """The body for the decision's model; `body` is left alone."""
    policy, endpoint = deployment.policy, facts.endpoint
    # The server remembers earlier turns, whose placeholders must not meet these.
    first = secrets.randbelow(10**9) + 1000 if _goes_on(body) else 1
    masker = Masker((place.text for place in facts.texts), first=first)
    result = _masked(facts, body, masker, decision, scanned, policy)
    model = policy.models[decision.model]
    result = set_model(result, model.served_name or decision.model)
    if decision.reasoning is not None:
        family = policy.families.get(model.reasoning_family or "")
        result = set_reasoning(
            endpoint, result, family, enabled=decision.reasoning, effort=decision.effort
        )
    prompt = decision.system_prompt
    if prompt is not None:
        result = set_system_prompt(endpoint, result, prompt.text, mode=prompt.mode)
    names = None
    if chooses_tools(facts, policy) and (offer := decision.tools) is not None:
        chosen = deployment.tools.choose(offer, scanned.signals.text, scanned.embedding)
        result = set_tools(endpoint, result, [as_function(tool) for tool in chosen])
        names = tuple(tool.name for tool in chosen)
    instructed = prompt is not None and endpoint in INSTRUCTED
    return Outgoing(result, masker, names, instructed)


def _goes_on(body: Mapping[str, Any]) -> bool:
    """Whether the request goes on from what its model's server keeps."""
    return any(body.get(name) is not None for name in ("previous_response_id", "conversation"))


def chooses_tools(facts: RequestFacts, policy: Policy) -> bool:
    """Whether the client leaves the choice of tools to the gateway."""
    ours = not facts.tools or policy.tools.client_tools == "replace"
    return facts.tool_choice == "auto" and ours


def _masked(
    facts: RequestFacts,
    body: Mapping[str, Any],
    masker: Masker,
    decision: Decision,
    scanned: Scan,
    policy: Policy,
) -> dict[str, Any]:
    types = frozenset(decision.masked_types)
    if not types or policy.guards.pii is None:
        return dict(body)
    least = policy.guards.pii.threshold or 0.0
    texts = [
        masker.mask(place.text, [s for s in spans if s.label in types and s.score >= least])
        for place, spans in zip(facts.texts, scanned.spans, strict=True)
    ]
    texts = [
        masker.mask_again(text, is_value=place.is_value)
        for place, text in zip(facts.texts, texts, strict=True)
    ]
    texts = [
        masker.in_pattern(text) if place.is_pattern else text
        for place, text in zip(facts.texts, texts, strict=True)
    ]
    others = partial(masker.mask_again, is_value=True)
    return replace_texts(
        facts.endpoint, body, texts, others, lambda text: masker.in_pattern(others(text))
    )


def model_headers(deployment: Deployment, model: str) -> dict[str, str]:
    """Headers that lead to the server of `model`, and open it."""
    headers = {MODEL_HEADER: model}
    if (destination := _destination(deployment.policy, model)) is not None:
        headers[DESTINATION_HEADER] = destination
    if (key := deployment.api_keys.get(model)) is not None:
        headers["authorization"] = f"Bearer {key}"
    return headers


def request_headers(
    deployment: Deployment, decision: Decision, *, readable: bool
) -> dict[str, str]:
    """Headers for the model's server, whose answer may have to be `readable` here."""
    headers = model_headers(deployment, decision.model)
    if readable:
        headers["accept-encoding"] = "identity"
    return headers


def forward_to(
    deployment: Deployment,
    model: str,
    body: bytes | None,
    headers: Mapping[str, str],
    answer: LeftAnswer | None = None,
) -> Forward:
    """The request on its way to `model`, where `headers` lead and no header of the client's.

    Args:
        deployment: has the model.
        model: its name in the policy.
        body: what to send; None keeps the client's.
        headers: those of `model_headers`, and more.
        answer: what any answer gets; None if answers have to be seen.
    """
    # An Envoy file of the original router follows this header, also one that a client sends.
    removed = () if DESTINATION_HEADER in headers else (DESTINATION_HEADER,)
    return Forward(
        set_headers=headers,
        remove_headers=removed,
        body=body,
        model=model,
        endpoints=deployment.policy.models[model].endpoints,
        answer=answer,
    )


def _destination(policy: Policy, model: str) -> str | None:
    """``address:port`` of a server of the model, for Envoy files of the original router."""
    names, weights = _plain_addresses(policy.models[model].endpoints)
    if not any(weights):
        return None
    if len(names) == 1:
        return names[0]
    chosen: str = random.choices(names, weights)[0]  # noqa: S311  shares traffic, no secret
    return chosen


@lru_cache(maxsize=1024)
def _plain_addresses(
    endpoints: tuple[Endpoint, ...],
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """``address:port`` and weight of the servers without TLS whose host is an address."""
    plain = [
        (f"[{host}]:{port}" if ":" in host else f"{host}:{port}", endpoint.weight)
        for endpoint in endpoints
        for host, port in (endpoint.host_port,)
        if _is_address(host) and endpoint.url.startswith("http:")
    ]
    return tuple(name for name, _ in plain), tuple(weight for _, weight in plain)


def _is_address(host: str) -> bool:
    """Whether `host` is an IP address: what an ORIGINAL_DST cluster needs."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def answer_headers(
    decision: Decision, scanned: Scan, sent: Outgoing | None, *, domain: str
) -> dict[str, str]:
    """Headers that tell the client what was decided; the original router's names, and ours.

    Args:
        decision: about the request.
        scanned: what it was decided by.
        sent: what went to the model; None if nothing did.
        domain: name of the task that tells domains.
    """
    injected = sent is not None and sent.instructed
    headers: dict[str, str] = {
        "x-routewright-decision": decision.kind,
        "x-vsr-injected-system-prompt": "true" if injected else "false",
    }
    signals = scanned.signals.sequence
    if domain in signals and not signals[domain].abstained:
        headers["x-vsr-selected-category"] = _told(signals[domain].label)
    abstained = {*decision.reasons.abstained, *(n for n, s in signals.items() if s.abstained)}
    if abstained:
        headers["x-routewright-abstained"] = _told(",".join(sorted(abstained)))
    if decision.name is not None:
        headers["x-vsr-selected-decision"] = _told(decision.name)
    if decision.reasoning is not None:
        headers["x-vsr-selected-reasoning"] = "on" if decision.reasoning else "off"
    for kind, name in (("keyword", "keywords"), ("domain", "domains")):
        if matched := [told for of, told in decision.reasons.matched if of == kind]:
            headers[f"x-vsr-matched-{name}"] = _told(",".join(matched))
    if sent is not None:
        headers["x-vsr-selected-model"] = _told(decision.model)
        if sent.tools:
            headers["x-routewright-tools"] = _told(",".join(sent.tools))
    return headers | _guard_headers(decision)


def _guard_headers(decision: Decision) -> dict[str, str]:
    headers: dict[str, str] = {}
    for outcome in decision.guards:
        if outcome.guard == "jailbreak" and outcome.action == "block":
            headers["x-vsr-jailbreak-blocked"] = "true"
            headers["x-vsr-jailbreak-type"] = "jailbreak"
            if outcome.score is not None:
                headers["x-vsr-jailbreak-confidence"] = f"{outcome.score:.3f}"
        if outcome.guard == "pii" and outcome.action == "block":
            headers["x-vsr-pii-violation"] = "true"
            headers["x-vsr-pii-types"] = _told(",".join(blocked_types(decision)))
        if outcome.failed:
            headers[f"x-routewright-{outcome.guard}-guard"] = "failed"
        elif outcome.would != outcome.action:
            headers[f"x-routewright-{outcome.guard}-guard"] = f"would-{outcome.would}"
    if decision.masked_types:
        headers["x-routewright-masked"] = _told(",".join(decision.masked_types))
    return headers


def blocked_types(decision: Decision) -> tuple[str, ...]:
    """Entity types for which the request is blocked."""
    return tuple(
        name
        for outcome in decision.guards
        if outcome.action == "block"
        for name, action in outcome.types.items()
        if action == "block"
    )


def _told(value: str) -> str:
    """Any text as a header value of visible ASCII; the rest percent-encoded."""
    return quote(value, safe=_READABLE)
