"""What a body has beside its texts: settings, which stay, and the client's own strings."""

from collections.abc import Callable, Mapping
from typing import Any

Replace = Callable[[str], str]

_SETTINGS = frozenset(
    {"model", "models", "conversation", "previous_response_id", "tool_choice", "function_call",
     "include", "modalities", "audio", "reasoning", "reasoning_effort", "verbosity",
     "service_tier", "truncation", "encoding_format", "prompt_cache_retention", "cache_salt",
     "request_id", "kv_transfer_params", "guided_decoding_backend",
     "guided_whitespace_pattern"}
)  # fmt: skip
"""Fields whose strings are names, ids and choices of the protocol, so that they must stay.

A ``cache_salt`` keeps tenants from one another's cached prompts, which they would share were
all their salts ``[PERSON_1]``.
"""
_CHOICES: Mapping[str, frozenset[str]] = {
    "web_search_options": frozenset({"type", "country", "timezone", "search_context_size"})
}
"""Keys of a field below which choices of the protocol stand."""


def replace_beside(
    body: Mapping[str, Any], read: frozenset[str], replaced: Replace
) -> dict[str, Any]:
    """The fields of `body` that are neither settings nor `read`, each string `replaced`."""
    return {
        name: replace_strings(body[name], replaced, _CHOICES.get(name, frozenset()))
        for name in body.keys() - read - _SETTINGS
    }


def replace_strings(value: Any, replaced: Replace, kept: frozenset[str] = frozenset()) -> Any:
    """A copy of plain JSON with every string replaced but keys and what is below `kept`."""
    if isinstance(value, str):
        return replaced(value)
    if isinstance(value, list):
        return [replace_strings(item, replaced, kept) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name in kept else replace_strings(item, replaced, kept)
            for name, item in value.items()
        }
    return value
