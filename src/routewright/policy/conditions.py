"""The form of the rule language: a tree of all, any and not over conditions.

Knows what a rule may say; what it finds in a request is in `policy.expression`. A rule is a
mapping with one key, and most have a short form:

    any:
      - domain: math
      - domain: {labels: [physics, chemistry], at_least: 0.7}
      - all: [{keyword: [theorem, proof]}, {not: {header: {name: x-tier, equals: free}}}]
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from routewright.config import STRICT

ANY_TYPE = "*"
"""Stands for every entity type."""


def check_share(name: str, value: float | None) -> None:
    """Raise ValueError unless `value` is None or in [0, 1]."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def is_blank(word: str) -> bool:
    """Whether nothing of it can be seen, so that no text can be searched for it."""
    return all(c.isspace() or unicodedata.category(c) == "Cf" for c in word)


def _listed(value: Any, key: str) -> Any:
    """A name or a list of names stands for ``{key: [names]}``."""
    if isinstance(value, str):
        return {key: [value]}
    return {key: value} if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class LabelMatch:
    """The most probable label of a task is one of these, and the task did not abstain."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    labels: tuple[str, ...]
    at_least: float | None = None
    """Probability it needs beyond the threshold below which the task abstains."""

    def __post_init__(self) -> None:
        check_share("at_least", self.at_least)
        if not self.labels:
            raise ValueError("labels must name at least one label")


@dataclass(frozen=True, kw_only=True)
class TaskMatch(LabelMatch):
    """The same for a task of the bundle that has no word of its own here."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str


@dataclass(frozen=True, kw_only=True)
class JailbreakMatch:
    """The detector's score reaches a value."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    at_least: float | None = None
    """None takes the bundle's threshold."""

    def __post_init__(self) -> None:
        check_share("at_least", self.at_least)


@dataclass(frozen=True, kw_only=True)
class EntityMatch:
    """The text holds an entity of one of these types."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    types: tuple[str, ...]
    """``*`` stands for any type."""
    at_least: float | None = None
    """Score that counts, beyond the bundle's own threshold."""

    def __post_init__(self) -> None:
        check_share("at_least", self.at_least)
        if not self.types:
            raise ValueError("types must name at least one entity type, or '*' for any")


@dataclass(frozen=True, kw_only=True)
class KeywordMatch:
    """The text holds one of these words or phrases, as whole words."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    words: tuple[str, ...]
    match: Literal["any", "all"] = "any"
    case_sensitive: bool = False

    def __post_init__(self) -> None:
        if not self.words or any(is_blank(word) for word in self.words):
            raise ValueError("words must name at least one word, and none may be blank")


@dataclass(frozen=True, kw_only=True)
class LengthMatch:
    """The length of the text lies in a range, both ends included."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    at_least: int | None = None
    at_most: int | None = None
    unit: Literal["characters", "tokens"] = "characters"

    def __post_init__(self) -> None:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError("text_length needs at_least, at_most or both")
        if min(low or 0, high or 0) < 0 or (low and high is not None and low > high):
            raise ValueError("text_length needs 0 <= at_least <= at_most")


@dataclass(frozen=True, kw_only=True)
class HeaderMatch:
    """The client sent a header, with a value when one is stated."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    """Compared without regard to case; values are compared exactly."""
    equals: str | None = None
    one_of: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.equals is not None and self.one_of is not None:
            raise ValueError("a header takes equals or one_of, not both")

    @property
    def values(self) -> tuple[str, ...] | None:
        """Values that match; None when presence is enough."""
        return self.one_of if self.equals is None else (self.equals,)


def _labels(value: Any) -> Any:
    return _listed(value, "labels")


def _entities(value: Any) -> Any:
    return _listed(value, "types")


def _words(value: Any) -> Any:
    return _listed(value, "words")


def _header(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _jailbreak(value: Any) -> Any:
    if value is True:
        return {}
    if value is False:
        raise ValueError("write not: {jailbreak: true}")
    return {"at_least": value} if isinstance(value, int | float) else value


_Names = str | list[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One condition: exactly one of the fields is given."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    all: tuple["Rule", ...] | None = None
    any: tuple["Rule", ...] | None = None
    not_: Annotated["Rule | None", Field(alias="not")] = None
    domain: Annotated[
        LabelMatch | None,
        BeforeValidator(_labels, json_schema_input_type=_Names | LabelMatch),
    ] = None
    intent: Annotated[
        LabelMatch | None,
        BeforeValidator(_labels, json_schema_input_type=_Names | LabelMatch),
    ] = None
    task: TaskMatch | None = None
    jailbreak: Annotated[
        JailbreakMatch | None,
        BeforeValidator(
            _jailbreak, json_schema_input_type=Literal[True] | float | JailbreakMatch
        ),
    ] = None
    pii: Annotated[
        EntityMatch | None,
        BeforeValidator(_entities, json_schema_input_type=_Names | EntityMatch),
    ] = None
    keyword: Annotated[
        KeywordMatch | None,
        BeforeValidator(_words, json_schema_input_type=_Names | KeywordMatch),
    ] = None
    text_length: LengthMatch | None = None
    header: Annotated[
        HeaderMatch | None,
        BeforeValidator(_header, json_schema_input_type=str | HeaderMatch),
    ] = None

    def __post_init__(self) -> None:
        given = [f.name.rstrip("_") for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "nothing"
            raise ValueError(
                f"a rule holds exactly one condition, found {found}; combine several with "
                "all: [...] or any: [...]"
            )
        if self.all == () or self.any == ():
            raise ValueError(f"{given[0]} needs at least one rule")


@dataclass(frozen=True, kw_only=True)
class TaskNames:
    """Which task of the bundle answers which question."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    domain: str = "category"
    intent: str = "intent"
    jailbreak: str = "jailbreak"
    pii: str = "pii"


def leaves(rule: Rule) -> Iterable[Rule]:
    """The conditions of a tree, without all, any and not."""
    inner = rule.all or rule.any or ((rule.not_,) if rule.not_ else ())
    if not inner:
        yield rule
    for child in inner:
        yield from leaves(child)


def label_match(rule: Rule, tasks: TaskNames) -> tuple[str, str, LabelMatch] | None:
    """Kind, task name and match of a condition on a label; None for other conditions."""
    if rule.domain is not None:
        return "domain", tasks.domain, rule.domain
    if rule.intent is not None:
        return "intent", tasks.intent, rule.intent
    if rule.task is not None:
        return f"task {rule.task.name}", rule.task.name, rule.task
    return None


def asked_tasks(trees: Iterable[Rule | None], tasks: TaskNames) -> tuple[str, ...]:
    """Tasks whose labels some tree asks for, sorted."""
    asked = (label_match(leaf, tasks) for tree in trees if tree for leaf in leaves(tree))
    return tuple(sorted({labelled[1] for labelled in asked if labelled is not None}))
