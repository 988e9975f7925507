"""From signals to a decision with its reasons: a pure function.

Nothing here reads what a text asks for: a prompt that demands the strongest model is scored and
searched for the file's own keywords like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

from routewright.errors import UnknownModelError
from routewright.policy.candidates import ranked_candidates
from routewright.policy.expression import Finding, evaluate
from routewright.policy.guards import GuardOutcome, jailbreak_outcome, pii_outcome, stricter
from routewright.policy.keywords import SearchText
from routewright.policy.settings import Candidate, DecisionRule, Effort, Policy, SystemPrompt
from routewright.policy.signals import SequenceSignal, Signals

Kind = Literal["rule", "default", "abstained", "named", "kept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolOffer:
    """Which tools a request that leaves the choice to us may be offered."""

    names: tuple[str, ...]
    """Candidates, class first; the `top_k` most similar of at least `min_similarity` go out."""
    top_k: int
    min_similarity: float
    reason: str
    rank: bool = True
    """Whether to rank by similarity; False offers `names` as they are."""
    fallback: Literal["none", "all"] = "none"
    """What goes out of ranked `names` when none is similar enough."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A decision whose rule was asked."""

    name: str
    priority: int
    holds: bool
    fact: str
    needed: str
    """What it would have taken; empty if it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasons:
    """Why a decision is what it is; holds labels, numbers and the file's words, no prompt."""

    chosen: str
    considered: tuple[Considered, ...] = ()
    """Every decision of the policy, in the order they are asked."""
    matched: tuple[tuple[str, str], ...] = ()
    """Kind and name of what fired: ``("domain", "math"), ("keyword", "theorem")``."""
    abstained: tuple[str, ...] = ()
    """Tasks whose answer was below its threshold and so did not route."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What happens to a request."""

    kind: Kind
    name: str | None
    """Of the decision of the policy; None when none was taken."""
    model: str
    candidates: tuple[str, ...]
    """`model`, then those that take over when it fails."""
    reasoning: bool | None = None
    """None leaves the client's own setting alone."""
    effort: Effort | None = None
    """Set if and only if `reasoning` is true."""
    system_prompt: SystemPrompt | None = None
    tools: ToolOffer | None = None
    """None offers nothing."""
    guards: tuple[GuardOutcome, ...] = ()
    """If `model` serves; `guards_of` says what holds for another."""
    guarded_by: tuple[str, ...] = ()
    """Decisions whose guard settings count: the one taken, and the one whose rules hold."""
    reasons: Reasons = field(default_factory=lambda: Reasons(chosen=""))

    @property
    def blocked(self) -> bool:
        """Whether a guard blocks the request, wherever it would have gone."""
        return any(outcome.action == "block" for outcome in self.guards)

    @property
    def masked_types(self) -> tuple[str, ...]:
        """Entity types whose values must not leave."""
        return tuple(
            name
            for outcome in self.guards
            if outcome.action != "allow"
            for name, action in outcome.types.items()
            if action == "mask"
        )


@dataclass(frozen=True, slots=True)
class _Route:
    kind: Kind
    rule: DecisionRule | None
    candidates: tuple[Candidate, ...]
    chosen: str


@dataclass(frozen=True, slots=True)
class _Fired:
    """The first decision whose rules hold, with what was found about every decision."""

    rule: DecisionRule | None
    fact: str
    matched: tuple[tuple[str, str], ...]
    considered: tuple[Considered, ...]


def decide(signals: Signals, policy: Policy) -> Decision:
    """Decide about a request; equal arguments give equal decisions.

    A conversation that must keep its model keeps it; a model that the client names is used;
    else the first decision in order of priority whose rule holds. Guards run in every case,
    with the settings of the decision whose rules hold, also where it is not the one taken:
    there they only make a guard stricter.

    Raises:
        UnknownModelError: the client names a model that the policy does not have.
    """
    signals = with_thresholds(signals, policy)
    fired, abstained = _fired(signals, policy), _abstained(signals, policy)
    route = (
        _kept(signals, policy)
        or _named(signals, policy)
        or _by_rules(signals, policy, fired, abstained)
    )
    chosen, rule = route.candidates[0], route.rule
    guarding = [rule] if fired.rule is None else [rule, fired.rule]
    guarded_by = tuple(dict.fromkeys(r.name for r in guarding if r is not None))
    reasons = Reasons(
        chosen=route.chosen,
        considered=fired.considered,
        matched=fired.matched if route.kind == "rule" else (),
        abstained=abstained,
    )
    reasoning, effort = _reasoning(chosen, rule, policy)
    return Decision(
        kind=route.kind,
        name=rule.name if rule else None,
        model=chosen.model,
        candidates=tuple(dict.fromkeys(c.model for c in route.candidates)),
        reasoning=reasoning,
        effort=effort,
        system_prompt=rule.system_prompt if rule else None,
        tools=_tools(rule, signals, policy),
        guards=_strictest(signals, policy, guarding, chosen.model),
        guarded_by=guarded_by,
        reasons=reasons,
    )


def guards_of(
    decision: Decision, signals: Signals, policy: Policy, *, model: str
) -> tuple[GuardOutcome, ...]:
    """What the guards do about the request if another model of the decision serves it."""
    by_name = {d.name: d for d in policy.decisions}
    rules: list[DecisionRule | None] = [by_name[name] for name in decision.guarded_by]
    if decision.name is None:
        rules.append(None)
    return _strictest(with_thresholds(signals, policy), policy, rules, model)


def standing_by(
    decision: Decision, signals: Signals, policy: Policy, *, model: str
) -> Decision:
    """The decision with another of its candidates, which takes over when the model fails."""
    rule = next((d for d in policy.decisions if d.name == decision.name), None)
    own = next((c for c in rule.models if c.model == model), None) if rule else None
    candidate = own or Candidate(model=model)
    reasoning, effort = _reasoning(candidate, rule, policy)
    guards = guards_of(decision, signals, policy, model=model)
    return replace(decision, model=model, reasoning=reasoning, effort=effort, guards=guards)


def _reasoning(
    candidate: Candidate, rule: DecisionRule | None, policy: Policy
) -> tuple[bool | None, Effort | None]:
    reasoning = candidate.reasoning
    if reasoning is None and rule is not None:
        reasoning = rule.reasoning
    effort = candidate.effort or (rule.effort if rule else None) or policy.default_effort
    return reasoning, effort if reasoning else None


def _strictest(
    signals: Signals, policy: Policy, rules: Iterable[DecisionRule | None], model: str
) -> tuple[GuardOutcome, ...]:
    """Of the guard settings of several decisions; None stands for no decision's."""
    distinct = {rule.name if rule else None: rule for rule in rules}
    outcomes = [_outcomes(signals, policy, rule, model) for rule in distinct.values()]
    return tuple(reduce(stricter, of_one) for of_one in zip(*outcomes, strict=True))


def _outcomes(
    signals: Signals, policy: Policy, rule: DecisionRule | None, model: str
) -> tuple[GuardOutcome, ...]:
    overrides = [policy.models[model].guards, *([rule.guards] if rule else [])]
    outcomes = []
    if (jailbreak := policy.guards.jailbreak) is not None:
        signal = signals.sequence.get(policy.tasks.jailbreak)
        given = [o.jailbreak for o in overrides]
        outcomes.append(jailbreak_outcome(jailbreak, given, signal, signals.failure))
    if (pii := policy.guards.pii) is not None:
        spans = signals.spans.get(policy.tasks.pii)
        scores: dict[str, float] = {}
        for span in spans or ():
            scores[span.label] = max(span.score, scores.get(span.label, 0.0))
        found = None if spans is None else scores
        outcomes.append(pii_outcome(pii, [o.pii for o in overrides], found, signals.failure))
    return tuple(outcomes)


def with_thresholds(signals: Signals, policy: Policy) -> Signals:
    """The signals with the policy's thresholds in the place of the bundle's."""
    stated = policy.abstention_thresholds
    if not stated:
        return signals
    sequence: Mapping[str, SequenceSignal] = {
        task: signal
        if task not in stated
        else replace(signal, threshold=stated[task], abstained=signal.confidence < stated[task])
        for task, signal in signals.sequence.items()
    }
    return replace(signals, sequence=sequence)


def _kept(signals: Signals, policy: Policy) -> _Route | None:
    """The conversation's own model, when it must not change."""
    loop = signals.open_tool_loop and policy.conversation.keep_in_tool_loop
    model = signals.previous_model
    bound = loop or signals.continues_answer
    if model is None or model not in policy.models or not (bound or signals.in_session):
        return None
    named = signals.requested_model
    if named is not None and named not in policy.auto_models and named != model:
        return None  # the client itself changes the model, perhaps to one that there is not
    why = "a tool loop is open" if loop else "the session has a model"
    if signals.continues_answer:
        why = "the request goes on from an answer"
    rule = next((d for d in policy.decisions if d.name == signals.previous_decision), None)
    own = next((c for c in rule.models if c.model == model), None) if rule else None
    candidates = [own or Candidate(model=model)]
    if not bound:  # a session may move when its model is down; the rest is that model's own
        others = rule.models if rule else (Candidate(model=policy.default_model),)
        candidates += [c for c in others if c.model != model]
    return _Route("kept", rule, tuple(candidates), f"{why}: {model} goes on")


def _named(signals: Signals, policy: Policy) -> _Route | None:
    name = signals.requested_model
    if name is None or name in policy.auto_models:
        return None
    if name not in policy.models:
        raise UnknownModelError([*policy.auto_models, *policy.models])
    return _Route("named", None, (Candidate(model=name),), f"the client names {name}")


def _fired(signals: Signals, policy: Policy) -> _Fired:
    considered: list[Considered] = []
    fired = _Fired(None, "", (), ())
    text = SearchText(signals.text)
    for rule in policy.ranked:
        if rule.rules is None:
            finding = Finding(True, "has no rules: always", "")
        else:
            finding = evaluate(rule.rules, signals, policy.tasks, text)
        if finding.holds and fired.rule is None:
            fired = _Fired(rule, finding.fact, finding.matched, ())
        considered.append(
            Considered(rule.name, rule.priority, finding.holds, finding.fact, finding.needed)
        )
    return replace(fired, considered=tuple(considered))


def _by_rules(
    signals: Signals, policy: Policy, fired: _Fired, abstained: tuple[str, ...]
) -> _Route:
    if (rule := fired.rule) is not None:
        chosen = f"decision {rule.name} (priority {rule.priority}): {fired.fact}"
        return _Route("rule", rule, ranked_candidates(rule.models, signals.key), chosen)
    if abstained:
        model = policy.abstention.model or policy.default_model
        chosen = f"no decision fired and {', '.join(abstained)} abstained: {model} serves"
        return _Route("abstained", None, (Candidate(model=model),), chosen)
    chosen = f"no decision fired: the default model {policy.default_model} serves"
    return _Route("default", None, (Candidate(model=policy.default_model),), chosen)


def _abstained(signals: Signals, policy: Policy) -> tuple[str, ...]:
    """Tasks that some decision asks and that abstained."""
    given = signals.sequence
    return tuple(t for t in policy.asked_tasks if t in given and given[t].abstained)


def _tools(rule: DecisionRule | None, signals: Signals, policy: Policy) -> ToolOffer | None:
    """Class first: only tools that the intent opens are candidates."""
    tools, allowed = policy.tools, rule.only_tools if rule else ()
    if not tools.catalogue or (rule is not None and rule.tools == "none"):
        return None
    catalogue = [t for t in tools.catalogue if not allowed or t.name in allowed]
    intent = signals.sequence.get(policy.tasks.intent)
    usable = intent is not None and not intent.abstained
    if intent is None or not usable:
        state = "gave no answer" if intent is None else "abstained"
        names = tuple(t.name for t in catalogue) if tools.fallback == "all" else ()
        reason = f"{policy.tasks.intent} {state}; fallback: {tools.fallback}"
        return ToolOffer(
            names=names, top_k=tools.top_k, min_similarity=0.0, reason=reason, rank=False
        )
    return ToolOffer(
        names=tuple(t.name for t in catalogue if not t.intents or intent.label in t.intents),
        top_k=tools.top_k,
        min_similarity=tools.min_similarity,
        reason=f"{policy.tasks.intent} {intent.label} {intent.confidence:.2f}",
        fallback=tools.fallback,
    )
