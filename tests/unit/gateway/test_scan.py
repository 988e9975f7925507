"""Which texts are put together so that what is sent in pieces is seen; which are refused."""

import asyncio
from typing import Any

import pytest
from tests.gateway_parts import chat, make_gateway, run

from routewright.errors import OverloadedError
from routewright.gateway.bodies.reading import read_request
from routewright.gateway.exchange import Outcome
from routewright.gateway.scan import last_together
from routewright.policy.guards import JailbreakGuard


def together(body: dict[str, Any], num_characters: int = 20) -> tuple[str, ...]:
    return last_together(read_request("chat", body), num_characters)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("one",), ()),
        (("one", "an answer", "two"), ("one\ntwo",)),
        (("a", "-", "b", "-", "c"), ("a\nb\nc",)),
        (("a" * 50, "-", "b" * 50), ("a" * 10 + "\n" + "b" * 10,)),
        (("a" * 50, "-", "b" * 12, "-", "cc"), ("a" * 6 + "\n" + "b" * 12 + "\ncc",)),
    ],
)
def test_the_last_messages_meet_where_one_ends_and_the_next_begins(
    texts: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert together(chat(*texts)) == expected


def test_parts_of_one_message_are_no_messages_and_zero_puts_nothing_together() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert together({"model": "m", "messages": [{"role": "user", "content": parts}]}) == ()
    assert together(chat("one", "-", "two"), 0) == ()
    with pytest.raises(ValueError, match="across_messages"):
        JailbreakGuard(across_messages=-1)


@pytest.mark.parametrize(("across", "num_texts"), [(400, 3), (0, 2)])
def test_a_second_message_of_the_user_costs_one_more_text(across: int, num_texts: int) -> None:
    async def scene() -> None:
        guards = {"jailbreak": {"threshold": 0.5, "across_messages": across}}
        gateway = make_gateway({"guards": guards})
        asked = await gateway.ask(chat("only one"))
        asked.handler.on_end(Outcome.COMPLETE)
        assert gateway.records[0].num_texts == 1
        asked = await gateway.ask(chat("the first", "an answer", "the second"))
        asked.handler.on_end(Outcome.COMPLETE)
        assert gateway.records[1].num_texts == num_texts
        await gateway.engine.close()

    run(scene())


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_text_refused_while_another_guard_is_waited_for_is_no_failed_guard(
    on_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards = {"jailbreak": {"latency_budget_s": 60.0}, "pii": {"on_error": on_error}}
    parts = [{"type": "text", "text": text} for text in ("call", "5551234")]

    async def scene() -> None:
        gateway = make_gateway({"guards": guards})
        answer = gateway.engine.classify

        async def classify(text: str, **given: Any) -> Any:
            if text == "5551234":  # which the PII guard alone looks at
                raise OverloadedError(9, 8, 2.5)
            await asyncio.sleep(0.01)
            return await answer(text, **given)

        monkeypatch.setattr(gateway.engine, "classify", classify)
        with pytest.raises(OverloadedError):
            await gateway.ask(
                {"model": "auto", "messages": [{"role": "user", "content": parts}]}
            )
        await gateway.engine.close()

    run(scene())
