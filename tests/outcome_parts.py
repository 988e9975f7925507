"""Both doors to the whole pipeline, and how their requests were counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from routewright.gateway._proto.ext_proc_pb2 import (
    HeaderMap,
    HeaderValue,
    HttpBody,
    HttpHeaders,
    ProcessingMode,
    ProcessingRequest,
    ProtocolConfiguration,
)
from routewright.gateway.http import HttpDoor
from tests.gateway_parts import NEUTRAL, Gateway, chat, make_gateway
from tests.http_parts import Answer, Client, echo, listening

CHAT = "/v1/chat/completions"
BODY = json.dumps(chat(NEUTRAL)).encode()


def counted(gateway: Gateway, name: str) -> dict[str, float]:
    """The series of a counter with an amount, by their labels as Prometheus writes them."""
    lines = gateway.telemetry.render().decode().splitlines()
    found = (line.partition(f"routewright_{name}")[2].rpartition(" ") for line in lines)
    return {labels: float(amount) for labels, _, amount in found if labels.startswith("{")}


def ended_as(gateway: Gateway, door: str, outcome: str, error: str | None) -> None:
    """One request was counted, so, and one error if any."""
    endpoint = gateway.records[-1].endpoint
    labels = f'{{door="{door}",endpoint="{endpoint}",outcome="{outcome}"}}'
    assert counted(gateway, "requests_total") == {labels: 1.0}
    errors = {} if error is None else {f'{{code="{error}",door="{door}"}}': 1.0}
    assert counted(gateway, "errors_total") == errors


@asynccontextmanager
async def standalone(
    answer: Answer | None = None, guards: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Gateway, Client]]:
    """A door to the whole pipeline; its models answer so, or are down."""
    async with listening(answer or echo) as server:
        url = "http://127.0.0.1:9" if answer is None else server.endpoint.url
        models = {name: {"endpoints": url} for name in ("small", "large")}
        policy: dict[str, Any] = {"models": models}
        policy |= {} if guards is None else {"guards": guards}
        gateway = make_gateway(policy, settings={"http": {"port": 0}, **settings})
        door = HttpDoor(
            partial(gateway.pipeline.handler, "http"),
            gateway.engine.settings,
            gateway.telemetry,
            lambda: True,
        )
        port = await door.start()
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield gateway, client
        finally:
            await client.close()
            await door.stop(0.1)
            await gateway.engine.close()


def header_map(**headers: str) -> HttpHeaders:
    values = [HeaderValue(key=k, raw_value=v.encode()) for k, v in headers.items()]
    return HttpHeaders(headers=HeaderMap(headers=values))


def told(status: int, **headers: str) -> ProcessingRequest:
    """Headers of an answer."""
    return ProcessingRequest(response_headers=header_map(**{":status": str(status)}, **headers))


HEAD = ProcessingRequest(
    request_headers=header_map(**{":path": CHAT, ":method": "POST"}),
    protocol_config=ProtocolConfiguration(
        request_body_mode=ProcessingMode.BUFFERED, response_body_mode=ProcessingMode.NONE
    ),
)
WHOLE = ProcessingRequest(request_body=HttpBody(body=BODY, end_of_stream=True))
HUGE = ProcessingRequest(request_body=HttpBody(body=b"x" * 2000, end_of_stream=True))
SERVED = {"x-envoy-upstream-service-time": "1"}
