"""The original router's v0.1 configuration as ours, with a line for each key that has no equal.

Every key that is understood is taken out of a copy of the old file; what is left over is what
has no equivalent. Secrets are never copied: a key becomes the name of an environment variable.
"""

import copy
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from routewright.errors import ConfigError
from routewright.policy.settings import BUILT_IN_FAMILIES
from routewright.policy.vllm_sr_decisions import (
    Plain,
    decisions_of,
    known_types,
    list_scores,
    mappings,
    note_left_over,
    references,
    section,
    taken_mappings,
    taken_names,
    taken_section,
)


@dataclass(frozen=True, slots=True)
class Imported:
    """Our form of an old configuration."""

    data: Plain
    """What `parse_policy` reads."""
    notes: tuple[str, ...]
    """One line for each key that has no equivalent, and for each choice made on the way."""


def import_policy(
    old: Mapping[str, Any], *, source: str, tools: Sequence[Any] | None = None
) -> Imported:
    """Translate a v0.1 configuration, in its `decisions` or its older `categories` style.

    Args:
        old: the old file.
        source: its name, for messages.
        tools: what its ``tools.tools_db_path`` holds; None when that cannot be read.

    Raises:
        ConfigError: there are no models in it, so it is another kind of file; or a value is of
            another type than the router reads.
    """
    notes: list[str] = []
    try:
        data = _translated(copy.deepcopy(dict(old)), tools, notes)
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
    return Imported({key: value for key, value in data.items() if value}, tuple(notes))


def _translated(rest: Plain, tools: Sequence[Any] | None, notes: list[str]) -> Plain:
    list_scores(rest)
    data: Plain = {"models": _models(rest, notes)}
    if not data["models"]:
        raise ConfigError(
            "has no vllm_endpoints with models and no model_config; is this a v0.1 "
            "configuration of the router?"
        )
    data["default_model"] = _default_model(rest, data["models"], notes)
    if name := rest.pop("auto_model_name", None):
        data["auto_models"] = list(dict.fromkeys([str(name), "auto"]))
    if effort := rest.pop("default_reasoning_effort", None):
        data["default_effort"] = effort
    if families := rest.pop("reasoning_families", None):
        data["reasoning_families"] = families
    data |= _abstention(rest)
    data["decisions"] = decisions_of(rest, data["models"], notes)
    data["guards"] = _guards(rest, data, notes)
    data |= _tools(rest, tools, notes)
    note_left_over(rest, "", notes)
    return data


def _models(rest: Plain, notes: list[str]) -> Plain:
    old = section(rest, "model_config")
    families = {*BUILT_IN_FAMILIES, *map(str, section(rest, "reasoning_families"))}
    # What is no mapping stays, and so is told of; it makes no model by itself.
    unread = {str(k): v for k, v in old.items() if v and not isinstance(v, dict)}
    settings = {str(name): section(old, name) for name in old if str(name) not in unread}
    if old:
        rest.pop("model_config")
    endpoints, served = _endpoints(rest)
    names = [*settings, *references(rest), *(m for ms in served.values() for m in ms)]
    models: Plain = {}
    for name in dict.fromkeys(names):
        own, place = settings.get(name, {}), f"model_config.{name}"
        chosen = taken_names(own, "preferred_endpoints", place)
        chosen = chosen or [e for e, ms in served.items() if name in ms]
        if not chosen and endpoints:
            chosen = list(endpoints)
            notes.append(f"{place}: names no endpoint, so it has all of them")
        known = [endpoints[e] for e in chosen if e in endpoints]
        if not known:
            notes.append(f"{place}: has no endpoint in vllm_endpoints; left out")
            continue
        models[name] = {"endpoints": known, **_model(name, own, families, notes)}
    if left := unread | {name: own for name, own in settings.items() if own}:
        rest["model_config"] = left
    return models


def _endpoints(rest: Plain) -> tuple[dict[str, Plain], dict[str, list[str]]]:
    """Our endpoints, and the models that the oldest style lists under each, by its name."""
    endpoints: dict[str, Plain] = {}
    served: dict[str, list[str]] = {}
    for entry in mappings(rest.get("vllm_endpoints")):
        name = str(entry.pop("name", len(endpoints)))
        address, port = str(entry.pop("address", "")), entry.pop("port", None)
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{port}" if port else f"http://{host}"
        weight = entry.pop("weight", None)
        weighted = {} if weight in (None, 1) else {"weight": weight}
        endpoints[name] = {"url": url, **weighted}
        served[name] = taken_names(entry, "models", f"vllm_endpoints.{name}")
    return endpoints, served


def _model(name: str, own: Plain, families: Set[str], notes: list[str]) -> Plain:
    model: Plain = {}
    place = f"model_config.{name}"
    if family := own.pop("reasoning_family", None):
        if str(family) in families:
            model["reasoning_family"] = str(family)
        else:
            notes.append(f"{place}.reasoning_family: there is no family {family!r}; left out")
    if own.pop("access_key", None):
        variable = re.sub(r"\W+", "_", name).upper().strip("_")
        variable = f"{'M_' if variable[:1].isdigit() else ''}{variable}_API_KEY"
        model["api_key"] = f"${{{variable}}}"
        notes.append(f"{place}.access_key: is not copied; export {variable}=... instead")
    if pricing := taken_section(own, "pricing", place):
        names = {"prompt_per_1m": "prompt_per_million"}
        names |= {"completion_per_1m": "completion_per_million", "currency": "currency"}
        price = {new: pricing.pop(old) for old, new in names.items() if old in pricing}
        # A key with nothing behind it states no price.
        if stated := {key: value for key, value in price.items() if value is not None}:
            model["price"] = stated
        note_left_over(pricing, f"{place}.pricing", notes)
    if (policy := taken_section(own, "pii_policy", place)) is not None:
        listed = taken_names(policy, "pii_types_allowed", f"{place}.pii_policy")
        allowed = known_types(listed, f"{place}.pii_policy", notes)
        default = "allow" if policy.pop("allow_by_default", True) else "block"
        note_left_over(policy, f"{place}.pii_policy", notes)
        types = dict.fromkeys(allowed, "allow")
        model["guards"] = {"pii": {"default": default, "types": types}}
    if (context := own.pop("context_size", None)) is not None:
        if not str(context).isdecimal():
            raise ConfigError(
                f"{place}.context_size: must be a number of tokens, as in 131072, got "
                f"{context!r}"
            )
        model["context_tokens"] = int(context)
    loras = taken_mappings(own, "loras", place, notes)
    adapters = [str(entry.get("name")) for entry in loras]
    if adapters:
        notes.append(
            f"{place}.loras: {', '.join(adapters)}: an adapter that a decision "
            "names becomes a model of its own"
        )
    return model


def _default_model(rest: Plain, models: Plain, notes: list[str]) -> str:
    wanted = rest.pop("default_model", None)
    if str(wanted) in models:
        return str(wanted)
    first = str(next(iter(models)))
    notes.append(f"default_model: {wanted or 'missing'}, which is no model; {first} serves")
    return first


def _abstention(rest: Plain) -> Plain:
    """A category below its threshold routed to the default model, and still does."""
    category = section(section(rest, "classifier"), "category_model")
    threshold = category.pop("threshold", None)
    return {} if threshold is None else {"abstention": {"domain": threshold}}


def _guards(rest: Plain, data: Plain, notes: list[str]) -> Plain:
    """Thresholds of other models' scores mean nothing here: the bundle's own take over."""
    guards: Plain = {}
    prompt_guard = section(rest, "prompt_guard")
    enabled = prompt_guard.pop("enabled", None)
    own = [*data["models"].values(), *data["decisions"]]
    overridden = {kind for entry in own for kind in entry.get("guards", {})}
    if enabled or "jailbreak" in overridden:
        guards["jailbreak"] = {"mode": "block" if enabled else "off"}
    if (threshold := prompt_guard.pop("threshold", None)) is not None:
        notes.append(
            f"prompt_guard.threshold: {threshold} is of another model's scores; the bundle's "
            "operating point counts"
        )
    pii_model = section(section(rest, "classifier"), "pii_model")
    if (threshold := pii_model.pop("threshold", None)) is not None:
        notes.append(
            f"classifier.pii_model.threshold: {threshold} is of another model's scores; the "
            "bundle's own counts"
        )
    if "pii" in overridden:
        guards["pii"] = {"default": "allow"}
    return guards


def _tools(rest: Plain, tools: Sequence[Any] | None, notes: list[str]) -> Plain:
    old = section(rest, "tools")
    enabled, path = old.pop("enabled", False), old.pop("tools_db_path", None)
    top_k, least = old.pop("top_k", 3), old.pop("similarity_threshold", 0.2)
    fallback = "none" if old.pop("fallback_to_empty", True) else "all"
    if not enabled:
        return {}
    if tools is None:
        notes.append(f"tools.tools_db_path: {path} cannot be read; add tools.catalogue by hand")
    catalogue = []
    for number, entry in enumerate(tools or ()):
        tool = _tool(entry) if isinstance(entry, dict) else None
        if tool is None:
            notes.append(f"tools.tools_db_path: tool {number} has no equivalent: no name in it")
        else:
            catalogue.append(tool)
    return {
        "tools": {
            "catalogue": catalogue,
            "top_k": top_k,
            "min_similarity": least,
            "fallback": fallback,
        }
    }


def _tool(entry: Plain) -> Plain | None:
    function = section(section(entry, "tool"), "function")
    if not function.get("name"):
        return None
    return {
        "name": function["name"],
        "description": entry.get("description") or function.get("description") or "",
        "parameters": function.get("parameters") or {},
        "keywords": taken_names(entry, "tags", f"tools.{function['name']}"),
    }
