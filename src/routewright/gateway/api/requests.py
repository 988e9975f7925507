"""What clients send: the dataclasses that validate request bodies and describe them in OpenAPI.

Values of a body are never quoted in messages, and neither are keys that do not look like one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Le, MinLen
from pydantic import ConfigDict, Strict, ValidationError

from routewright.config import parse
from routewright.errors import ConfigError, RequestError

DESCRIBED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Strict, with the docstrings of fields as their descriptions in OpenAPI."""

Text = Annotated[str, Strict(), MinLen(1)]
Name = Annotated[str, Strict(), MinLen(1)]
Flag = Annotated[bool, Strict()]
Share = Annotated[float, Strict(), Ge(0), Le(1)]
TaskType = Literal["intent", "pii", "security", "all"]
Sensitivity = Literal["low", "medium", "high"]

T = TypeVar("T")

_TELLABLE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_MESSAGES = {
    "dataclass_type": "must be a JSON object",
    "string_type": "must be a string",
    "string_unicode": "holds half of a surrogate pair, which UTF-8 does not know",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_UNKNOWN_KEY = {"unexpected_keyword_argument", "extra_forbidden"}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentOptions:
    """How a text's domain is answered."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    return_probabilities: Flag = False
    """Answer the probability of every category."""
    confidence_threshold: Share | None = None
    """Confidence below which the category does not route; by default the policy's, else the
    bundle's."""
    include_explanation: Flag = False
    """Say in a sentence why the recommended model is recommended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PiiOptions:
    """Which entities are answered, and how."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    entity_types: Annotated[list[Name], MinLen(1)] | None = None
    """Answer only entities of these types; upper and lower case do not matter."""
    confidence_threshold: Share | None = None
    """Answer only entities with at least this confidence. It cannot be below the bundle's own
    threshold, under which the model keeps no entities."""
    return_positions: Flag = False
    """Answer where each entity stands in the text, counted in code points."""
    mask_entities: Flag = False
    """Answer the text with placeholders, such as `[PERSON_1]`, in the place of the entities."""
    reveal_entity_text: Flag = False
    """Answer the entities' own text as `value`; without it, `value` is `[DETECTED]`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityOptions:
    """How an attack is looked for."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    detection_types: Annotated[list[Literal["jailbreak"]], MinLen(1)] | None = None
    """The detector answers one question, so `jailbreak` is the only type."""
    sensitivity: Sensitivity = "medium"
    """`medium` takes the threshold of the policy's guard, else the bundle's. `high` takes the
    score with a quarter of that threshold's odds, `low` the one with four times its odds: of
    .5, that is .2 and .8."""
    include_reasoning: Flag = False
    """Say which score met which threshold, and where that comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchOptions:
    """The options of the batch's task; `all` takes those of every task."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    return_probabilities: Flag | None = None
    confidence_threshold: Share | None = None
    """Of intent and of pii."""
    include_explanation: Flag | None = None
    entity_types: Annotated[list[Name], MinLen(1)] | None = None
    return_positions: Flag | None = None
    mask_entities: Flag | None = None
    reveal_entity_text: Flag | None = None
    detection_types: Annotated[list[Literal["jailbreak"]], MinLen(1)] | None = None
    sensitivity: Sensitivity | None = None
    include_reasoning: Flag | None = None

    def given(self) -> dict[str, Any]:
        """The options that the client stated."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in pairs if value is not None}


OPTIONS: Mapping[str, type[IntentOptions | PiiOptions | SecurityOptions]] = {
    "intent": IntentOptions,
    "pii": PiiOptions,
    "security": SecurityOptions,
}
"""By task type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentRequest:
    """A text whose domain is asked for."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text
    options: IntentOptions = field(default_factory=IntentOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class PiiRequest:
    """A text in which personal data is looked for."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text
    options: PiiOptions = field(default_factory=PiiOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityRequest:
    """A text that may be an attack."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text
    options: SecurityOptions = field(default_factory=SecurityOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class CombinedRequest:
    """A text about which everything is asked; it is read once."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text
    intent_options: IntentOptions = field(default_factory=IntentOptions)
    pii_options: PiiOptions = field(default_factory=PiiOptions)
    security_options: SecurityOptions = field(default_factory=SecurityOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRequest:
    """Several texts about which the same is asked."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    texts: Annotated[list[Text], MinLen(1)]
    task_type: TaskType = "intent"
    """`all` answers every task for every text."""
    options: BatchOptions = field(default_factory=BatchOptions)

    def __post_init__(self) -> None:
        for name in self.options.given():
            owners = [task for task, cls in OPTIONS.items() if name in _names(cls)]
            if self.task_type not in {*owners, "all"}:
                raise ValueError(
                    f"options.{name} is an option of {' and '.join(owners)}, not of task_type "
                    f"{self.task_type}; leave it out"
                )

    def intent_options(self) -> IntentOptions:
        """The options in the form of the task's own endpoint."""
        return IntentOptions(**self._of(IntentOptions))

    def pii_options(self) -> PiiOptions:
        """The options in the form of the task's own endpoint."""
        return PiiOptions(**self._of(PiiOptions))

    def security_options(self) -> SecurityOptions:
        """The options in the form of the task's own endpoint."""
        return SecurityOptions(**self._of(SecurityOptions))

    def _of(self, cls: type[Any]) -> dict[str, Any]:
        return {k: v for k, v in self.options.given().items() if k in _names(cls)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyRequest:
    """One text or several, and which tasks of the bundle shall answer."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text | None = None
    texts: Annotated[list[Text], MinLen(1)] | None = None
    tasks: Annotated[list[Name], MinLen(1)] | None = None
    """Names of tasks of the bundle; all of them answer if none is named."""

    def __post_init__(self) -> None:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteRequest:
    """A text that the policy shall decide about."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    text: Text
    model: Name | None = None
    """What a client would write as `model`; without it the choice is automatic."""
    headers: dict[str, Annotated[str, Strict()]] = field(default_factory=dict)
    """What a client would send, for rules that look at headers."""


def parse_request(cls: type[T], body: Any) -> T:
    """Build the request dataclass `cls` from a parsed body; a field that is null is left out.

    Raises:
        RequestError: the first thing that is wrong, with its dotted path; for an unknown key
            the nearest name.
    """
    if not isinstance(body, dict):
        raise RequestError('the body must be a JSON object, as in {"text": "..."}')
    absent = {name for name in _names(cls) if name in body and body[name] is None}
    given = {key: value for key, value in body.items() if key not in absent}
    try:
        return parse(cls, given, source="body")
    except ConfigError as exc:
        raise _refusal(exc) from None


def _refusal(exc: ConfigError) -> RequestError:
    """The same without values of the body, which the configuration's message quotes."""
    assert isinstance(exc.__cause__, ValidationError), "parse translates pydantic's errors"
    errors = exc.__cause__.errors(include_url=False, include_input=False)
    error = next((e for e in errors if e["type"] in _UNKNOWN_KEY), errors[0])
    path = ".".join(map(_told, error["loc"]))
    if error["type"] not in _UNKNOWN_KEY:
        message = _MESSAGES.get(error["type"], error["msg"].removeprefix("Value error, "))
        message = f"{message[0].lower()}{message[1:]}"
        return RequestError(f"{path}: {message}" if path else message, param=path or None)
    if "?" in path:
        return RequestError("the body has a key that does not exist; see /openapi.json")
    return RequestError(str(exc).removeprefix("body: "), param=path)


def _told(part: int | str) -> str:
    if isinstance(part, int):
        return str(part)
    return part if _TELLABLE_KEY.fullmatch(part) else "?"


def _names(cls: type[Any]) -> set[str]:
    return {f.name for f in fields(cls)}
