"""The ext_proc filter of Envoy's bootstrap, and what Envoy does to answers by itself."""

from typing import Any

from routewright.gateway.envoy_settings import EnvoySettings, seconds
from routewright.gateway.unwatched import (
    ANSWER_HEADERS,
    ANSWER_NAMESPACE,
    ANSWERS,
    REQUEST_ID_FIELD,
    UNWATCHED,
)

API = "type.googleapis.com/envoy"
EXT_PROC_CLUSTER = "routewright_ext_proc"

_LOG_EVERY_S = 0.5
"""Or when 16 KB of it have come together."""


def answer_headers(settings: EnvoySettings) -> dict[str, Any]:
    """Of a virtual host: what it does to the headers of answers that the gateway does not see.

    A model server that sends headers of the gateway's is not believed. Those of answers that
    the gateway does see come after this, and from the gateway.
    """
    if settings.watch_answers:
        return {}
    return {
        "response_headers_to_remove": list(ANSWER_HEADERS),
        "response_headers_to_add": [
            {
                "header": {
                    "key": name,
                    "value": f"%DYNAMIC_METADATA({ANSWER_NAMESPACE}:{name})%",
                },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for name in ANSWER_HEADERS
        ],
    }


def access_log(settings: EnvoySettings) -> dict[str, Any]:
    """Of the connection manager: the log that tells the gateway of the answers it left."""
    if settings.watch_answers:
        return {}
    config = {
        "@type": f"{API}.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "routewright",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER}},
            "buffer_flush_interval": seconds(_LOG_EVERY_S),
        },
    }
    is_left = {
        "matcher": {
            "filter": ANSWER_NAMESPACE,
            "path": [{"key": REQUEST_ID_FIELD}],
            "value": {"present_match": True},
        },
        "match_if_key_not_found": False,
    }
    name = "envoy.access_loggers.http_grpc"
    return {
        "access_log": [
            {"name": name, "filter": {"metadata_filter": is_left}, "typed_config": config}
        ]
    }


def ext_proc_filter(settings: EnvoySettings) -> dict[str, Any]:
    """The filter that asks the gateway about every request."""
    duplex = "FULL_DUPLEX_STREAMED"
    service: dict[str, Any] = {"envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER}}
    received: dict[str, Any] = {}
    if not settings.watch_answers:
        service["initial_metadata"] = [{"key": ANSWERS, "value": UNWATCHED}]
        received = {
            "metadata_options": {"receiving_namespaces": {"untyped": [ANSWER_NAMESPACE]}}
        }
    return {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": f"{API}.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": service,
            **received,
            "failure_mode_allow": settings.failure_mode_allow,
            "message_timeout": seconds(settings.message_timeout_s),
            "allow_mode_override": True,
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": settings.request_body_mode,
                "response_body_mode": settings.response_body_mode,
                # Envoy demands trailers in full-duplex mode: they may end the body.
                "request_trailer_mode": (
                    "SEND" if settings.request_body_mode == duplex else "SKIP"
                ),
                "response_trailer_mode": (
                    "SEND" if settings.response_body_mode == duplex else "SKIP"
                ),
            },
        },
    }
