"""What Envoy with our bootstrap makes of clients: whom it believes, and how long it waits."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from tests.envoy_parts import (
    PATIENCE_S,
    Loop,
    ScriptedHandler,
    Upstream,
    envoy,
    script,
    serving,
    settings_for,
)

from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings

pytestmark = pytest.mark.integration

LIMIT_S = 0.5
FORGED = {
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-proto": "https",
    "x-request-id": "forged",
    "x-envoy-external-address": "9.9.9.9",
    "x-envoy-original-path": "/forged",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of an Envoy that gives clients little time."""
    loop = Loop()
    server = ExtProcServer(lambda: ScriptedHandler({}), ExtProcSettings(port=0, drain_s=0.1))
    port = loop.run(server.start())
    with serving(Upstream("alpha").app, loop) as at:
        limits = {"headers_timeout_s": LIMIT_S, "request_timeout_s": LIMIT_S}
        settings = settings_for({"alpha": at}, port, **limits)
        with envoy(settings, tmp_path_factory.mktemp("envoy")) as found:
            yield found
    loop.run(server.stop())
    loop.close()


def test_clients_are_not_believed_and_their_addresses_stay_here(client: httpx.Client) -> None:
    headers = {**script(model="alpha"), **FORGED}
    seen = client.post("/report", content=b"x", headers=headers).json()["headers"]
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-request-id"] != "forged"
    assert seen["x-forwarded-for"] == FORGED["x-forwarded-for"]
    assert not {name for name in FORGED if name.startswith("x-envoy-")} & set(seen)


@pytest.mark.parametrize(
    "beginning",
    ["POST /report HTTP/1.1\r\nhost: a\r\n", "POST /report HTTP/1.1\r\nhost: a\r\n"
     "x-script: {}\r\ncontent-length: 9\r\n\r\nhalf"],
    ids=["headers", "body"],
)  # fmt: skip
def test_a_request_that_does_not_arrive_is_refused(
    client: httpx.Client, beginning: str
) -> None:
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as slow:
        began = time.monotonic()
        slow.sendall(beginning.encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began > LIMIT_S / 2
