"""A working Envoy bootstrap: listener, ext_proc filter, one cluster a model.

The ext_proc server chooses the model by setting a header; the routes match it exactly, so the
places a request can go are written down here. A second header may name an address outright,
for setups of the original router. Both are removed from what clients send before anything
looks at them. A gateway that cannot be reached means an error to the client, never an
unguarded request.
"""

import ipaddress
from typing import Any

from routewright.errors import ConfigError
from routewright.gateway.envoy_filter import (
    API,
    EXT_PROC_CLUSTER,
    access_log,
    answer_headers,
    ext_proc_filter,
)
from routewright.gateway.envoy_replies import local_reply_config
from routewright.gateway.envoy_settings import (
    Endpoint,
    EnvoySettings,
    ModelUpstream,
    UpstreamTls,
    seconds,
)

DESTINATION_CLUSTER = "routewright_original_destination"

SOCKET_MATCH = "envoy.transport_socket_match"


def envoy_bootstrap(settings: EnvoySettings) -> dict[str, Any]:
    """The bootstrap of `settings`, ready for ``envoy --config-yaml`` as YAML or JSON.

    Raises:
        ConfigError: a model without an endpoint in use, two models of one name, or a default
            model that is not among them.
    """
    _check(settings)
    clusters = [_ext_proc_cluster(settings)]
    clusters += [_model_cluster(upstream, settings) for upstream in settings.models]
    if settings.destination_header is not None:
        clusters.append(_destination_cluster(settings))
    return {
        "admin": {"address": _address(settings.admin)},
        "static_resources": {"listeners": [_listener(settings)], "clusters": clusters},
    }


def _check(settings: EnvoySettings) -> None:
    names = [upstream.model for upstream in settings.models]
    for upstream in settings.models:
        if not any(endpoint.weight > 0 for endpoint in upstream.endpoints):
            raise ConfigError(
                f"model {upstream.model} has no endpoints; give it one with a positive weight"
            )
        if names.count(upstream.model) > 1:
            raise ConfigError(f"two models are called {upstream.model}; names must differ")
    if settings.default_model is not None and settings.default_model not in names:
        raise ConfigError(
            f"default model {settings.default_model} is not among the models; "
            f"choose one of: {', '.join(names)}"
        )


def _address(endpoint: Endpoint) -> dict[str, Any]:
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}


def model_cluster_name(model: str) -> str:
    """The cluster of a model in the bootstrap and in Envoy's statistics."""
    return f"model_{model}"


def _listener(settings: EnvoySettings) -> dict[str, Any]:
    manager = {
        "@type": f"{API}.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "routewright",
        "codec_type": "AUTO",
        "stream_idle_timeout": seconds(settings.idle_timeout_s),
        "request_headers_timeout": seconds(settings.headers_timeout_s),
        "request_timeout": seconds(settings.request_timeout_s),
        # Clients are not believed about where they come from, nor how Envoy shall send on.
        "use_remote_address": True,
        "skip_xff_append": True,
        "early_header_mutation_extensions": [_header_removal(settings)],
        "local_reply_config": local_reply_config(),
        **access_log(settings),
        "route_config": {"name": "models", "virtual_hosts": [_virtual_host(settings)]},
        "http_filters": [
            ext_proc_filter(settings),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{API}.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": "routewright",
        "address": _address(settings.listen),
        "per_connection_buffer_limit_bytes": settings.max_body_bytes,
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def _header_removal(settings: EnvoySettings) -> dict[str, Any]:
    """Drop routing headers of clients before a route is looked up."""
    names = [settings.model_header]
    names += [] if settings.destination_header is None else [settings.destination_header]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{API}.extensions.http.early_header_mutation.header_mutation.v3"
            ".HeaderMutation",
            "mutations": [{"remove": name} for name in names],
        },
    }


def _virtual_host(settings: EnvoySettings) -> dict[str, Any]:
    routes = []
    for upstream in settings.models:
        exact = {"name": settings.model_header, "string_match": {"exact": upstream.model}}
        cluster = model_cluster_name(upstream.model)
        routes.append(_route(cluster, settings, header=exact, upstream=upstream))
    if settings.destination_header is not None:
        present = {"name": settings.destination_header, "present_match": True}
        routes.append(_route(DESTINATION_CLUSTER, settings, header=present))
    if settings.default_model is not None:
        (upstream,) = (u for u in settings.models if u.model == settings.default_model)
        cluster = model_cluster_name(upstream.model)
        routes.append(_route(cluster, settings, upstream=upstream))
    else:
        routes.append({"match": {"prefix": "/"}, "direct_response": {"status": 503}})
    return {
        "name": "models",
        "domains": ["*"],
        # A client's address is personal data that no model needs; see `skip_xff_append`.
        "request_headers_to_remove": ["x-envoy-external-address"],
        **answer_headers(settings),
        "routes": routes,
    }


def _route(
    cluster: str,
    settings: EnvoySettings,
    *,
    header: dict[str, Any] | None = None,
    upstream: ModelUpstream | None = None,
) -> dict[str, Any]:
    action: dict[str, Any] = {
        "cluster": cluster,
        # An answer takes as long as it takes; silence is what ends it.
        "timeout": "0s",
        "idle_timeout": seconds(settings.idle_timeout_s),
        "retry_policy": {
            # Only what cannot have reached a model: a prompt is not sent twice.
            "retry_on": "connect-failure,refused-stream",
            "num_retries": 2,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{API}.extensions.retry.host.previous_hosts.v3"
                        ".PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
        },
    }
    if upstream is not None:
        action["auto_host_rewrite"] = True
        if upstream.path_prefix:
            action["prefix_rewrite"] = f"/{upstream.path_prefix.strip('/')}/"
    match: dict[str, Any] = {"prefix": "/"}
    if header is not None:
        match["headers"] = [header]
    return {"match": match, "route": action}


def _cluster(name: str, settings: EnvoySettings) -> dict[str, Any]:
    limit = settings.max_concurrent
    return {
        "name": name,
        "connect_timeout": seconds(settings.connect_timeout_s),
        "per_connection_buffer_limit_bytes": settings.max_body_bytes,
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": limit,
                    "max_pending_requests": limit,
                    "max_requests": limit,
                }
            ]
        },
    }


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_header(endpoint: Endpoint) -> str:
    """What the upstream is told it is called; the port only where it is not the usual one."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return host if endpoint.port in (80, 443) else f"{host}:{endpoint.port}"


def _load_assignment(name: str, endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """The endpoints, found by DNS unless all of them are addresses."""
    used = [e for e in endpoints if e.weight > 0]
    heaviest = max(e.weight for e in used)
    hosts = []
    for endpoint in used:
        host: dict[str, Any] = {
            "endpoint": {"hostname": _host_header(endpoint), "address": _address(endpoint)},
            # Envoy wants whole numbers, 1 or more.
            "load_balancing_weight": max(1, round(endpoint.weight / heaviest * 1000)),
        }
        if endpoint.tls is not None:
            host["metadata"] = {"filter_metadata": {SOCKET_MATCH: _tls_key(endpoint)}}
        hosts.append(host)
    static = all(_is_address(e.host) for e in used)
    return {
        "type": "STATIC" if static else "STRICT_DNS",
        # Envoy's own choice is IPv6 alone where a name has both, also on hosts without IPv6.
        "dns_lookup_family": "V4_PREFERRED",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
    }


def _ext_proc_cluster(settings: EnvoySettings) -> dict[str, Any]:
    return {
        **_cluster(EXT_PROC_CLUSTER, settings),
        **_load_assignment(EXT_PROC_CLUSTER, (settings.ext_proc,)),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{API}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


def _model_cluster(upstream: ModelUpstream, settings: EnvoySettings) -> dict[str, Any]:
    name = model_cluster_name(upstream.model)
    cluster = {
        **_cluster(name, settings),
        **_load_assignment(name, upstream.endpoints),
        "lb_policy": "LEAST_REQUEST",
    }
    sockets = {str(_tls_key(e)): _tls_socket(e, e.tls) for e in upstream.endpoints if e.tls}
    if sockets:
        cluster["transport_socket_matches"] = list(sockets.values())
    return cluster


def _tls_key(endpoint: Endpoint) -> dict[str, str]:
    """What an endpoint and its TLS socket are matched by."""
    tls = endpoint.tls or UpstreamTls()
    return {"server_name": tls.server_name or endpoint.host, "ca_file": tls.ca_file}


def _tls_socket(endpoint: Endpoint, tls: UpstreamTls) -> dict[str, Any]:
    server_name = tls.server_name or endpoint.host
    kind = "IP_ADDRESS" if _is_address(server_name) else "DNS"
    context: dict[str, Any] = {
        "@type": f"{API}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "validation_context": {
                "trusted_ca": {"filename": tls.ca_file},
                "match_typed_subject_alt_names": [
                    {"san_type": kind, "matcher": {"exact": server_name}}
                ],
            }
        },
    }
    if kind == "DNS":
        context["sni"] = server_name
    return {
        "name": f"tls_{server_name}",
        "match": _tls_key(endpoint),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }


def _destination_cluster(settings: EnvoySettings) -> dict[str, Any]:
    return {
        **_cluster(DESTINATION_CLUSTER, settings),
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {
            "use_http_header": True,
            "http_header_name": settings.destination_header,
        },
    }
