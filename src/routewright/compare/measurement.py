"""What is measured of each model in a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from routewright.config import STRICT, to_plain
from routewright.metrics import Estimate


@dataclass(frozen=True, kw_only=True)
class MeasurementRequest:
    """What a measuring process shall do; it finds this as JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    target: str
    """Path of a bundle or run folder."""
    task: str
    data: str
    precision: str | None = None
    num_threads: int | None = None
    limit: int | None = None
    """Rows of `data` to take: a seeded stratified sample, the same for every target."""
    label_map: Mapping[str, str | None] | None = None
    """New names of labels of `data`; null drops one."""
    only_types: list[str] | None = None
    """The only entity types compared; None for all."""
    coarse: bool = False
    """Whether labels are compared by their coarse names."""
    num_resamples: int = 1000


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One model, measured in a process of its own."""

    target: str
    name: str
    kind: str
    """``bundle`` or ``run``."""
    precision: str
    num_examples: int
    metrics: dict[str, Estimate]
    """The main metrics of the task, with 95 % bootstrap intervals."""
    latency_p50_ms: float
    """Of one text at a time, tokenising and decoding included."""
    latency_p95_ms: float
    num_latency_texts: int
    texts_per_s: float
    """In batches, over all examples."""
    tokens_per_s: float
    peak_memory_bytes: int
    """Of the whole process, from its start to the end of the timed passes."""
    size_bytes: int
    """On disk, as `routewright.evaluate.Target` counts it."""
    num_parameters: int | None
    """Of the whole model while it trained; known for runs."""
    num_trained_parameters: int | None
    """Those of them that training changed; known for runs."""
    train_s: float | None
    """Of a run: how long training took, all resumptions together."""
    train_peak_memory_bytes: int | None
    """Of a run: main memory of the training process."""
    train_peak_gpu_memory_bytes: int | None
    """Of a run: memory of tensors on its GPU; None if it was trained without one."""
    deterministic: bool
    """Whether two passes over the same texts gave bit-identical logits."""
    ece: float | None
    confidence_right: float | None
    """Mean confidence of right answers."""
    confidence_wrong: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a measuring process hands back."""

    measurement: Measurement
    resampled: dict[str, list[float]]
    """Values of the main metrics on each bootstrap resample; NaN where undefined."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better or worse a target is than the first one."""

    target: str
    against: str
    metrics: dict[str, Estimate]
    """Value minus that of the first; the 95 % interval is a paired bootstrap over the same
    resampled texts, so a difference whose interval lacks 0 is more than chance."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models side by side on the same rows and the same machine."""

    task: str
    data: str
    only_types: list[str] | None
    """The only entity types compared; None for all."""
    coarse: bool
    """Whether labels were compared by their coarse names."""
    created: str
    """UTC, ISO 8601."""
    machine: dict[str, str | int | float]
    """As `describe_machine` names it."""
    versions: dict[str, str]
    commit: str | None
    """Of the repository the package runs from; None for an installed one."""
    targets: list[Measurement]
    differences: list[Difference]
    """Of every target but the first."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = to_plain(self)
        return plain
