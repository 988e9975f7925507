"""Windows cover every token once, and offsets point into the text whatever its script."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import ENCODING, byte_level_tokenizer, tiny_encoder, word_piece_tokenizer
from tokenizers import normalizers

from routewright import encoding
from routewright.encoding import EncodingConfig, TextEncoder, lay_windows, stitch, stretches
from routewright.errors import BundleError

ANY_TEXT = st.text(max_size=60) | st.text("ae\u0301 \u200d👩🏽漢한שָ\u202eمّ\n", max_size=60)


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_windows_and_stitching_give_every_token_exactly_once(
    num_tokens: int, body: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, body - 1))
    windows = lay_windows(num_tokens, body, overlap)
    rows_T1 = np.arange(num_tokens)[:, None]
    pieces = [rows_T1[start:end] for start, end in windows]
    assert stitch(windows, pieces)[:, 0].tolist() == list(range(num_tokens))
    assert all(end - start == min(body, num_tokens) for start, end in windows)


def test_in_the_shared_part_a_token_comes_from_the_window_where_it_lies_deeper() -> None:
    windows = lay_windows(14, 10, 6)
    pieces = [np.full((end - start, 1), number) for number, (start, end) in enumerate(windows)]
    assert windows == [(0, 10), (4, 14)]
    assert stitch(windows, pieces)[:, 0].tolist() == [0] * 7 + [1] * 7


@given(ANY_TEXT, st.booleans())
def test_offsets_are_ordered_trimmed_ranges_of_the_text(text: str, byte_level: bool) -> None:
    encoder = tiny_encoder()
    if byte_level:
        encoder.tokenizer = byte_level_tokenizer()
    encoded = encoder.encode(text)
    assert len(encoded.ids) == len(encoded.offsets) == encoded.windows[-1][1]
    starts = [start for start, end in encoded.offsets if start < end]
    assert starts == sorted(starts)
    for start, end in encoded.offsets:
        assert 0 <= start <= end <= len(text)
        assert text[start:end] == text[start:end].strip()


@given(st.lists(ANY_TEXT, max_size=4))
def test_a_batch_encodes_like_single_texts(texts: list[str]) -> None:
    encoder = tiny_encoder()
    assert encoder.encode_batch(texts) == [encoder.encode(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    ["Jose\u0301", "Jose\u200d\u0301", "नमस्ते में", "שָׁלוֹם", "\u1112\u1161\u11ab", "\uff76\uff9e"],
)
def test_a_dropped_combining_mark_belongs_to_the_token_before_it(text: str) -> None:
    encoder = tiny_encoder()
    encoder.tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), encoder.tokenizer.normalizer]
    )
    assert encoder.encode(text).offsets[-1][1] == len(text)


def test_half_a_surrogate_pair_is_read_as_an_unknown_character() -> None:
    encoded = tiny_encoder().encode("ab \ud83d cd")
    assert encoded.offsets == [(0, 1), (1, 2), (5, 6), (6, 7)]


def test_an_empty_text_is_one_window_of_special_tokens() -> None:
    encoder = tiny_encoder()
    encoded = encoder.encode(" \n")
    assert encoded.windows == [(0, 0)]
    assert encoder.window_ids(encoded, (0, 0)) == [2, 3]


def test_padding_is_on_the_right_and_masked() -> None:
    input_ids_BT, mask_BT = tiny_encoder().pad([[2, 5, 3], [2, 3]])
    assert input_ids_BT.tolist() == [[2, 5, 3], [2, 3, 0]]
    assert mask_BT.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_a_tokenizer_file_reads_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    word_piece_tokenizer().save(str(path))
    encoder = TextEncoder.from_file(path, EncodingConfig(), pad_id=0)
    assert encoder.encode("ab 1") == tiny_encoder().encode("ab 1")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a readable tokenizer file"):
        TextEncoder.from_file(path, EncodingConfig(), pad_id=0)


@pytest.mark.parametrize(("max_tokens", "overlap"), [(4, 0), (64, 33), (64, -1)])
def test_windows_that_cannot_work_are_refused(max_tokens: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="needs max_tokens >= 8"):
        EncodingConfig(max_tokens=max_tokens, overlap_tokens=overlap)


@pytest.mark.parametrize("byte_level", [False, True])
@given(text=st.text(st.sampled_from("ab1é漢. \n\u0301"), max_size=60))
def test_a_text_in_stretches_has_the_tokens_of_the_whole(byte_level: bool, text: str) -> None:
    tokenizer = byte_level_tokenizer() if byte_level else word_piece_tokenizer()
    spaced = re.sub(r"\S{5}", r"\g<0> ", text)  # so that each half stretch has white space
    encoder = TextEncoder(tokenizer, ENCODING, pad_id=0)
    whole = encoder.encode(spaced)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_STRETCH_CHARACTERS", 16)
        parts = encoder.encode(spaced)
        assert encoder.encode_batch(["a", spaced])[1].windows == parts.windows
    assert list(parts.ids) == list(whole.ids)
    assert list(parts.offsets) == list(whole.offsets)
    assert parts.windows == whole.windows
    count = len(whole.offsets)
    assert parts.offsets[3:7] == whole.offsets[3:7]
    assert parts.offsets[-2:] == whole.offsets[-2:]
    assert count == 0 or parts.offsets[count - 1] == parts.offsets[-1] == whole.offsets[-1]


@given(st.text(st.sampled_from("ab \n"), max_size=80), st.integers(2, 20))
def test_stretches_cover_a_text(text: str, longest: int) -> None:
    ranges = list(stretches(text, longest))
    assert "".join(text[start:end] for start, end in ranges) == text
    assert all(0 < end - start <= longest for start, end in ranges if text)
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]


def test_other_threads_go_on_while_a_long_text_is_tokenised() -> None:
    encoder, turns, stop = tiny_encoder(), [0], threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            turns[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        while not turns[0]:
            stop.wait(0.001)
        encoding = encoder._tokenize("some words " * 20_000)
        during = turns[0]
    finally:
        stop.set()
        counter.join()
    assert len(encoding.ids) == 180_000
    assert during > 5
