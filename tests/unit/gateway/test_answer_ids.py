"""The id of a passing answer: found wherever its pieces are cut, and nothing taken for it."""

import json
import time

import pytest

from routewright.gateway.answer_ids import MAX_BYTES, AnswerId

INNER = {"id": "msg_1", "type": "message", "content": [{"text": "the id is 'resp_0' é"}]}
FIRST = json.dumps({"id": "resp_1", "output": [INNER]}).encode()
LAST = json.dumps({"output": [INNER], "metadata": {"id": "no"}, "id": "resp_1"}).encode()


def events(ending: str) -> bytes:
    lines = [
        ": a comment",
        "",
        "event: response.created",
        f"data: {json.dumps({'type': 'response.created', 'response': {'id': 'resp_1'}})}",
        "",
        f"data: {json.dumps({'type': 'response.done', 'response': {'id': 'resp_2'}})}",
        "",
        "",
    ]
    return ending.join(lines).encode()


def found(answer: bytes, size: int, *, is_events: bool) -> list[str]:
    """What is told about an answer that comes in pieces of `size` bytes."""
    told: list[str] = []
    reader = AnswerId(told.append, events=is_events)
    for start in range(0, len(answer), size):
        reader.feed(answer[start : start + size], end=False)
    reader.feed(b"", end=True)
    return told


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ("answer", "is_events"),
    [(FIRST, False), (LAST, False)] + [(events(e), True) for e in ("\n", "\r\n", "\r")],
)
def test_the_id_is_told_once_wherever_the_pieces_end(
    answer: bytes, is_events: bool, size: int
) -> None:
    assert found(answer, size, is_events=is_events) == ["resp_1"]


@pytest.mark.parametrize(
    ("answer", "is_events"),
    [
        (b"", False),
        (b"<html>", False),
        (json.dumps([INNER]).encode(), False),
        (json.dumps({"output": INNER}).encode(), False),
        (json.dumps({"id": 7}).encode(), False),
        (b'data: {"id": "chatcmpl-1"}\n\ndata: [DONE]\n\n', True),
        (b'data: {"response": {"id": "resp_1"}}', True),
        (b"data: {" + b"[" * 10_000 + b"\n\n", True),
    ],
)
def test_what_has_no_id_has_none(answer: bytes, is_events: bool) -> None:
    assert found(answer, 5, is_events=is_events) == []


@pytest.mark.parametrize("is_events", [False, True])
def test_no_more_than_the_limit_is_held(is_events: bool) -> None:
    filler = b"data: " + b"x" * 2 * MAX_BYTES + b"\n\n"
    answer = filler + (events("\n") if is_events else LAST)
    assert found(answer, MAX_BYTES // 2, is_events=is_events) == []


@pytest.mark.parametrize("is_events", [False, True])
@pytest.mark.parametrize("filler", [b"x", b" ", b"\r\n\n"])
def test_an_answer_in_small_pieces_takes_time_in_proportion(
    filler: bytes, is_events: bool
) -> None:
    def seconds(num_bytes: int) -> float:
        start = b"data: " if is_events else b""
        answer = start + filler * (num_bytes // len(filler)) + b" " * 99
        began = time.process_time()
        assert found(answer, 64, is_events=is_events) == []
        return time.process_time() - began

    # Four times as much took sixteen times as long.
    small = min(seconds(MAX_BYTES // 8) for _ in range(3))
    assert min(seconds(MAX_BYTES // 2) for _ in range(3)) < 8 * small + 0.01


def test_an_answer_that_ends_at_once_is_read_in_proportion() -> None:
    answer = b"\n\n" * (MAX_BYTES // 2 - 200) + events("\n")
    began = time.process_time()
    assert found(answer, MAX_BYTES, is_events=True) == ["resp_1"]
    assert time.process_time() - began < 5.0
