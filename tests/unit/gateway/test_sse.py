"""Streams of events: cut anywhere, in bytes or in text, the values come back whole."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.masks import cut, masker_of

from routewright.gateway.masking import Masker
from routewright.gateway.sse import SseUnmasker

MASKER = masker_of(PERSON='Zoë "Z" O\\N', EMAIL="z@x.org")
TEXT = "Dear [PERSON_1] é\U0001f600 [EMAIL_1], not [PERSON_9] or [PERSON_"
ARGUMENTS = '{"to": ["[EMAIL_1]"], "name": "[PERSON_1]", "list": [1, [2]]}'


def chunk(delta: dict[str, Any], *, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    value = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def call(number: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": number, "function": {"arguments": arguments}}]}


def through(raw: bytes, borders: list[int], masker: Masker = MASKER, **options: Any) -> bytes:
    stream = SseUnmasker(masker, **options)
    places = [0, *sorted(b % (len(raw) + 1) for b in borders), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(places)]
    return b"".join([*map(stream.feed, pieces), stream.finish()])


def events(raw: bytes) -> list[dict[str, Any]]:
    datas = [line[6:] for line in raw.splitlines() if line.startswith(b"data: ")]
    return [json.loads(data) for data in datas if data != b"[DONE]"]


def joined(raw: bytes) -> dict[tuple[Any, ...], str]:
    """The texts of a chat stream by choice, field and tool call."""
    texts: dict[tuple[Any, ...], str] = {}
    for event in events(raw):
        for choice in event["choices"]:
            found: dict[tuple[Any, ...], str] = {
                (k,): v for k, v in choice["delta"].items() if isinstance(v, str)
            }
            for tool in choice["delta"].get("tool_calls", []):
                found["call", tool["index"]] = tool["function"]["arguments"]
            for key, value in found.items():
                place = (choice["index"], *key)
                texts[place] = texts.get(place, "") + value
    return texts


BORDERS = st.lists(st.integers(0, 20_000), max_size=40)


@given(BORDERS, BORDERS, BORDERS, st.booleans(), st.booleans())
def test_however_texts_and_bytes_are_cut_every_value_comes_back(
    texts: list[int], arguments: list[int], raw: list[int], crlf: bool, finished: bool
) -> None:
    contents = [chunk({"content": piece}) for piece in cut(TEXT, texts)]
    reasons = [chunk({"reasoning_content": p}, index=1) for p in cut(TEXT, texts[::-1])]
    calls = [chunk(call(n, p)) for n in (0, 1) for p in cut(ARGUMENTS, arguments)]
    mixed = [piece for group in zip(contents, reasons, strict=True) for piece in group]
    ends = [chunk({}, index=n, finish="stop") for n in (0, 1)] if finished else []
    stream = b"".join([*mixed, *calls, *ends]) + (b"data: [DONE]\n\n" if finished else b"")
    out = through(stream.replace(b"\n", b"\r\n") if crlf else stream, raw)
    whole = MASKER.unmask(TEXT)
    filled = MASKER.unmask(ARGUMENTS, json_string=True)
    assert joined(out) == {
        (0, "content"): whole,
        (1, "reasoning_content"): whole,
        (0, "call", 0): filled,
        (0, "call", 1): filled,
    }
    assert json.loads(filled)["name"] == 'Zoë "Z" O\\N'
    assert out.rstrip().endswith(b"data: [DONE]") is finished


@given(BORDERS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_what_holds_no_placeholder_passes_byte_for_byte(
    borders: list[int], ending: bytes
) -> None:
    lines = [
        b": keep-alive", b"", b"event: ping", b"data: {not json [", b"", b"data: 12", b"",
        b'data:  {"choices" : [{"index":0, "delta": {"content": "h\\u00e9"}}]}', b"",
        b'id: 7', b'data: {"error": {"message": "no"}}', b"", b"data: [DONE]", b"", b"",
    ]  # fmt: skip
    raw = ending.join(lines)
    assert through(raw, borders) == raw
    assert through(raw, borders, Masker([])) == raw


def test_an_event_leaves_as_soon_as_it_is_complete() -> None:
    stream = SseUnmasker(MASKER)
    assert joined(stream.feed(chunk({"content": "Dear "}))) == {(0, "content"): "Dear "}
    assert joined(stream.feed(chunk({"content": "Ms [PER"}))) == {(0, "content"): "Ms "}
    out = stream.feed(chunk({"content": "SON_1], hi"}))
    assert joined(out) == {(0, "content"): 'Zoë "Z" O\\N, hi'}


def test_what_is_held_comes_with_the_finish_reason() -> None:
    stream = SseUnmasker(MASKER)
    stream.feed(chunk({"content": "see [PERSON"}))
    (event,) = events(stream.feed(chunk({}, finish="length")))
    assert event["choices"][0] == {
        "index": 0,
        "delta": {"content": "[PERSON"},
        "finish_reason": "length",
    }
    assert stream.finish() == b""


def test_completions_streams_are_unmasked_too() -> None:
    raw = b"".join(
        b"data: " + json.dumps({"choices": [{"index": 0, "text": t}]}).encode() + b"\n\n"
        for t in ("to [EM", "AIL_1]", " [")
    )
    assert "".join(e["choices"][0]["text"] for e in events(through(raw, []))) == "to z@x.org ["


@given(BORDERS, BORDERS)
def test_responses_streams_are_unmasked_too(texts: list[int], raw: list[int]) -> None:
    def event(kind: str, **fields: Any) -> bytes:
        value = {"type": kind, "item_id": "i", "output_index": 0, **fields}
        return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()

    stem, calls = "response.output_text", "response.function_call_arguments"
    stream = b"".join([
        *(event(f"{stem}.delta", content_index=0, delta=p) for p in cut(TEXT, texts)),
        event(f"{stem}.done", content_index=0, text=TEXT),
        *(event(f"{calls}.delta", delta=p) for p in cut(ARGUMENTS, texts)),
        event(f"{calls}.done", arguments=ARGUMENTS),
    ])  # fmt: skip
    out = events(through(stream, raw))
    for name, whole, field in (
        (stem, MASKER.unmask(TEXT), "text"),
        (calls, MASKER.unmask(ARGUMENTS, json_string=True), "arguments"),
    ):
        assert "".join(e["delta"] for e in out if e["type"] == f"{name}.delta") == whole
        assert [e[field] for e in out if e["type"] == f"{name}.done"] == [whole]


def test_what_a_chunk_holds_beside_the_texts_in_pieces_is_unmasked_as_in_a_whole_answer() -> (
    None
):
    delta = {
        "content": [{"type": "text", "text": "to [EMAIL_1]"}],
        "reasoning_details": [{"text": "[EMAIL_1]?"}],
        "annotations": [{"title": "[PERSON_1]"}],
        "refusal": "[EMAIL_1] [EM",
    }
    choice = {"index": 0, "delta": delta, "message": {"content": "[EMAIL_1]"}}
    raw = json.dumps({"choices": [choice, 7], "citations": ["[EMAIL_1]"]}).encode()
    first, last = events(through(b"data: " + raw + b"\n\n", []))
    assert first["choices"][0]["delta"] == {
        "content": [{"type": "text", "text": "to z@x.org"}],
        "reasoning_details": [{"text": "z@x.org?"}],
        "annotations": [{"title": 'Zoë "Z" O\\N'}],
        "refusal": "z@x.org ",
    }
    assert first["choices"][0]["message"] == {"content": "z@x.org"}
    assert first["citations"] == ["z@x.org"]
    assert last["choices"][0]["delta"] == {"refusal": "[EM"}


def test_a_value_that_looks_like_a_placeholder_is_put_back_once() -> None:
    masker = masker_of(A="see [B_1]", B="Ann")
    out = through(chunk({"content": "[A_1]", "more": "[A_1]"}), [], masker)
    assert events(out)[0]["choices"][0]["delta"] == {
        "content": "see [B_1]",
        "more": "see [B_1]",
    }


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_an_event_put_in_looks_like_its_neighbours_and_numbers_stay_in_order(
    ending: bytes,
) -> None:
    stem = "response.output_text"
    values: list[dict[str, Any]] = [
        {"type": "response.created", "sequence_number": 0},
        {"type": f"{stem}.delta", "item_id": "i", "delta": "a [", "sequence_number": 1},
        {"type": f"{stem}.done", "item_id": "i", "text": "a [", "sequence_number": 2},
        {"type": f"{stem}.delta", "item_id": "j", "delta": "b [EM", "sequence_number": 3},
    ]
    raw = b"".join(
        b"event: "
        + v["type"].encode()
        + ending
        + b"data: "
        + json.dumps(v).encode()
        + ending * 2
        for v in values
    )
    out = through(raw, [])
    told = [(e["type"].rpartition(".")[2], e["sequence_number"]) for e in events(out)]
    assert told == [
        ("created", 0), ("delta", 1), ("delta", 2), ("done", 3), ("delta", 4), ("delta", 5),
    ]  # fmt: skip
    names = [n.removeprefix(b"event: ") for n in out.splitlines() if n.startswith(b"event: ")]
    assert names == [e["type"].encode() for e in events(out)]
    bare = b"".join(b"data: " + json.dumps({**v, "sequence_number": None}).encode() + b"\n\n"
                    for v in values)  # fmt: skip
    assert b"event:" not in through(bare, [])
    assert [e.get("sequence_number") for e in events(through(bare, []))] == [None] * 6


@pytest.mark.parametrize(
    ("raw", "piece_bytes"),
    [
        (chunk({"content": "a" * (4 << 20)}), 64),
        (b":\n\n" * 60_000 + chunk({"content": "a" * (4 << 20)}), 8 << 20),
    ],
)
def test_neither_long_events_nor_long_pieces_take_more_than_linear_time(
    raw: bytes, piece_bytes: int
) -> None:
    stream = SseUnmasker(MASKER, max_event_bytes=len(raw))
    started = time.process_time()
    pieces = [stream.feed(raw[i : i + piece_bytes]) for i in range(0, len(raw), piece_bytes)]
    assert b"".join(pieces) == raw
    assert time.process_time() - started < 3


@given(BORDERS)
def test_an_overlong_event_passes_unread_and_memory_stays_bounded(borders: list[int]) -> None:
    long = chunk({"content": "[EMAIL_1]" + "a" * 1000})
    out = through(long + chunk({"content": "[EMAIL_1]"}), borders, max_event_bytes=500)
    assert out.startswith(long)
    assert joined(out[len(long) :]) == {(0, "content"): "z@x.org"}
    stream = SseUnmasker(MASKER, max_event_bytes=500)
    for _ in range(100):
        stream.feed(b"data: " + b"a" * 100)
    assert len(stream._buffer) <= 600


@pytest.mark.parametrize(
    "value",
    [{"choices": [7]}, {"choices": [{"index": [], "delta": {"content": "[EMAIL_1]"}}]},
     {"choices": [{"delta": {"tool_calls": [3, {"function": None}]}}]}, [1],
     {"type": "x.delta", "delta": {"a": "b"}, "item_id": {}}],
)  # fmt: skip
def test_odd_events_do_not_break_the_stream(value: Any) -> None:
    raw = b"data: " + json.dumps(value).encode() + b"\n\n"
    assert b"[EMAIL_1]" not in through(raw, [])
