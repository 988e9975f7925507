"""One gRPC connection against a client made of h2, byte by byte and without a network."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from tests.virtual_time import run_in_virtual_time

from routewright.gateway.grpc_calls import (
    INTERNAL,
    OK,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Call,
)
from routewright.gateway.grpc_connection import GrpcConnection
from routewright.gateway.grpc_keepalive import Patience

MAX_BYTES = 100_000
PATIENCE = Patience(ping_after_s=30.0, ping_timeout_s=10.0)


class Wire(asyncio.Transport):
    """Keeps what is written until the client reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False
        self.reading = True
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: Any) -> None:
        assert not self.closing, "what is written now is lost"
        self.written += data

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Client:
    """An h2 client whose bytes go to the connection when it says so."""

    def __init__(self, connection: GrpcConnection) -> None:
        self.connection = connection
        self.wire = Wire()
        self.http2 = H2Connection(H2Configuration(client_side=True))
        self.http2.initiate_connection()
        connection.connection_made(self.wire)

    def open(self, stream_id: int, *, path: str = "/echo", **options: Any) -> None:
        kind = options.pop("content_type", "application/grpc")
        pseudo = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": path}
        self.http2.send_headers(stream_id, [*pseudo.items(), ("content-type", kind)], **options)

    def deliver(self) -> None:
        self.connection.data_received(self.http2.data_to_send())

    async def events(self) -> list[Event]:
        """Deliver, let the calls work, and return what came back."""
        self.deliver()
        for _ in range(5):
            await asyncio.sleep(0)
        data = bytes(self.wire.written)
        self.wire.written.clear()
        return self.http2.receive_data(data)


async def echo(call: Call) -> None:
    while (data := await call.read()) is not None:
        call.write(data)


async def fail(_: Call) -> None:
    raise LookupError("a secret")


async def watch(_: Call) -> None:
    await asyncio.Event().wait()


METHODS = {b"/echo": echo, b"/fail": fail, b"/watch": watch}


def play(scene: Callable[[Client], Awaitable[None]], patience: Patience = PATIENCE) -> None:
    async def run() -> None:
        connection = GrpcConnection(
            METHODS,
            max_message_bytes=MAX_BYTES,
            patience=patience,
            changed=lambda _: None,
            admits=lambda *_: True,
        )
        await scene(Client(connection))
        connection.connection_lost(None)

    run_in_virtual_time(run())


def message(data: bytes, *, compressed: bool = False) -> bytes:
    return struct.pack(">?L", compressed, len(data)) + data


def status(events: list[Event]) -> int:
    headers = [e.headers for e in events if isinstance(e, ResponseReceived | TrailersReceived)]
    return int(dict(headers[-1])[b"grpc-status"])


def body(events: list[Event]) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, DataReceived))


def kinds(events: list[Event]) -> set[type[Event]]:
    return {type(event) for event in events}


def test_messages_come_back_in_order_and_the_status_is_last() -> None:
    async def scene(client: Client) -> None:
        client.open(1)
        client.http2.send_data(1, message(b"one") + message(b"two")[:6])
        assert body(await client.events()) == message(b"one")
        client.http2.send_data(1, message(b"two")[6:], end_stream=True)
        events = await client.events()
        assert body(events) == message(b"two")
        assert status(events) == OK
        assert StreamEnded in kinds(events)
        assert not client.connection.calls

    play(scene)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("/nothing", message(b"x"), UNIMPLEMENTED),
        ("/echo", message(b"x", compressed=True), UNIMPLEMENTED),
        ("/echo", struct.pack(">?L", False, MAX_BYTES + 1), RESOURCE_EXHAUSTED),
        ("/fail", message(b"x"), INTERNAL),
    ],
)
def test_a_call_that_cannot_be_served_hears_why_and_the_next_one_is(
    path: str, data: bytes, expected: int, *, ended: bool
) -> None:
    async def scene(client: Client) -> None:
        client.open(1, path=path)
        client.http2.send_data(1, data)
        if ended:
            client.http2.end_stream(1)
        events = await client.events()
        assert status(events) == expected
        assert "secret" not in str(events)
        client.open(3)
        client.http2.send_data(3, message(b"two"), end_stream=True)
        assert status(await client.events()) == OK

    play(scene)


@pytest.mark.parametrize("ended", [False, True])
def test_what_is_not_grpc_gets_415(*, ended: bool) -> None:
    async def scene(client: Client) -> None:
        client.open(1, content_type="text/html", end_stream=ended)
        events = await client.events()
        answers = [dict(e.headers) for e in events if isinstance(e, ResponseReceived)]
        assert answers == [{b":status": b"415"}]
        assert not client.connection.calls

    play(scene)


@pytest.mark.parametrize("path", ["/watch", "/nothing"])
def test_a_call_that_is_reset_in_the_bytes_that_open_it_leaves_nothing(path: str) -> None:
    async def scene(client: Client) -> None:
        client.open(1, path=path)
        client.http2.reset_stream(1)
        client.open(3)
        client.http2.send_data(3, message(b"two"), end_stream=True)
        assert status(await client.events()) == OK
        assert not client.connection.calls

    play(scene)


def test_an_answer_waits_for_room_and_is_dropped_with_its_call() -> None:
    async def scene(client: Client) -> None:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        await client.events()
        client.open(1)
        client.http2.send_data(1, message(bytes(20)), end_stream=True)
        assert len(body(await client.events())) == 10
        client.http2.increment_flow_control_window(10, 1)
        assert len(body(await client.events())) == 10
        # Room, and at once no more interest.
        client.http2.increment_flow_control_window(10, 1)
        client.http2.reset_stream(1)
        assert body(await client.events()) == b""
        assert not client.connection.calls
        client.open(3, path="/fail")
        assert status(await client.events()) == INTERNAL

    play(scene)


def test_a_stream_takes_more_than_its_window_if_it_is_read() -> None:
    async def scene(client: Client) -> None:
        await client.events()
        client.open(1)
        returned = 0
        for _ in range(10):
            for _ in range(6):
                client.http2.send_data(1, message(bytes(10_000)), pad_length=255)
            part = len(body(await client.events()))
            client.http2.acknowledge_received_data(part, 1)
            returned += part
        assert returned >= 5 * MAX_BYTES

    play(scene)


def test_the_last_call_of_a_drained_connection_gets_its_status() -> None:
    async def scene(client: Client) -> None:
        client.open(1)
        await client.events()
        client.connection.drain()
        # A client of h2 ends at GOAWAY; the rest is read as bytes.
        notice = bytes(client.wire.written)
        client.wire.written.clear()
        assert notice[3] == 7
        assert notice[9:13] == b"\x7f\xff\xff\xff"
        client.open(3)
        client.deliver()
        ping_answer = b"\x00\x00\x08\x06\x01\x00\x00\x00\x00draining"
        client.connection.data_received(ping_answer)
        assert bytes(client.wire.written[9:13]) == struct.pack(">L", 3)
        client.wire.written.clear()
        client.open(5)
        client.http2.send_data(1, message(b"one"), end_stream=True)
        client.http2.send_data(3, message(b"two"), end_stream=True)
        events = await client.events()
        echoed = {e.stream_id: e.data for e in events if isinstance(e, DataReceived)}
        assert echoed == {1: message(b"one"), 3: message(b"two")}
        assert [e.stream_id for e in events if isinstance(e, StreamReset)] == [5]
        assert {e.stream_id for e in events if isinstance(e, StreamEnded)} == {1, 3}
        assert client.wire.closing

    play(scene)


def test_a_fault_ends_the_connection_and_its_calls() -> None:
    async def scene(client: Client) -> None:
        client.open(1, path="/watch")
        await client.events()
        (call,) = client.connection.calls.values()
        client.connection.data_received(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")
        assert client.wire.closing
        assert call.task is not None
        with pytest.raises(asyncio.CancelledError):
            await call.task
        events = client.http2.receive_data(bytes(client.wire.written))
        assert ConnectionTerminated in kinds(events)

    play(scene)


def test_a_client_that_says_goodbye_is_let_go() -> None:
    async def scene(client: Client) -> None:
        client.open(1, path="/watch")
        client.http2.close_connection()
        client.deliver()
        assert client.wire.closing
        assert not client.connection.calls

    play(scene)


def test_a_client_that_does_not_read_is_not_listened_to() -> None:
    async def scene(client: Client) -> None:
        client.connection.pause_writing()
        assert not client.wire.reading
        client.connection.resume_writing()
        assert client.wire.reading

    play(scene)


def test_a_client_that_takes_no_answers_may_not_send_on() -> None:
    async def scene(client: Client) -> None:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.events()
        client.open(1)
        await client.events()
        sent = message(b"x" * 10_000)
        for _ in range(100):
            if client.http2.local_flow_control_window(1) < len(sent):
                break
            client.http2.send_data(1, sent)
            await client.events()
        else:
            raise AssertionError("it was given credit for a megabyte")
        (call,) = client.connection.calls.values()
        assert len(call.outgoing) < 3 * MAX_BYTES
        client.http2.increment_flow_control_window(10_000_000, 1)
        client.http2.increment_flow_control_window(10_000_000)
        await client.events()
        await client.events()
        assert client.http2.local_flow_control_window(1) >= MAX_BYTES
        assert not call.outgoing

    play(scene)


@pytest.mark.parametrize("said", [b"", b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\n"])
def test_a_new_client_that_does_not_speak_is_cut_off(said: bytes) -> None:
    async def scene(client: Client) -> None:
        client.http2.data_to_send()
        for byte in said:  # a word that is never finished is no word
            client.connection.data_received(bytes((byte,)))
            await asyncio.sleep(0.5)
        await asyncio.sleep(9.9 - 0.5 * len(said))
        assert not client.wire.aborted
        await asyncio.sleep(0.2)
        assert client.wire.aborted or client.wire.closing

    play(scene)


def test_an_idle_client_that_answers_is_kept_and_one_that_stops_is_cut_off() -> None:
    async def scene(client: Client) -> None:
        client.open(1, path="/watch")
        await client.events()
        num_pings = 0
        for _ in range(3600):
            await asyncio.sleep(1.0)
            num_pings += sum(isinstance(e, PingReceived) for e in await client.events())
            client.deliver()
            assert not client.wire.aborted
        assert 3600 // 31 <= num_pings <= 3600 // 30  # it takes up to a second to answer
        (call,) = client.connection.calls.values()
        client.http2.ping(bytes(8))
        client.deliver()  # its last word
        await asyncio.sleep(30.0 + 9.9)
        assert not client.wire.aborted
        await asyncio.sleep(0.2)
        assert client.wire.aborted
        client.connection.connection_lost(None)
        assert call.task is not None
        with pytest.raises(asyncio.CancelledError):
            await call.task

    play(scene)


def test_a_client_that_speaks_is_not_asked() -> None:
    async def scene(client: Client) -> None:
        for number in range(20):
            client.open(2 * number + 1)
            client.http2.send_data(2 * number + 1, message(b"one"), end_stream=True)
            events = await client.events()
            assert status(events) == OK
            assert PingReceived not in kinds(events)
            await asyncio.sleep(29.0)

    play(scene)


def test_silence_is_short_where_patience_for_an_answer_is_long() -> None:
    async def scene(client: Client) -> None:
        await client.events()
        await asyncio.sleep(2.1)
        assert PingReceived in kinds(await client.events())

    play(scene, Patience(ping_after_s=2.0, ping_timeout_s=1000.0))
