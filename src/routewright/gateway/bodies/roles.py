"""Whose text a message or an item of a request is, by what it says of itself."""

from collections.abc import Mapping
from typing import Any, Literal

from routewright.errors import RequestError

Role = Literal["system", "user", "assistant", "tool", "definition", "unknown"]
"""``definition`` is of schemas and tools; ``unknown`` of items that do not say, or that say two
things."""

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""A role that is not here counts as the user's."""
_RESULTS = frozenset({"output", "outputs", "results", "error"})
"""Keys under which a call of the model's also holds what came of it."""


def role_of_message(message: Any, where: str) -> Role:
    """Of a message of chat completions.

    Raises:
        RequestError: it is no object with a role; `where` names it.
    """
    if not isinstance(message, dict):
        raise RequestError(f"{where} must be an object", param=where)
    role = message.get("role")
    if not isinstance(role, str):
        raise RequestError(f"{where}.role must be a string", param=f"{where}.role")
    return _ROLES.get(role, "user")


def role_of_item(item: Any, where: str) -> Role:
    """Of an item of the responses API, which may say a role, a type, or both.

    Servers differ in which they go by: where the two disagree, nobody knows whose text it is.

    Raises:
        RequestError: it is no object, or its role no string; `where` names it.
    """
    if not isinstance(item, dict):
        raise RequestError(f"{where} must be an object", param=where)
    kind = str(item.get("type", ""))
    by_type = _role_of_type(kind)
    if "role" not in item:
        return by_type
    role = role_of_message(item, where)
    agree = kind in {"", "message"} or role in {"user", by_type}
    return role if agree else "unknown"


def results_of(item: Mapping[str, Any], role: Role) -> frozenset[str]:
    """Keys of an item of this role below which texts are a tool's; none of most items.

    Servers run some tools by themselves: one item then has the model's call and what came of
    it, written by whoever made the tool or the file it read.
    """
    calls = role == "assistant" and str(item.get("type", "")).endswith("_call")
    return _RESULTS if calls else frozenset()


def _role_of_type(kind: str) -> Role:
    # The list is what an MCP server tells of itself, not what the client defines.
    if kind.endswith("_output") or kind == "mcp_list_tools":
        return "tool"
    if kind.endswith("_call") or kind in {"reasoning", "mcp_approval_request"}:
        return "assistant"
    return "unknown"
