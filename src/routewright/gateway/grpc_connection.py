"""One HTTP/2 connection of a gRPC client: events of h2 to calls, and calls to frames.

h2 owns HTTP/2: frames, header compression, windows, the states of streams. A reply is written
from the event loop at once, so a message wakes no other thread; see decisions/0007. Peers are
few and known, Envoy and health checks: a fault of one ends its connection, not only the stream.
"""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from routewright.gateway.grpc_calls import (
    CANCELLED,
    INTERNAL,
    OK,
    UNIMPLEMENTED,
    Call,
    CallRefused,
    Method,
    stream_window,
)
from routewright.gateway.grpc_keepalive import KeepAlive, Patience

logger = logging.getLogger(__name__)

_MAX_CALLS = 10_000
_MAX_FRAMES = 4
"""Of a call that failed, in the log."""
_CREDIT_BYTES = 1024 * 1024
"""Of the connection's window, which never runs out: streams have their own."""
_DEFAULT_WINDOW = 65_535
_DRAINING = b"draining"
_ALIVE = b"alive?!?"
_ANSWER = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_NOT_GRPC = [(b":status", b"415")]


class GrpcConnection(asyncio.Protocol):
    """Serves the calls of one client."""

    def __init__(
        self,
        methods: Mapping[bytes, Method],
        *,
        max_message_bytes: int,
        patience: Patience,
        changed: Callable[["GrpcConnection"], None],
        admits: Callable[["GrpcConnection", bytes], bool],
    ) -> None:
        """Serve `methods` by path.

        `changed` hears when it begins, is idle and is closed; a call of a path that `admits`
        refuses ends the connection.
        """
        self.calls: dict[int, Call] = {}
        self.closed = False
        self._methods = methods
        self._max_message_bytes = max_message_bytes
        self._changed = changed
        self._admits = admits
        self._patience = patience
        self._keep_alive: KeepAlive | None = None
        self._http2 = _new_http2(stream_window(max_message_bytes))
        self._transport: asyncio.Transport | None = None
        self._last_id = 0
        self._uncredited = 0
        self.refuses = False
        """Whether the client knows that it drains: no call crosses that any more."""
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            RequestReceived: self._on_request,
            DataReceived: self._on_data,
            StreamEnded: self._on_end,
            WindowUpdated: self._on_room,
            RemoteSettingsChanged: self._on_settings,
            PingAckReceived: self._on_ping_answer,
            ConnectionTerminated: self._on_goodbye,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we accept."""
        self._transport = cast("asyncio.Transport", transport)
        self._changed(self)
        if self._transport.is_closing():
            return  # there is no room for it
        self._http2.initiate_connection()
        room = H2Connection.MAX_WINDOW_INCREMENT - _DEFAULT_WINDOW
        self._http2.increment_flow_control_window(room)
        self._flush()
        self._keep_alive = KeepAlive(self._patience, ping=self._ping, give_up=self.abort)

    def data_received(self, data: bytes) -> None:
        """Act on everything that is now whole."""
        try:
            events = self._http2.receive_data(data)
            if events and self._keep_alive is not None:
                self._keep_alive.heard()
            self._act(events)
        except ProtocolError as fault:
            logger.warning("gRPC connection ended http2_error=%d", fault.error_code)
            self._abandon()
            self.close()
        self._flush()

    def pause_writing(self) -> None:
        """A client that does not read our answers is not listened to, whatever it sends."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End what was under way."""
        self.closed = True
        self._transport = None
        if self._keep_alive is not None:
            self._keep_alive.stop()
        self._abandon()
        self._changed(self)

    def drain(self) -> None:
        """Take no more calls; those that cross this on their way are still served."""
        if self._transport is not None and not self._transport.is_closing():
            self._say_last(H2Connection.HIGHEST_ALLOWED_STREAM_ID)
            self._http2.ping(_DRAINING)
            self._flush()

    def cancel_calls(self) -> None:
        """End all calls."""
        for stream_id in self.calls:
            self._reset(stream_id, ErrorCodes.CANCEL)
        self._flush()
        self._abandon()

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, whatever is not sent."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, call: Call) -> None:
        """See `grpc_calls.Line`."""
        stream_id, outgoing, http2 = call.stream_id, call.outgoing, self._http2
        if stream_id not in self.calls:
            return
        if outgoing and not call.begun:
            http2.send_headers(stream_id, _ANSWER)
            call.begun = True
        while outgoing and (room := http2.local_flow_control_window(stream_id)) > 0:
            size = min(room, http2.max_outbound_frame_size)
            http2.send_data(stream_id, bytes(outgoing[:size]))
            del outgoing[:size]
        ends = call.status is not None and not outgoing
        if ends:
            http2.send_headers(stream_id, _last_headers(call), end_stream=True)
            if not call.ended:
                self._reset(stream_id, ErrorCodes.NO_ERROR)
        self._flush()
        if ends:
            self._forget(call)
        elif not outgoing:
            call.give_credit()

    def credit(self, call: Call, size: int) -> None:
        """See `grpc_calls.Line`."""
        self._http2.increment_flow_control_window(size, call.stream_id)
        self._flush()

    def _act(self, events: list[Event]) -> None:
        # h2 has read to the end already: what came before a reset finds its stream gone.
        gone = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for stream_id in gone:
            if call := self.calls.get(stream_id):
                self._drop(call)
        for event in events:
            if gone and isinstance(event, RequestReceived) and event.stream_id in gone:
                continue
            if handle := self._handlers.get(type(event)):
                handle(event)

    def _on_request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        if self.refuses:
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last_id = stream_id
        headers = dict(event.headers)
        path = headers.get(b":path", b"")
        if not self._admits(self, path):
            self.abort()
            return
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self._http2.send_headers(stream_id, _NOT_GRPC, end_stream=True)
            self._reset(stream_id, ErrorCodes.NO_ERROR)
            return
        call = Call(
            self, stream_id, max_message_bytes=self._max_message_bytes, metadata=headers
        )
        self.calls[stream_id] = call
        method = self._methods.get(path)
        if method is None:
            call.finish(UNIMPLEMENTED, "there is no such method")
        else:
            call.task = asyncio.get_running_loop().create_task(_serve(call, method))

    def _on_data(self, event: DataReceived) -> None:
        size = event.flow_controlled_length
        self._uncredited += size
        if self._uncredited >= _CREDIT_BYTES:
            self._http2.increment_flow_control_window(self._uncredited)
            self._uncredited = 0
        if call := self.calls.get(event.stream_id):
            if size > len(event.data):  # padding, which no one reads
                self.credit(call, size - len(event.data))
            call.receive(event.data)

    def _on_end(self, event: StreamEnded) -> None:
        if call := self.calls.get(event.stream_id):
            call.receive_end()

    def _on_room(self, event: WindowUpdated) -> None:
        if event.stream_id == 0:
            self._send_all()
        elif call := self.calls.get(event.stream_id):
            self.send(call)

    def _on_settings(self, _: RemoteSettingsChanged) -> None:
        self._send_all()

    def _on_ping_answer(self, event: PingAckReceived) -> None:
        if event.ping_data == _DRAINING and not self.refuses:
            # Whatever the client sent before it knew has come by now.
            self.refuses = True
            self._say_last(self._last_id)
            self._changed(self)
            if not self.calls:
                self.close()

    def _on_goodbye(self, _: ConnectionTerminated) -> None:
        # h2 sends and takes nothing after it; Envoy never says it to those it calls.
        self._abandon()
        self.close()

    def _ping(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return  # what is left to send may be given up, too
        self._http2.ping(_ALIVE)
        self._flush()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        # The peer may have ended it too, in bytes that h2 has read and we come to next.
        with contextlib.suppress(StreamClosedError):
            self._http2.reset_stream(stream_id, code)

    def _say_last(self, stream_id: int) -> None:
        # h2's own GOAWAY would also end the calls: https://github.com/python-hyper/h2/issues/1181.
        self._flush()
        self._write(GoAwayFrame(last_stream_id=stream_id).serialize())

    def _send_all(self) -> None:
        for call in list(self.calls.values()):
            if call.outgoing or call.status is not None:
                self.send(call)

    def _abandon(self) -> None:
        for call in list(self.calls.values()):
            self._drop(call)

    def _drop(self, call: Call) -> None:
        self._forget(call)
        call.cancel()

    def _forget(self, call: Call) -> None:
        self.calls.pop(call.stream_id, None)
        if not self.calls:
            self._changed(self)
            if self.refuses:
                self.close()

    def _flush(self) -> None:
        if data := self._http2.data_to_send():
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _new_http2(window: int) -> H2Connection:
    # Headers are compared with our own names and go nowhere: checking them buys nothing.
    config = H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_inbound_headers=False,
        normalize_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    http2 = H2Connection(config)
    http2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_CALLS,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
        },
    )
    return http2


def _last_headers(call: Call) -> list[tuple[bytes, bytes]]:
    """The trailers with the status, or all there is of an answer that has not begun."""
    assert call.status is not None
    status, text = call.status
    headers = [] if call.begun else list(_ANSWER)
    headers.append((b"grpc-status", str(status).encode("ascii")))
    if text:
        headers.append((b"grpc-message", text.encode("ascii")))
    return headers


async def _serve(call: Call, method: Method) -> None:
    try:
        await method(call)
    except CallRefused as refused:
        call.finish(refused.status, refused.text)
    except Exception as exc:  # noqa: BLE001 - the boundary: the peer has to hear of it
        # Its message may quote what the call said; its type and frames do not.
        places = traceback.extract_tb(exc.__traceback__, limit=-_MAX_FRAMES)
        logger.error("gRPC call failed error=%s at=%s", type(exc), places)  # noqa: TRY400
        call.finish(INTERNAL, "the call failed")
    else:
        call.finish(OK)
    finally:
        call.finish(CANCELLED)  # counts only if nothing above did
