"""How many connections our gRPC server takes, and what it answers on those beyond the limit."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import DataFrame, SettingsFrame
from tests.grpc_parts import (
    END_STREAM,
    PREFACE,
    SOON_S,
    Frames,
    Methods,
    channel,
    message,
    opened,
    play,
    raw,
)

from routewright.gateway.grpc_server import GrpcServer


def test_a_connection_too_many_is_closed_and_taken_when_another_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def is_served(port: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = raw(DataFrame, END_STREAM, 1, message(b"x"))
        writer.write(PREFACE + raw(SettingsFrame, 0, 0) + opened(1) + data)
        frames = Frames(reader)
        try:
            while await frames.next():
                if frames.of(DataFrame):
                    return True
        except ConnectionError:
            pass
        finally:
            writer.close()
        return False

    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        async with channel(port) as first, channel(port) as second:
            for client in (first, second):
                assert await client.unary_unary("/t/Echo")(b"x") == b"x"
            assert [await is_served(port) for _ in range(5)] == [False] * 5
            assert await first.unary_unary("/t/Echo")(b"y") == b"y"
        async with asyncio.timeout(SOON_S):
            while not await is_served(port):
                await asyncio.sleep(0.01)

    play(scene, max_connections=2)
    (refusal,) = (r.message for r in caplog.records if "refused" in r.message)
    assert "max_connections=2" in refusal


def test_the_health_of_a_full_server_can_be_asked_and_nothing_else() -> None:
    async def scene(methods: Methods, _: GrpcServer, port: int) -> None:
        methods.health.set("", serving=True)
        async with channel(port) as served:
            assert await served.unary_unary("/t/Echo")(b"x") == b"x"
            async with channel(port) as probe:
                health: Any = health_pb2_grpc.HealthStub(probe)
                for _again in range(2):
                    answer = await health.Check(health_pb2.HealthCheckRequest())
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
                assert not methods.waiting.is_set()
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await probe.unary_unary("/t/Wait")(b"x")
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                assert not methods.waiting.is_set()
            assert await served.unary_unary("/t/Echo")(b"y") == b"y"

    play(scene, max_connections=1)


def test_a_probe_takes_the_place_of_a_connection_that_has_gone() -> None:
    async def scene(_: Methods, server: GrpcServer, port: int) -> None:
        first_reader, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(PREFACE + raw(SettingsFrame, 0, 0))
        await Frames(first_reader).until(SettingsFrame, 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + raw(SettingsFrame, 0, 0))
        frames = Frames(reader)
        await frames.until(SettingsFrame, 1)  # it is taken, beyond the limit
        first.close()
        while len(server._connections) > 1:
            await asyncio.sleep(0)
        writer.write(opened(1) + raw(DataFrame, END_STREAM, 1, message(b"x")))
        (answer,) = await frames.until(DataFrame, 1)
        assert answer.data == message(b"x")
        writer.close()

    play(scene, max_connections=1)


def test_room_for_probes_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(_: Methods, __: GrpcServer, port: int) -> None:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(18)]
        readers = [client[0] for client in clients]
        for reader in readers[:-1]:
            assert await reader.readexactly(9)
        assert await readers[-1].read() == b""
        for _reader, writer in clients:
            writer.close()

    play(scene, max_connections=1)
    assert [r.message for r in caplog.records if "refused" in r.message]
