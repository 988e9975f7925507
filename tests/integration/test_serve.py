"""``routewright serve`` as a process: ready, reloaded, drained, refused."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2
from tests.gateway_parts import POLICY, gateway_bundle

pytestmark = pytest.mark.integration

PATIENCE_S = 20.0
DOORS = ("http", "ext_proc", "api", "metrics")
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
TOKEN = "canary-admin-7f3a"  # noqa: S105


def wait_until(holds: Callable[[], Any], what: str) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < limit, f"no {what} within {PATIENCE_S:g} s"
        time.sleep(0.02)


class Upstream:
    """Answers with the model it was asked for; a stream waits for `release` in its middle."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.bodies.append(body)
                if b'"stream":true' in body.replace(b" ", b""):
                    self._stream()
                    return
                given = body if self.path == "/v1/traces" else json.loads(body)["model"]
                data = (
                    b"" if isinstance(given, bytes) else json.dumps({"model": given}).encode()
                )
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self._chunk(EVENT % b"one")
                outer.release.wait(PATIENCE_S)
                self._chunk(EVENT % b"two")
                self._chunk(b"data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Serving:
    """A running gateway, its policy file and what it has said."""

    config: Path
    process: subprocess.Popen[str]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        lines.extend(iter(stream.readline, ""))
        stream.close()

    def url(self, door: str) -> str:
        found = re.search(rf"^{door}: listening on (\S+)$", "".join(self.out), re.MULTILINE)
        assert found is not None, self.out
        return f"http://{found[1]}"

    def log(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in list(self.err)]
        return [line for line in lines if line["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.log(event)) >= count, f"line {event!r}")
        return self.log(event)[-1]

    def write(self, **keys: Any) -> None:
        """Change keys of the policy file at one stroke."""
        data = yaml.safe_load(self.config.read_text(encoding="utf-8")) | keys
        write_policy(self.config, data)

    def ask(self, text: str = "tell me more") -> httpx.Response:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        return httpx.post(f"{self.url('http')}/v1/chat/completions", json=body, timeout=10)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code


def write_policy(path: Path, data: Any) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(data), encoding="utf-8")
    temporary.replace(path)


def policy(upstream: str, **gateway: Any) -> dict[str, Any]:
    doors = {name: {"port": 0} for name in DOORS}
    models = {name: {"endpoints": upstream} for name in ("small", "large")}
    settings = {**doors, "threads": 1, "reload": {"watch_s": None}, **gateway}
    return {**POLICY, "models": models, "bundle": "bundle", "gateway": settings}


@contextmanager
def serving(folder: Path, data: Any, **environment: str) -> Iterator[Serving]:
    config = folder / "routewright.yaml"
    if not (folder / "bundle").exists():
        gateway_bundle(folder / "bundle")
    write_policy(config, data)
    command = [sys.executable, "-m", "routewright", "serve", "--config", str(config)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    gateway = Serving(config, process)
    try:
        yield gateway
    finally:
        if process.poll() is None:
            process.kill()
        gateway.wait()


def ready(gateway: Serving) -> Serving:
    wait_until(lambda: "ready\n" in gateway.out or gateway.process.poll() is not None, "ready")
    assert gateway.process.poll() is None, gateway.err
    return gateway


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Serving]:
    """One that several tests share; each leaves it serving."""
    data = policy(upstream.url, reload={"watch_s": None, "admin_token": "${TEST_TOKEN}"})
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, data, TEST_TOKEN=TOKEN) as running:
        yield ready(running)


def test_every_door_says_that_it_is_ready(gateway: Serving) -> None:
    for door in ("http", "api", "metrics"):
        assert httpx.get(f"{gateway.url(door)}/readyz").status_code == 200
    metrics = httpx.get(f"{gateway.url('metrics')}/metrics").text
    assert "routewright_ready 1.0" in metrics
    address = gateway.url("ext_proc").removeprefix("http://")
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = check(request, timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_sighup_puts_a_changed_policy_in_place(gateway: Serving) -> None:
    before = gateway.ask().json()["model"]
    after = "large" if before == "small" else "small"
    count = len(gateway.log("put in place"))
    gateway.write(default_model=after)
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.wait_for("put in place", count + 1)["part"] == "policy"
    assert gateway.ask().json()["model"] == after


def test_a_broken_policy_keeps_the_old_and_is_named_in_one_line(gateway: Serving) -> None:
    good = gateway.config.read_text(encoding="utf-8")
    count = len(gateway.log("kept the old, the new was refused"))
    gateway.write(default_model="lagre")
    gateway.process.send_signal(signal.SIGHUP)
    line = gateway.wait_for("kept the old, the new was refused", count + 1)
    assert (line["part"], line["code"]) == ("policy", "config")
    assert "did you mean 'large'?" in line["detail"]
    assert gateway.ask().status_code == 200
    gateway.config.write_text(good, encoding="utf-8")


def test_a_corrupted_bundle_keeps_the_old_and_the_admin_call_says_so(gateway: Serving) -> None:
    graph = gateway.config.parent / "bundle" / "model.int8.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"!")
    url = f"{gateway.url('api')}/admin/reload"
    assert httpx.post(url, headers={"authorization": "Bearer wrong"}).status_code == 401
    answer = httpx.post(url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 409
    assert "model.int8.onnx" in answer.text
    assert gateway.ask().status_code == 200
    graph.write_bytes(whole)
    answer = httpx.post(url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 200
    assert TOKEN not in "".join([*gateway.out, *gateway.err])


def test_the_log_is_json_without_anything_of_a_request(gateway: Serving) -> None:
    gateway.ask("canary-prompt-7f3a 12")
    line = gateway.wait_for("request ended")
    assert (line["door"], line["outcome"]) == ("http", "forwarded")
    assert "canary-prompt" not in "".join([*gateway.out, *gateway.err])


def test_a_changed_file_is_noticed_without_a_signal(tmp_path: Path, upstream: Upstream) -> None:
    data = policy(upstream.url, reload={"watch_s": 0.1}, threads="auto")
    with serving(tmp_path, data) as running:
        ready(running)
        running.write(default_model="large")
        running.wait_for("put in place")
        assert running.ask().json()["model"] == "large"
        assert running.end(signal.SIGINT) == 0


@contextmanager
def streaming(running: Serving) -> Iterator[Iterator[bytes]]:
    body = {
        "model": "auto",
        "stream": True,
        "messages": [{"role": "user", "content": "tell me more"}],
    }
    url = f"{running.url('http')}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=PATIENCE_S) as answer:
        yield answer.iter_raw()


def test_sigterm_lets_a_running_stream_end_and_takes_nothing_new(tmp_path: Path) -> None:
    with Upstream() as upstream, serving(tmp_path, policy(upstream.url)) as running:
        ready(running)
        with streaming(running) as chunks:
            assert b"one" in next(chunks)
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("draining")
            time.sleep(0.3)
            with pytest.raises(httpx.ConnectError):
                running.ask()
            assert running.process.poll() is None
            upstream.release.set()
            assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
        assert running.wait() == 0
        assert running.log("drained")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Upstream() as upstream, serving(tmp_path, policy(upstream.url)) as running:
        ready(running)
        with streaming(running) as chunks:
            assert b"one" in next(chunks)
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("draining")
            started = time.monotonic()
            assert running.end() == 130
            assert time.monotonic() - started < 5
            with pytest.raises(httpx.HTTPError):
                list(chunks)


@pytest.mark.parametrize("door", ["http", "ext_proc"])
def test_a_port_that_is_taken_is_one_line_and_exit_code_2(
    tmp_path: Path, upstream: Upstream, door: str
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    with serving(tmp_path, policy(upstream.url, **{door: {"port": port}})) as running:
        assert running.wait() == 2
        [line] = running.err
        assert line.startswith("routewright: config error: ")
        assert f"127.0.0.1:{port}" in line
        assert "ready\n" not in running.out


def test_traces_go_to_the_collector(tmp_path: Path, upstream: Upstream) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": upstream.url}
    with serving(tmp_path, policy(upstream.url), **environment) as running:
        ready(running)
        assert running.ask("canary-prompt-7f3a").status_code == 200
        upstream.bodies.clear()
        assert running.end() == 0
    [spans] = upstream.bodies
    assert b"routewright chat" in spans
    assert b"canary" not in spans


def test_check_says_whether_it_would_serve_and_does_not(tmp_path: Path) -> None:
    gateway_bundle(tmp_path / "bundle")
    write_policy(tmp_path / "routewright.yaml", policy("http://127.0.0.1:9"))
    command = [sys.executable, "-m", "routewright", "serve", "--check", "--config"]
    done = subprocess.run(
        [*command, tmp_path / "routewright.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "http: 127.0.0.1:0" in done.stdout
