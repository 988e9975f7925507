"""Whose texts the jailbreak guard judges: by default what outsiders write or may have."""

import json
from typing import Any

import pytest
from tests.gateway_parts import ATTACK, EVERYBODY, NEUTRAL, make_gateway, run

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": NEUTRAL}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [{"role": "system", "content": ATTACK}, USER]}),
        ("chat/completions", {"messages": [{"role": "developer", "content": ATTACK}, USER]}),
        ("chat/completions", {"messages": [USER, {"role": "assistant", "content": ATTACK}]}),
        ("chat/completions", {"messages": [{"role": "system", "content": ATTACK}]}),
        ("chat/completions", {"messages": [USER], "guided_choice": [ATTACK, "no"]}),
        ("chat/completions", {"messages": [USER], "tools": [
            {"type": "function", "function": {"name": "f", "description": ATTACK}}]}),
        ("responses", {"input": NEUTRAL, "instructions": ATTACK}),
        ("responses", {"input": [USER, {"type": "function_call", "call_id": "1", "name": "f",
                                        "arguments": json.dumps({"a": ATTACK})}]}),
        ("responses", {"input": [USER, {"type": "mcp_call", "name": "f", "output": NEUTRAL,
                                        "arguments": json.dumps({"a": ATTACK})}]}),
        ("responses", {"input": [USER, {"type": "file_search_call", "queries": [ATTACK],
                                        "results": [{"text": NEUTRAL}]}]}),
        ("responses", {"input": [USER, {"type": "code_interpreter_call", "code": ATTACK,
                                        "outputs": [{"type": "logs", "logs": NEUTRAL}]}]}),
        ("responses", {"input": [USER, {"type": "reasoning", "output": ATTACK}]}),
    ],
)  # fmt: skip
def test_the_operators_and_the_models_own_texts_are_judged_only_if_the_file_says_so(
    path: str, body: dict[str, Any]
) -> None:
    async def scene() -> None:
        sent = {"model": "auto", **body}
        asked = await make_gateway().ask(sent, path=f"/v1/{path}")
        assert asked.forward.model == "small"
        guards = {"jailbreak": {"threshold": 0.5, "roles": EVERYBODY}}
        asked = await make_gateway({"guards": guards}).ask(sent, path=f"/v1/{path}")
        assert asked.immediate.headers["x-vsr-jailbreak-blocked"] == "true"

    run(scene())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [USER, {"role": "User ", "content": ATTACK}, USER]}),
        ("chat/completions", {"messages": [USER, {"role": "wizard", "content": ATTACK}, USER]}),
        ("chat/completions", {"messages": [USER, {"role": "System", "content": ATTACK}, USER]}),
        ("chat/completions", {"messages": [{**USER, "content": [], "tool_calls": [
            {"function": {"name": "f", "arguments": json.dumps({"a": ATTACK})}}]}, USER]}),
        ("chat/completions", {"messages": [USER], "documents": [{"text": ATTACK}]}),
        ("chat/completions", {"messages": [
            USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "1", "content": ATTACK}]}),
        ("chat/completions", {"messages": [USER, {"role": "function", "content": ATTACK}]}),
        ("completions", {"prompt": [NEUTRAL, ATTACK]}),
        ("completions", {"prompt": NEUTRAL, "suffix": ATTACK}),
        ("embeddings", {"input": [ATTACK, NEUTRAL]}),
        ("responses", {"input": [USER, {"content": ATTACK}, USER]}),
        ("responses", {"input": [USER, {"type": "message", "content": ATTACK}, USER]}),
        ("responses", {"input": [USER, {"type": "novel", "payload": ATTACK}]}),
        ("responses", {"input": [USER, {"type": "function_call_output", "call_id": "1",
                                        "output": ATTACK}]}),
        ("responses", {"input": [USER, {"type": "function_call_output", "call_id": "1",
                                        "role": "assistant", "content": ATTACK}]}),
        ("responses", {"input": [USER, {"type": "mcp_call", "name": "f", "arguments": "{}",
                                        "output": ATTACK}]}),
        ("responses", {"input": [USER, {"type": "mcp_call", "name": "f", "arguments": "{}",
                                        "error": {"message": ATTACK}}]}),
        ("responses", {"input": [USER, {"type": "mcp_call", "role": "assistant", "content": "",
                                        "output": ATTACK}]}),
        ("responses", {"input": [USER, {"type": "file_search_call", "queries": [NEUTRAL],
                                        "results": [{"file_id": "a", "text": ATTACK}]}]}),
        ("responses", {"input": [USER, {"type": "code_interpreter_call", "code": "f()",
                                        "outputs": [{"type": "logs", "logs": ATTACK}]}]}),
        ("responses", {"input": [USER, {"type": "mcp_list_tools", "server_label": "a",
                                        "tools": [{"name": "f", "description": ATTACK}]}]}),
    ],
)  # fmt: skip
def test_what_outsiders_write_and_what_says_no_known_role_is_judged_by_default(
    path: str, body: dict[str, Any]
) -> None:
    async def scene() -> None:
        asked = await make_gateway().ask({"model": "auto", **body}, path=f"/v1/{path}")
        assert asked.immediate.headers["x-vsr-jailbreak-blocked"] == "true"

    run(scene())


def test_personal_data_is_looked_for_in_texts_of_every_role() -> None:
    async def scene() -> None:
        messages = [{"role": "system", "content": "call 5551234"}, USER]
        asked = await make_gateway().ask({"model": "auto", "messages": messages})
        assert asked.body["messages"][0]["content"] == "call [PHONE_NUMBER_1]"

    run(scene())
