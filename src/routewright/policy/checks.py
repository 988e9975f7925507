"""What the parts of a policy must mean together: names that exist, decisions that can fire.

Knows the policy and, where a bundle is given, its tasks; opens nothing.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from routewright.errors import ConfigError
from routewright.policy.conditions import ANY_TYPE, Rule, label_match, leaves
from routewright.policy.guards import GuardOverrides
from routewright.policy.reachability import unreachable
from routewright.policy.settings import DecisionRule, Policy
from routewright.tasks import Task


def check_policy(policy: Policy, *, source: str) -> list[str]:
    """Check what can be checked without a bundle.

    Args:
        policy: a parsed policy.
        source: the file, named in messages.

    Returns:
        Warnings, each one line with the dotted path: what is allowed and probably not meant.

    Raises:
        ConfigError: the first name that stands for nothing, or that stands twice.
    """
    _check_names(policy, source)
    _check_references(policy, source)
    return [*unreachable(policy), *_warnings(policy)]


def check_labels(policy: Policy, tasks: Mapping[str, Task], *, source: str) -> list[str]:
    """Check tasks and labels that the policy names against those of the bundle.

    Raises:
        ConfigError: a task or label that the bundle does not have, or that cannot do what is
            asked of it.
    """
    for number, decision in enumerate(policy.decisions):
        for rule in leaves(decision.rules) if decision.rules is not None else ():
            place = f"{source}: decisions.{number}.rules"
            _check_leaf(rule, policy, tasks, place)
    _check_guard_tasks(policy, tasks, source)
    for place, types in _named_entity_types(policy):
        _check_entity_types(types, policy, tasks, f"{source}: {place}")
    _check_abstention(policy, tasks, source)
    for number, tool in enumerate(policy.tools.catalogue):
        if tool.intents:
            place = f"{source}: tools.catalogue.{number}.intents"
            _check_label_names(tool.intents, _task(policy.tasks.intent, tasks, place), place)
    return _label_warnings(policy, tasks)


def _check_names(policy: Policy, source: str) -> None:
    _check_unique([d.name for d in policy.decisions], f"{source}: decisions", "decision")
    _check_unique([t.name for t in policy.tools.catalogue], f"{source}: tools", "tool")
    for number, decision in enumerate(policy.decisions):
        place = f"{source}: decisions.{number}.models"
        _check_unique([c.model for c in decision.models], place, "model")
    if not policy.models:
        raise ConfigError(f"{source}: models: name at least one model")
    if both := sorted(set(policy.models) & set(policy.auto_models)):
        raise ConfigError(
            f"{source}: models.{both[0]}: is also one of auto_models; rename the model, or "
            "take the name out of auto_models"
        )


def _check_unique(names: Sequence[str], place: str, kind: str) -> None:
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise ConfigError(f"{place}: {kind} {twice!r} occurs twice; names must be unique")


def _check_references(policy: Policy, source: str) -> None:
    models, tools = list(policy.models), [t.name for t in policy.tools.catalogue]
    _known(policy.default_model, models, f"{source}: default_model", "model")
    if policy.abstention.model is not None:
        _known(policy.abstention.model, models, f"{source}: abstention.model", "model")
    for name, model in policy.models.items():
        if model.reasoning_family is not None:
            place = f"{source}: models.{name}.reasoning_family"
            _known(model.reasoning_family, list(policy.families), place, "reasoning family")
    for number, decision in enumerate(policy.decisions):
        place = f"{source}: decisions.{number}"
        for candidate in decision.models:
            _known(candidate.model, models, f"{place}.models", "model")
        for tool in decision.only_tools:
            _known(tool, tools, f"{place}.only_tools", "tool")


def _known(name: str, known: Sequence[str], place: str, kind: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1) or [
        other for other in known if name.lower() in other.lower()
    ]
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
    raise ConfigError(f"{place}: there is no {kind} {name!r}; {hint}")


def _warnings(policy: Policy) -> list[str]:
    found = [
        f"guards.{name}: is not configured, so this guard does not run"
        for name in ("jailbreak", "pii")
        if getattr(policy.guards, name) is None
    ]
    used = {policy.default_model, policy.abstention.model}
    for number, decision in enumerate(policy.decisions):
        used |= {c.model for c in decision.models}
        found += [
            f"decisions.{number}.models: {c.model} shall reason and has no reasoning_family, "
            "so nothing will be asked of it"
            for c in decision.models
            if (decision.reasoning if c.reasoning is None else c.reasoning)
            and policy.models[c.model].reasoning_family is None
        ]
        found += _overrides_without_guard(policy, decision.guards, f"decisions.{number}")
    for name, model in policy.models.items():
        found += _overrides_without_guard(policy, model.guards, f"models.{name}")
        found += [
            f"models.{name}.endpoints: {e.url} ends in /v1, and requests go to its /v1/v1/...; "
            "leave /v1 out"
            for e in model.endpoints
            if e.url.rstrip("/").endswith("/v1")
        ]
        if name not in used:
            found.append(f"models.{name}: no decision uses it; clients can still name it")
    return found


def _overrides_without_guard(
    policy: Policy, overrides: GuardOverrides, place: str
) -> Iterable[str]:
    for name in ("jailbreak", "pii"):
        own = getattr(overrides, name)
        if own != type(own)() and getattr(policy.guards, name) is None:
            yield f"{place}.guards.{name}: has no effect without guards.{name}"


def _check_leaf(rule: Rule, policy: Policy, tasks: Mapping[str, Task], place: str) -> None:
    labelled = label_match(rule, policy.tasks)
    if labelled is not None:
        _, name, match = labelled
        _check_label_names(match.labels, _task(name, tasks, place), place)
    elif rule.pii is not None:
        _check_entity_types(rule.pii.types, policy, tasks, place)
    elif rule.jailbreak is not None:
        _check_detector(policy.tasks.jailbreak, tasks, place)


def _check_guard_tasks(policy: Policy, tasks: Mapping[str, Task], source: str) -> None:
    if policy.guards.jailbreak is not None:
        _check_detector(policy.tasks.jailbreak, tasks, f"{source}: guards.jailbreak")
    if policy.guards.pii is not None:
        place = f"{source}: guards.pii"
        if _task(policy.tasks.pii, tasks, place).kind != "token":
            raise ConfigError(
                f"{place}: task {policy.tasks.pii!r} finds no entities; name a token task in "
                "tasks.pii"
            )


def _check_detector(name: str, tasks: Mapping[str, Task], place: str) -> None:
    if _task(name, tasks, place).positive is None:
        raise ConfigError(
            f"{place}: task {name!r} has no positive label; name a detector in tasks.jailbreak"
        )


def _check_abstention(policy: Policy, tasks: Mapping[str, Task], source: str) -> None:
    for name in policy.abstention.tasks:
        _task(name, tasks, f"{source}: abstention.tasks")
    guards = {policy.tasks.jailbreak: "jailbreak", policy.tasks.pii: "pii"}
    for name in policy.abstention_thresholds:  # those of domain and intent too
        task = tasks.get(name)
        if task is None or (task.kind == "sequence" and task.positive is None):
            continue
        kind = "finds entities" if task.kind == "token" else "is a detector"
        remedy = f"use guards.{guards[name]}.threshold" if name in guards else "take it out"
        raise ConfigError(
            f"{source}: abstention: task {name!r} {kind} and never abstains; {remedy}"
        )


def _task(name: str, tasks: Mapping[str, Task], place: str) -> Task:
    if name not in tasks:
        raise ConfigError(
            f"{place}: the bundle has no task {name!r}, it has: {', '.join(tasks)}; name its "
            "task under tasks:"
        )
    return tasks[name]


def _check_label_names(labels: Iterable[str], task: Task, place: str) -> None:
    if task.kind != "sequence":
        raise ConfigError(f"{place}: task {task.name!r} has entity types, not labels; use pii:")
    for label in labels:
        _known(label, task.labels, place, f"{task.name} label")


def _check_entity_types(
    types: Iterable[str], policy: Policy, tasks: Mapping[str, Task], place: str
) -> None:
    task = _task(policy.tasks.pii, tasks, place)
    for name in types:
        if name != ANY_TYPE:
            _known(name, task.labels, place, f"{task.name} type")


def _named_entity_types(policy: Policy) -> Iterable[tuple[str, Iterable[str]]]:
    if policy.guards.pii is None:
        return
    yield "guards.pii.types", policy.guards.pii.types
    for name, model in policy.models.items():
        yield f"models.{name}.guards.pii.types", model.guards.pii.types
    for number, decision in enumerate(policy.decisions):
        yield f"decisions.{number}.guards.pii.types", decision.guards.pii.types


def _label_warnings(policy: Policy, tasks: Mapping[str, Task]) -> list[str]:
    intent = tasks.get(policy.tasks.intent)
    if not policy.tools.catalogue or intent is not None:
        return []
    uses = [d.name for d in policy.decisions if _may_offer(d)]
    return [
        f"tools.catalogue: the bundle has no task {policy.tasks.intent!r}, so every request "
        f"falls back to {policy.tools.fallback} ({', '.join(uses) or 'default model'})"
    ]


def _may_offer(decision: DecisionRule) -> bool:
    return decision.tools != "none"
