"""Constrained decoding against brute force, and exact spans in any script."""

import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.tiny import byte_level_tokenizer, tiny_encoder

from routewright import tag_search
from routewright.decoding import (
    ScoredText,
    SpanDecoder,
    combine_windows,
    probabilities,
    word_starts,
)
from routewright.labels import BioScheme, Span, encode_bio
from routewright.tag_search import TagSearch, Transitions, _Stretches

SCHEME = BioScheme(("A", "B"))
NUM_TAGS = len(SCHEME.tags)
SEEDS = st.integers(0, 2**32 - 1)
WORD_LENGTHS = st.lists(st.integers(1, 3), min_size=1, max_size=4).filter(lambda n: sum(n) <= 5)


def brute_force(
    logits_TK: NDArray[np.float64], lengths: list[int], transitions: Transitions | None
) -> tuple[int, ...]:
    """The best of all tag sequences in which words stay whole and tags are well formed."""
    firsts = np.cumsum([0, *lengths[:-1]]).tolist()
    best, best_score = None, -np.inf
    for tags in product(range(NUM_TAGS), repeat=sum(lengths)):
        follows = all(SCHEME.may_follow(a, b) for a, b in pairwise(tags))
        whole = all(
            tag == (0 if tags[first] == 0 else tags[first] + SCHEME.is_begin(tags[first]))
            for first, length in zip(firsts, lengths, strict=True)
            for tag in tags[first + 1 : first + length]
        )
        if not (SCHEME.may_start(tags[0]) and follows and whole):
            continue
        score = sum(logits_TK[t, tag] for t, tag in enumerate(tags))
        if transitions is not None:
            score += transitions.start_K[tags[0]] + transitions.end_K[tags[-1]]
            score += sum(transitions.scores_KK[a, b] for a, b in pairwise(tags))
        if score > best_score:
            best, best_score = tags, score
    assert best is not None
    return best


def text_of_words(lengths: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """Words of one-letter tokens with spaces between, and the tokens' offsets."""
    text = " ".join("a" * length for length in lengths)
    return text, [(i, i + 1) for i, character in enumerate(text) if character == "a"]


def spans_of_tags(tags: tuple[int, ...], offsets: list[tuple[int, int]]) -> list[Span]:
    spans: list[Span] = []
    for tag, (start, end) in zip(tags, offsets, strict=True):
        if SCHEME.is_begin(tag):
            spans.append(Span(start, end, SCHEME.entity_type(tag) or ""))
        elif tag:
            spans[-1] = Span(spans[-1].start, end, spans[-1].label)
    return spans


def places(spans: list[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in spans]


def random_transitions(rng: np.random.Generator, scale: float) -> Transitions:
    return Transitions(
        rng.normal(scale=scale, size=NUM_TAGS),
        rng.normal(scale=scale, size=(NUM_TAGS, NUM_TAGS)),
        rng.normal(scale=scale, size=NUM_TAGS),
    )


# Small transitions let the shortcut of confident words decide, large ones never.
@given(
    SEEDS, WORD_LENGTHS, st.sampled_from([None, 0.05, 2.0]), st.sampled_from([0.3, 1.0, 4.0])
)
def test_decoding_finds_the_best_of_all_well_formed_tag_sequences(
    seed: int, lengths: list[int], scale: float | None, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    logits_TK = rng.normal(scale=2, size=(sum(lengths), NUM_TAGS))
    transitions = None if scale is None else random_transitions(rng, scale)
    text, offsets = text_of_words(lengths)
    found = SpanDecoder(SCHEME, transitions).decode(
        text, offsets, logits_TK, temperature=temperature
    )
    expected = spans_of_tags(brute_force(logits_TK, lengths, transitions), offsets)
    assert places(found) == places(expected)


@given(SEEDS, WORD_LENGTHS)
def test_a_lower_threshold_never_finds_fewer_entity_characters(
    seed: int, lengths: list[int]
) -> None:
    logits_TK = np.random.default_rng(seed).normal(size=(sum(lengths), NUM_TAGS))
    text, offsets = text_of_words(lengths)
    covered = [
        sum(
            span.end - span.start
            for span in SpanDecoder(SCHEME).decode(text, offsets, logits_TK, threshold=t)
        )
        for t in (0.9, 0.5, 0.1, 0.001)
    ]
    assert covered == sorted(covered)


@given(st.data(), WORD_LENGTHS)
def test_spans_survive_the_way_to_tags_and_back(
    data: st.DataObject, lengths: list[int]
) -> None:
    text, offsets = text_of_words(lengths)
    bounds = data.draw(st.lists(st.integers(0, len(lengths)), max_size=4, unique=True))
    bounds.sort()
    starts = [sum(length + 1 for length in lengths[:i]) for i in range(len(lengths))]
    spans = [
        Span(starts[a], starts[b - 1] + lengths[b - 1], data.draw(st.sampled_from("AB")))
        for a, b in zip(bounds[::2], bounds[1::2], strict=False)
    ]
    logits_TK = 9.0 * np.eye(NUM_TAGS)[encode_bio(spans, offsets, SCHEME)]
    assert places(SpanDecoder(SCHEME).decode(text, offsets, logits_TK)) == places(spans)


def random_spans(text: str, seed: int, *, byte_level: bool) -> list[Span]:
    """What the decoder makes of random scores of the tokens of `text`."""
    encoder = tiny_encoder()
    if byte_level:
        encoder.tokenizer = byte_level_tokenizer()
    offsets = encoder.encode(text).offsets
    logits_TK = np.random.default_rng(seed).normal(scale=3, size=(len(offsets), NUM_TAGS))
    return SpanDecoder(SCHEME).decode(text, offsets, logits_TK)


@given(st.text(max_size=40), SEEDS, st.booleans())
def test_spans_of_any_text_are_exact_sorted_and_apart(
    text: str, seed: int, byte_level: bool
) -> None:
    end = 0
    for span in random_spans(text, seed, byte_level=byte_level):
        value = text[span.start : span.end]
        assert end <= span.start < span.end <= len(text)
        assert value == value.strip()
        assert 0 <= span.score <= 1
        end = span.end


@given(
    st.text(
        "ae1. \u0301\u0302\u200d\u00ad\u1112\u1161\u11abก\u0e31\u0e49カ\u3099राㄱ👩\ufe0f漢",
        max_size=20,
    ),
    SEEDS,
    st.booleans(),
)
def test_no_span_begins_or_ends_between_a_letter_and_its_marks(
    text: str, seed: int, byte_level: bool
) -> None:
    spaced, unspaced = "\u0301\u0302ा\ufe0f", "\u0e31\u0e49\u3099"
    marks = spaced + unspaced
    # What joins letters does so only in scripts with spaces.
    one = rf"[ae1रㄱ][\u200d\u00ad{spaced}]*[{spaced}]|[^ \u200d\u00ad{marks}][{marks}]+"
    inside = {i for m in re.finditer(one, text) for i in range(m.start() + 1, m.end())}
    for span in random_spans(text, seed, byte_level=byte_level):
        assert not inside & {span.start, span.end}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("call 12-34 now", ["call", "12", "-", "34", "now"]),
        ("Jose\u0301s son", ["Jose\u0301s", "son"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("漢字", ["漢", "字"]),
        ("カ\u3099字", ["カ\u3099", "字"]),
        ("Jo\u200bse\u200d\u0301 x", ["Jo\u200bse\u200d\u0301", "x"]),
        ("a_b", ["a", "_", "b"]),
    ],
)
@pytest.mark.parametrize("byte_level", [False, True])
def test_words_are_the_same_for_every_tokenizer(
    text: str, words: list[str], byte_level: bool
) -> None:
    encoder = tiny_encoder()
    if byte_level:
        encoder.tokenizer = byte_level_tokenizer()
    offsets = [(start, end) for start, end in encoder.encode(text).offsets if start < end]
    starts = [*word_starts(text, offsets), len(offsets)]
    bounds = [(offsets[a][0], offsets[b - 1][1]) for a, b in pairwise(starts)]
    assert [text[start:end] for start, end in bounds] == words


def test_a_soft_hyphen_that_the_tokenizer_drops_does_not_split_a_word() -> None:
    text = "soft\u00adhyphen"
    assert word_starts(text, tiny_encoder().encode(text).offsets) == [0]


@given(st.floats(0.1, 10.0), SEEDS)
def test_temperature_never_changes_the_winner(temperature: float, seed: int) -> None:
    logits_BC = np.random.default_rng(seed).normal(size=(3, 4))
    result_BC = probabilities(logits_BC, temperature=temperature)
    assert (result_BC.argmax(axis=1) == logits_BC.argmax(axis=1)).all()
    np.testing.assert_allclose(result_BC.sum(axis=1), 1)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        probabilities(np.zeros((1, 2)), temperature=0)


def test_the_loudest_window_speaks_for_a_detector_and_the_mean_for_others() -> None:
    windows_BC = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    loudest_C = combine_windows(windows_BC, [10, 10, 20], positive_id=1)
    mean_C = combine_windows(windows_BC, [10, 10, 20], positive_id=None)
    np.testing.assert_allclose(loudest_C, [0.2, 0.8])
    np.testing.assert_allclose(mean_C, [0.625, 0.375])


@given(SEEDS, st.sampled_from([0.0, 0.05, 0.3, 2.0]), st.sampled_from([0.0, 4.0, 10.0]))
def test_searching_between_certain_words_finds_what_searching_the_whole_text_finds(
    seed: int, scale: float, certainty: float
) -> None:
    rng = np.random.default_rng(seed)
    search = TagSearch(SCHEME, random_transitions(rng, scale) if scale else None)
    num_words = int(rng.integers(1, 16))
    emissions_WK = rng.normal(scale=3, size=(num_words, NUM_TAGS))
    emissions_WK[:, 0] += certainty * rng.integers(0, 2, size=num_words)
    is_long_W = rng.integers(0, 2, size=num_words)
    everything = _Stretches([(0, num_words)])
    ((_, whole),) = search._viterbi(emissions_WK, is_long_W, everything, {0, num_words})
    assert search.best_tags(emissions_WK, is_long_W > 0, [0, num_words]) == whole


@given(SEEDS, st.sampled_from([0.0, 0.3, 2.0]), st.sampled_from([0.0, 4.0]))
def test_texts_decoded_together_have_the_entities_they_have_alone(
    seed: int, scale: float, certainty: float
) -> None:
    rng = np.random.default_rng(seed)
    decoder = SpanDecoder(SCHEME, random_transitions(rng, scale) if scale else None)
    texts = []
    for num_words in rng.integers(0, 12, size=6):
        text, offsets = text_of_words(rng.integers(1, 4, size=num_words).tolist())
        offsets = [(0, 0), *offsets]  # a token without characters
        logits_TK = rng.normal(scale=3, size=(len(offsets), NUM_TAGS)).astype(np.float32)
        logits_TK[:, 0] += certainty * rng.integers(0, 2, size=len(offsets))
        texts.append(ScoredText(text, offsets, logits_TK))
    alone = [decoder.decode(*text, temperature=1.3, threshold=0.4) for text in texts]
    assert decoder.decode_all(texts, temperature=1.3, threshold=0.4) == alone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tag_search, "_IN_STEP", 2)  # in several rounds
        assert decoder.decode_all(texts, temperature=1.3, threshold=0.4) == alone
