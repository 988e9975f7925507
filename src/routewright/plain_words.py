"""Plain English to WordPiece tokens, as `tokenizers` gives them, in a third of its time.

Knows one way to cut a text, that of uncased BERT, and of that only what ASCII needs. Whatever
else a tokenizer or a text has, `PlainWords` refuses, and `tokenizers` has to do it.
"""

import json
import re
from typing import Any, Self

from tokenizers import Tokenizer
from tokenizers.models import WordPiece

_PIECE = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]|[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")
"""A word, a punctuation mark, or a control character, which BERT takes out of words."""
_UNCASED = {"type": "BertNormalizer", "clean_text": True, "lowercase": True}
_NO_CHANGE = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
"""Normal forms of Unicode, which leave ASCII as it is."""


class PlainWords:
    """Greedy search for the longest piece of each word, in dictionaries."""

    def __init__(self, model: WordPiece, vocabulary: dict[str, int]) -> None:
        prefix = model.continuing_subword_prefix
        self._first = vocabulary
        self._next = {
            token.removeprefix(prefix): number
            for token, number in vocabulary.items()
            if token.startswith(prefix)
        }
        self._unknown_id = vocabulary[model.unk_token]
        self._longest: int = model.max_input_chars_per_word

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """What cuts plain texts as `tokenizer` does; None if that is of another kind."""
        model = tokenizer.model
        if not isinstance(model, WordPiece) or not (
            _keeps_ascii(tokenizer) and _cuts_like_bert(tokenizer, model)
        ):
            return None
        added = tokenizer.get_added_tokens_decoder().values()
        if not tokenizer.encode_special_tokens or not all(token.special for token in added):
            return None
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        longest = model.max_input_chars_per_word
        is_ordinary = model.unk_token in vocabulary and all(
            len(token) < longest and (token.isprintable() or not token.isascii())
            for token in vocabulary
        )
        return cls(model, vocabulary) if is_ordinary else None

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]] | None:
        """Ids and character ranges of the tokens; None if `text` needs more than this knows."""
        if not text.isascii():
            return None
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        first = self._first
        for match in _PIECE.finditer(text.lower()):
            word = match[0]
            if (token_id := first.get(word)) is not None:
                ids.append(token_id)
                offsets.append(match.span())
            elif len(word) >= self._longest or not word.isprintable():
                return None
            else:
                self._add_pieces(word, match.start(), ids, offsets)
        return ids, offsets

    def _add_pieces(
        self, word: str, place: int, ids: list[int], offsets: list[tuple[int, int]]
    ) -> None:
        num_before, pieces = len(ids), self._first
        start, stop = 0, len(word)
        while start < stop:
            for end in range(stop, start, -1):
                if (token_id := pieces.get(word[start:end])) is not None:
                    break
            else:  # one unknown piece makes the whole word unknown
                del ids[num_before:], offsets[num_before:]
                ids.append(self._unknown_id)
                offsets.append((place, place + stop))
                return
            ids.append(token_id)
            offsets.append((place + start, place + end))
            start, pieces = end, self._next


def _keeps_ascii(tokenizer: Tokenizer) -> bool:
    """Whether of ASCII its normalizer only changes the case, to lower."""
    steps = _steps(tokenizer.normalizer, "normalizers")
    cleaning = [step for step in steps if step["type"] not in _NO_CHANGE]
    return len(cleaning) == 1 and _UNCASED.items() <= cleaning[0].items()


def _cuts_like_bert(tokenizer: Tokenizer, model: WordPiece) -> bool:
    """Whether it splits at white space and punctuation, and elsewhere only very long words."""
    cut, *rest = _steps(tokenizer.pre_tokenizer, "pretokenizers") or [{}]
    very_long = {"Regex": rf"[\s\S]{{{model.max_input_chars_per_word}}}"}
    return cut == {"type": "BertPreTokenizer"} and all(
        step["type"] == "Split" and step["pattern"] == very_long for step in rest
    )


def _steps(component: Any, key: str) -> list[dict[str, Any]]:
    """The settings of a part of a tokenizer, which tell their values only as JSON."""
    if component is None:
        return []
    settings: dict[str, Any] = json.loads(component.__getstate__())
    steps: list[dict[str, Any]] = settings.get(key, [settings])
    return steps
