"""What clients get: the dataclasses that answers are written from and OpenAPI describes.

A field that is None is left out of the answer. Times are whole milliseconds, rounded up, as in
the original router; the header ``server-timing`` has them in full.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from routewright.gateway.api.requests import DESCRIBED

Recommendation = Literal["allow", "block"]
RoutingDecision = Literal["high_confidence_specialized", "low_confidence_general"]

HIDDEN_VALUE = "[DETECTED]"
"""Stands for an entity's text, unless the client asks for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """The most probable category."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    category: str
    confidence: float
    """Calibrated probability of the category."""
    processing_time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentResult:
    """The domain of a text, and which model the policy recommends for it."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    classification: Category
    probabilities: Mapping[str, float] | None = None
    """Of every category; they sum to 1."""
    recommended_model: str
    """Where the policy sends this text, if nothing but the text is known."""
    routing_decision: RoutingDecision
    """Whether the confidence reaches the threshold below which a category does not route."""
    threshold: float | None = None
    """That threshold; left out if there is none."""
    decision: str | None = None
    """The decision of the policy that was taken; left out if none was."""
    explanation: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchIntentResult:
    """The domain of one text of a batch."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    category: str
    confidence: float
    processing_time_ms: int
    probabilities: Mapping[str, float] | None = None
    recommended_model: str
    routing_decision: RoutingDecision
    threshold: float | None = None
    decision: str | None = None
    explanation: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """An entity of personal data."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    type: str
    value: str
    """Its text if the client asks for it, else `[DETECTED]`."""
    confidence: float
    start_position: int | None = None
    """First code point of the entity in the text; 0 is a position."""
    end_position: int | None = None
    """The code point after its last one."""
    masked_value: str | None = None
    """The placeholder that stands for it in `masked_text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PiiResult:
    """The personal data in a text."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    has_pii: bool
    entities: list[Entity]
    masked_text: str | None = None
    security_recommendation: Recommendation
    """`block` if an entity was found; what the policy would do is answered by `/route`."""
    processing_time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityResult:
    """Whether a text is an attack."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    is_jailbreak: bool
    """Whether `risk_score` reaches `threshold`."""
    risk_score: float
    """Calibrated probability of an attack; of a long text, that of its worst window."""
    threshold: float
    detection_types: list[Literal["jailbreak"]]
    """What was detected."""
    confidence: float
    """Probability of the verdict: `risk_score` if it is one, else 1 - `risk_score`."""
    recommendation: Recommendation
    reasoning: str | None = None
    patterns_detected: list[str]
    """Always empty: the model finds no named patterns."""
    processing_time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CombinedResult:
    """Everything about a text, from one forward pass."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    intent: IntentResult
    pii: PiiResult
    security: SecurityResult
    processing_time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Counts over the results of a batch."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    category_distribution: Mapping[str, int]
    """Texts by category; for `pii`, entities by type; for `security`, texts by verdict."""
    avg_confidence: float | None = None
    """Mean over what `category_distribution` counts; left out if that is nothing."""
    low_confidence_count: int
    """Texts with `low_confidence_general`; for `security`, texts about which `low` and `high`
    sensitivity disagree; for `pii` always 0, as entities below the threshold are not kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """Results in the order of the texts; of one kind, by task type."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    results: (
        list[BatchIntentResult] | list[PiiResult] | list[SecurityResult] | list[CombinedResult]
    )
    total_count: int
    processing_time_ms: int
    """From the request's arrival to the last text's answer."""
    statistics: Statistics
    """For `all`, those of intent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelAnswer:
    """The answer of a sequence task."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    label: str
    confidence: float
    probabilities: Mapping[str, float]
    abstained: bool
    """Whether `confidence` is below the bundle's threshold."""
    flagged: bool | None = None
    """Of a detector: whether its score reaches the bundle's threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanAnswer:
    """An entity of a token task; positions count code points."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    start: int
    end: int
    label: str
    score: float


ClassifyResult = Mapping[str, LabelAnswer | list[SpanAnswer] | Mapping[str, float] | int]
"""By name of the task; besides ``num_windows``, ``processing_time_ms`` and ``timings_ms``; the
last is empty if the text was answered from memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyResults:
    """Answers in the order of the texts."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    results: list[ClassifyResult]
    total_count: int
    processing_time_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDetail:
    """What is wrong, and what to do."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    code: str
    """One of a closed list, such as `INVALID_INPUT`."""
    message: str
    timestamp: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorResult:
    """The body of every answer that is not 2xx, but for readiness."""

    __pydantic_config__: ClassVar[ConfigDict] = DESCRIBED

    error: ErrorDetail


def to_json(result: Any) -> bytes:
    """The body of an answer, from one of the dataclasses here."""
    cls: Any = type(result)
    return _adapter(cls).dump_json(result, exclude_none=True)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
