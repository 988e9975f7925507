"""From a policy file to the settings of the bootstrap, and the verb that writes it."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from tests.policies import make_policy
from typer.testing import CliRunner

from routewright.cli.main import app
from routewright.errors import ConfigError, RoutewrightError
from routewright.gateway.envoy_bootstrap import envoy_bootstrap
from routewright.gateway.envoy_config import envoy_settings, envoy_yaml
from routewright.gateway.envoy_settings import (
    Endpoint,
    EnvoySettings,
    ModelUpstream,
    UpstreamTls,
)
from routewright.gateway.settings import parse_gateway

EXAMPLE = Path(__file__).parents[3] / "examples" / "routewright.yaml"


def settings(gateway: dict[str, Any] | None = None, **policy: Any) -> EnvoySettings:
    section = parse_gateway({"gateway": gateway or {}}, source="test.yaml")
    return envoy_settings(make_policy(**policy), section, source="test.yaml")


def upstream(*endpoints: Any) -> ModelUpstream:
    models = {"small": {"endpoints": list(endpoints)}}
    (found,) = settings(models=models).models
    return found


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["envoy-config", *map(str, arguments)])
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_empty_section_gives_the_ports_that_users_know_and_fails_closed() -> None:
    found = settings()
    assert [found.listen, found.admin, found.ext_proc] == [
        Endpoint(host="0.0.0.0", port=8801),  # noqa: S104
        Endpoint(host="127.0.0.1", port=19000),
        Endpoint(host="127.0.0.1", port=50051),
    ]
    assert (found.default_model, found.failure_mode_allow) == (None, False)
    assert {model.model for model in found.models} == {"small", "large", "coder"}


def test_a_url_gives_host_port_scheme_and_prefix() -> None:
    found = upstream(
        "http://10.0.0.1/openai/",
        {"url": "https://api.example.com/openai", "weight": 0.5},
        "http://[::1]:8000/openai",
    )
    assert found.path_prefix == "/openai"
    assert found.endpoints == (
        Endpoint(host="10.0.0.1", port=80),
        Endpoint(host="api.example.com", port=443, weight=0.5, tls=UpstreamTls()),
        Endpoint(host="::1", port=8000),
    )


def test_endpoints_of_a_model_with_different_paths_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"test\.yaml: models\.small\.endpoints: .*no path and /v"
    ):
        upstream("http://one", "http://two/v")


def test_envoy_waits_longer_than_the_gateway_takes_and_shares_its_limits() -> None:
    upstream = {"connect_timeout_s": 2, "idle_timeout_s": 9}
    found = settings({"deadline_s": 20, "max_body_bytes": 1000, "upstream": upstream})
    assert found.message_timeout_s == 25
    assert (found.max_body_bytes, found.connect_timeout_s, found.idle_timeout_s) == (1000, 2, 9)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"ext_proc": {"host": "0.0.0.0", "port": 5}}, Endpoint(host="127.0.0.1", port=5)),  # noqa: S104
        ({"ext_proc": {"host": "::", "port": 5}}, Endpoint(host="::1", port=5)),
        (
            {"ext_proc": None, "envoy": {"ext_proc": {"host": "gateway", "port": 5}}},
            Endpoint(host="gateway", port=5),
        ),
    ],
)
def test_envoy_finds_the_gateway(section: dict[str, Any], expected: Endpoint) -> None:
    assert settings(section).ext_proc == expected


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"ext_proc": None}, r"gateway\.ext_proc: is null"),
        ({"ext_proc": {"port": 0}}, r"gateway\.ext_proc\.port: 0 takes a free port"),
    ],
)
def test_a_gateway_that_envoy_cannot_find_is_refused(
    section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(section)


@pytest.mark.parametrize(
    ("guards", "allow"),
    [
        ({}, True),
        ({"pii": {"on_error": "open"}, "jailbreak": {"on_error": "open"}}, True),
        ({"pii": {"on_error": "open"}, "jailbreak": {}}, False),
    ],
)
def test_an_open_gateway_lets_pass_only_what_no_guard_closes(
    guards: dict[str, Any], allow: bool
) -> None:
    found = settings({"on_error": "open"}, guards=guards)
    assert (found.default_model, found.failure_mode_allow) == ("small", allow)


ODD_NAMES = (
    "y",
    "off",
    "null",
    "~",
    "1e3",
    "0x1F",
    "08",
    "2024-01-01",
    "a: b",
    "@x",
    "=",
    "<<",
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1) | st.sampled_from(ODD_NAMES)


@hypothesis.settings(max_examples=20, deadline=None)
@given(st.lists(NAMES, unique=True, min_size=1, max_size=8))
@example(list(ODD_NAMES))
def test_the_file_holds_the_bootstrap_whatever_models_are_called(names: list[str]) -> None:
    endpoints = (Endpoint(host="10.0.0.1", port=80),)
    models = tuple(ModelUpstream(model=name, endpoints=endpoints) for name in names)
    found = EnvoySettings(models=models)
    assert yaml.safe_load(envoy_yaml(found)) == envoy_bootstrap(found)


def test_the_verb_prints_the_bootstrap_of_the_example_or_writes_it(tmp_path: Path) -> None:
    printed = run("--config", EXAMPLE)
    out = tmp_path / "new" / "envoy.yaml"
    assert run("--config", EXAMPLE, "--out", out) == ""
    assert out.read_text() == printed
    clusters = yaml.safe_load(printed)["static_resources"]["clusters"]
    names = {cluster["name"] for cluster in clusters}
    assert {"model_general", "model_reasoner", "model_coder"} < names


def test_addresses_can_be_given_instead_of_the_files() -> None:
    addresses = ["--listen", "[::1]:1", "--admin", "127.0.0.1:2", "--ext-proc", "gateway:3"]
    printed = yaml.safe_load(run("--config", EXAMPLE, *addresses))
    (listener,) = printed["static_resources"]["listeners"]
    place = listener["address"]["socket_address"]
    assert (place["address"], place["port_value"]) == ("::1", 1)
    assert printed["admin"]["address"]["socket_address"]["port_value"] == 2
    assert "address: gateway" in run("--config", EXAMPLE, *addresses)


@pytest.mark.parametrize("address", ["8801", ":8801", "host:", "host:70000", "host:x"])
def test_a_wrong_address_is_one_clear_error(address: str) -> None:
    with pytest.raises(ConfigError, match=f"--listen {address}: expected HOST:PORT"):
        run("--config", EXAMPLE, "--listen", address)
