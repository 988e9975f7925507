"""A whole answer on its way to the client, with the values put back."""

import asyncio
import json

import pytest
from tests.masks import masker_of

from routewright.gateway.answering import AnswerReader
from routewright.gateway.exchange import BodyHandling

MASKER = masker_of(EMAIL="z@x.org")


def answered(answer: bytes) -> bytes:
    """What the client gets for `answer`."""
    reader = AnswerReader(MASKER)
    plan = reader.plan({":status": "200", "content-type": "application/json"})
    assert plan is BodyHandling.WHOLE
    return asyncio.run(reader.take(answer, end=True))


@pytest.mark.parametrize(
    "more",
    ['"logprob": NaN', '"logprob": -Infinity', '"id": "a", "id": "b"'],
)
def test_values_come_back_into_an_answer_that_is_not_strict_json(more: str) -> None:
    out = answered(f'{{"text": "to [EMAIL_1]", {more}}}'.encode())
    assert json.loads(out)["text"] == "to z@x.org"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"text" : "no placeholder", "id": "a", "id": "b"}',
        b'{"text": "[EMAIL_1]',
        b'{"text": "\xff [EMAIL_1]"}',
        b"[" * 100_000,
        b"",
    ],
)
def test_what_holds_no_placeholder_or_is_no_json_passes_byte_for_byte(answer: bytes) -> None:
    assert answered(answer) == answer
