"""Decisions of the original router's v0.1 configuration, in both of its styles, as ours.

A condition that has no equivalent is dropped where it stands beside others in an OR; in an AND
dropping it would send more requests that way, so the whole decision is left out.
"""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from routewright.errors import ConfigError
from routewright.policy.conditions import is_blank
from routewright.tasks import CATEGORY, PII

Plain = dict[str, Any]


def mappings(value: Any) -> Iterator[Plain]:
    """The mappings in a list; anything else gives none."""
    for entry in value if isinstance(value, list | tuple) else ():
        if isinstance(entry, dict):
            yield entry


def section(parent: Plain, key: str) -> Plain:
    """The mapping at `key`, an empty one where there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def taken_names(parent: Plain, key: str, place: str) -> list[str]:
    """The list of names at `key`, taken out; an empty one where there is none.

    Raises:
        ConfigError: it is no list, such as a single name.
    """
    value = parent.pop(key, None)
    if value is not None and not isinstance(value, list):
        raise ConfigError(f"{place}.{key}: must be a list, as in [NAME], got {value!r}")
    return [str(name) for name in value or ()]


def taken_section(parent: Plain, key: str, place: str) -> Plain | None:
    """The mapping at `key`, taken out; None where there is none.

    Raises:
        ConfigError: it is no mapping.
    """
    value = parent.pop(key, None)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(
            f"{place}.{key}: must be a mapping, as in {{KEY: VALUE}}, got {value!r}"
        )
    return value


def taken_mappings(parent: Plain, key: str, place: str, notes: list[str]) -> list[Plain]:
    """The mappings in the list at `key`, taken out; whatever is none of them gets a note."""
    value = parent.pop(key, None)
    if value is not None and not isinstance(value, list):
        notes.append(f"{place}.{key}: has no equivalent, as it is no list of mappings")
        return []
    entries = list(enumerate(value or ()))
    notes += [
        f"{place}.{key}.{number}: has no equivalent, as it is no mapping"
        for number, entry in entries
        if not isinstance(entry, dict)
    ]
    return [entry for _, entry in entries if isinstance(entry, dict)]


def left_over(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of what was not taken; items of a list by their numbers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from left_over(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
        for number, inner in enumerate(value):
            yield from left_over(inner, f"{path}.{number}")
    elif value != []:
        yield path


def note_left_over(value: Any, place: str, notes: list[str]) -> None:
    """A note for each key that nothing was made of."""
    notes += [f"{path}: has no equivalent" for path in left_over(value, place)]


def list_scores(old: Plain) -> None:
    """Write `model_scores` as a list where they are a mapping, of scores or of settings."""
    for category in mappings(old.get("categories")):
        scores = category.get("model_scores")
        if isinstance(scores, dict):
            category["model_scores"] = [
                {**(own if isinstance(own, dict) else {"score": own}), "model": name}
                for name, own in scores.items()
            ]


def references(old: Plain) -> Iterator[str]:
    """Names of the models that decisions, categories and the default ask for."""
    lists = [d.get("modelRefs") for d in mappings(old.get("decisions"))]
    lists += [c.get("model_scores") for c in mappings(old.get("categories"))]
    for references_of_one in lists:
        yield from (str(r["model"]) for r in mappings(references_of_one) if r.get("model"))
    if old.get("default_model"):
        yield str(old["default_model"])


def known_types(names: Iterable[str], place: str, notes: list[str]) -> list[str]:
    """Those of the entity types that our PII task has."""
    given = [name for name in names if name != "NO_PII"]
    if unknown := [name for name in given if name not in PII.labels]:
        notes.append(f"{place}: types without an equivalent: {', '.join(unknown)}")
    return [name for name in given if name in PII.labels]


def decisions_of(rest: Plain, models: Plain, notes: list[str]) -> list[Plain]:
    """Our decisions, taking out of `rest` what is understood.

    Args:
        rest: the old file without what is already translated.
        models: our models; adapters that decisions name are added.
        notes: gets a line for each key without equivalent.
    """
    labels = _category_labels(rest, notes)
    if rest.get("strategy") == "priority":
        rest.pop("strategy")
    keywords = {str(r.pop("name", "")): r for r in mappings(rest.get("keyword_rules"))}
    found = {name: _keyword_rule(rule, name, notes) for name, rule in keywords.items()}
    rules = {name: rule for name, rule in found.items() if rule is not None}
    decisions = []
    for old in mappings(rest.get("decisions")):
        decision = _decision(old, labels, rules, models, notes)
        if decision is not None:
            decisions.append(decision)
    decisions += [
        decision
        for category in mappings(rest.get("categories"))
        if (decision := _from_category(category, labels, models, notes)) is not None
    ]
    return decisions


def _category_labels(rest: Plain, notes: list[str]) -> dict[str, list[str]]:
    """Labels of our category task by the name of an old category."""
    labels: dict[str, list[str]] = {name: [name] for name in CATEGORY.labels}
    for category in mappings(rest.get("categories")):
        name = str(category.pop("name", ""))
        category["_name"] = name
        category.pop("description", None)
        wanted = taken_names(category, "mmlu_categories", f"categories.{name}") or [name]
        if unknown := [x for x in wanted if x not in CATEGORY.labels]:
            notes.append(
                f"categories.{name}: the category task has no label {', '.join(unknown)}; what "
                "rests on it is left out"
            )
        labels[name] = [x for x in wanted if x in CATEGORY.labels]
    return labels


def _operator(rule: Plain) -> str:
    """Taken out, in capitals; a key with nothing behind it says as little as none."""
    return str(rule.pop("operator", None) or "OR").upper()


def _keyword_rule(rule: Plain, name: str, notes: list[str]) -> Plain | None:
    place = f"keyword_rules.{name}"
    given = taken_names(rule, "keywords", place)
    words = [word for word in given if not is_blank(word)]
    operator = _operator(rule)
    if operator not in {"AND", "OR", "NOR"}:
        notes.append(f"{place}.operator: has no equivalent: {operator}; left out")
        return None
    keyword: Plain = {"words": words, "match": "all" if operator == "AND" else "any"}
    if rule.pop("case_sensitive", False):
        keyword["case_sensitive"] = True
    if not words:
        notes.append(f"{place}: has no keywords; left out")
        return None
    if words != given:
        notes.append(f"{place}: has a blank keyword, which is left out")
    return {"not": {"keyword": keyword}} if operator == "NOR" else {"keyword": keyword}


def _decision(
    old: Plain,
    labels: dict[str, list[str]],
    keywords: dict[str, Plain],
    models: Plain,
    notes: list[str],
) -> Plain | None:
    name = str(old.pop("name", ""))
    place = f"decisions.{name}"
    rules = taken_section(old, "rules", place) or {}
    rule = _rule(rules, labels, keywords, f"{place}.rules", notes)
    references = taken_mappings(old, "modelRefs", place, notes)
    candidates = [_candidate(r, models, f"{place}.modelRefs", notes) for r in references]
    candidates = [c for c in candidates if c["model"] in models]
    description, priority = old.pop("description", None), old.pop("priority", 0)
    extras = _plugins(taken_mappings(old, "plugins", place, notes), place, notes)
    if rule is None or not candidates:
        why = "no model with an endpoint" if rule is not None else "no condition left"
        notes.append(f"{place}: is left out: {why}")
        return None
    decision: Plain = {"name": name, "priority": priority, "rules": rule}
    if description:
        decision["description"] = description
    return {**decision, "models": candidates, **extras}


def _rule(
    old: Plain,
    labels: dict[str, list[str]],
    keywords: dict[str, Plain],
    place: str,
    notes: list[str],
) -> Plain | None:
    operator = _operator(old)
    if operator not in {"AND", "OR"}:
        notes.append(f"{place}.operator: has no equivalent: {operator}")
        return None
    given = old.get("conditions")
    read = taken_mappings(old, "conditions", place, notes)
    note_left_over(old, place, notes)
    conditions, lost = [], read != given
    for number, condition in enumerate(read):
        kind, name = condition.pop("type", None), str(condition.pop("name", None))
        note_left_over(condition, f"{place}.conditions.{number}", notes)
        if kind == "domain" and labels.get(name):
            conditions.append({"domain": labels[name]})
        elif kind == "keyword" and name in keywords:
            conditions.append(keywords[name])
        else:
            lost = True
            notes.append(f"{place}: condition {kind} {name!r} has no equivalent")
    if not conditions or (lost and operator == "AND"):
        return None
    if len(conditions) == 1:
        return dict(conditions[0])
    return {"all" if operator == "AND" else "any": conditions}


def _candidate(reference: Plain, models: Plain, place: str, notes: list[str]) -> Plain:
    """A model of a decision; an adapter becomes a model of its own that its server knows."""
    name = str(reference.pop("model", None))
    place = f"{place}.{name}"
    adapter = reference.pop("lora_name", None)
    if adapter and name in models:
        base, name = models[name], f"{name}/{adapter}"
        models.setdefault(name, {**base, "served_name": str(adapter)})
    candidate: Plain = {"model": name}
    for old, new in (("use_reasoning", "reasoning"), ("reasoning_effort", "effort")):
        if (value := reference.pop(old, None)) is not None:
            candidate[new] = value
    note_left_over(reference, place, notes)
    return candidate


def _plugins(plugins: list[Plain], place: str, notes: list[str]) -> Plain:
    extras: Plain = {}
    guards: Plain = {}
    for plugin in plugins:
        kind = plugin.pop("type", None)
        own = f"{place}.plugins.{kind}"
        settings = taken_section(plugin, "configuration", own) or {}
        enabled = settings.pop("enabled", True)
        if kind == "system_prompt":
            prompt, mode = settings.pop("system_prompt", None), settings.pop("mode", None)
            if enabled and prompt:
                extras["system_prompt"] = {"text": prompt, "mode": mode or "replace"}
        elif kind == "jailbreak":
            guards["jailbreak"] = {"mode": "block" if enabled else "off"}
            _note_threshold(settings, own, notes)
        elif kind == "pii":
            guards |= _pii(settings, enabled=enabled, place=own, notes=notes)
        else:
            notes.append(f"{own}: has no equivalent")
            continue
        # What is turned off has none of its settings.
        note_left_over({**plugin, **(settings if enabled else {})}, own, notes)
    return {**extras, "guards": guards} if guards else extras


def _pii(settings: Plain, *, enabled: bool, place: str, notes: list[str]) -> Plain:
    _note_threshold(settings, place, notes)
    if not enabled:
        return {}
    names = taken_names(settings, "pii_types_allowed", place)
    allowed = known_types(names, f"{place}.pii_types_allowed", notes)
    return {"pii": {"default": "block", "types": dict.fromkeys(allowed, "allow")}}


def _note_threshold(settings: Plain, place: str, notes: list[str]) -> None:
    if (threshold := settings.pop("threshold", None)) is not None:
        notes.append(
            f"{place}.threshold: {threshold} is of another model's scores; the "
            "bundle's own counts"
        )


def _from_category(
    category: Plain, labels: dict[str, list[str]], models: Plain, notes: list[str]
) -> Plain | None:
    """The older style: a category with scored models is a decision of its own."""
    name = str(category.pop("_name"))
    place = f"categories.{name}"
    given = category.get("model_scores")
    scores = taken_mappings(category, "model_scores", place, notes)
    found = [_scored(s, models, f"{place}.model_scores", notes) for s in scores]
    candidates = [candidate for candidate in found if candidate is not None]
    if not candidates or not labels[name]:
        if given:
            notes.append(f"{place}: is left out: no label or no model is left")
        return None
    decision: Plain = {"name": name, "rules": {"domain": labels[name]}, "models": candidates}
    for old, new in (("use_reasoning", "reasoning"), ("reasoning_effort", "effort")):
        if (value := category.pop(old, None)) is not None:
            decision[new] = value
    enabled = category.pop("system_prompt_enabled", True)
    prompt = category.pop("system_prompt", None)
    mode = category.pop("system_prompt_mode", None) or "replace"
    if prompt and enabled:
        decision["system_prompt"] = {"text": prompt, "mode": mode}
    if (guarded := category.pop("jailbreak_enabled", None)) is not None:
        decision["guards"] = {"jailbreak": {"mode": "block" if guarded else "off"}}
    return decision


def _scored(reference: Plain, models: Plain, place: str, notes: list[str]) -> Plain | None:
    """A model of a category with its score, 1 where none is stated; None if it has no model."""
    name, score = reference.get("model"), reference.pop("score", None)
    if score is not None and not _is_score(score):
        notes.append(
            f"{place}.{name}.score: has no equivalent: {score!r} is no score; a finite number "
            "from 0 on is"
        )
        return None
    candidate = _candidate(reference, models, place, notes)
    scored = {**candidate, "score": 1.0 if score is None else score}
    return scored if candidate["model"] in models else None


def _is_score(value: Any) -> bool:
    """Whether models can be put in order by it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < inf  # false of NaN
