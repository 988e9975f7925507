"""The whole gateway: model servers, one engine, both doors, and Envoys of either kind."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
from examples.model_server import create_app

from routewright.gateway.engine import Deployment
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from routewright.gateway.http import HttpDoor
from routewright.gateway.observation import counting_answers
from tests.envoy_parts import Loop, envoy, serving, settings_for
from tests.gateway_parts import Gateway, chat, deployment, make_gateway

DOORS = {"envoy": "ext_proc", "watched": "ext_proc", "http": "http"}
"""To the names of the gateway's doors; `watched` is an Envoy with ``watch_answers``."""


@dataclass
class Whole:
    """Model servers, one engine, both doors, Envoy."""

    loop: Loop
    gateway: Gateway
    apps: dict[str, Any]
    clients: dict[str, httpx.Client]
    ext_proc: ExtProcServer
    sdks: dict[str, openai.OpenAI]
    upstreams: dict[str, int] = field(default_factory=dict)

    def openai(self, door: str) -> openai.OpenAI:
        return self.sdks[door]

    def heard(self, model: str) -> list[Any]:
        """Bodies that reached a model's server."""
        return [seen.body for seen in self.apps[model].state.requests]

    def counted(self, name: str, **labels: str) -> float:
        """The present amount of a counter."""
        found = self.gateway.telemetry.registry.get_sample_value(f"routewright_{name}", labels)
        return found or 0.0

    def policy(self, **changes: Any) -> None:
        """Serve by another policy from now on."""
        models = {
            name: {"endpoints": f"http://127.0.0.1:{port}"}
            for name, port in self.upstreams.items()
        }
        self.serve(deployment({"models": models, **changes}))

    def serve(self, changed: Deployment) -> None:
        """Put a deployment in place."""
        self.loop.run(_call(self.gateway.engine.swap, changed))


async def _call(function: Any, *args: Any) -> Any:
    return function(*args)


def sdk_of(client: httpx.Client) -> openai.OpenAI:
    """OpenAI's own client of the same server; a context manager that closes its sockets."""
    base = str(client.base_url).rstrip("/")
    return openai.OpenAI(base_url=f"{base}/v1", api_key="of-the-client", max_retries=0)


def ask(whole: Whole, door: str, *texts: str, **fields: Any) -> httpx.Response:
    return whole.clients[door].post("/v1/chat/completions", json=chat(*texts, **fields))


@contextmanager
def whole_gateway(folder: Path) -> Iterator[Whole]:
    """All of it, running; `folder` takes Envoy's files."""
    loop = Loop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        apps = {name: create_app(name) for name in ("small", "large")}
        ports = {name: stack.enter_context(serving(app, loop)) for name, app in apps.items()}
        ports["down"] = 9  # where nobody listens
        gateway = loop.run(_call(partial(make_gateway, settings={"http": {"port": 0}})))
        gateway.engine.ready = True
        stack.callback(lambda: loop.run(gateway.engine.close()))
        ext_proc = ExtProcServer(
            partial(gateway.pipeline.handler, "ext_proc"),
            ExtProcSettings(port=0),
            (counting_answers(gateway.telemetry, "ext_proc"),),
        )
        door = HttpDoor(
            partial(gateway.pipeline.handler, "http"),
            gateway.engine.settings,
            gateway.telemetry,
            lambda: True,
        )
        http_port = loop.run(door.start())
        ext_proc_port = loop.run(ext_proc.start())
        loop.run(ext_proc.set_ready(ready=True))
        stack.callback(lambda: loop.run(ext_proc.stop()))
        stack.callback(lambda: loop.run(door.stop(1.0)))
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30, trust_env=False)
        )
        through = stack.enter_context(envoy(settings_for(ports, ext_proc_port), folder))
        watching = settings_for(ports, ext_proc_port, watch_answers=True)
        watched = stack.enter_context(envoy(watching, folder))
        clients = {"envoy": through, "watched": watched, "http": client}
        sdks = {name: stack.enter_context(sdk_of(clients[name])) for name in DOORS}
        parts = Whole(loop, gateway, apps, clients, ext_proc, sdks, ports)
        parts.policy()
        yield parts
