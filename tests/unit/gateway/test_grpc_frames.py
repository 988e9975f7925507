"""Frames on the wire: any cut of the bytes gives the same ones, nonsense gives a fault."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.gateway import grpc_frames as wire
from routewright.gateway.grpc_frames import ConnectionFault, Frame, FrameReader

FRAMES = st.lists(
    st.builds(
        Frame,
        kind=st.integers(0, 255),
        flags=st.integers(0, 255),
        stream_id=st.integers(0, wire.LARGEST_STREAM_ID),
        payload=st.binary(max_size=70),
    ),
    max_size=5,
)


@given(FRAMES, st.lists(st.integers(0, 400), max_size=8))
def test_frames_are_the_same_however_the_bytes_are_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    data = wire.PREFACE + b"".join(wire.frame(*frame) for frame in frames)
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()
    pieces = [data[a:b] for a, b in itertools.pairwise(borders)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == frames


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX"])
def test_what_does_not_begin_as_http2_is_a_fault(data: bytes) -> None:
    with pytest.raises(ConnectionFault):
        list(FrameReader().feed(data))


def test_a_frame_over_the_limit_is_a_fault_before_it_has_come() -> None:
    head = wire.frame(wire.DATA, 0, 1, b"x" * (wire.FRAME_BYTES + 1))[:9]
    with pytest.raises(ConnectionFault) as raised:
        list(FrameReader().feed(wire.PREFACE + head))
    assert raised.value.code == wire.FRAME_SIZE_ERROR


def test_padding_and_priority_are_no_part_of_the_content() -> None:
    padded, with_priority = 0x8, 0x20
    assert wire.content(Frame(wire.DATA, 0, 1, b"\x02abc")) == b"\x02abc"
    assert wire.content(Frame(wire.DATA, padded, 1, b"\x02abc\0\0")) == b"abc"
    flags = padded | with_priority
    assert wire.content(Frame(wire.HEADERS, flags, 1, b"\x01.....abc\0")) == b"abc"
    assert wire.content(Frame(wire.DATA, with_priority, 1, b"abcdefgh")) == b"abcdefgh"


@pytest.mark.parametrize(
    ("kind", "flags", "payload"),
    [(wire.DATA, 0x8, b""), (wire.DATA, 0x8, b"\x09abc"), (wire.HEADERS, 0x20, b"abc")],
)
def test_more_padding_than_payload_is_a_fault(kind: int, flags: int, payload: bytes) -> None:
    with pytest.raises(ConnectionFault):
        wire.content(Frame(kind, flags, 1, payload))


def test_settings_and_numbers_of_the_wrong_size_are_faults() -> None:
    assert wire.read_settings(b"\0\x04\0\0\0\x07") == {wire.INITIAL_WINDOW_SIZE: 7}
    assert wire.read_number(b"\xff\xff\xff\xff") == wire.LARGEST_WINDOW
    for read in (wire.read_settings, wire.read_number):
        with pytest.raises(ConnectionFault):
            read(b"\0\0\0\0\0")
