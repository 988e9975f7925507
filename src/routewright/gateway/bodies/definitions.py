"""What a model is told of tools and of the shape of its answer: the texts of schemas.

Names, types and ids of a schema are what the protocol goes by, so they are no texts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from routewright.errors import RequestError
from routewright.gateway.json_bytes import dump_json, parse_json

DEFINITIONS = (
    "tools", "functions", "response_format", "text",
    "guided_json", "guided_choice", "guided_regex", "guided_grammar", "structured_outputs",
)  # fmt: skip
"""Fields of a body that tell what may be called or answered."""
_TOLD_VALUES = frozenset(
    {"title", "default", "const", "enum", "examples", "guided_choice", "choice"}
)
"""Keywords whose values a model is told, or can only answer with."""
_ONLY_VALUES = frozenset({"const", "enum"})
"""Keywords whose values an answer must be one of: a string for a number would fit no type."""
_PATTERNS = frozenset({"pattern", "regex", "guided_regex", "whitespace_pattern"})
"""Keywords whose value is a regular expression."""
_SCHEMAS = frozenset({"guided_json", "json"})
"""Keywords whose schema may be written as a string of JSON."""
_NAMES = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords of a JSON schema below which keys are names, and no keywords themselves."""
_NO_VALUES = frozenset(
    {"type", "name", "id", "format", "syntax", "required", "allowed_tools", "$ref", "$id",
     "$schema", "$anchor", "server_label", "server_url", "connector_id", "container",
     "vector_store_ids", "country", "timezone", "search_context_size"}
)  # fmt: skip
"""Keywords whose single words name something."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """Rebuilds definitions, each string replaced by what one of the functions gives for it."""

    text: Callable[[str], str]
    """Of what a model is told in words."""
    pattern: Callable[[str], str]
    """The same of a regular expression."""
    values: Callable[[Any], Any]
    """Of plain JSON that it is told, as the values of a ``default``."""
    only_values: Callable[[Any], Any]
    """The same of values of which an answer must be one: their numbers have to stay numbers."""
    other: Callable[[str], str]
    """Of single words that are neither told nor names."""
    other_pattern: Callable[[str], str]
    """The same of a regular expression."""

    def replaced(self, value: Any, key: str = "") -> Any:
        """A copy of `value`, which stands under `key`."""
        if isinstance(value, str):
            return self._string(value, key)
        if isinstance(value, dict | list) and key in _TOLD_VALUES:
            return self.only_values(value) if key in _ONLY_VALUES else self.values(value)
        if isinstance(value, list):
            return [self.replaced(item, key) for item in value]
        if isinstance(value, dict):
            told = self.pattern if key == "patternProperties" else self.text
            return {
                told(name) if _is_prose(name) else name: self.replaced(
                    item, _meaning(name, value, key)
                )
                for name, item in value.items()
            }
        return value

    def _string(self, value: str, key: str) -> str:
        if key in _SCHEMAS and isinstance(schema := _json(value), dict | list):
            changed = self.replaced(schema)
            return value if changed == schema else dump_json(changed).decode("utf-8")
        if key in _PATTERNS:
            return self.pattern(value) if _is_prose(value) else self.other_pattern(value)
        if key.endswith("description") or key in _TOLD_VALUES or _is_prose(value):
            return self.text(value)
        return value if key in _NO_VALUES else self.other(value)


def _meaning(name: str, holder: dict[str, Any], key: str) -> str:
    """The keyword that `name` is in `holder`, which stands under `key`."""
    if key in _NAMES and isinstance(holder[name], dict):
        return ""  # The schema of a property called `title` is no title.
    is_regex = name == "definition" and holder.get("syntax") == "regex"
    return "regex" if is_regex else name


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except RequestError:
        return None


def _is_prose(text: str) -> bool:
    """Whether it is more than one word, as ids, URLs and types never are."""
    return len(text.split(None, 1)) > 1
