"""One HTTP/2 connection of a gRPC client: frames to calls and back.

Written for few, known peers, Envoy and health checks: a fault of the peer ends its connection,
not only the stream. Frames are read in the callback that brings the bytes, and a reply is
written from the event loop at once, so a message wakes no other thread; see decisions/0007.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import cast

from hpack import Decoder, HPACKError

from routewright.gateway import grpc_frames as wire
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
from routewright.gateway.grpc_frames import ConnectionFault, Frame

logger = logging.getLogger(__name__)

_MAX_CALLS = 10_000
_HEADER_BYTES = 64 * 1024
_CREDIT_BYTES = 1024 * 1024
"""Of the connection's window, which never runs out: streams have their own."""
_DRAINING = b"draining"


class GrpcConnection(asyncio.Protocol):
    """Serves the calls of one client."""

    def __init__(
        self,
        methods: Mapping[bytes, Method],
        *,
        max_message_bytes: int,
        changed: Callable[["GrpcConnection"], None],
    ) -> None:
        """Serve `methods` by path; `changed` hears when it begins, is idle and is closed."""
        self.calls: dict[int, Call] = {}
        self.closed = False
        self._methods = methods
        self._max_message_bytes = max_message_bytes
        self._changed = changed
        self._reader = wire.FrameReader()
        self._decoder = Decoder(max_header_list_size=_HEADER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._last_id = 0
        self._block: tuple[Frame, bytearray] | None = None
        """A HEADERS frame whose block goes on, and the block so far."""
        self._send_window = self._new_send_window = wire.DEFAULT_WINDOW
        self._send_frame_bytes = 16_384
        self._uncredited = 0
        self._refuses = False
        self._handlers: dict[int, Callable[[Frame], None]] = {
            wire.DATA: self._on_data,
            wire.HEADERS: self._on_headers,
            wire.RST_STREAM: self._on_reset,
            wire.SETTINGS: self._on_settings,
            wire.PUSH_PROMISE: self._on_nonsense,
            wire.PING: self._on_ping,
            wire.WINDOW_UPDATE: self._on_window_update,
            wire.CONTINUATION: self._on_nonsense,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we accept."""
        self._transport = cast("asyncio.Transport", transport)
        ours = {
            wire.MAX_CONCURRENT_STREAMS: _MAX_CALLS,
            wire.INITIAL_WINDOW_SIZE: stream_window(self._max_message_bytes),
            wire.MAX_FRAME_SIZE: wire.FRAME_BYTES,
            wire.MAX_HEADER_LIST_SIZE: _HEADER_BYTES,
        }
        room = wire.LARGEST_WINDOW - wire.DEFAULT_WINDOW
        self._write(wire.settings(ours) + wire.window_update(0, room))
        self._changed(self)

    def data_received(self, data: bytes) -> None:
        """Act on every frame that is now whole."""
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except ConnectionFault as fault:
            logger.warning("gRPC connection ended http2_error=%d", fault.code)
            self._write(wire.goaway(self._last_id, fault.code))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End what was under way."""
        self.closed = True
        self._transport = None
        self.cancel_calls()
        self._changed(self)

    def drain(self) -> None:
        """Take no more calls; those that cross this on their way are still served."""
        self._write(
            wire.goaway(wire.LARGEST_STREAM_ID, wire.NO_ERROR)
            + wire.frame(wire.PING, 0, 0, _DRAINING)
        )

    def cancel_calls(self) -> None:
        """End all calls."""
        for call in list(self.calls.values()):
            self._write(wire.reset(call.stream_id, wire.CANCEL))
            self._drop(call)

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def send(self, call: Call) -> None:
        """See `grpc_calls.Line`."""
        if call.stream_id not in self.calls:
            return
        stream_id, outgoing = call.stream_id, call.outgoing
        frames = []
        if outgoing and not call.begun:
            frames.append(wire.answer_begins(stream_id))
            call.begun = True
        while outgoing and (room := min(call.send_window, self._send_window)) > 0:
            size = min(room, self._send_frame_bytes)
            part = bytes(outgoing[:size])
            del outgoing[:size]
            call.send_window -= len(part)
            self._send_window -= len(part)
            frames.append(wire.frame(wire.DATA, 0, stream_id, part))
        if call.status is not None and not outgoing:
            frames.append(wire.answer_ends(stream_id, *call.status, begun=call.begun))
            if not call.ended:
                frames.append(wire.reset(stream_id, wire.NO_ERROR))
            self._forget(call)
        if frames:
            self._write(b"".join(frames))

    def credit(self, call: Call, size: int) -> None:
        """See `grpc_calls.Line`."""
        self._write(wire.window_update(call.stream_id, size))

    def _on_frame(self, frame: Frame) -> None:
        if self._block is not None:
            self._on_continuation(frame, *self._block)
        elif (handle := self._handlers.get(frame.kind)) is not None:
            handle(frame)

    def _on_nonsense(self, _: Frame) -> None:
        raise ConnectionFault(wire.PROTOCOL_ERROR)

    def _on_headers(self, frame: Frame) -> None:
        block = bytearray(wire.content(frame))
        if frame.flags & wire.END_HEADERS:
            self._on_block(frame, block)
        else:
            self._block = (frame, block)

    def _on_continuation(self, frame: Frame, first: Frame, block: bytearray) -> None:
        if frame.kind != wire.CONTINUATION or frame.stream_id != first.stream_id:
            raise ConnectionFault(wire.PROTOCOL_ERROR)
        block += frame.payload
        if len(block) > _HEADER_BYTES:
            raise ConnectionFault(wire.ENHANCE_YOUR_CALM)
        if frame.flags & wire.END_HEADERS:
            self._block = None
            self._on_block(first, block)

    def _on_block(self, frame: Frame, block: bytearray) -> None:
        try:
            headers = dict(self._decoder.decode(bytes(block), raw=True))
        except HPACKError as exc:
            raise ConnectionFault(wire.COMPRESSION_ERROR) from exc
        stream_id = frame.stream_id
        if call := self.calls.get(stream_id):  # trailers
            self._end(call, frame)
            return
        if stream_id % 2 == 0:
            raise ConnectionFault(wire.PROTOCOL_ERROR)
        if stream_id <= self._last_id:
            raise ConnectionFault(wire.STREAM_CLOSED)
        if self._refuses or len(self.calls) >= _MAX_CALLS:
            self._write(wire.reset(stream_id, wire.REFUSED_STREAM))
            return
        self._last_id = stream_id
        self._open(frame, headers)

    def _open(self, frame: Frame, headers: Mapping[bytes, bytes]) -> None:
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self._write(wire.not_grpc(frame.stream_id))
            return
        call = Call(self, frame.stream_id, max_message_bytes=self._max_message_bytes)
        call.send_window = self._new_send_window
        self.calls[call.stream_id] = call
        method = self._methods.get(headers.get(b":path", b""))
        if method is None:
            call.finish(UNIMPLEMENTED, "there is no such method")
            return
        call.task = asyncio.get_running_loop().create_task(_serve(call, method))
        self._end(call, frame)

    def _on_data(self, frame: Frame) -> None:
        self._uncredited += len(frame.payload)
        if self._uncredited >= _CREDIT_BYTES:
            self._write(wire.window_update(0, self._uncredited))
            self._uncredited = 0
        call = self.calls.get(frame.stream_id)
        if call is None:
            self._check_was_open(frame.stream_id)
            return
        if call.ended:
            raise ConnectionFault(wire.STREAM_CLOSED)
        data = wire.content(frame)
        if call.unread + len(data) > stream_window(self._max_message_bytes):
            raise ConnectionFault(wire.FLOW_CONTROL_ERROR)
        if len(data) < len(frame.payload):
            self.credit(call, len(frame.payload) - len(data))
        call.receive(data)
        self._end(call, frame)

    def _end(self, call: Call, frame: Frame) -> None:
        if frame.flags & wire.END_STREAM and not call.ended:
            call.receive_end()

    def _on_reset(self, frame: Frame) -> None:
        call = self.calls.get(frame.stream_id)
        if call is None:
            self._check_was_open(frame.stream_id)
        else:
            self._drop(call)

    def _on_settings(self, frame: Frame) -> None:
        if frame.flags & wire.ACK:
            return
        theirs = wire.read_settings(frame.payload)
        window = theirs.get(wire.INITIAL_WINDOW_SIZE, self._new_send_window)
        if window > wire.LARGEST_WINDOW:
            raise ConnectionFault(wire.FLOW_CONTROL_ERROR)
        for call in self.calls.values():
            call.send_window += window - self._new_send_window
        self._new_send_window = window
        self._send_frame_bytes = theirs.get(wire.MAX_FRAME_SIZE, self._send_frame_bytes)
        self._write(wire.frame(wire.SETTINGS, wire.ACK, 0))
        self._send_all()

    def _on_ping(self, frame: Frame) -> None:
        if not frame.flags & wire.ACK:
            self._write(wire.frame(wire.PING, wire.ACK, 0, frame.payload))
        elif frame.payload == _DRAINING and not self._refuses:
            # Whatever the client sent before it knew has come by now.
            self._refuses = True
            self._write(wire.goaway(self._last_id, wire.NO_ERROR))
            if not self.calls:
                self.close()

    def _on_window_update(self, frame: Frame) -> None:
        size = wire.read_number(frame.payload)
        if frame.stream_id == 0:
            self._send_window += size
            self._check_window(self._send_window, size)
            self._send_all()
        elif call := self.calls.get(frame.stream_id):
            call.send_window += size
            self._check_window(call.send_window, size)
            self.send(call)

    @staticmethod
    def _check_window(window: int, added: int) -> None:
        if window > wire.LARGEST_WINDOW or added == 0:
            raise ConnectionFault(wire.FLOW_CONTROL_ERROR)

    def _check_was_open(self, stream_id: int) -> None:
        """What is on its way when a stream ends may still arrive; for a new one it may not."""
        if stream_id == 0 or stream_id > self._last_id:
            raise ConnectionFault(wire.PROTOCOL_ERROR)

    def _send_all(self) -> None:
        for call in list(self.calls.values()):
            if call.outgoing or call.status is not None:
                self.send(call)

    def _drop(self, call: Call) -> None:
        self._forget(call)
        call.cancel()

    def _forget(self, call: Call) -> None:
        self.calls.pop(call.stream_id, None)
        if not self.calls:
            self._changed(self)
            if self._refuses:
                self.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def _serve(call: Call, method: Method) -> None:
    try:
        await method(call)
    except CallRefused as refused:
        call.finish(refused.status, refused.text)
    except Exception as exc:  # noqa: BLE001 - the boundary: the peer has to hear of it
        # Its message may quote what the call said.
        logger.error("gRPC call failed error=%s", type(exc).__name__)  # noqa: TRY400
        call.finish(INTERNAL, "the call failed")
    else:
        call.finish(OK)
    finally:
        call.finish(CANCELLED)  # counts only if nothing above did
