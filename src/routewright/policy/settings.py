"""The policy file: one strict mapping of models, decisions, guards and tools.

Knows the form of ``routewright.yaml``; what its parts must mean together is checked in
`policy.checks`. The policy never holds a secret, only the names of environment variables.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from routewright.config import STRICT, parse
from routewright.errors import ConfigError
from routewright.policy.conditions import Rule, TaskNames, asked_tasks, check_share
from routewright.policy.guards import GuardOverrides, Guards

Effort = Literal["minimal", "low", "medium", "high"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_VARIABLE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")
_SECRET_KEYS = {"api_key", "admin_token"}
_OWN_NAMES = {("guards", "pii", "types"), ("tools", "catalogue", "parameters")}
"""Below these keys stand names, such as the argument ``api_key`` of a tool, and no settings."""
_PASSWORD_IN_URL = re.compile(r"^\s*\w+://[^/\s]*@")
TOP_LEVEL_OF_OTHERS = frozenset({"gateway"})
"""Sections of the same file that belong to other modules, which parse them themselves."""


@dataclass(frozen=True, kw_only=True)
class ReasoningFamily:
    """How models of one family are asked to reason."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    type: Literal["chat_template_kwargs", "reasoning_effort"]
    """`chat_template_kwargs` sets a boolean there; `reasoning_effort` a field of the body."""
    parameter: str


BUILT_IN_FAMILIES: Mapping[str, ReasoningFamily] = MappingProxyType(
    {
        "deepseek": ReasoningFamily(type="chat_template_kwargs", parameter="thinking"),
        "qwen3": ReasoningFamily(type="chat_template_kwargs", parameter="enable_thinking"),
        "gpt-oss": ReasoningFamily(type="reasoning_effort", parameter="reasoning_effort"),
        "gpt": ReasoningFamily(type="reasoning_effort", parameter="reasoning_effort"),
    }
)


def _or_string(cls: type[Any], key: str) -> BeforeValidator:
    """Reads a plain string as `cls` with nothing but ``key: string``."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value,
        json_schema_input_type=str | cls,
    )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server of a model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    url: str
    """``http(s)://host[:port][/prefix]``; requests go to its ``/v1/...``."""
    weight: Weight = 1.0
    """Share of the traffic relative to the model's other endpoints; 0 takes it out."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.username or parts.query or parts.fragment:
            raise ValueError("an endpoint is http://HOST[:PORT][/PREFIX], or https")

    @property
    def host_port(self) -> tuple[str, int]:
        """Host name or address, and the port with the default of its scheme."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model's tokens cost; for the record, nothing is decided by it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    prompt_per_million: float = 0.0
    completion_per_million: float = 0.0
    currency: str = "USD"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A language model that requests can go to."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    endpoints: Annotated[
        tuple[Annotated[Endpoint, _or_string(Endpoint, "url")], ...],
        BeforeValidator(
            lambda v: [v] if isinstance(v, str) else v,
            json_schema_input_type=str | list[str | Endpoint],
        ),
    ]
    served_name: str | None = None
    """What its server calls it; None means the name it has here."""
    api_key: str | None = None
    """``${NAME}`` of the environment variable with the key for its server."""
    reasoning_family: str | None = None
    context_tokens: int | None = None
    """For the record: longer requests are sent all the same."""
    price: Price | None = None
    guards: GuardOverrides = field(default_factory=GuardOverrides)

    def __post_init__(self) -> None:
        if not 0 < sum(endpoint.weight for endpoint in self.endpoints) < math.inf:
            raise ValueError(
                "a model needs an endpoint with a positive weight, and no huge one"
            )
        if self.context_tokens is not None and self.context_tokens <= 0:
            raise ValueError(f"context_tokens must be positive, got {self.context_tokens}")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that a decision may choose."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: str
    weight: Weight | None = None
    """Share of the requests relative to the other candidates."""
    score: float | None = None
    """The highest score is chosen, the others stand by in order."""
    reasoning: bool | None = None
    """None takes what the decision says."""
    effort: Effort | None = None


@dataclass(frozen=True, kw_only=True)
class SystemPrompt:
    """Instructions that a decision adds."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    text: str
    mode: Literal["insert", "replace"] = "insert"
    """`insert` puts it before the client's own system message, `replace` in its place."""


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """When a decision is taken, and what it does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    models: tuple[Annotated[Candidate, _or_string(Candidate, "model")], ...]
    description: str = ""
    priority: int = 0
    """Higher ones are asked first; equal ones in the order of the file."""
    rules: Rule | None = None
    """None holds for every request."""
    reasoning: bool | None = None
    """None leaves the client's own setting alone."""
    effort: Effort | None = None
    system_prompt: Annotated[SystemPrompt | None, _or_string(SystemPrompt, "text")] = None
    tools: Literal["auto", "none"] = "auto"
    """Whether tools of the catalogue are chosen by intent, or none offered."""
    only_tools: tuple[str, ...] = ()
    """Those that may be chosen; none means all of the catalogue."""
    guards: GuardOverrides = field(default_factory=GuardOverrides)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name must not be empty")
        weighted = [c.weight is not None for c in self.models]
        scored = [c.score is not None for c in self.models]
        if any(weighted) and any(scored):
            raise ValueError("models take weights or scores, not both")
        if (any(weighted) and not all(weighted)) or (any(scored) and not all(scored)):
            raise ValueError("either every model of a decision has a weight (score), or none")
        if not self.models or (all(weighted) and not any(c.weight for c in self.models)):
            raise ValueError("models needs a model, and with weights a positive one")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function that may be offered to a model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of its arguments."""
    intents: tuple[str, ...] = ()
    """Labels of the intent task that open it; none means every intent but an abstained one."""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The catalogue and how tools are chosen when the client says ``tool_choice: auto``."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    catalogue: tuple[Tool, ...] = ()
    top_k: int = 3
    min_similarity: float = 0.2
    fallback: Literal["none", "all"] = "none"
    """What is offered when the intent abstained, or no tool that it opens is similar."""
    client_tools: Literal["keep", "replace"] = "keep"
    """What becomes of tools that the client itself offers: left as they are, or replaced."""

    def __post_init__(self) -> None:
        check_share("min_similarity", self.min_similarity)
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """Below which probability a label does not route, and who serves then."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    domain: float | None = None
    """In [0, 1]; None takes the bundle's threshold, 0 never abstains."""
    intent: float | None = None
    tasks: Mapping[str, float] = field(default_factory=dict)
    """Of other tasks of the bundle that choose a label, by name; detectors have guards."""
    model: str | None = None
    """None takes the default model."""

    def __post_init__(self) -> None:
        check_share("domain", self.domain)
        check_share("intent", self.intent)
        for name, value in self.tasks.items():
            check_share(f"tasks.{name}", value)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """When a conversation keeps its model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    keep_in_tool_loop: bool = True
    session_header: str | None = "x-session-id"
    """A client that sends it keeps its model for `session_ttl_s` after its last request."""
    session_ttl_s: float = 3600.0
    keep_by_response_id: bool = True
    """Read the ids of answers of ``/v1/responses``, so that what goes on from one stays."""

    def __post_init__(self) -> None:
        if self.session_ttl_s <= 0:
            raise ValueError(f"session_ttl_s must be positive, got {self.session_ttl_s}")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything that decides about a request."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    models: Mapping[str, Model]
    default_model: str
    bundle: str | None = None
    """The bundle folder, relative to the policy file; None or ``default`` is that of the
    package."""
    auto_models: tuple[str, ...] = ("auto", "MoM")
    """Names by which a client asks for automatic choice."""
    decisions: tuple[DecisionRule, ...] = ()
    tasks: TaskNames = field(default_factory=TaskNames)
    abstention: Abstention = field(default_factory=Abstention)
    guards: Guards = field(default_factory=Guards)
    tools: Tools = field(default_factory=Tools)
    conversation: Conversation = field(default_factory=Conversation)
    reasoning_families: Mapping[str, ReasoningFamily] = field(default_factory=dict)
    """Added to the built-in ones: deepseek, qwen3, gpt-oss, gpt."""
    default_effort: Effort = "medium"

    @cached_property
    def ranked(self) -> tuple[DecisionRule, ...]:
        """Decisions in the order they are asked."""
        return tuple(sorted(self.decisions, key=lambda d: -d.priority))

    @cached_property
    def families(self) -> Mapping[str, ReasoningFamily]:
        """Built-in reasoning families and the file's own."""
        return {**BUILT_IN_FAMILIES, **self.reasoning_families}

    @cached_property
    def asked_tasks(self) -> tuple[str, ...]:
        """Tasks whose labels some decision asks for, sorted."""
        return asked_tasks((d.rules for d in self.decisions), self.tasks)

    @cached_property
    def abstention_thresholds(self) -> Mapping[str, float]:
        """Of the tasks for which the file states one, by task name."""
        stated = {self.tasks.domain: self.abstention.domain}
        stated |= {self.tasks.intent: self.abstention.intent, **self.abstention.tasks}
        return {task: value for task, value in stated.items() if value is not None}


def parse_policy(data: Mapping[str, Any], *, source: str) -> Policy:
    """Build a policy from plain values; `checks.check_policy` must follow.

    Sections that belong to other modules (``gateway``) are left to them.

    Raises:
        ConfigError: the first wrong key; a secret that is written out, unquoted.
    """
    _refuse_plain_secrets(data, (), source)
    own = {key: value for key, value in data.items() if key not in TOP_LEVEL_OF_OTHERS}
    return parse(Policy, own, source=source)


def policy_schema() -> dict[str, Any]:
    """JSON Schema of the policy file, for editors."""
    schema = TypeAdapter(Policy).json_schema()
    for section in TOP_LEVEL_OF_OTHERS:
        schema["properties"][section] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def secret_variables(policy: Policy) -> dict[str, str]:
    """Environment variable that holds the key, by name of the model."""
    found = ((name, _VARIABLE.match(m.api_key or "")) for name, m in policy.models.items())
    return {name: match[1] for name, match in found if match is not None}


def resolve_secrets(
    policy: Policy, environment: Mapping[str, str], *, source: str
) -> dict[str, str]:
    """The key for each model's server, by name of the model.

    Raises:
        ConfigError: a variable is not set, or empty, or no header can carry what it holds.
    """
    keys = {}
    for model, variable in secret_variables(policy).items():
        key, place = environment.get(variable), f"{source}: models.{model}.api_key"
        if not key:
            raise ConfigError(
                f"{place}: environment variable {variable} is not set; export {variable}=..."
            )
        if not key.isprintable():
            raise ConfigError(
                f"{place}: environment variable {variable} holds a line break or another "
                "character that cannot be printed; export the key alone"
            )
        keys[model] = key
    return keys


def _refuse_plain_secrets(value: Any, path: tuple[str, ...], source: str) -> None:
    """Before anything else reads the file, as messages about wrong values quote them."""
    if tuple(name for name in path if not name.isdecimal())[-3:] in _OWN_NAMES:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = (*path, str(key))
            if key in _SECRET_KEYS and inner is not None:
                if not isinstance(inner, str) or not _VARIABLE.match(inner):
                    raise ConfigError(
                        f"{source}: {'.'.join(place)}: write ${{NAME}} of an environment "
                        "variable here, never the secret itself"
                    )
                continue
            _refuse_plain_secrets(inner, place, source)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_plain_secrets(inner, (*path, str(number)), source)
    # Only models have endpoints; elsewhere a URL is part of some text.
    elif path[:1] == ("models",) and isinstance(value, str) and _PASSWORD_IN_URL.match(value):
        raise ConfigError(
            f"{source}: {'.'.join(path)}: a URL holds no user or password here; use api_key"
        )
