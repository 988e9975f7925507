"""What the classifier answers about a text, and its form as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routewright.labels import Span


@dataclass(frozen=True, slots=True)
class SequenceAnswer:
    """The answer of a sequence head."""

    label: str
    """The most probable label; of a detector, its positive label if and only if `flagged`."""
    confidence: float
    """Probability of `label`; of a flagged detector with a low threshold it may be small."""
    probabilities: Mapping[str, float]
    """Of every label, in the order of the label set; they sum to 1."""
    abstained: bool
    """Whether `confidence` is below the task's threshold, so `label` should not be acted on."""
    flagged: bool | None
    """Of a detector: whether its positive label's probability reaches the threshold (0.5 if
    none is set). None for other tasks."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; probabilities rounded to 6 decimals."""
        plain: dict[str, Any] = {
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "abstained": self.abstained,
        }
        if self.flagged is not None:
            plain["flagged"] = self.flagged
        return plain


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything the heads say about one text."""

    text: str
    sequence: Mapping[str, SequenceAnswer]
    """By task name."""
    spans: Mapping[str, list[Span]]
    """Entities by name of the token task; ``text[span.start:span.end]`` is the entity."""
    num_windows: int
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """``tokenize``, ``inference``, ``decode`` and their sum ``total``. In a batch the first and
    the last are equal shares of it, the second the share of the text's windows. An answer of
    the batcher also has ``queue``, which counts into the total."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values without the text: a key for each task, and those of the fields."""
        plain: dict[str, Any] = {name: a.to_dict() for name, a in self.sequence.items()}
        for name, spans in self.spans.items():
            plain[name] = [
                {"start": s.start, "end": s.end, "label": s.label, "score": round(s.score, 6)}
                for s in spans
            ]
        plain["num_windows"] = self.num_windows
        plain["timings_ms"] = {name: round(ms, 3) for name, ms in self.timings_ms.items()}
        return plain
