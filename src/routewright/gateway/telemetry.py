"""The closed list of metrics, and what their labels may say.

A label value that is not in its closed set becomes ``other``, so neither a client's text nor
its headers can reach a metric, and the number of series is bounded by the configuration.
Durations are seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
PREFIX = "routewright_"

FIXED_LABELS: Mapping[str, frozenset[str]] = {
    "door": frozenset({"ext_proc", "http", "api"}),
    "endpoint": frozenset({
        "chat", "completions", "responses", "embeddings", "models",
        "classify_intent", "classify_pii", "classify_security", "classify_combined",
        "classify_batch", "classify", "route", "info", "admin", "health",
    }),
    "outcome": frozenset({"forwarded", "blocked", "answered", "refused", "failed", "aborted",
                          "done", "kept", "duplicate", "over_limit", "unmasked", "unsuitable",
                          "dropped"}),
    "guard": frozenset({"jailbreak", "pii"}),
    "mode": frozenset({"block", "enforce", "shadow", "off"}),
    "action": frozenset({
        "passed", "blocked", "masked", "would_block", "would_mask", "failed_open",
        "failed_closed", "timed_out",
    }),
    "stage": frozenset({
        "read", "tokenize", "queue", "inference", "decode", "policy", "rewrite", "upstream",
    }),
    "code": frozenset({
        "error", "config", "bundle", "integrity", "golden", "serving", "overloaded",
        "deadline", "closed", "request", "unknown_model", "too_large", "not_found", "upstream",
        "timeout", "unauthorized", "internal", "request_timeout",
    }),
    "status_class": frozenset({"1xx", "2xx", "3xx", "4xx", "5xx", "none"}),
    "part": frozenset({"bundle", "policy"}),
    "of": frozenset({"label", "confidence", "entities", "tokens"}),
    "which": frozenset({"reference", "recent"}),
}  # fmt: skip
"""Values that the code knows; `Vocabulary` adds those of the configuration."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Names that the configuration and the bundle bring: the rest of the closed sets."""

    decisions: Iterable[str] = ()
    models: Iterable[str] = ()
    tasks: Iterable[str] = ()
    entity_types: Iterable[str] = ()

    def labels(self) -> dict[str, frozenset[str]]:
        """All label names with the values each may have."""
        return {
            **FIXED_LABELS,
            "decision": frozenset({*self.decisions, "none"}),
            "model": frozenset({*self.models, "none"}),
            "task": frozenset({*self.tasks, "none"}),
            "entity_type": frozenset(self.entity_types),
        }


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One line of the closed list."""

    name: str
    """Without the prefix; counters end in ``_total``, durations in ``_seconds``."""
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        "requests_total", "counter", "Requests by outcome.", ("door", "endpoint", "outcome")
    ),
    MetricSpec(
        "request_seconds",
        "histogram",
        "From a request's arrival to the last byte of its answer.",
        ("door", "endpoint"),
    ),
    MetricSpec(
        "added_seconds", "histogram", "From a request's arrival to its going on.", ("door",)
    ),
    MetricSpec(
        "in_flight_requests", "gauge", "Requests being decided about or answered here.",
        ("door",),
    ),
    MetricSpec(
        "decisions_total", "counter", "Decisions and the model chosen.", ("decision", "model")
    ),
    MetricSpec("abstentions_total", "counter", "Signals below their threshold.", ("task",)),
    MetricSpec(
        "guards_total", "counter", "What guards did or would do.", ("guard", "mode", "action")
    ),
    MetricSpec(
        "pii_entities_total", "counter", "Entities found in requests.",
        ("entity_type", "action"),
    ),
    MetricSpec(
        "unread_parts_total", "counter", "Images, sounds and files that no guard has seen.",
        ("door",),
    ),
    MetricSpec("errors_total", "counter", "Errors by code.", ("door", "code")),
    MetricSpec("stage_seconds", "histogram", "Time of a request in a stage.", ("stage",)),
    MetricSpec(
        "upstream_requests_total", "counter", "Requests sent to models, retries included.",
        ("model", "status_class"),
    ),
    MetricSpec(
        "upstream_first_byte_seconds", "histogram", "Until a model's answer began.", ("model",)
    ),
    MetricSpec(
        "swaps_total", "counter", "New bundles and policies put in place or refused.",
        ("part", "outcome"),
    ),
    MetricSpec(
        "review_rows_total", "counter", "Rows for people to label, and those not kept.",
        ("task", "outcome"),
    ),
    MetricSpec("ready", "gauge", "1 when requests are taken, else 0."),
)  # fmt: skip

ENGINE_METRICS: Mapping[str, tuple[Literal["counter", "gauge"], str]] = {
    "batches_total": ("counter", "Forward passes."),
    "texts_total": ("counter", "Texts answered."),
    "tokens_total": ("counter", "Tokens through the model, padding not counted."),
    "dropped_texts_total": ("counter", "Texts given up or past their deadline."),
    "refused_texts_total": ("counter", "Texts refused because the queue was full."),
    "queue_seconds_total": ("counter", "Sum of the waits of answered texts."),
    "inference_seconds_total": ("counter", "Sum of the forward passes."),
    "queued_tokens": ("gauge", "Tokens waiting for a batch."),
}
"""Read from the engine when asked for; ``routewright_engine_`` comes before the name."""

DRIFT_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        "drift_psi", "gauge",
        "Population stability index of the newest requests against the reference.",
        ("task", "of"),
    ),
    MetricSpec("drift_requests", "gauge", "Requests that are compared.", ("which",)),
)  # fmt: skip
"""Worked out when asked for."""

Samples = Mapping[str, Iterable[tuple[tuple[str, ...], float]]]
"""By name of the metric: values of its labels, and its value with these."""

BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip


class Telemetry:
    """The metrics of one gateway, in a registry of their own."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self.registry = CollectorRegistry()
        self._labels = (vocabulary or Vocabulary()).labels()
        self._specs = {spec.name: spec for spec in METRICS}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in METRICS:
            name = PREFIX + spec.name
            if spec.kind == "counter":
                self._counters[spec.name] = Counter(
                    name, spec.help, spec.labels, registry=self.registry
                )
            elif spec.kind == "gauge":
                self._gauges[spec.name] = Gauge(
                    name, spec.help, spec.labels, registry=self.registry
                )
            else:
                self._histograms[spec.name] = Histogram(
                    name, spec.help, spec.labels, registry=self.registry, buckets=BUCKETS_S
                )

    def extend(self, vocabulary: Vocabulary) -> None:
        """Know the names of a new configuration too; those before keep their series."""
        for name, values in vocabulary.labels().items():
            self._labels[name] = self._labels[name] | values

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter.

        Raises:
            ValueError: no such counter, or other labels than it has.
        """
        values = self._values("counter", name, labels)
        metric = self._counters[name]
        (metric.labels(*values) if values else metric).inc(amount)

    def observe(self, name: str, duration_s: float, **labels: str) -> None:
        """Add a duration to a histogram; errors as for `count`."""
        values = self._values("histogram", name, labels)
        metric = self._histograms[name]
        (metric.labels(*values) if values else metric).observe(duration_s)

    def gauge(self, name: str, change: float, **labels: str) -> None:
        """Add `change` to a gauge; errors as for `count`."""
        values = self._values("gauge", name, labels)
        metric = self._gauges[name]
        (metric.labels(*values) if values else metric).inc(change)

    def watch_engine(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Ask `read` for values named as in `ENGINE_METRICS` at every scrape."""
        self.registry.register(_EngineCollector(read))

    def watch_drift(self, read: Callable[[], Samples]) -> None:
        """Ask `read` for values of `DRIFT_METRICS` at every scrape."""
        self.registry.register(_DriftCollector(read, self.known))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format; its content type is `CONTENT_TYPE`."""
        return generate_latest(_WithoutCreated(self.registry))

    def known(self, label: str, value: str) -> str:
        """`value` if it is in the closed set of `label`, else ``other``."""
        return value if value in self._labels[label] else OTHER

    def _values(self, kind: str, name: str, labels: Mapping[str, str]) -> list[str]:
        spec = self._specs.get(name)
        if spec is None or spec.kind != kind or set(labels) != set(spec.labels):
            named = ", ".join(labels) or "none"
            raise ValueError(f"there is no {kind} {name} with labels {named}")
        return [self.known(label, labels[label]) for label in spec.labels]


class _WithoutCreated(CollectorRegistry):
    """A registry's metrics without their ``_created`` times: a series each that nobody reads.

    The library's own switch for them is global to the process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            kept = [s for s in family.samples if not s.name.endswith("_created")]
            family.samples = kept
            yield family


class _EngineCollector(Collector):
    """Turns the engine's own counters into metrics, so they are counted once."""

    def __init__(self, read: Callable[[], Mapping[str, float]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        values = self._read()
        for name, (kind, text) in ENGINE_METRICS.items():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(f"{PREFIX}engine_{name}", text, value=values[name])


class _DriftCollector(Collector):
    """Turns what drift was worked out into metrics."""

    def __init__(self, read: Callable[[], Samples], known: Callable[[str, str], str]) -> None:
        self._read = read
        self._known = known

    def describe(self) -> Iterable[Metric]:
        """No values: they are not there yet when this is registered."""
        return [GaugeMetricFamily(PREFIX + spec.name, spec.help) for spec in DRIFT_METRICS]

    def collect(self) -> Iterator[Metric]:
        samples = self._read()
        for spec in DRIFT_METRICS:
            family = GaugeMetricFamily(PREFIX + spec.name, spec.help, labels=spec.labels)
            for values, value in samples[spec.name]:
                labels = zip(spec.labels, values, strict=True)
                family.add_metric([self._known(*label) for label in labels], value)
            yield family
