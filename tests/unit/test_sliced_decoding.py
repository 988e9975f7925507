"""Decoding a long text in slices gives what decoding it whole gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from routewright.decoding import ScoredText, SpanDecoder
from routewright.labels import BioScheme, Span
from routewright.sliced_decoding import SpanReader
from routewright.tag_search import Transitions

SCHEME = BioScheme(("A", "B"))
NUM_TAGS = len(SCHEME.tags)
SLICE_TOKENS = 24
Offsets = list[tuple[int, int]]


def words(seed: int, num: int) -> tuple[str, Offsets]:
    """Words of one to three tokens of one letter; now and then a token without characters."""
    sizes = np.random.default_rng(seed).integers(1, 4, num).tolist()
    text, offsets = "", []
    for size in sizes:
        offsets += [(i, i + 1) for i in range(len(text), len(text) + size)]
        text += "a" * size + " "
        if size == 3:
            offsets.append((len(text) - 1, len(text) - 1))
    return text, offsets


def scores(seed: int, num: int, *, outside: float) -> NDArray[np.float32]:
    logits_TK = np.random.default_rng(seed).normal(size=(num, NUM_TAGS))
    logits_TK[:, 0] += outside
    return logits_TK.astype(np.float32)


def decoder(seed: int) -> SpanDecoder:
    """With learned transitions for every other seed."""
    random = np.random.default_rng(seed)
    transitions = Transitions(
        random.normal(size=NUM_TAGS),
        random.normal(size=(NUM_TAGS, NUM_TAGS)),
        random.normal(size=NUM_TAGS),
    )
    return SpanDecoder(SCHEME, transitions if seed % 2 else None)


def read(
    decoder: SpanDecoder,
    text: str,
    offsets: Offsets,
    logits_TK: NDArray[np.float32],
    *,
    piece: int,
    threshold: float = 0.5,
) -> list[Span]:
    reader = SpanReader(
        decoder, text, threshold=threshold, temperature=2.0, slice_tokens=SLICE_TOKENS
    )
    for start in range(0, len(offsets), piece):
        some = slice(start, start + piece)
        reader.feed(offsets[some], logits_TK[some])
    return reader.finish()


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.sampled_from([1, 5, 23, 24, 25, 1000]),
    st.sampled_from([0.02, 0.5, 0.9]),
)
def test_slices_give_the_entities_of_the_whole(
    seed: int, num: int, piece: int, threshold: float
) -> None:
    text, offsets = words(seed, num)
    # Most words are outside by more than threshold and transitions can make up for.
    logits_TK = scores(seed, len(offsets), outside=30.0)
    is_open_T1 = np.random.default_rng(seed + 1).random((len(offsets), 1)) < 0.15
    logits_TK[:, 1:] += 30.0 * is_open_T1
    one = decoder(seed)
    whole = one.decode_all(
        [ScoredText(text, offsets, logits_TK)], temperature=2.0, threshold=threshold
    )[0]
    assert read(one, text, offsets, logits_TK, piece=piece, threshold=threshold) == whole


@given(st.integers(0, 2**32 - 1), st.sampled_from([-3.0, 0.0, 2.0]))
def test_a_text_full_of_entities_is_the_same_however_it_is_fed(
    seed: int, outside: float
) -> None:
    text, offsets = words(seed, 80)
    logits_TK = scores(seed, len(offsets), outside=outside)
    one = decoder(seed)
    found = read(one, text, offsets, logits_TK, piece=1000)
    for piece in (1, 7, SLICE_TOKENS):
        assert read(one, text, offsets, logits_TK, piece=piece) == found
    ends = [0, *(span.end for span in found)]
    assert all(span.start >= end for span, end in zip(found, ends, strict=False))


def test_an_entity_within_half_a_slice_stays_whole_among_entities() -> None:
    text, offsets = "a " * 200, [(2 * i, 2 * i + 1) for i in range(200)]
    logits_TK = np.full((len(offsets), NUM_TAGS), -9.0, dtype=np.float32)
    logits_TK[:, 2] = 9.0  # I-A everywhere, so that no word is outside
    logits_TK[::6, 1] = 99.0
    one = SpanDecoder(SCHEME)
    whole = one.decode(text, offsets, logits_TK, temperature=2.0)
    assert len(whole) > 20
    assert read(one, text, offsets, logits_TK, piece=10) == whole


@pytest.mark.parametrize("num", [0, 1, SLICE_TOKENS, 10 * SLICE_TOKENS])
def test_one_endless_word_is_read_to_its_end(num: int) -> None:
    text, offsets = "a" * num, [(i, i + 1) for i in range(num)]
    logits_TK = np.tile(np.array([[0, 5, 5, 0, 0]], dtype=np.float32), (num, 1))
    found = read(SpanDecoder(SCHEME), text, offsets, logits_TK, piece=10)
    assert sum(span.end - span.start for span in found) == num
    assert {span.label for span in found} == ({"A"} if num else set())
