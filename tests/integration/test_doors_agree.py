"""What a client is told, and what is counted, does not depend on the door."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.envoy_parts import wait_until
from tests.gateway_parts import NEUTRAL, chat
from tests.whole_parts import DOORS, Whole, ask, whole_gateway

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole_gateway(tmp_path_factory.mktemp("gateway")) as parts:
        yield parts


@pytest.mark.parametrize(
    "fields",
    [{"model": "auto"}, {"model": "small"}, {"tool_choice": "auto"}, {"stream": True}],
    ids=["routed", "named", "tools", "stream"],
)
def test_answers_tell_the_same_at_every_door(whole: Whole, fields: dict[str, Any]) -> None:
    whole.policy(
        decisions=[{"name": "all", "rules": {"domain": ["math", "law"]}, "models": ["large"]}]
    )
    told = {}
    for door in DOORS:
        answer = ask(whole, door, NEUTRAL, **fields)
        own = {k: v for k, v in answer.headers.items() if k.startswith(("x-vsr-", "x-routew"))}
        assert len(own.pop("x-routewright-request-id")) == 32
        assert float(own.pop("x-routewright-latency-ms")) > 0
        told[door] = own
    assert "x-vsr-selected-model" in told["http"]
    assert told["envoy"] == told["watched"] == told["http"]


@pytest.mark.parametrize("door", DOORS)
def test_a_request_is_counted_once_when_its_answer_has_ended(whole: Whole, door: str) -> None:
    labels = {"door": DOORS[door], "endpoint": "chat"}

    def counts() -> list[float]:
        return [
            whole.counted("requests_total", **labels, outcome="forwarded"),
            whole.counted("request_seconds_count", **labels),
            whole.counted("added_seconds_count", door=DOORS[door]),
            whole.counted("decisions_total", decision="none", model="small"),
            whole.counted("in_flight_requests", door=DOORS[door]),
        ]

    def settled() -> bool:
        """Envoy tells of earlier requests twice a second."""
        seen = counts()
        time.sleep(1.0)
        return counts() == seen and seen[-1] == 0

    wait_until(settled, "the counts of earlier requests")
    before, seconds = counts(), whole.counted("request_seconds_sum", **labels)
    headers = {"x-test-delay-ms": "300", "x-test-status": "418"}
    answer = whole.clients[door].post(
        "/v1/chat/completions", json=chat(NEUTRAL, model="small"), headers=headers
    )
    assert answer.status_code == 418
    expected = [before[0] + 1, before[1] + 1, before[2] + 1, before[3] + 1, 0]
    wait_until(lambda: counts() == expected, f"the counts: {counts()} of {expected}")
    assert 0.3 <= whole.counted("request_seconds_sum", **labels) - seconds < 5
