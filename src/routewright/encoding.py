"""Text to token ids and character offsets, used unchanged by training and serving.

A text is tokenised once; windows are slices of that one tokenisation, so every token has one
place and the pieces of a long text can be stitched together again without a seam.

Shape letters: B = batch of windows, T = tokens.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from tokenizers import Tokenizer

from routewright.config import STRICT
from routewright.errors import BundleError

IntArray = NDArray[np.int64]
_SURROGATE = re.compile("[\ud800-\udfff]")
_COMPOSES = re.compile("[\u1160-\u11ff\ud7b0-\ud7fb\uff9e\uff9f]")
"""Vowels and finals of a Korean syllable in parts, and Japanese marks of half width: no
combining marks by their category, but composed with the character before them."""
_STRETCH_CHARACTERS = 65_536
"""Longer texts are tokenised in stretches: a tokenizer takes 160 bytes for each character."""


@dataclass(frozen=True, kw_only=True)
class EncodingConfig:
    """How a text becomes windows of tokens."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_tokens: int = 256
    """Tokens of a window, special tokens included."""
    overlap_tokens: int = 64
    """Tokens that neighbouring windows of a long text share."""

    def __post_init__(self) -> None:
        if self.max_tokens < 8 or not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            raise ValueError("needs max_tokens >= 8 and overlap_tokens at most half of it")


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as tokens, without special tokens."""

    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    """Character range of each token in the text: white space trimmed, combining marks that
    the tokenizer drops counted in; empty for a blank token."""
    windows: list[tuple[int, int]]
    """Token ranges [start, end) that cover the text, overlapping; at least one, maybe empty."""


class Offsets(Sequence[tuple[int, int]]):
    """Character ranges of the tokens of a long text, in eight bytes each."""

    def __init__(self) -> None:
        self._borders = array("i")

    def extend(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Put `ranges` at the end."""
        self._borders.extend(chain.from_iterable(ranges))

    def __len__(self) -> int:
        return len(self._borders) // 2

    @overload
    def __getitem__(self, place: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, place: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(place, int):
            place = range(len(self))[place]
            return self._borders[2 * place], self._borders[2 * place + 1]
        start, stop, step = place.indices(len(self))
        if step != 1:
            return [self[i] for i in range(start, stop, step)]
        borders = self._borders[2 * start : 2 * max(start, stop)]
        return list(zip(borders[::2], borders[1::2], strict=True))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        borders = iter(self._borders)
        return zip(borders, borders, strict=True)


class TextEncoder:
    """A tokenizer with the window rule of a model."""

    def __init__(self, tokenizer: Tokenizer, config: EncodingConfig, *, pad_id: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # "[SEP]" in a user's text is five characters, never a separator.
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.config = config
        self.pad_id = pad_id
        probe = tokenizer.encode("a")
        inner = [i for i, special in enumerate(probe.special_tokens_mask) if not special]
        first, last = (inner[0], inner[-1]) if inner else (len(probe.ids), len(probe.ids) - 1)
        self.prefix_ids: list[int] = probe.ids[:first]
        self.suffix_ids: list[int] = probe.ids[last + 1 :]

    @classmethod
    def from_file(cls, path: Path, config: EncodingConfig, *, pad_id: int) -> "TextEncoder":
        """Read a ``tokenizer.json``.

        Raises:
            BundleError: missing, or not a tokenizer file.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as exc:  # tokenizers raises nothing narrower
            raise BundleError(f"{path}: not a readable tokenizer file: {exc}") from exc
        return cls(tokenizer, config, pad_id=pad_id)

    def encode(self, text: str) -> EncodedText:
        """Tokenise `text` whole and lay windows over it."""
        if len(text) > _STRETCH_CHARACTERS:
            return self._encode_long(text)
        return self._finish(text, self._tokenize(text))

    def encode_batch(self, texts: Sequence[str]) -> list[EncodedText]:
        """Like `encode` for many texts, on all cores."""
        short = [text for text in texts if len(text) <= _STRETCH_CHARACTERS]
        encodings = iter(
            self.tokenizer.encode_batch(
                [_without_surrogates(text) for text in short], add_special_tokens=False
            )
        )
        return [
            self._finish(text, next(encodings))
            if len(text) <= _STRETCH_CHARACTERS
            else self._encode_long(text)
            for text in texts
        ]

    def window_ids(self, encoded: EncodedText, window: tuple[int, int]) -> list[int]:
        """Model input of one window: its tokens between the special tokens."""
        return [*self.prefix_ids, *encoded.ids[window[0] : window[1]], *self.suffix_ids]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
        """Input ids and attention mask, both ``(B, T)``, padded on the right."""
        lengths = [len(row) for row in rows]
        input_ids_BT = np.full((len(rows), max(lengths)), self.pad_id, dtype=np.int64)
        mask_BT = np.zeros_like(input_ids_BT)
        for i, row in enumerate(rows):
            input_ids_BT[i, : lengths[i]] = row
            mask_BT[i, : lengths[i]] = 1
        return input_ids_BT, mask_BT

    def _tokenize(self, text: str) -> Any:
        # Not `encode`, which stops all other threads of Python until it is done.
        return self.tokenizer.encode_batch(
            [_without_surrogates(text)], add_special_tokens=False
        )[0]

    def _finish(self, text: str, encoding: Any) -> EncodedText:
        return self._windowed(encoding.ids, _places(text, encoding))

    def _encode_long(self, text: str) -> EncodedText:
        ids, offsets = array("i"), Offsets()
        for begin, end in stretches(text, _STRETCH_CHARACTERS):
            piece = text[begin:end]
            encoding = self._tokenize(piece)
            ids.extend(encoding.ids)
            offsets.extend((begin + s, begin + e) for s, e in _places(piece, encoding))
        return self._windowed(ids, offsets)

    def _windowed(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> EncodedText:
        body = self.config.max_tokens - len(self.prefix_ids) - len(self.suffix_ids)
        windows = lay_windows(len(ids), body, self.config.overlap_tokens)
        return EncodedText(ids, offsets, windows)


def stretches(text: str, longest: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `longest` characters that cover `text`, to be tokenised one by one.

    They end before white space, which no tokenizer joins to what stands in front of it, so the
    tokens are those of the whole text. Where half of `longest` has none, such as in a file in
    base64, the range ends in the middle of a word.
    """
    begin = 0
    while len(text) - begin > longest:
        end = begin + longest
        for i in range(end, begin + longest // 2, -1):
            if text[i].isspace() and not text[i - 1].isspace():
                end = i
                break
        yield begin, end
        begin = end
    yield begin, len(text)


def lay_windows(num_tokens: int, body: int, overlap: int) -> list[tuple[int, int]]:
    """Ranges of at most `body` tokens over all tokens, sharing `overlap` with the next.

    The last window is shifted back to full length, so no window is a short rest without
    context.
    """
    if num_tokens <= body:
        return [(0, num_tokens)]
    starts = range(0, num_tokens - body, body - overlap)
    return [*((s, s + body) for s in starts), (num_tokens - body, num_tokens)]


def stitch(
    windows: Sequence[tuple[int, int]], pieces_TC: Sequence[NDArray[Any]]
) -> NDArray[Any]:
    """Join per-token rows of overlapping windows into one row per token, ``(num_tokens, C)``.

    In the shared part each token comes from the window in which it is farther from the border,
    where the encoder saw more context on both sides.

    Args:
        windows: ranges as `lay_windows` gives them.
        pieces_TC: rows of each window, special tokens removed.
    """
    if len(windows) == 1:
        return pieces_TC[0]
    kept = []
    position = 0
    for i, ((start, _), piece_TC) in enumerate(zip(windows, pieces_TC, strict=True)):
        border = border_after(windows, i)
        kept.append(piece_TC[position - start : border - start])
        position = border
    return np.concatenate(kept)


def border_after(windows: Sequence[tuple[int, int]], number: int) -> int:
    """The token from which on the next window speaks, or after the last one the end."""
    end = windows[number][1]
    last = number + 1 == len(windows)
    return end if last else (windows[number + 1][0] + end) // 2


def _places(text: str, encoding: Any) -> list[tuple[int, int]]:
    """Ranges of the tokens as `EncodedText` has them."""
    offsets = [
        (start, end)
        if start < end and not (text[start].isspace() or text[end - 1].isspace())
        else _trim(text, start, end)
        for start, end in encoding.offsets
    ]
    return offsets if text.isascii() else _with_marks(text, offsets)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Byte-level tokenizers count the space before a word into its token; spans must not."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _with_marks(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Tokenizers that strip or compose accents leave the marks after a letter out."""
    result = []
    limit = len(text)
    for start, end in reversed(offsets):
        if start < end:
            result.append((start, _marks_end(text, end, limit)))
            limit = start
        else:
            result.append((start, end))
    return result[::-1]


def _marks_end(text: str, end: int, limit: int) -> int:
    """Where the marks of the letter before `end` end, at `limit` or before it."""
    marks_end = end
    for i in range(end, limit):
        category = unicodedata.category(text[i])
        if category.startswith("M") or _COMPOSES.match(text, i):
            marks_end = i + 1
        elif category != "Cf":
            break
    return marks_end


def _without_surrogates(text: str) -> str:
    """JSON may carry half a surrogate pair, which UTF-8 and so the tokenizer cannot."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
