"""The ext_proc server behind a real Envoy with our bootstrap."""

import hashlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.envoy_parts import (
    PATIENCE_S,
    Loop,
    ScriptedHandler,
    Upstream,
    envoy,
    free_port,
    script,
    self_signed,
    serving,
    settings_for,
    wait_until,
)
from tests.log_lines import our_lines

from routewright.gateway.envoy_settings import Endpoint, ModelUpstream, UpstreamTls
from routewright.gateway.exchange import Outcome
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings

pytestmark = pytest.mark.integration

SIZES = {"1 B": 1, "64 KB": 64 * 1024, "1.5 MB": 1536 * 1024, "8 MB": 8 * 1024 * 1024}
DUPLEX = "FULL_DUPLEX_STREAMED"
MODES: dict[str, dict[str, Any]] = {
    "ours": {},
    "buffered": {"response_body_mode": "BUFFERED"},
    "streamed": {"request_body_mode": "STREAMED"},  # not offered, but found in the field
    "duplex": {"request_body_mode": DUPLEX, "response_body_mode": DUPLEX},
}


@dataclass
class Parts:
    alpha: Upstream
    beta: Upstream
    ports: dict[str, int]
    clients: dict[str, httpx.Client]
    outcomes: dict[str, Outcome]
    loop: Loop

    def wait_for_end(self, headers: dict[str, str], outcome: Outcome) -> None:
        """The exchange of the request with these headers ends so, and soon."""
        key = headers["x-script"]
        wait_until(lambda: key in self.outcomes, "the end of the exchange", 3.0)
        assert self.outcomes[key] is outcome


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("envoy")
    loop = Loop()
    alpha, beta = Upstream("alpha"), Upstream("beta")
    outcomes: dict[str, Outcome] = {}
    server = ExtProcServer(
        lambda: ScriptedHandler(outcomes), ExtProcSettings(port=0, drain_s=1.0)
    )
    port = loop.run(server.start())
    with serving(alpha.app, loop) as at_alpha, serving(beta.app, loop) as at_beta:
        ports = {"alpha": at_alpha, "beta": at_beta}
        proxies = {
            name: envoy(settings_for(ports, port, **changes), folder)
            for name, changes in MODES.items()
        }
        clients = {name: proxy.__enter__() for name, proxy in proxies.items()}
        yield Parts(alpha, beta, ports, clients, outcomes, loop)
        for proxy in proxies.values():
            proxy.__exit__(None, None, None)
    loop.run(server.stop())
    loop.close()


@pytest.fixture(params=MODES)
def client(request: pytest.FixtureRequest, parts: Parts) -> httpx.Client:
    return parts.clients[request.param]


def error_of(answer: httpx.Response) -> tuple[str, str]:
    """Type and code of an error in OpenAI's shape."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error["type"], error["code"]


def only(*names: str) -> pytest.MarkDecorator:
    """Run a test with these configurations of the filter alone."""
    return pytest.mark.parametrize("client", names, indirect=True)


@pytest.fixture
def buffered(parts: Parts) -> httpx.Client:
    return parts.clients["buffered"]


@pytest.mark.parametrize("model", ["alpha", "beta"])
def test_the_header_that_the_handler_sets_chooses_the_upstream(
    client: httpx.Client, model: str
) -> None:
    answer = client.post("/report", content=b"x", headers=script(model=model))
    assert answer.json()["server"] == model
    assert answer.headers["x-handled"] == "pass"


def test_a_request_without_a_body_is_decided_on_too(client: httpx.Client) -> None:
    assert client.get("/report", headers=script(model="beta")).json()["server"] == "beta"


@pytest.mark.parametrize("name", ["x-selected-model", "x-vsr-destination-endpoint"])
def test_a_client_cannot_choose_the_upstream_itself(
    buffered: httpx.Client, parts: Parts, name: str
) -> None:
    before = parts.alpha.requests
    wish = "alpha" if name == "x-selected-model" else f"127.0.0.1:{parts.ports['alpha']}"
    answer = buffered.post("/report", content=b"x", headers={**script(), name: wish})
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.json()["error"]["message"] == "no model was chosen for this request"
    assert parts.alpha.requests == before


def test_the_gateway_can_name_an_address_outright(buffered: httpx.Client, parts: Parts) -> None:
    address = {"x-vsr-destination-endpoint": f"127.0.0.1:{parts.ports['beta']}"}
    answer = buffered.post("/report", content=b"x", headers=script(set=address))
    assert answer.json()["server"] == "beta"


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_bodies_of_any_size_reach_the_upstream_and_come_back(
    client: httpx.Client, size: int
) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    seen = client.post("/report", content=body, headers=script(model="alpha")).json()
    assert (seen["size"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    back = client.post("/echo", content=body, headers=script(model="alpha", answer="whole"))
    assert back.content == body


@only("ours", "streamed", "duplex")  # a BUFFERED filter has it before we can say so
def test_an_answer_that_passes_unseen_may_be_of_any_size(client: httpx.Client) -> None:
    size = 20 * 1024 * 1024
    answer = client.post("/bulk", content=str(size), headers=script(model="alpha"))
    assert answer.is_success
    assert len(answer.content) == size


@only("ours", "buffered", "duplex")  # else Envoy stops reading and waits: see EnvoySettings
def test_a_body_over_the_limit_gets_413(client: httpx.Client) -> None:
    body = b"x" * (9 * 1024 * 1024)
    answer = client.post("/report", content=body, headers=script(model="alpha"))
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert error_of(answer) == ("invalid_request_error", "request_too_large")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_model_that_is_down_is_an_error_in_openais_shape_without_an_address(
    parts: Parts, method: str, tmp_path: Path
) -> None:
    server = ExtProcServer(lambda: ScriptedHandler(parts.outcomes), ExtProcSettings(port=0))
    proxy = settings_for({"down": free_port()}, parts.loop.run(server.start()))
    # The handler looks at the answer, as it does where values are to be put back.
    headers = script(model="down", answer="whole", name="Ada")
    with envoy(proxy, tmp_path) as client:
        answer = client.request(method, "/report", headers=headers)
    parts.loop.run(server.stop())
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert error_of(answer) == ("server_error", "upstream")
    assert not any(said in answer.text for said in ("127.0.0.1", "reset", "Connection refused"))


def test_a_rewritten_body_has_its_own_length(client: httpx.Client) -> None:
    answer = client.post(
        "/report", content=b"x" * 70_000, headers=script(model="alpha", body="new")
    )
    seen = answer.json()
    assert seen["size"] == len("new")
    assert seen["headers"].get("content-length", "3") == "3"


def test_buffered_bodies_keep_a_content_length_through_a_rewrite(
    buffered: httpx.Client,
) -> None:
    headers = script(model="alpha", body="suffix")
    seen = buffered.post("/report", content=b"x" * 1000, headers=headers).json()
    assert seen["headers"]["content-length"] == str(seen["size"]) == "1009"


def test_a_rewritten_answer_is_whole_and_has_the_right_length(client: httpx.Client) -> None:
    headers = script(model="alpha", answer="whole", name="Augusta Ada")
    answer = client.post("/echo", content=b"I am [NAME].", headers=headers)
    assert answer.content == b"I am Augusta Ada."
    assert answer.headers.get("content-length", "17") == "17"


@pytest.mark.parametrize("status", [200, 400, 413, 429, 500, 503])
def test_an_immediate_answer_needs_no_upstream_and_stays_as_it_is(
    client: httpx.Client, parts: Parts, status: int
) -> None:
    headers = script(immediate=status)
    answer = client.post("/report", content=b"abc", headers=headers)
    assert (answer.status_code, answer.json()) == (status, {"said": "no", "size": 3})
    assert answer.headers["content-type"] == "application/json"
    parts.wait_for_end(headers, Outcome.COMPLETE)


def test_events_arrive_one_by_one_and_the_end_flushes_what_was_held(
    client: httpx.Client, parts: Parts
) -> None:
    headers = script(model="alpha", name="Ada")
    received = 0
    with client.stream("POST", "/events", content=b"{}", headers=headers) as answer:
        assert answer.headers["x-handled"] == "stream"
        text = b""
        for chunk in answer.iter_raw():
            text += chunk
            # The handler holds the last newline back until the next event.
            while received < 4 and text.count(b"Ada\n") > received:
                received += 1
                if received < 4:
                    parts.loop.loop.call_soon_threadsafe(parts.alpha.turns.release)
    expected = b"".join(b"data: %d Ada\n\n" % n for n in range(4)) + b"data: [DONE]\n\n"
    assert text == expected
    assert received == 4
    parts.wait_for_end(headers, Outcome.COMPLETE)


def test_an_error_of_the_upstream_passes_through(client: httpx.Client) -> None:
    headers = script(model="alpha", answer="whole", name="Ada")
    answer = client.post("/fail", content=b"{}", headers=headers)
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.json() == {"error": {"message": "Ada"}}


def test_a_client_that_leaves_ends_the_decision_about_its_request(
    client: httpx.Client, parts: Parts
) -> None:
    headers = script(sleep_s=30)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/report", content=b"x", headers=headers, timeout=0.5)
    parts.wait_for_end(headers, Outcome.ABORTED)


def test_a_client_that_leaves_in_mid_stream_ends_the_exchange(
    client: httpx.Client, parts: Parts
) -> None:
    headers = script(model="beta")
    with client.stream("POST", "/events", content=b"{}", headers=headers) as answer:
        assert next(answer.iter_raw()).startswith(b"data: 0")
    parts.wait_for_end(headers, Outcome.ABORTED)


@pytest.mark.parametrize("phase", ["request", "response_headers", "response_body"])
def test_a_failing_handler_answers_500_and_keeps_its_text_to_itself(
    client: httpx.Client, parts: Parts, phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = script(model="alpha", answer="whole", raise_in=phase)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/echo", content=b"x", headers=headers)
    assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    assert answer.json()["error"]["code"] == "gateway_error"
    assert "canary" not in answer.text
    parts.wait_for_end(headers, Outcome.FAILED)
    assert len(our_lines(caplog)) == 1
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


def test_a_handler_that_fails_in_mid_stream_cuts_the_answer_off(
    client: httpx.Client, parts: Parts
) -> None:
    headers = script(model="alpha", raise_in="second_event")
    text = b""

    def read() -> None:
        nonlocal text
        with client.stream("POST", "/events", content=b"{}", headers=headers) as answer:
            for chunk in answer.iter_raw():
                text += chunk
                parts.loop.loop.call_soon_threadsafe(parts.alpha.turns.release)

    with pytest.raises(httpx.RemoteProtocolError):
        read()
    assert text.startswith(b"data: 0")
    assert b"data: 1" not in text
    parts.wait_for_end(headers, Outcome.FAILED)


@pytest.mark.parametrize("phase", ["request", "response_headers", "response_body"])
def test_a_failing_handler_lets_pass_what_the_operator_wants_open(
    parts: Parts, phase: str, tmp_path: Path
) -> None:
    settings = ExtProcSettings(port=0, on_error="open", drain_s=1.0)
    server = ExtProcServer(lambda: ScriptedHandler(parts.outcomes), settings)
    proxy = settings_for(parts.ports, parts.loop.run(server.start()), default_model="beta")
    headers = script(answer="whole", raise_in=phase)
    with envoy(proxy, tmp_path) as client:
        answer = client.post("/echo", content=b"[NAME]", headers=headers)
    assert (answer.status_code, answer.content) == (httpx.codes.OK, b"[NAME]")
    parts.wait_for_end(headers, Outcome.FAILED)
    parts.loop.run(server.stop())


@pytest.mark.parametrize("name", ["localhost", "elsewhere.test"])
def test_an_upstream_is_reached_by_tls_if_its_certificate_is_right(
    parts: Parts, name: str, tmp_path: Path
) -> None:
    server = ExtProcServer(lambda: ScriptedHandler(parts.outcomes), ExtProcSettings(port=0))
    port = parts.loop.run(server.start())
    certificate = self_signed(name, tmp_path)
    with serving(parts.alpha.app, parts.loop, **certificate) as at:
        tls = UpstreamTls(ca_file=certificate["ssl_certfile"])
        upstream = ModelUpstream(
            model="alpha",
            endpoints=(Endpoint(host="localhost", port=at, tls=tls),),
            path_prefix="/behind",
        )
        proxy = replace(settings_for({}, port), models=(upstream,))
        with envoy(proxy, tmp_path) as client:
            answer = client.post("/report", content=b"x", headers=script(model="alpha"))
    parts.loop.run(server.stop())
    assert answer.is_success == (name == "localhost")
    if answer.is_success:
        assert answer.json()["headers"]["host"] == f"localhost:{at}"


GATEWAY = """
import asyncio, sys
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from tests.envoy_parts import ScriptedHandler

async def main():
    server = ExtProcServer(lambda: ScriptedHandler({}), ExtProcSettings(port=int(sys.argv[1])))
    await server.start()
    print("listening", flush=True)
    await asyncio.sleep(120)

asyncio.run(main())
"""


def gateway_process(port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(port)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n"
    return process


def test_a_killed_gateway_means_5xx_and_all_is_well_when_it_is_back(
    parts: Parts, tmp_path: Path
) -> None:
    port = free_port()
    headers = script(model="alpha")
    gateway = gateway_process(port)
    with envoy(settings_for(parts.ports, port), tmp_path) as client:
        assert client.post("/report", content=b"x", headers=headers).is_success
        before = parts.alpha.requests
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(
                client.post, "/report", content=b"x", headers=script(model="alpha", sleep_s=60)
            )
            time.sleep(0.3)
            gateway.send_signal(signal.SIGKILL)
            gateway.communicate(timeout=PATIENCE_S)
            assert slow.result(PATIENCE_S).is_server_error
        away = client.post("/report", content=b"x", headers=headers)
        assert away.is_server_error
        assert error_of(away) == ("server_error", "gateway_error")
        assert parts.alpha.requests == before
        again = gateway_process(port)
        try:
            wait_until(
                lambda: client.post("/report", content=b"x", headers=headers).is_success,
                "Envoy to find the gateway again",
            )
        finally:
            again.kill()
            again.communicate(timeout=PATIENCE_S)
