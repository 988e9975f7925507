"""What a rule finds in a request: whether it holds, and what it would have taken.

Knows signals and conditions; knows nothing of models, priorities or guards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from routewright.policy.conditions import (
    ANY_TYPE,
    EntityMatch,
    HeaderMatch,
    JailbreakMatch,
    KeywordMatch,
    LabelMatch,
    LengthMatch,
    Rule,
    TaskNames,
    label_match,
)
from routewright.policy.keywords import SearchText
from routewright.policy.signals import DETECTOR_THRESHOLD, SequenceSignal, Signals


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a rule holds, and why."""

    holds: bool
    fact: str
    """What was found: ``domain math 0.83 >= 0.60``."""
    needed: str
    """What it would have taken: ``domain math needed >= 0.60, was 0.41``; empty if it holds."""
    matched: tuple[tuple[str, str], ...] = ()
    """Kind and name of what holds below: ``("domain", "math"), ("keyword", "theorem")``."""


def evaluate(
    rule: Rule, signals: Signals, tasks: TaskNames, text: SearchText | None = None
) -> Finding:
    """Whether the rule holds for the signals, with what was found and what was lacking.

    Args:
        rule: the tree.
        signals: of the request.
        tasks: which task answers which question.
        text: that of `signals`, where several rules search it, so that it is folded once.
    """
    text = text or SearchText(signals.text)
    if rule.all is not None:
        return _all([evaluate(r, signals, tasks, text) for r in rule.all])
    if rule.any is not None:
        return _any([evaluate(r, signals, tasks, text) for r in rule.any])
    if rule.not_ is not None:
        inner = evaluate(rule.not_, signals, tasks, text)
        if inner.holds:
            return Finding(False, inner.fact, f"must not hold: {inner.fact}")
        return Finding(True, f"{inner.fact}, as it should be", "")
    if rule.keyword is not None:
        return _keyword(rule.keyword, text)
    return _leaf(rule, signals, tasks)


def _all(findings: list[Finding]) -> Finding:
    lacking = [f.needed for f in findings if not f.holds]
    facts = "; ".join(f.fact for f in findings)
    if lacking:
        return Finding(False, facts, " and ".join(lacking))
    return Finding(True, facts, "", tuple(m for f in findings for m in f.matched))


def _any(findings: list[Finding]) -> Finding:
    held = [f for f in findings if f.holds]
    if held:
        matched = tuple(m for f in held for m in f.matched)
        return Finding(True, "; ".join(f.fact for f in held), "", matched)
    alternatives = [f.needed for f in findings]
    either = f"either ({') or ('.join(alternatives)})" if alternatives[1:] else alternatives[0]
    return Finding(False, "; ".join(f.fact for f in findings), either)


def _leaf(rule: Rule, signals: Signals, tasks: TaskNames) -> Finding:
    labelled = label_match(rule, tasks)
    if labelled is not None:
        kind, task, match = labelled
        return _label(kind, match, signals.sequence.get(task), signals.failure)
    if rule.jailbreak is not None:
        signal = signals.sequence.get(tasks.jailbreak)
        return _jailbreak_score(rule.jailbreak, signal, signals.failure)
    if rule.pii is not None:
        return _entity(rule.pii, signals, tasks.pii)
    if rule.text_length is not None:
        return _length(rule.text_length, signals)
    assert rule.header is not None, "a rule holds exactly one condition"
    return _header_value(rule.header, signals.headers)


def _label(
    kind: str, match: LabelMatch, signal: SequenceSignal | None, failure: str
) -> Finding:
    if signal is None:
        wanted = " or ".join(match.labels)
        return Finding(False, f"{kind}: {failure}", f"{kind} {wanted} needed, got {failure}")
    bounds = [b for b in (match.at_least, signal.threshold) if b is not None]
    bound = max(bounds, default=None)
    top = f"{signal.label} {signal.confidence:.2f}"
    reaches = match.at_least is None or signal.confidence >= match.at_least
    if signal.label in match.labels and not signal.abstained and reaches:
        above = "" if bound is None else f" >= {bound:.2f}"
        return Finding(True, f"{kind} {top}{above}", "", ((kind, signal.label),))
    nearest = max(match.labels, key=lambda name: signal.probabilities.get(name, 0.0))
    was = signal.probabilities.get(nearest, 0.0)
    need = "to be the most probable" if bound is None else f">= {bound:.2f}"
    notes = []
    if signal.label != nearest:
        notes.append(f"the most probable is {top}")
    if signal.abstained:
        notes.append("abstained")
    note = f" ({', '.join(notes)})" if notes else ""
    needed = f"{kind} {nearest} needed {need}, was {was:.2f}{note}"
    return Finding(False, f"{kind} {top}", needed)


def _jailbreak_score(
    match: JailbreakMatch, signal: SequenceSignal | None, failure: str
) -> Finding:
    if signal is None or signal.score is None:
        return Finding(False, f"jailbreak: {failure}", f"jailbreak score needed, got {failure}")
    bound = signal.threshold if match.at_least is None else match.at_least
    bound = DETECTOR_THRESHOLD if bound is None else bound
    if signal.score >= bound:
        fact = f"jailbreak {signal.score:.2f} >= {bound:.2f}"
        return Finding(True, fact, "", (("jailbreak", signal.positive or ""),))
    fact = f"jailbreak {signal.score:.2f}"
    return Finding(False, fact, f"jailbreak needed >= {bound:.2f}, was {signal.score:.2f}")


def _entity(match: EntityMatch, signals: Signals, task: str) -> Finding:
    spans = signals.spans.get(task)
    wanted = "any type" if ANY_TYPE in match.types else " or ".join(match.types)
    if spans is None:
        fact = f"pii: {signals.failure}"
        return Finding(False, fact, f"pii {wanted} needed, got {signals.failure}")
    least = match.at_least or 0.0
    found = sorted({s.label for s in spans if s.score >= least})
    hits = [t for t in found if ANY_TYPE in match.types or t in match.types]
    if hits:
        return Finding(True, f"pii {', '.join(hits)}", "", tuple(("pii", t) for t in hits))
    present = ", ".join(found) or "none"
    return Finding(False, f"pii {present}", f"pii {wanted} needed, found {present}")


def _keyword(match: KeywordMatch, text: SearchText) -> Finding:
    hits = [w for w in match.words if text.holds(w, case_sensitive=match.case_sensitive)]
    if len(hits) == len(match.words) or (hits and match.match == "any"):
        named = tuple(("keyword", word) for word in hits)
        return Finding(True, f"keyword {', '.join(hits)}", "", named)
    lacking = [word for word in match.words if word not in hits]
    joint = " and " if match.match == "all" else " or "
    return Finding(
        False, "no keyword", f"keyword {joint.join(lacking)} needed, not in the text"
    )


def _length(match: LengthMatch, signals: Signals) -> Finding:
    length = len(signals.text) if match.unit == "characters" else signals.num_tokens
    bounds = [f">= {match.at_least}"] if match.at_least is not None else []
    bounds += [f"<= {match.at_most}"] if match.at_most is not None else []
    wanted = " and ".join(bounds)
    if length is None:
        return Finding(False, "length unknown", f"length {wanted} tokens needed, not counted")
    fact = f"length {length} {match.unit}"
    high = length if match.at_most is None else match.at_most
    if (match.at_least or 0) <= length <= high:
        return Finding(True, f"{fact} {wanted}", "", (("text_length", wanted),))
    return Finding(False, fact, f"length {wanted} {match.unit} needed, was {length}")


def _header_value(match: HeaderMatch, headers: Mapping[str, str]) -> Finding:
    name, values = match.name.lower(), match.values
    value = headers.get(name)
    if value is not None and (values is None or value in values):
        shown = "" if values is None else f" is {value}"
        return Finding(True, f"header {name}{shown}", "", (("header", name),))
    state = "absent" if value is None else "another value"
    wanted = "present" if values is None else " or ".join(values)
    return Finding(
        False, f"header {name} {state}", f"header {name} needed {wanted}, was {state}"
    )
