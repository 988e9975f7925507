"""What is done about attacks and personal data, whatever model the client names.

A guard's action is `allow`, `mask` or `block`. Decisions and models may state their own
settings over the global ones; where both do, the stricter one counts. A guard whose task gave
no answer does what `on_error` says: `closed` blocks, `open` lets pass and says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict

from routewright.config import STRICT
from routewright.policy.conditions import check_share
from routewright.policy.signals import DETECTOR_THRESHOLD, SequenceSignal

Action = Literal["allow", "mask", "block"]
Mode = Literal["block", "shadow", "off"]
OnError = Literal["open", "closed"]
Writer = Literal["user", "tool", "assistant", "system", "definition"]
"""Who wrote a text: the user, a tool in its result, the model before, the operator in a system
or developer message, or whoever defined the tools and the shape of the answer."""

_STRICTNESS = {"allow": 0, "mask": 1, "block": 2, "off": 0, "shadow": 1}


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare ``off`` as false."""
    return "off" if value is False else value


ModeSetting = Annotated[Mode, BeforeValidator(_off)]
PiiModeSetting = Annotated[Literal["enforce", "shadow", "off"], BeforeValidator(_off)]


@dataclass(frozen=True, kw_only=True)
class JailbreakGuard:
    """What is done about attacks."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    mode: ModeSetting = "block"
    """`shadow` records what it would have done and lets pass."""
    threshold: float | None = None
    """Score in [0, 1] of an attack; None takes the bundle's operating point."""
    on_error: OnError = "closed"
    latency_budget_s: float | None = None
    """A guard that takes longer has failed; None leaves it to the deadline of the request."""
    roles: tuple[Writer, ...] = ("user", "tool")
    """Whose texts are judged: by default what outsiders write. A text that does not say whose
    it is, or names a role that there is not, counts as the user's, who is always among them."""
    across_messages: int = 400
    """Characters around the border of the user's last messages that are judged as one text
    too, for an attack in pieces; 0 judges every message by itself alone."""

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        _check_budget(self.latency_budget_s)
        if self.across_messages < 0:
            raise ValueError(f"across_messages must be at least 0, got {self.across_messages}")
        if "user" not in self.roles:
            raise ValueError(
                "roles must name user, as what names no known role counts as the user's; "
                "mode: off switches the guard off"
            )


@dataclass(frozen=True, kw_only=True)
class PiiGuard:
    """What is done about each type of personal data."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    mode: PiiModeSetting = "enforce"
    """`shadow` records what it would have done and lets pass."""
    default: Action = "mask"
    """For types that `types` does not name."""
    types: Mapping[str, Action] = field(default_factory=dict)
    threshold: float | None = None
    """Score an entity needs beyond the bundle's own threshold, in [0, 1]."""
    on_error: OnError = "closed"
    latency_budget_s: float | None = None

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        _check_budget(self.latency_budget_s)


def _check_budget(seconds: float | None) -> None:
    if seconds is not None and seconds <= 0:
        raise ValueError(f"latency_budget_s must be positive, got {seconds}")


@dataclass(frozen=True, kw_only=True)
class Guards:
    """The guards of every request; an absent one does not run."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    jailbreak: JailbreakGuard | None = None
    pii: PiiGuard | None = None


@dataclass(frozen=True, kw_only=True)
class JailbreakOverride:
    """What a decision or a model changes about the jailbreak guard."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    mode: Annotated[Mode | None, BeforeValidator(_off)] = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)


@dataclass(frozen=True, kw_only=True)
class PiiOverride:
    """What a decision or a model changes about the PII guard."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    default: Action | None = None
    """For types that neither this `types` nor the guard's own names."""
    types: Mapping[str, Action] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GuardOverrides:
    """What a decision or a model changes about the guards."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    jailbreak: JailbreakOverride = field(default_factory=JailbreakOverride)
    pii: PiiOverride = field(default_factory=PiiOverride)


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardOutcome:
    """What a guard does about a request, and why."""

    guard: Literal["jailbreak", "pii"]
    mode: str
    action: Action
    """What happens; in shadow mode always `allow`."""
    would: Action
    """What would happen if the guard were enforced; equals `action` when it is."""
    reason: str
    types: Mapping[str, Action] = field(default_factory=dict)
    """Of each entity type found: its action if the guard is enforced."""
    score: float | None = None
    threshold: float | None = None
    failed: bool = False
    """Whether the task gave no answer, so that `on_error` decided."""


def jailbreak_outcome(
    guard: JailbreakGuard,
    overrides: Iterable[JailbreakOverride],
    signal: SequenceSignal | None,
    failure: str,
) -> GuardOutcome:
    """What the guard does about a score."""
    given = list(overrides)
    modes = [o.mode for o in given if o.mode is not None]
    mode: Mode = max(modes, key=lambda m: _STRICTNESS[m], default=guard.mode)
    if mode == "off":
        return GuardOutcome(
            guard="jailbreak", mode=mode, action="allow", would="allow", reason="off"
        )
    if signal is None or signal.score is None:
        return _failed("jailbreak", mode, guard.on_error, failure)
    stated = [o.threshold for o in given if o.threshold is not None]
    threshold = min(stated, default=guard.threshold)
    threshold = signal.threshold if threshold is None else threshold
    threshold = DETECTOR_THRESHOLD if threshold is None else threshold
    is_attack = signal.score >= threshold
    sign = ">=" if is_attack else "<"
    return GuardOutcome(
        guard="jailbreak",
        mode=mode,
        action="block" if is_attack and mode == "block" else "allow",
        would="block" if is_attack else "allow",
        reason=f"score {signal.score:.3f} {sign} {threshold:.3f}",
        score=signal.score,
        threshold=threshold,
    )


def pii_outcome(
    guard: PiiGuard,
    overrides: Iterable[PiiOverride],
    scores: Mapping[str, float] | None,
    failure: str,
) -> GuardOutcome:
    """What the guard does about the entity types found.

    Args:
        guard: the global settings.
        overrides: of the decision and the model.
        scores: highest score by type; None when the task gave no answer.
        failure: why it gave none.
    """
    if guard.mode == "off":
        return GuardOutcome(
            guard="pii", mode="off", action="allow", would="allow", reason="off"
        )
    if scores is None:
        return _failed("pii", guard.mode, guard.on_error, failure)
    given = list(overrides)
    least = guard.threshold or 0.0
    types = {
        name: pii_action(guard, given, name)
        for name, score in sorted(scores.items())
        if score >= least
    }
    would: Action = max(types.values(), key=_STRICTNESS.__getitem__, default="allow")
    return GuardOutcome(
        guard="pii",
        mode=guard.mode,
        action=would if guard.mode == "enforce" else "allow",
        would=would,
        reason=_found(types),
        types=types,
    )


def stricter(first: GuardOutcome, second: GuardOutcome) -> GuardOutcome:
    """The stricter of two outcomes of a guard; for entity types, the stricter of each."""
    worse = max(
        first, second, key=lambda o: (_STRICTNESS[o.action], _STRICTNESS[o.would], o.failed)
    )
    if not first.types and not second.types:
        return worse
    types = {
        name: max(
            (o.types[name] for o in (first, second) if name in o.types),
            key=_STRICTNESS.__getitem__,
        )
        for name in sorted({*first.types, *second.types})
    }
    return replace(worse, types=types, reason=_found(types))


def fails_closed(guards: Guards, overrides: Iterable[GuardOverrides]) -> bool:
    """Whether a guard that acts says ``on_error: closed``.

    Args:
        guards: of a policy.
        overrides: of its models and decisions; a guard may act for one of them alone.
    """
    jailbreak, pii = guards.jailbreak, guards.pii
    if pii is not None and pii.on_error == "closed" and pii.mode == "enforce":
        return True
    if jailbreak is None or jailbreak.on_error == "open":
        return False
    return "block" in {jailbreak.mode, *(override.jailbreak.mode for override in overrides)}


def _found(types: Mapping[str, Action]) -> str:
    named = ", ".join(f"{name}: {action}" for name, action in types.items())
    return named or "no personal data found"


def pii_action(guard: PiiGuard, overrides: Iterable[PiiOverride], name: str) -> Action:
    """What is done about one entity type: the strictest override, else the global setting."""
    stated: list[Action] = []
    for override in overrides:
        if name in override.types:
            stated.append(override.types[name])
        elif override.default is not None and name not in guard.types:
            stated.append(override.default)
    fallback = guard.types.get(name, guard.default)
    return max(stated, key=_STRICTNESS.__getitem__, default=fallback)


def _failed(
    guard: Literal["jailbreak", "pii"], mode: str, on_error: OnError, failure: str
) -> GuardOutcome:
    would: Action = "block" if on_error == "closed" else "allow"
    return GuardOutcome(
        guard=guard,
        mode=mode,
        action="allow" if mode == "shadow" else would,
        would=would,
        reason=f"{failure}; on_error: {on_error}",
        failed=True,
    )
