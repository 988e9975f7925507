"""Our gRPC server against the real client, and against bytes that no client should send."""

import asyncio
import json
import re
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)
from tests.grpc_parts import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGEST,
    LIMIT,
    PREFACE,
    SOON_S,
    Frames,
    Methods,
    channel,
    initial_window,
    message,
    opened,
    play,
    raw,
    window_update,
)

from routewright.gateway.grpc_server import GrpcServer
from routewright.gateway.logs import JsonFormatter

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 1, 3, 6, 11


async def status_of(call: Any) -> grpc.StatusCode:
    async for _ in call:
        pass
    code: grpc.StatusCode = await call.code()
    return code


def test_a_call_that_fails_is_logged_by_type_and_place_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            call = client.stream_stream("/t/Fail")()
            await call.write(b"a secret")
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()

    play(scene)
    [record] = [r for r in caplog.records if r.name.startswith("routewright")]
    event = json.loads(JsonFormatter().format(record))["event"]
    assert event.startswith("gRPC call failed error=RuntimeError at=grpc_connection.py:")
    assert re.search(r" > grpc_parts\.py:\d+ fail$", event)
    assert "secret" not in event + caplog.text


def test_large_messages_come_back_whole_through_the_clients_small_windows() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            call = client.stream_stream("/t/Echo")()
            for size in (0, 1, 16_384, LIMIT, 70_000):
                await call.write(bytes([size % 251]) * size)
                assert await call.read() == bytes([size % 251]) * size
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
            total = [part async for part in client.unary_stream("/t/Twice")(b"x" * LIMIT)]
            assert total == [b"x" * LIMIT] * 2

    play(scene)


def test_many_calls_of_one_connection_do_not_mix() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            unary = client.unary_unary("/t/Echo")
            sent = [f"{i}".encode() * (i * 37 % 4000) for i in range(200)]
            assert await asyncio.gather(*(unary(data) for data in sent)) == sent

    play(scene)


@pytest.mark.parametrize(
    ("path", "size", "compression", "code"),
    [
        ("/t/Echo", LIMIT + 1, None, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("/t/Echo", 1000, grpc.Compression.Gzip, grpc.StatusCode.UNIMPLEMENTED),
        ("/t/None", 1, None, grpc.StatusCode.UNIMPLEMENTED),
        ("/t/Fail", 1, None, grpc.StatusCode.INTERNAL),
    ],
)
def test_what_cannot_be_served_ends_with_its_status(
    path: str, size: int, compression: Any, code: grpc.StatusCode
) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as client:
            call = client.unary_stream(path)(b"s" * size, compression=compression)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await status_of(call)
            assert raised.value.code() is code
            assert "quotes" not in (raised.value.details() or "")
            assert await client.unary_unary("/t/Echo")(b"next") == b"next"

    play(scene)


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_method_is_cancelled_when_its_client_leaves(how: str) -> None:
    async def scene(methods: Methods, _: GrpcServer, port: int) -> None:
        client = channel(port)
        call = client.stream_stream("/t/Wait")()
        await methods.waiting.wait()
        if how == "cancel":
            call.cancel()
        else:
            await client.close()
        await asyncio.wait_for(methods.cancelled.wait(), SOON_S)
        await client.close()

    play(scene)


def test_who_watches_hears_of_every_change_and_of_services_that_are_not_there() -> None:
    async def scene(methods: Methods, server: GrpcServer, port: int) -> None:
        methods.health.set("a", serving=False)
        async with channel(port) as client:
            stub: Any = health_pb2_grpc.HealthStub(client)
            call = stub.Watch(health_pb2.HealthCheckRequest(service="a"))
            seen = [(await call.read()).status]
            for serving in (True, True, False):
                methods.health.set("a", serving=serving)
            seen += [(await call.read()).status, (await call.read()).status]
            assert seen == [2, 1, 2]
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="b"))
            assert (await unknown.read()).status == 3
            with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
                await stub.Check(health_pb2.HealthCheckRequest(service="b"))
            methods.health.close()
            assert await call.read() is grpc.aio.EOF

    play(scene)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(DataFrame, 0, 1, b"never opened"), PROTOCOL_ERROR),
        (opened(2), PROTOCOL_ERROR),
        (raw(ContinuationFrame, 0, 1), PROTOCOL_ERROR),
        (raw(PushPromiseFrame, 0, 1), FRAME_SIZE_ERROR),
        (raw(HeadersFrame, 0, 1, HEADERS) + opened(1), PROTOCOL_ERROR),
        (opened(1, b"\xff\xff"), PROTOCOL_ERROR),
        (initial_window(2**31), FLOW_CONTROL_ERROR),
        (window_update(0, LARGEST), FLOW_CONTROL_ERROR),
        (opened(1) + window_update(1, 0), PROTOCOL_ERROR),
        (opened(1) + raw(DataFrame, 0, 1, bytes(60_000)), FRAME_SIZE_ERROR),
        (
            raw(HeadersFrame, 0, 1, HEADERS) + raw(ContinuationFrame, 0, 1, b"x") * 100,
            PROTOCOL_ERROR,
        ),
        # A header of 4,000 bytes, and short references to it.
        (
            opened(1, b"\x40\x01x\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 20),
            ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_a_broken_protocol_ends_the_connection_with_its_code(data: bytes, code: int) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + raw(SettingsFrame, 0, 0) + data)
        frames = Frames(reader)
        while await frames.next():
            pass
        writer.close()
        last = frames.seen[-1]
        assert isinstance(last, GoAwayFrame)
        assert last.error_code == code

    play(scene)


def test_a_browser_is_told_that_this_is_not_for_it() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        plain = raw(HeadersFrame, END_HEADERS | END_STREAM, 1, b"\x00\x05:path\x01/")
        writer.write(PREFACE + raw(SettingsFrame, 0, 0) + plain)
        (answer,) = await Frames(reader).until(HeadersFrame, 1)
        assert dict(Decoder().decode(answer.data, raw=True)) == {b":status": b"415"}
        assert "END_STREAM" in answer.flags
        writer.close()

    play(scene)


def test_nothing_is_sent_beyond_the_windows_and_the_rest_when_they_open() -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = message(b"abcdefghijklmnop")
        data = raw(DataFrame, END_STREAM, 1, sent)
        writer.write(PREFACE + initial_window(10) + opened(1) + data)
        frames = Frames(reader)

        async def more(size: int) -> bytes:
            while len(data := b"".join(f.data for f in frames.of(DataFrame))) < size:
                assert await frames.next()
            return data

        assert await more(10) == sent[:10]
        writer.write(window_update(1, 4))
        assert len(await more(14)) == 14
        writer.write(initial_window(100))
        assert await more(21) == sent
        writer.close()

    play(scene)


def test_a_drain_serves_what_crosses_it_and_refuses_what_comes_later() -> None:
    async def scene(methods: Methods, server: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wait = HEADERS.replace(b"/t/Echo", b"/t/Wait")
        writer.write(PREFACE + raw(SettingsFrame, 0, 0) + opened(1, wait))
        await methods.waiting.wait()
        stopping = asyncio.ensure_future(server.stop(SOON_S))
        frames = Frames(reader)
        (ping,) = await frames.until(PingFrame, 1)
        writer.write(opened(3, wait) + raw(PingFrame, ACK, 0, ping.opaque_data))
        writer.write(opened(5, wait))
        (refused,) = await frames.until(RstStreamFrame, 1)
        first, last = (f.last_stream_id for f in await frames.until(GoAwayFrame, 2))
        assert (first, last, refused.stream_id) == (LARGEST, 3, 5)
        assert not stopping.done()
        cancel = (8).to_bytes(4, "big")
        writer.write(raw(RstStreamFrame, 0, 1, cancel) + raw(RstStreamFrame, 0, 3, cancel))
        await asyncio.wait_for(stopping, SOON_S)
        writer.close()

    play(scene)


def test_a_drain_serves_a_call_that_crosses_it_on_an_idle_connection() -> None:
    async def scene(_: Methods, server: GrpcServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + raw(SettingsFrame, 0, 0))
        frames = Frames(reader)
        await frames.until(SettingsFrame, 1)  # it is known to the server by now
        stopping = asyncio.ensure_future(server.stop(SOON_S))
        (ping,) = await frames.until(PingFrame, 1)
        late = raw(DataFrame, END_STREAM, 1, message(b"late"))
        writer.write(opened(1) + late + raw(PingFrame, ACK, 0, ping.opaque_data))
        (answer,) = await frames.until(DataFrame, 1)
        assert answer.data == message(b"late")
        await asyncio.wait_for(stopping, SOON_S)
        writer.close()

    play(scene)
