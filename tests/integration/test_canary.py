"""A canary goes through every door into every failure, and sings in no log, metric or span.

The gateway is the one that ``serve`` runs, with its own log formatter on every logger at DEBUG,
an OpenTelemetry exporter, real Envoy before it and model servers behind it. After every test
all that was logged, counted and traced so far is searched, Envoy's own log too. Bodies of
errors are searched unless a model's server wrote them: those are its word to its client.
"""

import io
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from examples.model_server import create_app
from numpy.typing import NDArray
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.envoy_parts import NUMBERS, Loop, envoy, free_port, serving, settings_for, wait_until
from tests.gateway_parts import ATTACK, POLICY, chat, gateway_bundle

from routewright.decoding import FloatArray
from routewright.gateway import serve
from routewright.gateway.deploying import load_deployment
from routewright.gateway.logs import JsonFormatter
from routewright.gateway.policy_file import read_policy_file
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.tracing import Tracing
from routewright.runtime.classifier import Classifier

pytestmark = pytest.mark.integration

CANARY = "canary7f3a"
PHONE = "48151623420917"
"""Personal data to the tiny model, as all digits are."""
TEXT = f"tell {CANARY} to call {PHONE}"
LIMIT_BYTES = 64 << 10
BLOCKED = ["content_filter"]
CLASSIFY = ("intent", "pii", "security", "combined")


class FailingBackend:
    """A model that is slow, then quotes a text as it fails."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        time.sleep(self.delay_s)
        raise RuntimeError(f"cannot read {TEXT}")


@dataclass
class Scene:
    """Everything that runs, and everything that was said."""

    loop: Loop
    gateway: serve.Gateway
    clients: dict[str, httpx.Client]
    config: Path
    policy: dict[str, Any]
    apps: dict[str, Any]
    log: io.StringIO
    spans: InMemorySpanExporter

    def ask(self, door: str, body: Any, path: str = "chat/completions") -> httpx.Response:
        """Send `body` with the canary in the headers and the query."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = HEADERS | {"x-session-id": f"{CANARY}-{next(NUMBERS)}"}
        return self.clients[door].post(
            f"/v1/{path}?trace={CANARY}", content=content, headers=headers
        )

    def refused(self, answer: httpx.Response, status: int) -> None:
        """The gateway, or Envoy, said no and repeated nothing but the id it was given."""
        assert answer.status_code == status, answer.text
        told = {name: v for name, v in answer.headers.items() if name != "x-request-id"}
        silent(answer.text, str(told))

    def model(self, backend: Any) -> None:
        """Another backend under the same heads; None puts the first one back."""

        async def swap() -> None:
            engine = self.gateway.engine
            first = self.gateway.reloader._loaded.deployment
            whole = first.classifier
            changed = Classifier(whole.encoder, whole.heads, backend or whole.backend)
            engine.swap(replace(first, classifier=changed))

        self.loop.run(swap())

    def said(self) -> tuple[str, str, str]:
        """Log, spans, metrics."""
        spans = "".join(span.to_json() for span in self.spans.get_finished_spans())
        metrics = "".join(
            self.clients[door].get("/metrics").raise_for_status().text
            for door in ("api", "metrics")
        )
        return self.log.getvalue(), spans, metrics


HEADERS = {
    "content-type": "application/json",
    "authorization": f"Bearer {CANARY}",
    "cookie": f"id={CANARY}",
    "traceparent": f"00-{CANARY}-{PHONE}-01",
    "tracestate": f"vendor={CANARY}",
    "user-agent": CANARY,
    "x-request-id": CANARY,
    "x-session-id": CANARY,
    f"x-{CANARY}": PHONE,
}


def silent(*texts: str) -> None:
    for text in texts:
        assert CANARY not in text.lower()
        assert PHONE not in text


def policy_of(ports: dict[str, int]) -> dict[str, Any]:
    models: dict[str, Any] = {
        name: {"endpoints": f"http://127.0.0.1:{port}"} for name, port in ports.items()
    }
    models["small"]["api_key"] = "${CANARY_KEY}"
    gateway = {name: {"port": 0} for name in ("http", "ext_proc", "api", "metrics")}
    return {
        **POLICY,
        "models": models,
        "conversation": {"session_header": "x-session-id"},
        "gateway": {
            **gateway,
            "max_body_bytes": LIMIT_BYTES,
            "deadline_s": 1.0,
            "remembered_texts": 0,
            "batching": {"max_queue_tokens": 2000},
            "reload": {"watch_s": None, "admin_token": "${CANARY_TOKEN}"},
        },
    }


@pytest.fixture(scope="module")
def logged() -> Iterator[io.StringIO]:
    """The log as `serve` writes it, but of every logger and from DEBUG on."""
    root, own = logging.getLogger(), logging.getLogger("routewright")
    before = (root.handlers, root.level, own.level)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", said)
        serve.log_as_json()
    root.setLevel(logging.DEBUG)
    own.setLevel(logging.DEBUG)
    yield said
    logging.captureWarnings(capture=False)
    root.handlers, root.level, own.level = before


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, logged: io.StringIO) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("canary")
    loop, spans = Loop(), InMemorySpanExporter()

    def tracing(_environment: Any, telemetry: Telemetry) -> Tracing:
        return Tracing(SimpleSpanProcessor(spans), telemetry)

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        stack.callback(loop.close)
        patch.setenv("CANARY_KEY", f"sk-{CANARY}")
        patch.setenv("CANARY_TOKEN", f"token-{CANARY}")
        patch.setattr(serve, "start_tracing", tracing)
        apps = {name: create_app(name) for name in ("small", "large")}
        ports = {name: stack.enter_context(serving(app, loop)) for name, app in apps.items()}
        ports["dead"] = free_port()
        policy = policy_of(ports)
        config = folder / "routewright.yaml"
        config.write_text(yaml.safe_dump(policy), encoding="utf-8")
        file = read_policy_file(config, gateway_bundle(folder / "bundle"))
        formatter = logging.getLogger().handlers[0].formatter
        assert isinstance(formatter, JsonFormatter)
        loaded = load_deployment(file, num_threads=1)
        formatter.extend(loaded.deployment.vocabulary())
        gateway = loop.run(_made(loaded, formatter))
        at = dict(loop.run(gateway.start()))
        stack.callback(lambda: loop.run(gateway.stop(drain_s=1.0)))
        clients = {
            door: stack.enter_context(
                httpx.Client(base_url=f"http://{at[door]}", timeout=20, trust_env=False)
            )
            for door in ("http", "api", "metrics")
        }
        port = int(at["ext_proc"].rpartition(":")[2])
        through = settings_for(ports, port, max_body_bytes=LIMIT_BYTES)
        clients["envoy"] = stack.enter_context(envoy(through, folder))
        yield Scene(loop, gateway, clients, config, policy, apps, logged, spans)


async def _made(loaded: Any, formatter: Any) -> serve.Gateway:
    return serve.Gateway(loaded, formatter)


@pytest.fixture(autouse=True)
def nothing_is_said(scene: Scene) -> Iterator[None]:
    """Whatever a test did, its canary is nowhere; and somebody was listening."""
    yield
    scene.model(None)
    log, spans, metrics = scene.said()
    silent(log, spans, metrics, *(f.read_text() for f in scene.config.parent.glob("*.log")))
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line["level"] == "debug" for line in lines)
    assert "routewright_requests_total{" in metrics


@pytest.fixture(params=["envoy", "http"])
def door(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_what_is_served_reaches_the_model_and_nobody_else(scene: Scene, door: str) -> None:
    call = {
        "id": CANARY,
        "type": "function",
        "function": {"name": CANARY, "arguments": json.dumps({CANARY: PHONE})},
    }
    spoken = {"role": "assistant", "content": None, "tool_calls": [call]}
    heard = {"role": "tool", "tool_call_id": CANARY, "content": TEXT}
    tools = [{"type": "function", "function": {"name": CANARY, "description": TEXT}}]
    body = {**chat(TEXT), "tools": tools, "user": CANARY, "metadata": {CANARY: CANARY}}
    for stream in (False, True):
        asked = {**body, "stream": stream}
        asked["messages"] = [*body["messages"], spoken, heard]
        assert scene.ask(door, asked).is_success
        assert CANARY in json.dumps(scene.apps["small"].state.requests[-1].body)
    for path, named in (
        ("completions", "prompt"),
        ("responses", "input"),
        ("embeddings", "input"),
    ):
        assert scene.ask(door, {"model": "small", named: TEXT}, path).is_success
    wait_until(lambda: '"request ended"' in scene.log.getvalue(), "the line of a request")
    assert scene.spans.get_finished_spans()


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_request(scene: Scene, door: str, stream: bool) -> None:
    for path, body in {
        "chat/completions": chat(f"{ATTACK} {TEXT}", stream=stream),
        "completions": {"model": "auto", "prompt": f"{ATTACK} {TEXT}", "stream": stream},
        "responses": {"model": "auto", "input": f"{ATTACK} {TEXT}", "stream": stream},
    }.items():
        answer = scene.ask(door, body, path)
        assert "content_filter" in answer.text
        scene.refused(answer, 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f'{{"model": "{CANARY}'.encode(), 400),
        (f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(), 400),
        (CANARY.encode() + b"\xff", 400),
        ({"model": "auto", "messages": TEXT}, 400),
        ({"model": "auto", "messages": [{"role": "user", "content": {CANARY: PHONE}}]}, 400),
        (chat(TEXT, stream=CANARY), 400),
        (chat(TEXT, tools=CANARY), 400),
        (chat(TEXT, model=CANARY), 404),
        (chat(TEXT, model=PHONE), 404),
        (chat(TEXT * (LIMIT_BYTES // len(TEXT))), 413),
    ],
)  # fmt: skip
def test_a_request_that_is_the_clients_mistake(
    scene: Scene, door: str, body: Any, status: int
) -> None:
    scene.refused(scene.ask(door, body), status)


def test_an_endpoint_that_there_is_not(scene: Scene, door: str) -> None:
    scene.refused(scene.ask(door, chat(TEXT), f"{CANARY}/{PHONE}"), 404)
    scene.refused(scene.ask(door, chat(TEXT), f"models/{CANARY}"), 405)
    scene.refused(scene.clients[door].get(f"/v1/models/{CANARY}", headers=HEADERS), 404)


def test_a_model_that_breaks_and_one_that_is_too_slow(scene: Scene, door: str) -> None:
    for delay_s in (0.0, 1.5):
        scene.model(FailingBackend(delay_s))
        scene.refused(scene.ask(door, chat(TEXT)), 503)


def test_an_overload(scene: Scene, door: str) -> None:
    scene.model(FailingBackend(0.4))
    texts = [f"{TEXT} {'word ' * 60} {number}" for number in range(24)]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: scene.ask(door, chat(text)), texts))
    assert 429 in {answer.status_code for answer in answers}
    for answer in answers:
        scene.refused(answer, 429 if answer.status_code == 429 else 503)


def test_a_model_server_that_is_dead(scene: Scene, door: str) -> None:
    status = 502 if door == "http" else 503
    scene.refused(scene.ask(door, chat(TEXT, model="dead")), status)


@pytest.mark.parametrize("how", [{"x-test-status": "500"}, {"x-test-abort": "mid-stream"}])
def test_a_model_server_that_fails(scene: Scene, door: str, how: dict[str, str]) -> None:
    """Its own words pass to its client; the gateway adds none that quote the request."""
    body = json.dumps(chat(TEXT, stream=True)).encode()
    try:
        answer = scene.clients[door].post(
            "/v1/chat/completions", content=body, headers=HEADERS | how
        )
    except httpx.RemoteProtocolError:
        assert "x-test-abort" in how
        return
    if "x-test-abort" in how:  # Envoy may notice before it has passed anything on
        scene.refused(answer, 502)
    else:
        assert answer.status_code == 500


@pytest.mark.parametrize("task", CLASSIFY)
def test_the_classification_api(scene: Scene, task: str) -> None:
    client = scene.clients["api"]
    path = f"/api/v1/classify/{task}?of={CANARY}"
    assert client.post(path, json={"text": TEXT}, headers=HEADERS).is_success
    for body in ({"text": [TEXT]}, {"text": TEXT, "options": {CANARY + " ": PHONE}}):
        scene.refused(client.post(path, json=body, headers=HEADERS), 400)
    scene.refused(client.post(path, content=TEXT, headers=HEADERS), 400)
    scene.refused(client.post(path, content=TEXT * 5000, headers=HEADERS), 413)
    scene.refused(client.get(f"/{CANARY}", headers=HEADERS), 404)
    scene.model(FailingBackend(0.0))
    scene.refused(client.post(path, json={"text": TEXT}, headers=HEADERS), 503)
    scene.model(FailingBackend(1.5))
    scene.refused(client.post(path, json={"text": TEXT}, headers=HEADERS), 504)


def test_batches_and_decisions_of_the_api(scene: Scene) -> None:
    client = scene.clients["api"]
    batch = {"texts": [TEXT, CANARY], "task_type": "all"}
    assert client.post("/api/v1/classify/batch", json=batch, headers=HEADERS).is_success
    wrong = {**batch, "task_type": CANARY}
    scene.refused(client.post("/api/v1/classify/batch", json=wrong, headers=HEADERS), 400)
    for body, status in (
        ({"text": TEXT, "headers": {CANARY: CANARY}}, 200),
        ({"text": TEXT, "model": CANARY}, 404),
    ):
        scene.refused(client.post("/api/v1/route", json=body, headers=HEADERS), status)


def test_a_reload_that_is_refused(scene: Scene) -> None:
    client = scene.clients["api"]
    key = {"authorization": f"Bearer token-{CANARY}"}
    scene.refused(client.post("/admin/reload", headers=HEADERS), 401)
    broken = {**scene.policy, "default_model": "nobody"}
    scene.config.write_text(yaml.safe_dump(broken), encoding="utf-8")
    scene.refused(client.post("/admin/reload", headers=HEADERS | key), 409)
    scene.config.write_text(yaml.safe_dump(scene.policy), encoding="utf-8")
    scene.refused(client.post("/admin/reload", headers=HEADERS | key), 200)
    assert "kept the old" in scene.log.getvalue()
