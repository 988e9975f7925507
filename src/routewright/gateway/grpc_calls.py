"""One gRPC call as its method sees it: messages in, messages out, as bytes.

A message on the wire is a byte that says whether it is compressed, its length, and itself:
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

_HEAD = struct.Struct(">?L")

OK, CANCELLED, NOT_FOUND, RESOURCE_EXHAUSTED = 0, 1, 5, 8
UNIMPLEMENTED, INTERNAL = 12, 13

_CREDIT_BYTES = 32 * 1024
"""What may be read without the peer hearing of it; small messages cost no window updates."""


class CallRefused(Exception):  # noqa: N818 - told to the peer, never to a user
    """A method's way to end a call with another status than OK."""

    def __init__(self, status: int, text: str) -> None:
        """`text` is visible ASCII without "%"."""
        super().__init__(text)
        self.status = status
        self.text = text


class Line(Protocol):
    """What a call needs of its connection."""

    def send(self, call: "Call") -> None:
        """Send of `call.outgoing` and `call.status` what the peer has room for."""
        ...

    def credit(self, call: "Call", size: int) -> None:
        """Let the peer send `size` bytes more for `call`."""
        ...


def stream_window(max_message_bytes: int) -> int:
    """Window of a stream in which a whole message always has room."""
    return max_message_bytes + _HEAD.size + _CREDIT_BYTES


class Call:
    """A stream of messages both ways; belongs to the event loop."""

    def __init__(
        self,
        line: Line,
        stream_id: int,
        *,
        max_message_bytes: int,
        metadata: Mapping[bytes, bytes],
    ) -> None:
        """Begin a call with `metadata`; its messages have at most `max_message_bytes`."""
        self.stream_id = stream_id
        self.metadata = metadata
        self.task: asyncio.Task[None] | None = None
        self.cancel_at_end = False
        """Whether the method is cancelled as soon as the peer has no more to say."""
        self.ended = False
        """Whether the peer has no more to say."""
        self.outgoing = bytearray()
        """Not yet sent, for want of room."""
        self.begun = False
        """Whether anything was sent."""
        self.status: tuple[int, str] | None = None
        """With which it ends once `outgoing` is sent."""
        self._line = line
        self._max_message_bytes = max_message_bytes
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._uncredited = 0
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes | None:
        """The next message; None after the last."""
        while not self._messages:
            if self.ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._messages.popleft()
        self._uncredited += _HEAD.size + len(data)
        self.give_credit()
        return data

    def give_credit(self) -> None:
        """Let the peer send more, unless it does not take what it is sent."""
        if self._uncredited >= _CREDIT_BYTES and not (self.ended or self.outgoing):
            size, self._uncredited = self._uncredited, 0
            self._line.credit(self, size)

    def write(self, *messages: bytes) -> None:
        """Send messages, together if there is room."""
        if self.status is None:
            self.outgoing += b"".join(_HEAD.pack(False, len(data)) + data for data in messages)
            self._line.send(self)

    def finish(self, status: int, text: str = "") -> None:
        """End the call after what was written; only the first time counts."""
        if self.status is None:
            self.status = (status, text)
            self._line.send(self)

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self.status is not None:
            return  # nobody reads any more
        partial = self._partial
        partial += data
        while len(partial) >= _HEAD.size:
            compressed, length = _HEAD.unpack_from(partial)
            if compressed or length > self._max_message_bytes:
                self._refuse(compressed=compressed)
                return
            end = _HEAD.size + length
            if len(partial) < end:
                break
            self._messages.append(bytes(partial[_HEAD.size : end]))
            del partial[:end]
        if self._messages:
            self._wake()

    def receive_end(self) -> None:
        """The peer has no more to say."""
        self.ended = True
        if self.cancel_at_end and self.task is not None:
            self.task.cancel()
        self._wake()

    def cancel(self) -> None:
        """The peer is gone, or shall go: nothing is sent any more."""
        self.ended = True
        self.status = self.status or (CANCELLED, "")
        self.outgoing.clear()
        if self.task is not None:
            self.task.cancel()

    def _refuse(self, *, compressed: bool) -> None:
        self.outgoing.clear()  # the status must not wait for room behind it
        if compressed:
            self.finish(UNIMPLEMENTED, "messages must not be compressed")
        else:
            self.finish(RESOURCE_EXHAUSTED, "the message is too large")
        self.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Method = Callable[[Call], Coroutine[Any, Any, None]]
"""Serves a call; returning ends it with OK."""
