"""Metrics with closed sets of labels, and log lines without a word of the client's."""

import ast
import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.gateway_parts import ATTACK, broken_classifier, chat, make_gateway, run
from tests.http_parts import Script, ScriptedHandler
from tests.log_lines import our_lines

import routewright
from routewright.errors import RequestError, ServingError
from routewright.gateway.bodies.reading import parse_body
from routewright.gateway.exchange import Outcome
from routewright.gateway.guarded import GuardedHandler, OnError
from routewright.gateway.logs import ID_FIELDS, NUMBER_FIELDS, JsonFormatter
from routewright.gateway.observation import RequestRecord, logging_requests
from routewright.gateway.telemetry import (
    DRIFT_METRICS,
    ENGINE_METRICS,
    FIXED_LABELS,
    METRICS,
    Telemetry,
    Vocabulary,
)

CANARY = "canary-4711 sk-proj-canary z.canary@example.org"
VOCABULARY = Vocabulary(
    decisions=["maths"], models=["small"], tasks=["jailbreak"], entity_types=["PERSON"]
)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def use_everything(telemetry: Telemetry, value: str) -> None:
    uses: dict[str, Callable[..., None]] = {
        "counter": telemetry.count,
        "histogram": telemetry.observe,
        "gauge": telemetry.gauge,
    }
    for spec in METRICS:
        uses[spec.kind](spec.name, 1, **dict.fromkeys(spec.labels, value))


def logged(**fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("routewright.gateway", 20, "f.py", 1, "done", None, None)
    vars(record).update(fields)
    line: dict[str, Any] = json.loads(JsonFormatter(VOCABULARY).format(record))
    return line


def test_no_text_of_a_client_reaches_a_metric() -> None:
    telemetry = Telemetry(VOCABULARY)
    use_everything(telemetry, CANARY)
    text = telemetry.render().decode()
    assert "canary" not in text
    assert 'guards_total{action="other",guard="other",mode="other"} 1.0' in text


def test_the_metrics_are_the_closed_list_in_seconds() -> None:
    telemetry = Telemetry(VOCABULARY)
    use_everything(telemetry, "none")
    telemetry.watch_engine(lambda: dict.fromkeys(ENGINE_METRICS, 2.0))
    telemetry.watch_drift(lambda: {spec.name: [] for spec in DRIFT_METRICS})
    families = {f.name for f in text_string_to_metric_families(telemetry.render().decode())}
    expected = {f"routewright_{spec.name}" for spec in (*METRICS, *DRIFT_METRICS)}
    expected |= {f"routewright_engine_{name}" for name in ENGINE_METRICS}
    assert families == {name.removesuffix("_total") for name in expected}
    assert not [name for name in families if re.search("(_ms|milli)", name)]


def test_every_label_has_a_closed_set() -> None:
    labels = VOCABULARY.labels()
    named = {label for spec in (*METRICS, *DRIFT_METRICS) for label in spec.labels}
    assert named <= set(labels)
    assert set(FIXED_LABELS) < set(labels)


def test_names_of_a_new_configuration_join_those_of_the_old() -> None:
    telemetry = Telemetry(VOCABULARY)
    assert telemetry.known("model", "large") == "other"
    telemetry.extend(Vocabulary(models=["large"]))
    assert [telemetry.known("model", name) for name in ("small", "large")] == [
        "small",
        "large",
    ]


def test_the_engine_is_read_when_asked() -> None:
    values = dict.fromkeys(ENGINE_METRICS, 0.0)
    telemetry = Telemetry()
    telemetry.watch_engine(lambda: values)
    values["queued_tokens"] = 7
    assert b"routewright_engine_queued_tokens 7.0" in telemetry.render()


def test_drift_is_read_when_asked_and_only_names_of_the_closed_sets_are_told() -> None:
    samples: dict[str, list[tuple[tuple[str, ...], float]]] = {
        "drift_psi": [(("jailbreak", "label"), 0.5)],
        "drift_requests": [],
    }
    telemetry = Telemetry(VOCABULARY)
    telemetry.watch_drift(lambda: samples)
    assert b'routewright_drift_psi{of="label",task="jailbreak"} 0.5' in telemetry.render()
    samples["drift_psi"] = [((CANARY, CANARY), 0.25)]
    text = telemetry.render().decode()
    assert 'routewright_drift_psi{of="other",task="other"} 0.25' in text
    assert "canary" not in text


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("no_such", {}),
        ("errors_total", {"door": "http"}),
        ("stage_seconds", {"stage": "queue"}),
    ],
)
def test_a_metric_that_is_not_on_the_list_is_a_mistake_of_the_caller(
    name: str, labels: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="there is no counter"):
        Telemetry().count(name, 1, **labels)


def test_two_gateways_count_apart() -> None:
    one, two = Telemetry(), Telemetry()
    one.gauge("ready", 1)
    assert b"routewright_ready 1.0" in one.render()
    assert b"routewright_ready 0.0" in two.render()


def test_a_log_line_has_the_fields_of_the_closed_list() -> None:
    line = logged(decision="maths", door="http", duration_s=0.25, request_id="0a" * 16)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "routewright.gateway",
        "event": "done",
        "decision": "maths",
        "door": "http",
        "duration_s": 0.25,
        "request_id": "0a" * 16,
    }


@given(st.sampled_from([*NUMBER_FIELDS, *ID_FIELDS, *VOCABULARY.labels(), "prompt", "text"]))
def test_a_field_never_carries_text(field: str) -> None:
    assert "canary" not in json.dumps(logged(**{field: CANARY}))
    assert "canary" not in json.dumps(logged(**{field: [CANARY]}))


def test_no_way_of_logging_lets_a_clients_text_through() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(VOCABULARY))
    own, foreign = logging.getLogger("routewright.canary"), logging.getLogger("canaryless")
    for logger in (own, foreign):
        logger.propagate = False
        logger.addHandler(handler)
    try:
        own.warning("failed for %s after %d", CANARY, 3)
        own.warning("failed %(what)s", {"what": CANARY})
        own.warning("failed: %s", RequestError(CANARY))
        own.warning("short %s %s", CANARY)
        own.warning(ValueError(CANARY))
        own.warning("model %s", "small", extra={"prompt": CANARY, "model": CANARY})
        try:
            try:
                parse_body(f"[{CANARY}".encode())
            except RequestError as exc:
                raise RuntimeError(CANARY) from exc
        except RuntimeError:
            own.exception("broken", stack_info=True)
        foreign.warning("POST /v1 %s", CANARY)
        foreign.warning(CANARY)
    finally:
        for logger in (own, foreign):
            logger.removeHandler(handler)
    text = stream.getvalue().replace("routewright.canary", "").replace("canaryless", "")
    assert "canary" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines[:7]] == [
        "failed for ? after 3", "failed ?", "failed: request", "short %s %s", "?",
        "model small", "broken",
    ]  # fmt: skip
    assert lines[6]["error"]["cause"]["code"] == "request"
    assert lines[6]["error"]["at"][0].startswith("test_telemetry.py:")


@pytest.mark.parametrize("on_error", ["closed", "open"])
@pytest.mark.parametrize(
    "phase",
    ["request", "failover", "response_headers", "response_body", "protocol", "end"],
)
def test_a_failed_request_tells_its_type_and_place_and_never_its_text(
    phase: str, on_error: OnError, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = GuardedHandler(ScriptedHandler(Script()), on_error)
    try:
        parse_body(f"[{CANARY}".encode())
    except RequestError as exc:
        guarded.fail(phase, exc)
    [record] = our_lines(caplog)
    event = json.loads(JsonFormatter().format(record))["event"]
    head = f"request handling failed phase={phase} on_error={on_error} error=RequestError at="
    assert event.startswith(f"{head}test_telemetry.py:")
    assert re.search(r" > reading\.py:\d+ parse_body", event)
    assert "canary" not in event + caplog.text


def test_a_failed_batch_tells_its_type_and_place_and_never_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        gateway = make_gateway(model=broken_classifier())
        with pytest.raises(ServingError):
            await gateway.engine.classify(CANARY)
        await gateway.engine.close()

    run(scene())
    [record] = our_lines(caplog)
    event = json.loads(JsonFormatter().format(record))["event"]
    place = r"batch failed windows=\d+ error=RuntimeError at=gateway_parts\.py:\d+ run"
    assert re.fullmatch(place, event)
    assert "canary" not in event + caplog.text


def test_each_guard_that_did_not_just_pass_a_request_has_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guards = {
        "jailbreak": {"mode": "shadow", "threshold": 0.5},
        "pii": {"mode": "shadow", "default": "mask"},
    }

    async def scene() -> list[RequestRecord]:
        gateway = make_gateway({"guards": guards})
        for text in (f"{ATTACK} {CANARY}", f"call 5551234 {CANARY}", "tell me more"):
            (await gateway.ask(chat(text))).handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()
        return gateway.records

    records = run(scene())
    with caplog.at_level("INFO"):
        for record in records:
            logging_requests(record)
    formatter = JsonFormatter(Vocabulary(models=["small", "large"]))
    lines = [json.loads(formatter.format(record)) for record in caplog.records]
    names = ("event", "guard", "mode", "action", "request_id")
    said = [tuple(line.get(name) for name in names) for line in lines]
    ids = [record.request_id for record in records]
    ended = [("request ended", None, None, None, request_id) for request_id in ids]
    # The digits of the canary are personal data, too.
    masks = [("guard outcome", "pii", "shadow", "would_mask", ids[n]) for n in range(2)]
    blocks = ("guard outcome", "jailbreak", "shadow", "would_block", ids[0])
    assert said == [blocks, masks[0], ended[0], masks[1], ended[1], ended[2]]
    assert "canary" not in json.dumps(lines)


def test_messages_of_our_own_loggers_are_fixed_in_the_source() -> None:
    """An f-string would carry text past the formatter."""
    sources = Path(routewright.__file__).parent.rglob("*.py")
    free = [
        f"{path.name}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and "log" in node.func.value.id.lower()
        and not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert not free
