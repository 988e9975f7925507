"""Which model a conversation keeps, and what its earlier turns must not be mixed with."""

from tests.gateway_parts import MATH, NEUTRAL, Asked, chat, make_gateway, run


def test_a_tool_loop_and_a_session_keep_their_model() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    own = [{"type": "function", "function": {"name": "f"}}]
    loop = [
        {"role": "user", "content": NEUTRAL},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]

    async def scene() -> None:
        gateway = make_gateway()
        first = await gateway.ask(chat(MATH), x_session_id="s")
        assert first.forward.model == "large"
        second = await gateway.ask(chat(MATH, "4", NEUTRAL), x_session_id="s")
        assert second.forward.model == "large"
        assert (await second.told())["x-routewright-decision"] == "kept"
        other = await gateway.ask(chat(MATH, "4", NEUTRAL), x_session_id="other")
        assert other.forward.model == "small"

        await gateway.ask(chat(NEUTRAL, model="large", tools=own))
        body = {"model": "auto", "messages": loop, "tools": own}
        assert (await gateway.ask(body)).forward.model == "large"
        elsewhere = await gateway.ask(body, authorization="Bearer of another client")
        assert elsewhere.forward.model == "small"

    run(scene())


def test_a_session_moves_when_its_model_is_down_and_stays_there() -> None:
    async def scene() -> None:
        gateway = make_gateway()
        assert (await gateway.ask(chat(MATH), x_session_id="s")).forward.model == "large"
        kept = await gateway.ask(chat(NEUTRAL), x_session_id="s")
        assert kept.forward.model == "large"
        following = await kept.handler.on_unavailable()
        assert Asked(kept.handler, following).forward.model == "small"  # type: ignore[arg-type]
        after = await gateway.ask(chat(NEUTRAL), x_session_id="s")
        assert after.forward.model == "small"

    run(scene())


def test_placeholders_do_not_meet_those_that_the_server_remembers() -> None:
    async def scene() -> None:
        body = {"model": "small", "input": "call 5551234", "previous_response_id": "resp-1"}
        asked = await make_gateway().ask(body, path="/v1/responses")
        number = int(asked.body["input"].removeprefix("call [PHONE_NUMBER_").removesuffix("]"))
        assert number >= 1000

    run(scene())
