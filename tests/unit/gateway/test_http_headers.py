"""What of a message passes through the standalone door, and what is refused."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.http_parts import (
    Parts,
    Received,
    Stage,
    code,
    echo,
    says,
    to,
)

from routewright.gateway.exchange import (
    ResponsePlan,
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_connections_are_kept_and_pipelined_requests_answered_in_order(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        for number in range(3):
            await parts.client.post(b"%d" % number)
        assert [(await parts.client.answer())[1].body for _ in range(3)] == [b"0", b"1", b"2"]
        assert parts.server.connections == 1


def test_headers_of_one_connection_end_at_the_door(stage: Stage) -> None:
    @stage.exchange(says(b"", headers="connection: x-there\r\nx-there: 1\r\nkeep-alive: 3\r\n"))
    async def scene(parts: Parts) -> None:
        lines = ["connection: keep-alive, X-Here", "x-here: 1", "te: trailers", "upgrade: h2c"]
        _, answer = await parts.client.ask(b"{}", *lines, "proxy-authorization: secret")
        names = {name for name, _ in parts.server.requests[0].headers}
        assert names == {"host", "content-length"}
        assert "x-here" not in parts.script.seen[0][0]
        assert {name for name, _ in answer.headers} == {"date", "content-length"}


def test_the_header_that_leads_envoy_to_a_server_is_not_sent_to_one(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        names = {"x-selected-model": "m", "x-vsr-destination-endpoint": "10.0.0.9:80"}
        parts.script.steps = [to(parts.server, set_headers=names)]
        await parts.client.ask()
        sent = dict(parts.server.requests[0].headers)
        assert sent["x-selected-model"] == b"m"
        assert "x-vsr-destination-endpoint" not in sent


def test_neither_client_nor_server_can_speak_for_the_gateway(stage: Stage) -> None:
    forged = ["x-vsr-selected-model: evil", "x-routewright-id: 1", "x-selected-model: evil"]
    plan = ResponsePlan(set_headers={"x-vsr-selected-model": "m"})

    @stage.exchange(says(b"", headers="".join(f"{line}\r\n" for line in forged)), plan)
    async def scene(parts: Parts) -> None:
        _, answer = await parts.client.ask(b"{}", *forged)
        for headers in (parts.script.seen[0][0], dict(parts.server.requests[0].headers)):
            assert not [name for name in headers if name.startswith("x-")]
        assert answer.values("x-vsr-selected-model") == [b"m"]
        assert not answer.values("x-routewright-id")


@pytest.mark.parametrize(
    "lines",
    [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: +4\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "x-a: 1\rx-selected-model: evil\r\ncontent-length: 4\r\n",
        "x-a : 1\r\ncontent-length: 4\r\n",
    ],
)
def test_a_message_of_two_readings_is_refused(stage: Stage, lines: str) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        head = f"POST /v1/x HTTP/1.1\r\nhost: a\r\n{lines}\r\n0\r\n\r\n"
        await parts.client.send(head.encode() + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b" 400 " in (await parts.client.rest()).partition(b"\r\n")[0]
        assert not [r for r in parts.server.requests if "smuggled" in r.target]
        assert not [h for h, _ in parts.script.seen if "smuggled" in h[":path"]]


def test_header_bytes_of_an_answer_come_as_they_were(stage: Stage) -> None:
    async def latin(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-a: Jos\xe9\r\nset-cookie: a\r\nset-cookie: b\r\n")
        writer.write(b"content-length: 0\r\n\r\n")

    @stage.exchange(latin)
    async def scene(parts: Parts) -> None:
        _, answer = await parts.client.ask()
        assert answer.values("x-a") == [b"Jos\xe9"]
        assert answer.values("set-cookie") == [b"a", b"b"]
        assert parts.script.response_headers[0]["x-a"] == "Jos\udce9"


def test_a_request_header_that_cannot_be_sent_on_is_refused(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        status, answer = await parts.client.ask(b"{}", "x-a: Jos\xe9")
        assert (status, code(answer)) == (400, None)
        assert not parts.server.requests
