"""Plain words are cut exactly as `tokenizers` cuts them, and all else is left to it."""

import string
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import byte_level_tokenizer, word_piece_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from routewright.plain_words import PlainWords
from routewright.shipped import bundle_folder

NAMES = (
    "[UNK]",
    "un",
    "##able",
    "##a",
    "##b",
    "a",
    "ab",
    "able",
    "1",
    "##1",
    ".",
    "[",
    "]",
    "#",
)
PLAIN = st.text("ab1ABunle q.[]#_-\n\t", max_size=60) | st.text(string.printable, max_size=60)


def few_pieces() -> Tokenizer:
    """BERT's kind, with pieces of several lengths and letters that it does not know."""
    vocabulary = {name: i for i, name in enumerate(NAMES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(bundle_folder(None) / "tokenizer.json"))


def prepared(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True
    return tokenizer


@cache
def both(make: Callable[[], Tokenizer]) -> tuple[Tokenizer, PlainWords]:
    tokenizer = prepared(make())
    words = PlainWords.of(tokenizer)
    assert words is not None
    return tokenizer, words


@pytest.mark.parametrize("make", [few_pieces, word_piece_tokenizer, shipped])
@given(text=PLAIN | st.sampled_from(["[SEP] [UNK]", "##able", "a" * 99, "unable " * 50]))
def test_they_are_cut_as_by_the_library(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer, words = both(make)
    if (found := words.encode(text)) is None:
        assert any(c in "\x0b\x0c" for c in text)
        return
    expected = tokenizer.encode(text, add_special_tokens=False)
    assert found == (expected.ids, expected.offsets)


@pytest.mark.parametrize("text", ["caf\u00e9", "a\x00b", "a\x7f", "x" * 100, "\u212a"])
def test_what_they_do_not_know_they_refuse(text: str) -> None:
    _, words = both(few_pieces)
    assert words.encode(text) is None
    assert words.encode("able") == ([7], [(0, 4)])


def cased(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)


def stripping(tokenizer: Tokenizer) -> None:
    steps = [normalizers.BertNormalizer(), normalizers.Replace("a", "b")]
    tokenizer.normalizer = normalizers.Sequence(steps)


def unnormalised(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = None


def at_spaces(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def in_short_pieces(tokenizer: Tokenizer) -> None:
    cut = pre_tokenizers.Split(Regex(r"[\s\S]{3}"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), cut])


def with_a_word(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens(["unab"])


def with_a_control_character(tokenizer: Tokenizer) -> None:
    vocabulary = {**tokenizer.get_vocab(), "\x07": 100}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")  # noqa: S106


def with_a_very_long_word(tokenizer: Tokenizer) -> None:
    vocabulary = {**tokenizer.get_vocab(), "x" * 101: 100}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")  # noqa: S106


def with_markup(tokenizer: Tokenizer) -> None:
    tokenizer.encode_special_tokens = False


@pytest.mark.parametrize(
    "change",
    [
        cased,
        stripping,
        unnormalised,
        at_spaces,
        in_short_pieces,
        with_a_word,
        with_a_control_character,
        with_a_very_long_word,
        with_markup,
    ],
)
def test_tokenizers_of_another_kind_are_refused(change: Callable[[Tokenizer], None]) -> None:
    tokenizer = prepared(few_pieces())
    assert PlainWords.of(tokenizer) is not None
    change(tokenizer)
    assert PlainWords.of(tokenizer) is None


def test_a_byte_level_tokenizer_is_refused() -> None:
    assert PlainWords.of(prepared(byte_level_tokenizer())) is None
