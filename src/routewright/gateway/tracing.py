"""One OpenTelemetry span a request, with one below it for each stage; the extra ``otel``.

A request's span begins with it, so that the model's own can hang below; all else is made from
the finished record, after the answer, and costs the request nothing. Attributes are numbers and
words of the closed sets of `telemetry`, as in metrics and logs.
Switched on by the standard environment variables; without them nothing here is imported.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from routewright.gateway.observation import RequestRecord, guard_action
from routewright.gateway.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PREFIX = "routewright."
_FLUSH_MS = 3000


class Tracing:
    """Turns records into spans."""

    def __init__(self, processor: "SpanProcessor", telemetry: Telemetry) -> None:
        """Hand spans to `processor`; `telemetry` knows the closed sets."""
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        given = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
        resource = Resource.create({SERVICE_NAME: given or "routewright"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("routewright")
        self._propagator = TraceContextTextMapPropagator()
        self._telemetry = telemetry

    def begin(self, record: RequestRecord) -> None:
        """Begin a request's span, below the client's, and note its context for the model."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        carrier = {"traceparent": record.traceparent} if record.traceparent else {}
        parent = self._propagator.extract(carrier)
        span = self._tracer.start_span(
            "routewright", parent, kind=SpanKind.SERVER, start_time=record.started_unix_ns
        )
        sent: dict[str, str] = {}
        self._propagator.inject(sent, set_span_in_context(span))
        record.span, record.own_traceparent = span, sent.get("traceparent")

    def observe(self, record: RequestRecord) -> None:
        """Emit the spans of a request that has ended."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        if record.span is None:  # the door itself refused it
            self.begin(record)
        span = cast("Span", record.span)
        start_ns = record.started_unix_ns
        span.update_name(f"routewright {self._telemetry.known('endpoint', record.endpoint)}")
        self._describe(span, record)
        inside = set_span_in_context(span)
        for stage in record.stages:
            name = self._telemetry.known("stage", stage.name)
            begin_ns = start_ns + round(stage.start_s * 1e9)
            child = self._tracer.start_span(name, inside, start_time=begin_ns)
            child.end(begin_ns + round(stage.duration_s * 1e9))
        if record.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        # Where the answer is left alone, what is ours ends with the decision.
        ended_s = record.duration_s or record.added_s or record.elapsed_s()
        span.end(start_ns + round(ended_s * 1e9))

    def close(self) -> None:
        """Send what is left."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()

    def _describe(self, span: "Span", record: RequestRecord) -> None:
        known = self._telemetry.known
        words = {
            "door": known("door", record.door),
            "endpoint": known("endpoint", record.endpoint),
            "outcome": known("outcome", record.outcome),
            "decision": known("decision", record.decision or "none"),
            "model": known("model", record.model or "none"),
        }
        if record.error is not None:
            words["error"] = known("code", record.error)
        for outcome in record.guards:
            action = guard_action(outcome, timed_out=outcome.guard in record.timed_out)
            words[f"guard.{known('guard', outcome.guard)}"] = known("action", action)
        for name, word in words.items():
            span.set_attribute(_PREFIX + name, word)
        span.set_attribute(f"{_PREFIX}texts", record.num_texts)
        span.set_attribute(f"{_PREFIX}tokens", record.num_tokens)
        span.set_attribute(f"{_PREFIX}entities", sum(record.num_entities.values()))
        if record.status is not None:
            span.set_attribute("http.response.status_code", record.status)
        if record.added_s is not None:
            span.set_attribute(f"{_PREFIX}added_s", record.added_s)


def start_tracing(environment: Mapping[str, str], telemetry: Telemetry) -> Tracing | None:
    """Export spans over OTLP if the environment names where to; else None.

    Args:
        environment: with the standard ``OTEL_*`` variables, the others of which the exporter
            and the SDK read themselves.
        telemetry: knows the closed sets.
    """
    wanted = any(environment.get(name) for name in ENDPOINT_VARIABLES)
    switched_off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    )
    if not wanted or switched_off:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("no traces: pip install 'routewright[otel]' brings what they need")
        return None
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()), telemetry)
