"""Who is told of requests that were decided about."""

import pytest
from tests.gateway_parts import ATTACK, MATH, chat, make_gateway, run
from tests.log_lines import our_lines

from routewright.gateway.exchange import Outcome
from routewright.gateway.watching import Decided


def test_watchers_hear_of_a_request_once_it_has_ended() -> None:
    seen: list[Decided] = []

    async def scene() -> None:
        gateway = make_gateway()
        gateway.watchers = (seen.append,)
        for text in (MATH, ATTACK):
            asked = await gateway.ask(chat(text))
            assert len(seen) == len(gateway.records)
            asked.handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()

    run(scene())
    assert [decided.facts.routing_text for decided in seen] == [MATH, ATTACK]
    assert [decided.decision.blocked for decided in seen] == [False, True]
    assert seen[0].scanned.signals.sequence["category"].label == "math"


def test_nobody_hears_of_a_request_that_was_not_decided_about() -> None:
    seen: list[Decided] = []

    async def scene() -> None:
        gateway = make_gateway()
        gateway.watchers = (seen.append,)
        asked = await gateway.ask({"messages": []}, path="/v1/unknown")
        asked.handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()

    run(scene())
    assert not seen


def test_a_watcher_that_fails_harms_nobody_and_its_message_is_withheld(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Decided] = []

    def fail(decided: Decided) -> None:
        raise RuntimeError(decided.facts.routing_text)

    async def scene() -> None:
        gateway = make_gateway()
        gateway.watchers = (fail, seen.append)
        asked = await gateway.ask(chat(MATH))
        asked.handler.on_end(Outcome.COMPLETE)
        await gateway.engine.close()

    run(scene())
    assert len(seen) == 1
    (line,) = our_lines(caplog)
    assert "RuntimeError" in line.getMessage()
    assert MATH not in caplog.text
