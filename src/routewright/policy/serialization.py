"""A decision as plain values, the same for the command line and the classification API."""

from dataclasses import asdict
from typing import Any

from routewright.policy.decision import Decision
from routewright.policy.signals import Signals


def decision_to_plain(decision: Decision, signals: Signals) -> dict[str, Any]:
    """Plain values of a decision and of the signals behind it, without the prompt."""
    answers: dict[str, Any] = {
        name: {
            "label": s.label,
            "confidence": round(s.confidence, 6),
            "threshold": s.threshold,
            "abstained": s.abstained,
            "probabilities": {label: round(p, 6) for label, p in s.probabilities.items()},
        }
        for name, s in signals.sequence.items()
    }
    for name, spans in signals.spans.items():
        answers[name] = [
            {"start": s.start, "end": s.end, "label": s.label, "score": round(s.score, 6)}
            for s in spans
        ]
    plain = {"blocked": decision.blocked, "masked_types": list(decision.masked_types)}
    return {**asdict(decision), **plain, "signals": answers}
