"""Requests and answers through the standalone door on real sockets, and how they end."""

import asyncio
import contextlib
import gzip
from collections.abc import Iterator

import pytest
from tests.http_parts import (
    EVENTS,
    PASS,
    SOON_S,
    STREAM,
    WHOLE,
    Parts,
    Received,
    Script,
    Stage,
    code,
    echo,
    ended,
    listening,
    open_door,
    play,
    response,
    says,
    silence,
    to,
)
from tests.log_lines import our_lines

from routewright.gateway.exchange import (
    BodyHandling,
    Immediate,
    Outcome,
    ResponsePlan,
)
from routewright.gateway.settings import HttpUpstream

MB = 1024 * 1024


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_a_request_reaches_the_server_and_its_answer_the_client(stage: Stage) -> None:
    @stage.exchange(says(b'{"a": 1}', headers="content-type: application/json\r\nx-own: 1\r\n"))
    async def scene(parts: Parts) -> None:
        status, answer = await parts.client.ask(b'{"q": 1}', "x-mine: 2", path="/v1/x?a=%2F")
        assert (status, answer.body) == (200, b'{"a": 1}')
        assert answer.values("x-own") == [b"1"]
        assert len(answer.values("date")) == 1
        seen, body = parts.script.seen[0]
        assert (seen[":method"], seen[":path"], seen[":authority"]) == (
            "POST",
            "/v1/x?a=%2F",
            "door",
        )
        assert body == parts.server.requests[0].body == b'{"q": 1}'
        assert parts.server.requests[0].values("x-mine") == [b"2"]
        assert parts.server.requests[0].values("user-agent") == []
        assert parts.script.response_headers[0][":status"] == "200"
        assert await ended(parts.script) is Outcome.COMPLETE


def test_the_handler_changes_headers_and_bodies_both_ways() -> None:
    async def scene() -> None:
        async with listening(echo) as server:
            forward = to(server, body=b"new", set_headers={"x-a": "é"}, remove_headers=("x-b",))
            plan = ResponsePlan(
                set_headers={"x-c": "é"},
                remove_headers=("content-length",),
                body=BodyHandling.WHOLE,
            )
            script = Script(
                steps=[forward], plan=plan, change=lambda chunk, _: chunk + b" and more"
            )
            async with open_door(lambda: script) as running:
                client = await running.connect()
                _, answer = await client.ask(b"old", "x-a: client", "x-b: gone")
        sent = server.requests[0]
        assert (sent.body, sent.values("content-length")) == (b"new", [b"3"])
        assert (sent.values("x-a"), sent.values("x-b")) == (["é".encode()], [])
        assert answer.body == b"new and more"
        assert answer.values("x-c") == ["é".encode()]

    play(scene)


@pytest.mark.parametrize("plan", [PASS, STREAM], ids=["passed", "changed"])
def test_a_streamed_answer_arrives_chunk_by_chunk(stage: Stage, plan: ResponsePlan) -> None:
    turn = asyncio.Event()

    async def events(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS)
        for number in range(3):
            await turn.wait()
            turn.clear()
            writer.write(b"6\r\ndata %d\r\n" % number)
        await turn.wait()
        writer.write(b"0\r\n\r\n")

    @stage.exchange(events, plan)
    async def scene(parts: Parts) -> None:
        parts.script.change = lambda chunk, end: chunk + (b"end" if end else b"")
        await parts.client.post()
        assert b"text/event-stream" in await parts.client.head()
        for number in range(3):  # the server goes on only after the client has the last one
            turn.set()
            assert await parts.client.chunk() == b"data %d" % number
        turn.set()
        if plan is STREAM:
            assert await parts.client.chunk() == b"end"
        assert await parts.client.chunk() == b""
        assert await ended(parts.script) is Outcome.COMPLETE


def test_a_compressed_answer_passes_as_it_is(stage: Stage) -> None:
    packed = gzip.compress(b"text " * 100)

    @stage.exchange(says(packed, headers="content-encoding: gzip\r\n"))
    async def scene(parts: Parts) -> None:
        answer = (await parts.client.ask(b"{}", "accept-encoding: gzip"))[1]
        assert (answer.body, answer.values("content-encoding")) == (packed, [b"gzip"])


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3 * MB // 2, 8 * MB])
@pytest.mark.parametrize("plan", [PASS, STREAM, WHOLE], ids=["pass", "stream", "whole"])
def test_bodies_of_any_size_go_there_and_back(
    stage: Stage, size: int, plan: ResponsePlan
) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    @stage.exchange(echo, plan)
    async def scene(parts: Parts) -> None:
        _, answer = await parts.client.ask(body)
        assert answer.body == body == parts.server.requests[0].body


def test_a_chunked_request_arrives_whole_and_with_a_length(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        head = b"POST /v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        await parts.client.send(head + b"3\r\nabc\r\n")
        await asyncio.sleep(0.02)
        await parts.client.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await parts.client.answer())[1].body == b"abcde"
        assert parts.script.seen[0][1] == b"abcde"
        sent = parts.server.requests[0]
        assert (sent.values("content-length"), sent.values("transfer-encoding")) == ([b"5"], [])


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused_and_never_sent_on(
    stage: Stage, chunked: bool
) -> None:
    @stage.exchange(echo, max_body_bytes=1000)
    async def scene(parts: Parts) -> None:
        head = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n"
        many = b"x" * MB
        if chunked:
            piece = b"%x\r\n%s\r\n" % (len(many), many)
            await parts.client.send(head + b"transfer-encoding: chunked\r\n\r\n" + piece)
        else:
            await parts.client.send(head + b"content-length: %d\r\n\r\n" % (2 * MB) + many)
        status, answer = await parts.client.answer()
        assert (status, code(answer)) == (413, "request_too_large")
        assert answer.values("connection") == [b"close"]
        await parts.client.send(b"0\r\n\r\n" if chunked else many)
        assert await parts.client.rest() == b""
        assert not parts.server.requests
        assert not parts.script.seen
        assert await ended(parts.script) is Outcome.COMPLETE


def test_a_client_that_waits_for_leave_to_send_gets_it(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        lines = b"content-length: 3\r\nexpect: 100-continue\r\n\r\n"
        await parts.client.send(b"POST /v1/x HTTP/1.1\r\nhost: a\r\n" + lines)
        assert (await parts.client.head()).startswith(b"HTTP/1.1 100 ")
        await parts.client.send(b"abc")
        assert (await parts.client.answer())[1].body == b"abc"
        assert parts.server.requests[0].values("expect") == []


@pytest.mark.parametrize("phase", ["request", "response_headers"])
def test_the_handler_may_answer_instead(stage: Stage, phase: str) -> None:
    said = Immediate(status=403, headers={"content-type": "text/plain"}, body=b"no")

    @stage.exchange(says(b"secret"), said)
    async def scene(parts: Parts) -> None:
        if phase == "request":
            parts.script.steps = [said]
        status, answer = await parts.client.ask()
        assert (status, answer.body) == (403, b"no")
        assert answer.values("content-type") == [b"text/plain"]
        assert await ended(parts.script) is Outcome.COMPLETE
        assert (await parts.client.ask())[0] == 403


def test_a_model_that_cannot_be_reached_is_502_and_a_silent_one_504(stage: Stage) -> None:
    limits = HttpUpstream(idle_timeout_s=0.1, connect_timeout_s=0.1)

    @stage.exchange(silence, upstream=limits)
    async def scene(parts: Parts) -> None:
        status, answer = await parts.client.ask()
        assert (status, code(answer)) == (504, "timeout")
        assert await ended(parts.script) is Outcome.BROKEN
        assert parts.script.codes.pop() == "timeout"
        parts.script.outcomes.clear()
        parts.script.steps = [to()]
        status, answer = await parts.client.ask()
        assert (status, code(answer)) == (502, "upstream")
        assert await ended(parts.script) is Outcome.BROKEN
        assert parts.script.codes == ["upstream"]


@pytest.mark.parametrize("plan", [PASS, STREAM], ids=["pass", "stream"])
@pytest.mark.parametrize("end", ["dies", "silent", "raises"])
def test_an_answer_that_breaks_off_never_looks_complete_and_is_logged_once(
    stage: Stage, plan: ResponsePlan, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"4\r\nhalf\r\n")
        if end != "dies":
            await asyncio.sleep(SOON_S)
        writer.close()

    limits = HttpUpstream(idle_timeout_s=1.0)

    @stage.exchange(half, plan, upstream=limits)
    async def scene(parts: Parts) -> None:
        fails = end == "raises" and plan is STREAM
        parts.script.raise_in = "response_chunk" if fails else ""
        await parts.client.post()
        await parts.client.head()
        assert await parts.client.rest() == (b"" if fails else b"4\r\nhalf\r\n")
        assert await ended(parts.script) is (Outcome.FAILED if fails else Outcome.BROKEN)
        assert len(our_lines(caplog)) == 1


def test_a_gathered_answer_that_breaks_off_becomes_an_error(stage: Stage) -> None:
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        writer.close()

    @stage.exchange(half, WHOLE)
    async def scene(parts: Parts) -> None:
        status, answer = await parts.client.ask()
        assert (status, code(answer)) == (502, "upstream")


def test_a_gathered_answer_over_the_limit_is_refused(stage: Stage) -> None:
    @stage.exchange(says(b"x" * 2000), WHOLE, max_body_bytes=1000)
    async def scene(parts: Parts) -> None:
        status, answer = await parts.client.ask()
        assert (status, code(answer)) == (502, "answer_too_large")
        assert await ended(parts.script) is Outcome.COMPLETE, "its handler has said so"


@pytest.mark.parametrize("phase", ["request", "response_headers", "response_chunk"])
def test_a_handler_that_fails_is_a_500_and_no_log_has_its_text(
    stage: Stage, phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    @stage.exchange(says(b"answer"), WHOLE)
    async def scene(parts: Parts) -> None:
        parts.script.raise_in = phase
        status, answer = await parts.client.ask()
        assert (status, code(answer)) == (500, "gateway_error")
        assert await ended(parts.script) is Outcome.FAILED
        assert "RuntimeError" in caplog.text
        assert "canary" not in caplog.text


@pytest.mark.parametrize("phase", ["request", "response_headers", "response_chunk"])
def test_a_failing_handler_lets_everything_pass_if_so_configured(
    stage: Stage, phase: str
) -> None:
    @stage.exchange(says(b"answer"), WHOLE, on_error="open")
    async def scene(parts: Parts) -> None:
        parts.script.raise_in = phase
        assert (await parts.client.ask())[1].body == b"answer"
        assert await ended(parts.script) is Outcome.FAILED


def test_a_client_that_leaves_interrupts_the_decision(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        parts.script.may_decide = asyncio.Event()
        await parts.client.post()
        await asyncio.wait_for(parts.script.thinking.wait(), SOON_S)
        await parts.client.close()
        assert await ended(parts.script) is Outcome.ABORTED
        assert parts.script.interrupted
        assert not parts.server.requests


@pytest.mark.parametrize("begun", [False, True], ids=["before", "within"])
def test_a_client_that_leaves_ends_the_request_to_the_server(stage: Stage, begun: bool) -> None:
    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(EVENTS + b"1\r\nx\r\n")
        await asyncio.sleep(2 * SOON_S)

    @stage.exchange(endless, STREAM)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        if begun:
            await parts.client.head()
            await parts.client.chunk()
        while not parts.server.requests:
            await asyncio.sleep(0.005)
        await parts.client.close()
        await asyncio.wait_for(parts.server.hung_up.wait(), 1.0)
        assert await ended(parts.script) is Outcome.ABORTED


def test_a_client_that_leaves_within_its_body_asks_nothing(stage: Stage) -> None:
    @stage.exchange(echo)
    async def scene(parts: Parts) -> None:
        await parts.client.send(
            b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf"
        )
        await asyncio.sleep(0.02)
        await parts.client.close()
        assert await ended(parts.script) is Outcome.ABORTED
        assert not parts.script.seen


def test_a_hundred_requests_at_once_get_their_own_answers(stage: Stage) -> None:
    async def slow_echo(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05 * (int(request.body) % 3))
        writer.write(response(request.body, headers=f"x-tag: {request.body.decode()}\r\n"))

    @stage.exchange(slow_echo, STREAM)
    async def scene(parts: Parts) -> None:
        parts.script.change = lambda chunk, end: b"" if end else b"<" + chunk + b">"

        async def one(number: int) -> None:
            client = await parts.running.connect()
            for turn in range(2):
                tag = b"%d" % (number * 10 + turn)
                _, answer = await client.ask(tag, f"x-tag: {tag.decode()}")
                assert (answer.body, answer.values("x-tag")) == (b"<%s>" % tag, [tag])

        await asyncio.gather(*[one(number) for number in range(100)])
        assert parts.script.outcomes == [Outcome.COMPLETE] * 200
        for headers, body in parts.script.seen:
            assert headers["x-tag"].encode() == body


def test_answers_without_a_body_have_none(stage: Stage) -> None:
    async def nothing(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    @stage.exchange(nothing, WHOLE)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        head: bytes = await parts.client.head()
        assert head.startswith(b"HTTP/1.1 204 ")
        assert b"content-length" not in head
        assert b"transfer-encoding" not in head


@pytest.mark.parametrize("plan", [PASS, STREAM], ids=["passed", "changed"])
def test_a_client_that_knows_no_chunks_gets_a_length(stage: Stage, plan: ResponsePlan) -> None:
    async def events(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"4\r\nhalf\r\n4\r\nrest\r\n0\r\n\r\n")

    @stage.exchange(events, plan)
    async def scene(parts: Parts) -> None:
        await parts.client.send(b"POST /v1/x HTTP/1.0\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        _, answer = await parts.client.answer()
        assert answer.values("transfer-encoding") == []
        assert answer.body == b"halfrest"


def test_a_client_that_reads_slowly_slows_the_server_down(stage: Stage) -> None:
    num_sent = 0

    async def much(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal num_sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (256 * MB))
        with contextlib.suppress(ConnectionError):  # its client leaves before the end
            while num_sent < 256:
                writer.write(b"x" * MB)
                await writer.drain()
                num_sent += 1

    @stage.exchange(much, STREAM)
    async def scene(parts: Parts) -> None:
        await parts.client.post()
        await parts.client.head()
        await asyncio.sleep(0.3)
        assert 0 < num_sent < 64  # what the sockets of this machine hold, and no more
