"""Connections of Envoy to gateway and models: which are kept, and who closed them."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from tests.envoy_parts import (
    PATIENCE_S,
    Loop,
    ScriptedHandler,
    envoy,
    script,
    settings_for,
    wait_until,
)

from routewright.gateway.envoy_bootstrap import model_cluster_name
from routewright.gateway.envoy_filter import EXT_PROC_CLUSTER
from routewright.gateway.exchange import EndedAnswer, Outcome
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from routewright.gateway.settings import ExtProcConnections

pytestmark = pytest.mark.integration

SILENCE_S = 0.3
BEGINNING = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"x-vsr-selected-model: forged\r\nx-routewright-decision: forged\r\n\r\n"
    b"9\r\ndata: 0\n\n\r\n"
)


class Model:
    """Begins to answer; waits for who asked to leave, or leaves when it is told to."""

    def __init__(self) -> None:
        self.may_leave = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"{}")
            writer.write(BEGINNING)
            await writer.drain()
            await (self.may_leave.wait() if b"/breaks" in request else reader.read())
        finally:
            writer.close()


@dataclass
class Parts:
    client: httpx.Client
    admin: str
    outcomes: dict[str, Outcome]
    loop: Loop
    model: Model
    answers: list[EndedAnswer]

    def count(self, cluster: str, name: str) -> int:
        """A counter of Envoy about the connections of a cluster."""
        stats = httpx.get(f"{self.admin}/stats", params={"filter": f"^cluster.{cluster}"})
        lines = dict(line.rsplit(": ", 1) for line in stats.text.splitlines())
        return int(lines[f"cluster.{cluster}.{name}"])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    loop = Loop()
    outcomes: dict[str, Outcome] = {}
    patience = ExtProcConnections(ping_after_s=SILENCE_S, ping_timeout_s=PATIENCE_S)
    settings = ExtProcSettings(port=0, drain_s=0.1, connections=patience)
    answers: list[EndedAnswer] = []

    def hear(answer: EndedAnswer) -> None:
        answers.append(answer)
        outcomes[answer.request_id] = answer.outcome

    server = ExtProcServer(lambda: ScriptedHandler(outcomes), settings, (hear,))
    port = loop.run(server.start())
    model = Model()
    listening = loop.run(asyncio.start_server(model.answer, "127.0.0.1", 0))
    around = settings_for({"alpha": listening.sockets[0].getsockname()[1]}, port)
    with envoy(around, tmp_path_factory.mktemp("envoy")) as client:
        admin = f"http://127.0.0.1:{around.admin.port}"
        yield Parts(client, admin, outcomes, loop, model, answers)
    listening.close()
    loop.run(server.stop())
    loop.close()


def test_an_idle_envoy_answers_and_keeps_its_connection(parts: Parts) -> None:
    headers = script(immediate=404)
    assert parts.client.post("/", content=b"x", headers=headers).status_code == 404
    before = parts.count(EXT_PROC_CLUSTER, "upstream_cx_rx_bytes_total")
    time.sleep(5 * SILENCE_S)
    # It was asked meanwhile, with frames of 17 bytes.
    assert parts.count(EXT_PROC_CLUSTER, "upstream_cx_rx_bytes_total") >= before + 2 * 17
    assert parts.client.post("/", content=b"x", headers=headers).status_code == 404
    assert parts.count(EXT_PROC_CLUSTER, "upstream_cx_total") == 1


def broken_off(parts: Parts, headers: dict[str, str], *, breaks: bool) -> Outcome:
    """How an exchange ended whose answer the model, or else the client, broke off."""
    cluster = model_cluster_name("alpha")
    broken = "upstream_cx_destroy_remote_with_active_rq"
    before = parts.count(cluster, broken)
    parts.model.may_leave.clear()
    path = "/breaks" if breaks else "/stays"

    def read() -> None:
        with parts.client.stream("POST", path, content=b"{}", headers=headers) as answer:
            for chunk in answer.iter_raw():
                assert chunk.startswith(b"data: 0")
                if not breaks:
                    return
                parts.loop.loop.call_soon_threadsafe(parts.model.may_leave.set)

    if breaks:
        with pytest.raises(httpx.RemoteProtocolError):
            read()
    else:
        read()
    wait_until(lambda: headers["x-script"] in parts.outcomes, "the end of the exchange")
    assert parts.count(cluster, broken) == before + breaks
    return parts.outcomes[headers["x-script"]]


@pytest.mark.parametrize("breaks", [True, False], ids=["model", "client"])
def test_who_broke_an_answer_off_only_envoy_knows(parts: Parts, breaks: bool) -> None:
    """It ends its call to the gateway alike, so both are counted as aborted there."""
    assert broken_off(parts, script(model="alpha"), breaks=breaks) is Outcome.ABORTED


@pytest.mark.parametrize("breaks", [True, False], ids=["model", "client"])
def test_of_an_answer_that_was_left_envoy_tells_who_broke_it_off(
    parts: Parts, breaks: bool
) -> None:
    outcome = broken_off(parts, script(model="alpha", left={}), breaks=breaks)
    assert outcome is (Outcome.BROKEN if breaks else Outcome.ABORTED)
    assert parts.answers[-1].status == 200
    assert parts.answers[-1].code == ("upstream" if breaks else None)


def test_a_model_server_cannot_speak_for_the_gateway(parts: Parts) -> None:
    headers = script(model="alpha", left={"x-routewright-decision": "default"})
    with parts.client.stream("POST", "/stays", content=b"{}", headers=headers) as answer:
        told = {k: v for k, v in answer.headers.items() if k.startswith(("x-vsr", "x-route"))}
    assert told == {"x-routewright-decision": "default"}
