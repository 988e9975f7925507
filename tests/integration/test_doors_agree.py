"""What a client is told, and what is counted, does not depend on the door."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.envoy_parts import wait_until
from tests.gateway_parts import NEUTRAL, chat
from tests.whole_parts import DOORS, Whole, ask, whole_gateway

from routewright.gateway.observation import RequestRecord

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
def test_an_answer_is_recorded_with_its_status_and_duration(whole: Whole, door: str) -> None:
    def slow() -> list[RequestRecord]:
        return [r for r in whole.gateway.records if r.status == 418 and r.door == DOORS[door]]

    before = len(slow())
    headers = {"x-test-delay-ms": "300", "x-test-status": "418"}
    whole.clients[door].post("/v1/chat/completions", json=chat(NEUTRAL), headers=headers)
    wait_until(lambda: len(slow()) > before, "the record of the request")
    record = slow()[-1]
    assert record.outcome == "forwarded"
    assert record.duration_s is not None
    assert record.added_s is not None
    assert max(0.3, record.added_s) <= record.duration_s < 5
