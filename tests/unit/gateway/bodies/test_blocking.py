"""Blocks and failures, in the shapes that clients read."""

import json
from typing import Any

import pytest

from routewright import errors
from routewright.errors import (
    BundleError,
    ClosedError,
    DeadlineError,
    OverloadedError,
    RequestError,
    RoutewrightError,
    UnknownModelError,
)
from routewright.gateway.bodies.blocking import Block, block_answer
from routewright.gateway.bodies.failures import STATUS, failure
from routewright.gateway.bodies.texts import Endpoint

ATTACK = Block("jailbreak", 1700000000)
LEAK = Block("pii", 1700000000, ("US_SSN", "PERSON", "PERSON"))


def events(body: bytes) -> list[Any]:
    datas = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(data) for data in datas if data != b"[DONE]"]


@pytest.mark.parametrize(
    ("block", "identifier"),
    [(ATTACK, "jailbreak-blocked-1700000000"), (LEAK, "pii-violation-1700000000")],
)
def test_a_blocked_chat_is_a_completion_that_says_so(block: Block, identifier: str) -> None:
    answer = block_answer("chat", block, stream=False)
    body = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert body["id"] == f"chatcmpl-{identifier}"
    assert (body["object"], body["model"]) == ("chat.completion", "security-filter")
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] == block.message
    assert body["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_a_blocked_stream_is_one_chunk_and_done() -> None:
    answer = block_answer("chat", ATTACK, stream=True)
    assert answer.content_type == "text/event-stream"
    assert answer.body.endswith(b"\n\ndata: [DONE]\n\n")
    (chunk,) = events(answer.body)
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["choices"][0]["delta"]["content"] == ATTACK.message
    assert chunk["choices"][0]["finish_reason"] == "content_filter"


def test_completions_and_embeddings_have_their_own_shapes() -> None:
    (chunk,) = events(block_answer("completions", ATTACK, stream=True).body)
    whole = json.loads(block_answer("completions", ATTACK, stream=False).body)
    assert chunk == whole
    assert (whole["object"], whole["choices"][0]["text"]) == (
        "text_completion",
        ATTACK.message,
    )
    refused = block_answer("embeddings", ATTACK, stream=False)
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["code"] == "content_filter"


def test_the_responses_api_ends_incomplete() -> None:
    whole = json.loads(block_answer("responses", LEAK, stream=False).body)
    assert whole["status"] == "incomplete"
    assert whole["incomplete_details"] == {"reason": "content_filter"}
    streamed = events(block_answer("responses", LEAK, stream=True).body)
    assert [event["sequence_number"] for event in streamed] == list(range(8))
    assert streamed[0]["type"] == "response.created"
    assert streamed[-1] == {
        "type": "response.incomplete", "sequence_number": 7, "response": whole,
    }  # fmt: skip


def test_a_leak_names_types_and_never_values() -> None:
    assert LEAK.message.endswith("sent on (PERSON, US_SSN).")


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "embeddings"])
@pytest.mark.parametrize("stream", [True, False])
def test_every_endpoint_can_be_blocked(endpoint: Endpoint, stream: bool) -> None:
    assert block_answer(endpoint, ATTACK, stream=stream).body


@pytest.mark.parametrize(
    ("exc", "status", "kind", "code"),
    [
        (RequestError("x", param="messages"), 400, "invalid_request_error", None),
        (UnknownModelError(["a"]), 404, "invalid_request_error", "model_not_found"),
        (OverloadedError(9, 8, 2.3), 429, "rate_limit_error", "overloaded"),
        (DeadlineError(0.5), 504, "server_error", "deadline"),
        (ClosedError("x"), 503, "server_error", "closed"),
        (BundleError("/srv/secret/path: broken"), 500, "server_error", "bundle"),
    ],
)
def test_errors_have_openais_shape_and_a_status(
    exc: RoutewrightError, status: int, kind: str, code: str | None
) -> None:
    answer = failure(exc)
    error = json.loads(answer.body)["error"]
    assert answer.status == status
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert "secret" not in error["message"]


def test_a_full_queue_says_when_to_come_back() -> None:
    assert failure(OverloadedError(9, 8, 2.3)).headers == {"retry-after": "3"}


def test_every_error_of_serving_has_a_status() -> None:
    served = [
        value.code
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.ServingError | errors.RequestError)
    ]
    assert set(served) == set(STATUS)
