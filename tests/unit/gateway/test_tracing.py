"""Spans of finished requests: what they say, what they hang below, when there are any."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.gateway_parts import ATTACK, chat, make_gateway, run

from routewright.gateway.exchange import Forward, Outcome
from routewright.gateway.observation import RequestRecord, Stage
from routewright.gateway.pipeline import Pipeline
from routewright.gateway.telemetry import Telemetry, Vocabulary
from routewright.gateway.tracing import Tracing, start_tracing
from routewright.policy.guards import GuardOutcome

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VOCABULARY = Vocabulary(decisions=["maths"], models=["large"])


def finished(**fields: object) -> RequestRecord:
    record = RequestRecord("http", started_unix_ns=1_700_000_000_000_000_000)
    record.endpoint, record.outcome, record.duration_s = "chat", "forwarded", 0.5
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def spans_of(
    *records: RequestRecord, vocabulary: Vocabulary = VOCABULARY
) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), Telemetry(vocabulary))
    for record in records:
        tracing.observe(record)
    tracing.close()
    return list(exporter.get_finished_spans())


def request_span(spans: Sequence[ReadableSpan]) -> ReadableSpan:
    [found] = [span for span in spans if span.kind is SpanKind.SERVER]
    return found


def test_a_request_is_one_span_with_one_below_it_for_each_stage() -> None:
    stages = [Stage("read", 0.0, 0.001), Stage("inference", 0.002, 0.01)]
    spans = spans_of(finished(stages=stages, decision="maths", model="large", status=200))
    request = request_span(spans)
    assert request.name == "routewright chat"
    assert (request.end_time or 0) - (request.start_time or 0) == 500_000_000
    attributes = dict(request.attributes or {})
    assert attributes["routewright.decision"] == "maths"
    assert attributes["routewright.model"] == "large"
    assert attributes["http.response.status_code"] == 200
    children = [span for span in spans if span is not request]
    assert [child.name for child in children] == ["read", "inference"]
    assert request.context is not None
    for child in children:
        assert child.parent is not None
        assert child.parent.span_id == request.context.span_id
    assert (children[1].start_time or 0) - (request.start_time or 0) == 2_000_000


def test_a_trace_of_the_client_is_gone_on_with() -> None:
    request = request_span(spans_of(finished(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")))
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert f"{request.parent.span_id:016x}" == SPAN_ID


@pytest.mark.parametrize("given", [None, "", "canary", f"00-{'0' * 32}-{SPAN_ID}-01"])
def test_without_a_valid_trace_of_the_client_one_begins(given: str | None) -> None:
    assert request_span(spans_of(finished(traceparent=given))).parent is None


def test_a_client_that_does_not_want_to_be_traced_is_not() -> None:
    assert spans_of(finished(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")) == []


def sent_to_models(given: str | None, *, traced: bool) -> tuple[list[str | None], str]:
    """The header that the gateway sets, forwarding and failing open; and its span's own."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), Telemetry(VOCABULARY))
    headers = {":path": "/v1/chat/completions", ":method": "POST"}
    headers |= {} if given is None else {"traceparent": given}

    async def play() -> list[str | None]:
        engine = make_gateway({"guards": {}}).engine
        begin = tracing.begin if traced else None
        handler = Pipeline(engine, (tracing.observe,), begin).handler("http")
        routes = [await handler.on_request(headers, json.dumps(chat("hello")).encode())]
        routes.append(handler.unguarded())
        handler.on_end(Outcome.COMPLETE)
        await engine.close()
        sent = [route for route in routes if isinstance(route, Forward)]
        return [route.set_headers.get("traceparent") for route in sent]

    sent = run(play())
    tracing.close()
    spans = exporter.get_finished_spans()
    own = request_span(spans).context if spans else None
    if own is None:
        return sent, ""
    return sent, f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


@pytest.mark.parametrize("given", [None, "canary", f"00-{TRACE_ID}-{SPAN_ID}-01"])
def test_the_models_span_hangs_below_ours(given: str | None) -> None:
    sent, own = sent_to_models(given, traced=True)
    assert sent == [own, own]
    assert own
    assert (TRACE_ID in own) == (given is not None and TRACE_ID in given)


def test_a_model_hears_that_a_client_does_not_want_to_be_traced() -> None:
    [sent, _], own = sent_to_models(f"00-{TRACE_ID}-{SPAN_ID}-00", traced=True)
    assert own == ""
    assert sent is not None
    assert sent.startswith(f"00-{TRACE_ID}-")
    assert sent.endswith("-00")


def test_without_tracing_the_clients_header_is_left_as_it_came() -> None:
    sent, _ = sent_to_models(f"00-{TRACE_ID}-{SPAN_ID}-01", traced=False)
    assert sent == [None, None]


def test_words_outside_the_closed_sets_do_not_reach_a_span() -> None:
    canary = "canary-7f3a"
    record = finished(
        door=canary,
        endpoint=canary,
        decision=canary,
        model=canary,
        error=canary,
        stages=[Stage(canary, 0.0, 0.1)],
        outcome=canary,
        abstained=(canary,),
        num_entities={canary: 1},
    )
    assert canary not in "".join(span.to_json() for span in spans_of(record))


def test_what_a_guard_did_is_an_attribute() -> None:
    guard = GuardOutcome(
        guard="jailbreak", mode="enforce", action="block", would="block", reason="canary"
    )
    [span] = spans_of(finished(guards=(guard,), outcome="blocked"))
    assert (span.attributes or {})["routewright.guard.jailbreak"] == "blocked"
    assert "canary" not in span.to_json()


def test_a_failed_request_is_an_error() -> None:
    [span] = spans_of(finished(outcome="failed", error="deadline"))
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["routewright.error"] == "deadline"


def test_a_request_through_the_pipeline_leaves_no_text_in_its_spans() -> None:
    async def play() -> RequestRecord:
        gateway = make_gateway()
        asked = await gateway.ask(chat(f"{ATTACK} canary-7f3a", user="canary-7f3a"))
        asked.handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()
        return gateway.records[0]

    spans = spans_of(run(play()), vocabulary=Vocabulary(models=["small"]))
    assert {"inference", "policy"} <= {span.name for span in spans}
    assert "canary" not in "".join(span.to_json() for span in spans)


def test_the_service_has_a_name_that_the_environment_may_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spans_of(finished())[0].resource.attributes["service.name"] == "routewright"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front-door")
    assert spans_of(finished())[0].resource.attributes["service.name"] == "front-door"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_there_is_no_tracing(environment: dict[str, str]) -> None:
    assert start_tracing(environment, Telemetry()) is None


def test_an_endpoint_switches_it_on() -> None:
    environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}
    tracing = start_tracing(environment, Telemetry())
    assert tracing is not None
    tracing.close()


def test_importing_it_loads_nothing_of_opentelemetry() -> None:
    code = (
        "import sys, routewright.gateway.tracing as t\n"
        "from routewright.gateway.telemetry import Telemetry\n"
        "t.start_tracing({}, Telemetry())\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
