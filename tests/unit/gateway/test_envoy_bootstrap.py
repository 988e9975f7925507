"""The bootstrap as data; tests/integration/test_envoy.py runs Envoy with it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from routewright.errors import ConfigError
from routewright.gateway.envoy_bootstrap import envoy_bootstrap
from routewright.gateway.envoy_settings import (
    Endpoint,
    EnvoySettings,
    ModelUpstream,
    UpstreamTls,
)

LOCAL = ModelUpstream(
    model="qwen/7b", endpoints=(Endpoint(host="10.0.0.1", port=8000, weight=3),)
)
HOSTED = ModelUpstream(
    model="large",
    endpoints=(
        Endpoint(host="api.example.com", port=443, tls=UpstreamTls()),
        Endpoint(host="10.0.0.2", port=8000, weight=0.25),
        Endpoint(host="retired.example.com", port=80, weight=0),
    ),
    path_prefix="/openai",
)
SETTINGS = EnvoySettings(models=(LOCAL, HOSTED))


def clusters(settings: EnvoySettings) -> dict[str, Any]:
    found = envoy_bootstrap(settings)["static_resources"]["clusters"]
    return {cluster["name"]: cluster for cluster in found}


def manager(settings: EnvoySettings) -> Any:
    (listener,) = envoy_bootstrap(settings)["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def routes(settings: EnvoySettings) -> Any:
    return manager(settings)["route_config"]["virtual_hosts"][0]["routes"]


def test_it_is_plain_data() -> None:
    bootstrap = envoy_bootstrap(SETTINGS)
    assert json.loads(json.dumps(bootstrap)) == bootstrap


def test_every_model_has_a_cluster_and_a_route_to_it_before_any_other() -> None:
    assert {"model_qwen/7b", "model_large"} < set(clusters(SETTINGS))
    first, second, *others = routes(SETTINGS)
    matched = [r["match"]["headers"][0]["string_match"]["exact"] for r in (first, second)]
    assert matched == ["qwen/7b", "large"]
    assert [r["route"]["cluster"] for r in (first, second)] == ["model_qwen/7b", "model_large"]
    assert others[-1]["direct_response"]["status"] == 503


def test_a_default_model_takes_what_has_no_route() -> None:
    *_, last = routes(replace(SETTINGS, default_model="large"))
    assert last["match"] == {"prefix": "/"}
    assert last["route"]["cluster"] == "model_large"


def test_names_are_looked_up_and_addresses_are_not() -> None:
    found = clusters(SETTINGS)
    assert found["model_large"]["type"] == "STRICT_DNS"
    assert found["model_qwen/7b"]["type"] == "STATIC"


def test_certificates_are_checked_against_the_name_of_each_endpoint() -> None:
    cluster = clusters(SETTINGS)["model_large"]
    (match,) = cluster["transport_socket_matches"]
    tls = match["transport_socket"]["typed_config"]
    checked = tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert tls["sni"] == "api.example.com"
    assert checked[0]["matcher"] == {"exact": "api.example.com"}
    hosted, local = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    metadata = hosted["metadata"]["filter_metadata"]["envoy.transport_socket_match"]
    assert metadata == match["match"]
    assert "metadata" not in local


def test_weights_are_shares_and_zero_takes_an_endpoint_out() -> None:
    (group,) = clusters(SETTINGS)["model_large"]["load_assignment"]["endpoints"]
    weights = [host["load_balancing_weight"] for host in group["lb_endpoints"]]
    assert weights == [1000, 250]


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("::1", 8000, "[::1]:8000"),
        ("::1", 80, "[::1]"),
        ("10.0.0.1", 8000, "10.0.0.1:8000"),
        ("models.internal", 443, "models.internal"),
    ],
)
def test_a_server_is_told_the_host_as_a_url_writes_it(host: str, port: int, told: str) -> None:
    upstream = replace(LOCAL, endpoints=(Endpoint(host=host, port=port),))
    cluster = clusters(EnvoySettings(models=(upstream,)))["model_qwen/7b"]
    (group,) = cluster["load_assignment"]["endpoints"]
    assert group["lb_endpoints"][0]["endpoint"]["hostname"] == told
    address = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"]
    assert address == host


def test_a_path_prefix_comes_before_the_clients_path() -> None:
    local, hosted, *_ = routes(SETTINGS)
    assert hosted["route"]["prefix_rewrite"] == "/openai/"
    assert "prefix_rewrite" not in local["route"]


def test_it_fails_closed_unless_told_otherwise() -> None:
    gateway = manager(SETTINGS)["http_filters"][0]["typed_config"]
    assert gateway["failure_mode_allow"] is False


def test_routing_headers_of_clients_are_dropped_before_a_route_is_found() -> None:
    (early,) = manager(SETTINGS)["early_header_mutation_extensions"]
    dropped = {m["remove"] for m in early["typed_config"]["mutations"]}
    assert dropped == {"x-selected-model", "x-vsr-destination-endpoint"}


def test_without_a_destination_header_nothing_leads_to_other_addresses() -> None:
    settings = replace(SETTINGS, destination_header=None)
    assert "ORIGINAL_DST" not in {c["type"] for c in clusters(settings).values()}
    assert len(routes(settings)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EnvoySettings(models=(replace(LOCAL, endpoints=()),)), "qwen/7b has no endpoints"),
        (EnvoySettings(models=(LOCAL, LOCAL)), "two models are called qwen/7b"),
        (replace(SETTINGS, default_model="none"), "default model none is not among"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: EnvoySettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        envoy_bootstrap(settings)


def test_an_envoy_that_watches_adds_and_logs_nothing() -> None:
    left, watched = SETTINGS, replace(SETTINGS, watch_answers=True)
    assert manager(left)["access_log"]
    assert "access_log" not in manager(watched)
    for key in ("response_headers_to_add", "response_headers_to_remove"):
        assert manager(left)["route_config"]["virtual_hosts"][0][key]
        assert key not in manager(watched)["route_config"]["virtual_hosts"][0]
    for settings, says in ((left, True), (watched, False)):
        ext_proc = manager(settings)["http_filters"][0]["typed_config"]
        assert ("initial_metadata" in ext_proc["grpc_service"]) is says
        assert ("metadata_options" in ext_proc) is says
