"""What an evaluation found, in the form that ``report.json`` has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routewright.config import to_plain
from routewright.metrics import ConfusionMatrix, Estimate

Row = dict[str, float | int | None]


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """Which model answered, and how its answers were read."""

    name: str = ""
    path: str = ""
    precision: str = ""
    """``int8`` or ``fp32``; empty where the caller built the classifier."""
    sha256: str = ""
    """Of the file with the weights."""
    coarse: bool = False
    """Whether labels were compared by their coarse names."""
    only_types: list[str] | None = None
    """The only entity types compared; None for all."""
    second_look: bool = False
    """Whether rules checked the entities; never those of other tasks."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """How far the model's probabilities can be believed, and what its threshold does.

    For token tasks the calibration errors are those of single tokens, the rest is of entities.
    """

    temperature: float
    threshold: float | None
    operating_point: Mapping[str, Any] | None
    ece_before: float | None
    """Expected calibration error of the plain softmax; None where it cannot be known, as when
    only some entity types are annotated."""
    ece_after: float | None
    """The same as calibrated: by the temperature and, where there is one, the beta curve."""
    abstained_share: float | None
    """Share of texts below the threshold; None for detectors, token tasks, or no threshold."""
    accepted_accuracy: float | None
    """Accuracy on the texts at or above it."""
    flagged_share: float | None
    """Share of all texts that a detector flags; None for other tasks."""
    confidence_right: float | None
    """Mean confidence of right answers; of entities, of those with exact bounds and type."""
    confidence_wrong: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """One task of one model on one data file."""

    task: str
    data: str
    """The file; empty for examples in memory."""
    num_examples: int
    metrics: dict[str, Estimate]
    """Names as in `routewright.metrics.sequence` and `routewright.metrics.spans`; intervals are
    95 % bootstrap intervals over texts."""
    per_class: dict[str, Row]
    confusion_matrix: ConfusionMatrix
    by_length: dict[str, Row]
    """Token range to `num_examples` and the main metrics; ranges without texts are left out."""
    by_source: dict[str, Row]
    """The same by the column ``source``; empty where the data has none."""
    calibration: CalibrationRecord
    model: ModelRecord
    created: str
    """UTC, ISO 8601."""
    duration_s: float
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, keys in the order of the fields."""
        plain: dict[str, Any] = to_plain(self)
        return plain
