"""The gateway killed in the middle of a request behind Envoy: closed, then well again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from examples.model_server import create_app
from tests.envoy_parts import PATIENCE_S, Loop, envoy, free_port, serving, wait_until
from tests.gateway_parts import POLICY, chat, gateway_bundle

from routewright.gateway.envoy_config import envoy_settings
from routewright.gateway.settings import parse_gateway
from routewright.policy.settings import parse_policy

pytestmark = pytest.mark.integration

START_S = 60.0
"""Longest start of a gateway: it replays the golden cases first."""
VALUE = "5550123"


@contextmanager
def gateway(config: Path) -> Iterator[subprocess.Popen[str]]:
    """``routewright serve``, ready."""
    command = [sys.executable, "-m", "routewright", "serve", "--config", str(config)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if line == "ready\n":
                break
        assert said[-1:] == ["ready\n"], said
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


@contextmanager
def model_server() -> Iterator[tuple[Any, int]]:
    """A model's server and its port; it keeps what it hears."""
    loop = Loop()
    app = create_app("small")
    with serving(app, loop) as port:
        yield app, port
    loop.close()


def ask(client: httpx.Client) -> httpx.Response:
    body = chat(f"call {VALUE}", model="small")
    return client.post("/v1/chat/completions", json=body, timeout=START_S)


def test_a_killed_gateway_lets_nothing_pass_and_all_is_well_when_it_is_back(
    tmp_path: Path,
) -> None:
    gateway_bundle(tmp_path / "bundle")
    with model_server() as (app, port):
        doors = {"http": None, "api": None, "metrics": None, "ext_proc": {"port": free_port()}}
        proxy = {"listen": {"port": free_port()}, "admin": {"port": free_port()}}
        own = {**doors, "threads": 1, "reload": {"watch_s": None}, "envoy": proxy}
        models = {name: {"endpoints": f"http://127.0.0.1:{port}"} for name in POLICY["models"]}
        config = tmp_path / "routewright.yaml"
        data = {**POLICY, "models": models, "bundle": "bundle"}
        config.write_text(yaml.safe_dump({**data, "gateway": own}), encoding="utf-8")
        section = parse_gateway({"gateway": own}, source="test")
        policy = parse_policy({**POLICY, "models": models}, source="test")
        settings = envoy_settings(policy, section, source="test")
        heard = app.state.requests
        with envoy(settings, tmp_path) as client:
            with gateway(config) as first, ThreadPoolExecutor(1) as pool:
                wait_until(lambda: ask(client).is_success, "Envoy to find the gateway")
                before = len(heard)
                first.send_signal(signal.SIGSTOP)  # so that the request is surely under way
                waiting = pool.submit(ask, client)
                with pytest.raises(TimeoutError):
                    waiting.result(0.5)
                first.kill()
                assert waiting.result(PATIENCE_S).is_server_error
            assert ask(client).is_server_error
            assert len(heard) == before
            with gateway(config):
                wait_until(lambda: ask(client).is_success, "Envoy to find it again")
                assert VALUE in ask(client).json()["choices"][0]["message"]["content"]
        assert VALUE not in str([seen.body for seen in heard])
