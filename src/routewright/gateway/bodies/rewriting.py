"""New request bodies from old: the model, its reasoning, its instructions, its tools.

Every function gives a new body and leaves the old one alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from routewright.gateway.bodies.texts import Endpoint
from routewright.policy.settings import ReasoningFamily

INSTRUCTED: frozenset[Endpoint] = frozenset({"chat", "responses"})
"""Endpoints whose bodies have instructions, tools and ways to reason."""
_SYSTEM_ROLES = ("system", "developer")
_REASONING_SWITCHES = ("enable_thinking", "thinking")


def set_model(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body for another model."""
    return {**body, "model": model}


def set_reasoning(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    family: ReasoningFamily | None,
    *,
    enabled: bool,
    effort: str | None = None,
) -> dict[str, Any]:
    """Switch reasoning on or off, in the one way the chosen model understands.

    Fields for other families go, because models refuse fields they do not know. Completions
    and embeddings have no such fields and stay as they are.

    Args:
        endpoint: whose body it is.
        body: the request.
        family: None for a model that does not reason.
        enabled: whether it shall.
        effort: for families told an effort; by default ``medium`` when enabled and ``low`` when
            not, which is the least that such models know.
    """
    if endpoint not in INSTRUCTED:
        return dict(body)
    result = {k: v for k, v in body.items() if k != "reasoning_effort"}
    switches = {
        k: v
        for k, v in (body.get("chat_template_kwargs") or {}).items()
        if k not in _REASONING_SWITCHES
    }
    reasoning = {k: v for k, v in (body.get("reasoning") or {}).items() if k != "effort"}
    if family is not None and family.type == "chat_template_kwargs":
        switches[family.parameter] = enabled
    elif family is not None:
        level = effort or ("medium" if enabled else "low")
        if endpoint == "responses":
            reasoning["effort"] = level
        else:
            result["reasoning_effort"] = level
    for name, value in (("chat_template_kwargs", switches), ("reasoning", reasoning)):
        result.pop(name, None)
        if value:
            result[name] = value
    return result


def set_system_prompt(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    prompt: str,
    *,
    mode: Literal["insert", "replace"] = "insert",
) -> dict[str, Any]:
    """Instruct the model.

    Args:
        endpoint: whose body it is; completions and embeddings have no instructions and stay as
            they are.
        body: the request, checked by `read_request`.
        prompt: the instructions.
        mode: ``insert`` puts them before the client's own, ``replace`` takes the client's away.
    """
    if endpoint not in INSTRUCTED:
        return dict(body)
    if endpoint == "chat":
        return {**body, "messages": _instructed(body["messages"], prompt, mode)}
    result = dict(body)
    own = body.get("instructions")
    if mode == "replace":
        result["instructions"] = prompt
        if isinstance(items := body.get("input"), list):
            result["input"] = [i for i in items if i.get("role") not in _SYSTEM_ROLES]
    else:
        result["instructions"] = f"{prompt}\n\n{own}" if own else prompt
    return result


def set_tools(
    endpoint: Endpoint, body: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Offer these tools and no others.

    Args:
        endpoint: whose body it is; completions and embeddings stay as they are.
        body: the request.
        tools: in the form of chat completions, ``{"type": "function", "function": {...}}``.
            Without any, ``tool_choice`` and its like go too, as they are errors without tools.
    """
    if endpoint not in INSTRUCTED:
        return dict(body)
    gone = {"tools", "functions"}
    if not tools:
        gone |= {"tool_choice", "parallel_tool_calls", "function_call"}
    result = {name: value for name, value in body.items() if name not in gone}
    if tools:
        flat = endpoint == "responses"
        result["tools"] = [_flat(tool) if flat else dict(tool) for tool in tools]
    return result


def _instructed(messages: Sequence[Any], prompt: str, mode: str) -> list[Any]:
    systems = [m for m in messages if m["role"] in _SYSTEM_ROLES]
    role = systems[0]["role"] if systems else "system"
    if mode == "replace":
        rest = [m for m in messages if m["role"] not in _SYSTEM_ROLES]
        return [{"role": role, "content": prompt}, *rest]
    if not messages or messages[0]["role"] not in _SYSTEM_ROLES:
        return [{"role": role, "content": prompt}, *messages]
    first = messages[0]
    own = first["content"]
    joined = (
        f"{prompt}\n\n{own}"
        if isinstance(own, str)
        else [{"type": "text", "text": prompt}, *own]
    )
    return [{**first, "content": joined}, *messages[1:]]


def _flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The responses API has the fields of ``function`` beside ``type``."""
    rest = {k: v for k, v in tool.items() if k != "function"}
    return {**rest, **tool.get("function", {})}
