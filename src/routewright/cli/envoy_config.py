"""``routewright envoy-config``: the bootstrap with which Envoy asks the gateway."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routewright.errors import ConfigError

if TYPE_CHECKING:
    from routewright.gateway.settings import Listen


def envoy_config(
    config: Annotated[Path, typer.Option(help="The policy file.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; standard output without it.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where Envoy listens, instead of the file's."),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Envoy's admin page, instead of the file's."),
    ] = None,
    ext_proc: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where Envoy finds the gateway."),
    ] = None,
) -> None:
    """Write a working Envoy bootstrap for a policy: a cluster a model, closed on failure."""
    from routewright.config import write_text
    from routewright.gateway.envoy_config import envoy_settings, envoy_yaml
    from routewright.gateway.policy_file import read_policy_file

    file = read_policy_file(config)
    gateway = file.settings
    gateway = replace(
        gateway,
        envoy=replace(
            gateway.envoy,
            listen=_address("listen", listen) or gateway.envoy.listen,
            admin=_address("admin", admin) or gateway.envoy.admin,
            ext_proc=_address("ext-proc", ext_proc) or gateway.envoy.ext_proc,
        ),
    )
    text = envoy_yaml(envoy_settings(file.policy, gateway, source=str(config)))
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)


def _address(option: str, given: str | None) -> "Listen | None":
    """``HOST:PORT``, an IPv6 address in brackets.

    Raises:
        ConfigError: it is not one.
    """
    from routewright.gateway.settings import Listen

    if given is None:
        return None
    host, colon, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError(f"--{option} {given}: expected HOST:PORT, as in 0.0.0.0:8801")
    return Listen(host=host, port=int(port))
