"""What is refused, how it is said, and that nothing of a request is said elsewhere."""

import asyncio
import io
import json
import logging
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api_parts import Api, api
from tests.gateway_parts import MATH, NEUTRAL, broken_classifier, run

from routewright.errors import RequestError
from routewright.gateway.api.requests import (
    OPTIONS,
    BatchOptions,
    BatchRequest,
    CombinedRequest,
    parse_request,
)
from routewright.gateway.logs import JsonFormatter

CANARY = "canary-4711 z.canary@example.org"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("intent", {"txt": "a"}, "txt: unknown key; did you mean text?"),
        ("intent", {}, "text: field required"),
        ("intent", {"text": ""}, "text: must not be empty"),
        ("intent", {"text": 5}, "text: must be a string"),
        ("intent", {"text": "\ud800"}, "text: holds half of a surrogate pair"),
        ("intent", {"text": "a", "options": []}, "options: must be a JSON object"),
        ("intent", {"text": None}, "text: field required"),
        ("intent", {"text": "a", "txt": None}, "txt: unknown key; did you mean text?"),
        ("intent", {"text": "a", "options": {"return_probabilites": True}},
         "options.return_probabilites: unknown key; did you mean return_probabilities?"),
        ("intent", {"text": "a", "options": {"return_probabilities": "true"}},
         "options.return_probabilities: input should be a valid boolean"),
        ("intent", {"text": "a", "options": {"confidence_threshold": 1.5}},
         "options.confidence_threshold: input should be less than or equal to 1"),
        ("pii", {"text": "a", "options": {"entity_types": ["PHONE_NUMBER", "EMAIL"]}},
         "options.entity_types.1: no such type; known: PHONE_NUMBER, US_SSN"),
        ("pii", {"text": "a", "options": {"entity_types": []}},
         "options.entity_types: must not be empty"),
        ("pii", {"text": "a", "options": {"confidence_threshold": 0.1}},
         "options.confidence_threshold: below the bundle's threshold 0.5"),
        ("combined", {"text": "a", "pii_options": {"confidence_threshold": 0.1}},
         "pii_options.confidence_threshold: below"),
        ("security", {"text": "a", "options": {"detection_types": ["manipulation"]}},
         "options.detection_types.0: input should be 'jailbreak'"),
        ("security", {"text": "a", "options": {"sensitivity": "extreme"}},
         "options.sensitivity: input should be 'low', 'medium' or 'high'"),
        ("batch", {"texts": []}, "texts: must not be empty"),
        ("batch", {"texts": ["a", ""]}, "texts.1: must not be empty"),
        ("batch", {"texts": ["a"], "task_type": "category"}, "task_type: input should be"),
        ("batch", {"texts": ["a"], "options": {"mask_entities": True}},
         "options.mask_entities is an option of pii, not of task_type intent"),
        ("", {"text": "a", "texts": ["a"]}, "give either text or texts"),
        ("", {"text": "a", "tasks": ["pii", "mood"]},
         "tasks.1: no such task; the bundle has: category, intent, jailbreak, pii"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_to_do(
    path: str, body: dict[str, Any], told: str
) -> None:
    async def scene() -> None:
        async with api() as it:
            found = await it.refused(f"classify/{path}".rstrip("/"), body)
            assert found.startswith(f"INVALID_INPUT {told}")

    run(scene())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("classify/intent", {"text": MATH, "options": None}),
        ("classify/combined", {"text": MATH, "pii_options": None}),
        ("classify/batch", {"texts": [MATH], "task_type": None, "options": None}),
        ("classify", {"text": MATH, "texts": None, "tasks": None}),
        ("route", {"text": MATH, "model": None, "headers": None}),
    ],
)
def test_a_field_that_is_null_is_as_good_as_none(path: str, body: dict[str, Any]) -> None:
    async def scene() -> None:
        async with api() as it:
            await it.post(path, body)

    run(scene())


def test_the_options_of_a_batch_are_those_of_the_tasks() -> None:
    own = [{f.name for f in fields(cls)} for cls in OPTIONS.values()]
    assert {f.name for f in fields(BatchOptions)} == set.union(*own)
    given_: dict[str, Any] = {"confidence_threshold": 0.9, "sensitivity": "low"}
    body = {"texts": ["a"], "task_type": "all", "options": given_}
    request = parse_request(BatchRequest, body)
    assert request.intent_options().confidence_threshold == 0.9
    assert request.pii_options().confidence_threshold == 0.9
    assert request.security_options().sensitivity == "low"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([f.name for f in fields(CombinedRequest)]), JSON))
def test_any_json_is_a_request_or_refused_in_a_line(body: dict[str, Any]) -> None:
    told = ""
    try:
        parse_request(CombinedRequest, body)
    except RequestError as exc:
        told = str(exc)
    assert "\n" not in told


def test_what_is_not_a_small_json_object_is_refused() -> None:
    async def scene() -> None:
        async with api(settings={"max_body_bytes": 100}) as it:
            path = "/api/v1/classify/intent"
            for raw, told in ((b"{", "not valid JSON"), (b"[1]", "must be a JSON object"),
                              (b'{"text":"a","text":"b"}', "same key twice"),
                              (b"\xff", "not UTF-8"), (b"", "not valid JSON")):  # fmt: skip
                response = await it.client.post(path, content=raw)
                assert response.status_code == 400
                assert told in response.json()["error"]["message"]
            large = json.dumps({"text": "a" * 100}).encode()

            async def chunks() -> Any:
                for byte in large:
                    yield bytes([byte])

            for content in (large, chunks()):
                response = await it.client.post(path, content=content)
                assert response.status_code == 413
                assert response.json()["error"]["code"] == "REQUEST_TOO_LARGE"
            assert 'code="too_large",door="api"} 2.0' in it.metrics()

    run(scene())


def test_unknown_paths_and_methods_are_answered_in_the_same_shape() -> None:
    async def scene() -> None:
        async with api() as it:
            missing = await it.client.get(f"/nowhere/{CANARY}")
            assert missing.status_code == 404
            assert missing.json()["error"]["code"] == "NOT_FOUND"
            assert "canary" not in missing.text + it.metrics()
            slash = await it.client.get("/health/")
            assert slash.status_code == 404
            wrong = await it.client.get("/api/v1/classify/pii")
            assert wrong.status_code == 405
            assert wrong.headers["allow"] == "POST"
            assert wrong.json()["error"]["code"] == "METHOD_NOT_ALLOWED"

    run(scene())


def test_a_full_queue_says_when_to_come_back() -> None:
    async def scene() -> None:
        limits = {"batching": {"max_queue_tokens": 10}, "remembered_texts": 0}
        async with api(settings=limits) as it:
            bodies = [{"text": f"{MATH} {n}"} for n in range(50)]
            path = "/api/v1/classify/intent"
            answers = await asyncio.gather(*(it.client.post(path, json=b) for b in bodies))
            refused = [a for a in answers if a.status_code == 429]
            assert refused
            assert len(refused) + sum(a.status_code == 200 for a in answers) == 50
            assert int(refused[0].headers["retry-after"]) >= 1
            assert refused[0].json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"

    run(scene())


def test_a_drained_gateway_and_a_late_answer_have_their_statuses() -> None:
    async def scene() -> None:
        async with api(settings={"deadline_s": 1e-6}) as it:
            told = await it.refused("classify/intent", {"text": MATH}, 504)
            assert told.startswith("TIMEOUT_ERROR")
            await it.engine.close()
            told = await it.refused("classify/intent", {"text": MATH}, 503)
            assert told.startswith("UNAVAILABLE")

    run(scene())


def test_a_client_that_goes_away_leaves_the_queue() -> None:
    async def scene() -> None:
        async with api() as it:
            sent: list[Any] = []
            body = json.dumps({"texts": [f"{NEUTRAL} {n}" * 50 for n in range(2000)]}).encode()
            messages = [
                {"type": "http.request", "body": body, "more_body": False},
                {"type": "http.disconnect"},
            ]

            async def receive() -> Any:
                await asyncio.sleep(0.02 * (len(messages) == 1))
                return messages.pop(0)

            async def send(message: Any) -> None:
                sent.append(message)

            transport: Any = it.client._transport
            scope = {"type": "http", "method": "POST", "path": "/api/v1/classify/batch",
                     "headers": [], "query_string": b"", "root_path": "",
                     "raw_path": b"/api/v1/classify/batch"}  # fmt: skip
            await asyncio.wait_for(transport.app(scope, receive, send), 5)
            assert it.engine.batcher.queued_tokens == 0
            assert it.engine.batcher.counters.num_texts < 2000
            assert 'endpoint="classify_batch",outcome="aborted"} 1.0' in it.metrics()

    run(scene())


CANARIES: list[tuple[str, Any]] = [
    ("classify/intent", {"text": CANARY}),
    ("classify/intent", {"text": [CANARY]}),
    ("classify/intent", {"text": "a", CANARY: 1}),
    ("classify/intent", {"text": "a", "options": {CANARY: 1}}),
    ("classify/pii", {"text": "a", "options": {"entity_types": [CANARY]}}),
    ("classify/security", {"text": "a", "options": {"detection_types": [CANARY]}}),
    ("classify/security", {"text": "a", "options": {"sensitivity": CANARY}}),
    ("classify/batch", {"texts": [CANARY, 5]}),
    ("classify/batch", {"texts": [CANARY], "task_type": CANARY}),
    ("classify/combined", {"text": CANARY, "pii_options": CANARY}),
    ("classify", {"text": CANARY, "tasks": [CANARY]}),
    ("route", {"text": CANARY, "model": CANARY}),
    ("route", {"text": "a", "headers": {CANARY: 5}}),
]


@pytest.mark.parametrize("broken", [False, True])
def test_no_text_of_a_request_reaches_an_error_a_log_or_a_metric(broken: bool) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)

    async def scene() -> None:
        async with api(model=broken_classifier() if broken else None) as it:
            for path, body in CANARIES:
                response = await it.client.post(f"/api/v1/{path}", json=body)
                if response.status_code != 200:
                    assert "canary" not in response.text
                assert response.status_code in ({400, 404, 503} if broken else {200, 400, 404})
            assert "canary" not in it.metrics()
            await _fails_inside(it)

    try:
        run(scene())
    finally:
        root.removeHandler(handler)
    assert "api request failed" in stream.getvalue()
    assert "canary" not in stream.getvalue()


async def _fails_inside(it: Api) -> None:
    """A bug of ours answers 500, and its message stays where it was."""

    async def raising(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(CANARY)

    it.engine.classify = raising  # type: ignore[method-assign]
    response = await it.client.post("/api/v1/classify/intent", json={"text": CANARY})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "canary" not in response.text
