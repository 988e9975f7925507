"""From a policy file to Envoy's bootstrap: which servers, which ports, what a failure means.

Envoy finds a model's cluster by the header that the gateway sets, so this file has to be
written anew when models or endpoints change; all else in the policy is the gateway's alone.
"""

import re
from typing import Any
from urllib.parse import urlsplit

import yaml

from routewright.errors import ConfigError
from routewright.gateway.envoy_bootstrap import envoy_bootstrap
from routewright.gateway.envoy_settings import (
    Endpoint,
    EnvoySettings,
    ModelUpstream,
    UpstreamTls,
)
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.policy.settings import Endpoint as PolicyEndpoint
from routewright.policy.settings import Model, Policy

TIMEOUT_MARGIN_S = 5.0
"""By how much Envoy waits longer than the gateway, so that the gateway's error comes first."""

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*")


def envoy_settings(policy: Policy, gateway: GatewaySettings, *, source: str) -> EnvoySettings:
    """What the bootstrap needs, from the two halves of a policy file.

    With ``gateway.on_error: open`` requests pass to the default model while the gateway is
    away, but only if no guard says ``on_error: closed``: none fails more openly than it says.

    Args:
        policy: a checked policy.
        gateway: the ``gateway`` section of the same file.
        source: the file, named in messages.

    Raises:
        ConfigError: endpoints of one model with different path prefixes, or no address at
            which Envoy could find the gateway.
    """
    guards = (policy.guards.jailbreak, policy.guards.pii)
    closed = any(guard is not None and guard.on_error == "closed" for guard in guards)
    is_open = gateway.on_error == "open"
    decide_s = gateway.deadline_s + TIMEOUT_MARGIN_S
    return EnvoySettings(
        models=tuple(
            _upstream(name, model, gateway.envoy.ca_file, f"{source}: models.{name}.endpoints")
            for name, model in policy.models.items()
        ),
        # Without a model header a request has not been looked at.
        default_model=policy.default_model if is_open else None,
        failure_mode_allow=is_open and not closed,
        listen=_endpoint(gateway.envoy.listen),
        admin=_endpoint(gateway.envoy.admin),
        ext_proc=_ext_proc(gateway, source),
        request_body_mode=gateway.envoy.request_body_mode,
        response_body_mode=gateway.envoy.response_body_mode,
        watch_answers=gateway.envoy.watch_answers,
        max_body_bytes=gateway.max_body_bytes,
        message_timeout_s=decide_s,
        headers_timeout_s=gateway.clients.headers_timeout_s,
        request_timeout_s=gateway.clients.body_timeout_s + decide_s,
        connect_timeout_s=gateway.upstream.connect_timeout_s,
        idle_timeout_s=gateway.upstream.idle_timeout_s,
    )


def envoy_yaml(settings: EnvoySettings) -> str:
    """The bootstrap as the file that ``envoy -c`` reads.

    Raises:
        ConfigError: as `envoy_bootstrap`.
    """
    head = "# Written by routewright envoy-config; write it anew when models or ports change.\n"
    bootstrap = envoy_bootstrap(settings)
    body = yaml.dump(bootstrap, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96)
    return head + body


def _upstream(name: str, model: Model, ca_file: str, place: str) -> ModelUpstream:
    prefixes = sorted({_prefix(endpoint) for endpoint in model.endpoints})
    if len(prefixes) > 1:
        shown = " and ".join(prefix or "no path" for prefix in prefixes)
        raise ConfigError(
            f"{place}: different paths ({shown}), and Envoy has one route a model; "
            "give them the same path, or make them two models"
        )
    endpoints = tuple(_server(endpoint, ca_file) for endpoint in model.endpoints)
    return ModelUpstream(model=name, endpoints=endpoints, path_prefix=prefixes[0])


def _prefix(endpoint: PolicyEndpoint) -> str:
    return urlsplit(endpoint.url).path.rstrip("/")


def _server(endpoint: PolicyEndpoint, ca_file: str) -> Endpoint:
    host, port = endpoint.host_port
    tls = UpstreamTls(ca_file=ca_file) if urlsplit(endpoint.url).scheme == "https" else None
    return Endpoint(host=host, port=port, weight=endpoint.weight, tls=tls)


def _endpoint(listen: Listen) -> Endpoint:
    return Endpoint(host=listen.host, port=listen.port)


def _ext_proc(gateway: GatewaySettings, source: str) -> Endpoint:
    """Where Envoy finds the gateway: as stated, else on this machine."""
    stated = gateway.envoy.ext_proc
    listen = gateway.ext_proc if stated is None else stated
    key = "gateway.ext_proc" if stated is None else "gateway.envoy.ext_proc"
    if listen is None:
        raise ConfigError(
            f"{source}: gateway.ext_proc: is null, so Envoy has nobody to ask; open it, or "
            "name the address of another gateway in gateway.envoy.ext_proc"
        )
    if listen.port == 0:
        raise ConfigError(
            f"{source}: {key}.port: 0 takes a free port, which Envoy cannot know; name one"
        )
    return Endpoint(host=_ANY_HOST.get(listen.host, listen.host), port=listen.port)


class _Dumper(yaml.SafeDumper):
    """Quotes what Envoy, with rules of its own, might take for a number or a boolean."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # One letter because "y" and "n" are booleans to Envoy and strings to PyYAML.
    plain = _PLAIN.fullmatch(value) is not None and len(value) > 1
    style = None if plain else "'" if '"' in value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)
