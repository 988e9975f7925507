"""HTTP/2 frames as a gRPC server reads and writes them; pure.

Frames follow RFC 9113, header blocks RFC 7541; what gRPC puts into them is described at
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Header blocks are written
without compression: there are three of them, and they are short.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
_PADDED, _WITH_PRIORITY = 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0, 1, 3, 5
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 6, 7, 8, 9, 11

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = LARGEST_STREAM_ID = 2**31 - 1
FRAME_BYTES = 65_536
"""Largest frame that is accepted."""

_HEAD = struct.Struct(">BHBBL")
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")
_MESSAGE = struct.Struct(">BL")
MESSAGE_HEAD_BYTES = _MESSAGE.size


class ConnectionFault(Exception):  # noqa: N818 - told to the peer, never to a user
    """The peer broke the protocol, so that the connection cannot go on."""

    def __init__(self, code: int) -> None:
        """`code` is one of HTTP/2's."""
        super().__init__(f"HTTP/2 error {code}")
        self.code = code


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Bytes of a client, from its preface on, to frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes; to be read to the end.

        Raises:
            ConnectionFault: not HTTP/2, or a frame over `FRAME_BYTES`.
        """
        buffer = self._rest + data if self._rest else data
        self._rest = buffer
        start = 0
        if not self._greeted:
            if buffer[: len(PREFACE)] != PREFACE[: len(buffer)]:
                raise ConnectionFault(PROTOCOL_ERROR)
            if len(buffer) < len(PREFACE):
                return
            self._greeted, start = True, len(PREFACE)
        while len(buffer) - start >= _HEAD.size:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(buffer, start)
            length = high << 16 | low
            if length > FRAME_BYTES:
                raise ConnectionFault(FRAME_SIZE_ERROR)
            begin, end = start + _HEAD.size, start + _HEAD.size + length
            if end > len(buffer):
                break
            yield Frame(kind, flags, stream_id & LARGEST_STREAM_ID, buffer[begin:end])
            start = end
        self._rest = buffer[start:]


def content(frame: Frame) -> bytes:
    """The payload of DATA and HEADERS without padding and priority.

    Raises:
        ConnectionFault: less is there than the flags say.
    """
    payload, flags = frame.payload, frame.flags
    if not flags & (_PADDED | _WITH_PRIORITY):
        return payload
    start, end = 0, len(payload)
    if flags & _PADDED:
        start, end = 1, end - payload[0] if payload else -1
    if frame.kind == HEADERS and flags & _WITH_PRIORITY:
        start += 5
    if start > end:
        raise ConnectionFault(PROTOCOL_ERROR)
    return payload[start:end]


def read_settings(payload: bytes) -> dict[int, int]:
    """Settings by number.

    Raises:
        ConnectionFault: not pairs of number and value.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFault(FRAME_SIZE_ERROR)
    return dict(_SETTING.iter_unpack(payload))


def read_number(payload: bytes) -> int:
    """The one number that a WINDOW_UPDATE holds, without its reserved bit.

    Raises:
        ConnectionFault: it holds something else.
    """
    if len(payload) != _NUMBER.size:
        raise ConnectionFault(FRAME_SIZE_ERROR)
    number: int = _NUMBER.unpack(payload)[0]
    return number & LARGEST_WINDOW


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    length = len(payload)
    return _HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def window_update(stream_id: int, size: int) -> bytes:
    """Let the peer send `size` bytes more; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(size))


def reset(stream_id: int, code: int) -> bytes:
    """End a stream at once."""
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(code))


def goaway(last_id: int, code: int) -> bytes:
    """Tell the peer that streams above `last_id` are not served."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(last_id) + _NUMBER.pack(code))


def message_head(data: bytes | bytearray) -> tuple[bool, int]:
    """Whether the gRPC message that begins `data` is compressed, and its length."""
    compressed, length = _MESSAGE.unpack_from(data)
    return bool(compressed), length


def message(data: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return _MESSAGE.pack(0, len(data)) + data


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


_STATUS_200 = b"\x88"
_CONTENT_TYPE = _literal(b"content-type", b"application/grpc")
_STATUS_415 = b"\x08\x03415"


def answer_begins(stream_id: int) -> bytes:
    """The headers of an answer that has messages."""
    return frame(HEADERS, END_HEADERS, stream_id, _STATUS_200 + _CONTENT_TYPE)


def answer_ends(stream_id: int, status: int, text: str, *, begun: bool) -> bytes:
    """The trailers with the gRPC status, or all there is of an answer that has not begun.

    Args:
        stream_id: of the answer.
        status: number of gRPC's.
        text: up to 127 characters of visible ASCII without "%".
        begun: whether `answer_begins` was sent.
    """
    block = b"" if begun else _STATUS_200 + _CONTENT_TYPE
    block += _literal(b"grpc-status", str(status).encode("ascii"))
    if text:
        block += _literal(b"grpc-message", text.encode("ascii"))
    return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block)


def not_grpc(stream_id: int) -> bytes:
    """The whole answer to a request that is not gRPC's."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, _STATUS_415)
