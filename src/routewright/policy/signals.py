"""What is known about a request when its route is decided: plain values, no model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from routewright.labels import Span

DETECTOR_THRESHOLD = 0.5
"""Of a detector whose bundle states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceSignal:
    """The answer of one sequence task."""

    label: str
    confidence: float
    """Probability of `label`, in [0, 1]."""
    probabilities: Mapping[str, float]
    """Of every label."""
    abstained: bool = False
    """Whether `confidence` is below `threshold`, so that the label must not route."""
    threshold: float | None = None
    """The bundle's, or the policy's where it states one."""
    positive: str | None = None
    """The label that a detector looks for."""

    @property
    def score(self) -> float | None:
        """Probability of a detector's positive label; None for other tasks."""
        return None if self.positive is None else self.probabilities[self.positive]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """Everything `decide` looks at; the texts in it appear in no `repr`."""

    text: str = field(default="", repr=False)
    """What keywords are searched in and what lengths are counted of."""
    num_tokens: int | None = None
    """Of `text`; None when it was not tokenised."""
    sequence: Mapping[str, SequenceSignal] = field(default_factory=dict)
    """By task name. A task that is missing gave no answer."""
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    """By name of the token task. A task that is missing gave no answer."""
    failure: str = "no answer"
    """Why tasks are missing, for reasons: a class of failure, never text of the request."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name in lower case."""
    requested_model: str | None = None
    """What the client wrote as ``model``; None asks for automatic choice."""
    key: str = field(default="", repr=False)
    """What weighted candidates are drawn by: equal keys, equal choice."""
    open_tool_loop: bool = False
    """Whether the last message answers a tool call, so the model waits for it."""
    in_session: bool = False
    """Whether the client named a session."""
    continues_answer: bool = False
    """Whether the request goes on from an answer that only the previous model's server has."""
    previous_model: str | None = None
    """Which served the conversation's last turn, where that is known."""
    previous_decision: str | None = None
    """The name of the decision of that turn."""
