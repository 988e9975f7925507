"""What Envoy is told to say; tests/integration/test_envoy.py hears Envoy say it."""

import json

from routewright.errors import UpstreamError
from routewright.gateway.bodies.failures import failure
from routewright.gateway.envoy_replies import local_reply_config
from routewright.gateway.guarded import FAILURE
from routewright.gateway.http import HEADERS_TOO_LARGE
from routewright.gateway.http_exchange import REFUSALS
from routewright.gateway.upstream import translated


def bodies() -> dict[str, str]:
    """What Envoy answers, by the condition under which it does, in their order."""
    found = {}
    for mapper in local_reply_config()["mappers"]:
        condition = mapper["filter"]["extension_filter"]["typed_config"]["expression"]
        found[condition] = mapper["body"]["inline_string"]
    return found


def said(status: int) -> bytes:
    return bodies()[f"response.code == {status} && response.code_details != ''"].encode()


def test_envoy_says_word_for_word_what_the_standalone_door_says() -> None:
    broken: list[UpstreamError] = [translated(OSError()), translated(TimeoutError())]
    assert said(408) == REFUSALS["request_timeout"].body
    assert said(413) == REFUSALS["too_large"].body
    assert said(431) == HEADERS_TOO_LARGE.body
    assert said(500) == FAILURE.body
    assert said(502) == said(503) == failure(broken[0]).body
    assert said(504) == failure(broken[1]).body


def test_every_answer_is_an_error_as_openai_writes_them() -> None:
    for body in bodies().values():
        error = json.loads(body)["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert all(error[key] for key in ("message", "type", "code"))
