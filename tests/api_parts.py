"""The classification API without sockets: a client of its application, on the tiny model."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette

from routewright.gateway.api import Reload, create_api
from routewright.gateway.engine import Engine
from routewright.runtime.classifier import Classifier
from tests.gateway_parts import make_gateway


@dataclass
class Api:
    """A client, and what it talks to."""

    client: httpx.AsyncClient
    engine: Engine

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request that succeeds; `path` below ``/api/v1/``."""
        response = await self.client.post(f"/api/v1/{path}", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def refused(self, path: str, body: Mapping[str, Any], status: int = 400) -> str:
        """Code and message of a request that fails with `status`."""
        response = await self.client.post(f"/api/v1/{path}", content=json.dumps(body))
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert set(error) == {"code", "message", "timestamp"}
        return f"{error['code']} {error['message']}"

    def metrics(self) -> str:
        return self.engine.telemetry.render().decode()


def client_of(app: Starlette) -> httpx.AsyncClient:
    """A client without a network between."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@asynccontextmanager
async def api(
    policy: Mapping[str, Any] | None = None,
    model: Classifier | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    reload: Reload | None = None,
    admin_token: str | None = None,
) -> AsyncIterator[Api]:
    """The API over a gateway of its own; arguments as for `make_gateway`."""
    engine = make_gateway(policy, model, settings).engine
    app = create_api(engine, reload=reload, admin_token=admin_token)
    async with client_of(app) as client:
        yield Api(client, engine)
    await engine.close()
