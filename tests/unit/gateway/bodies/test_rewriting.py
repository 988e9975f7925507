"""New bodies, and the old ones left alone."""

import copy
from typing import Any

import pytest

from routewright.gateway.bodies.rewriting import (
    set_model,
    set_reasoning,
    set_system_prompt,
    set_tools,
)
from routewright.policy.settings import ReasoningFamily

BODY: dict[str, Any] = {
    "model": "auto",
    "messages": [{"role": "user", "content": "hi"}],
    "reasoning_effort": "high",
    "chat_template_kwargs": {"thinking": True, "style": "x"},
    "tools": [{"type": "function", "function": {"name": "old"}}],
    "tool_choice": "auto",
}
TOOL = {"type": "function", "function": {"name": "new", "parameters": {"type": "object"}}}
QWEN = ReasoningFamily(type="chat_template_kwargs", parameter="enable_thinking")
GPT = ReasoningFamily(type="reasoning_effort", parameter="reasoning_effort")


@pytest.fixture(autouse=True)
def _body_stays_as_it_is() -> Any:
    before = copy.deepcopy(BODY)
    yield
    assert before == BODY


def test_the_model_is_set() -> None:
    assert set_model(BODY, "m") == {**BODY, "model": "m"}


@pytest.mark.parametrize(
    ("family", "enabled", "effort", "switches", "level"),
    [
        (QWEN, True, None, {"style": "x", "enable_thinking": True}, None),
        (QWEN, False, None, {"style": "x", "enable_thinking": False}, None),
        (GPT, True, None, {"style": "x"}, "medium"),
        (GPT, True, "high", {"style": "x"}, "high"),
        (GPT, False, None, {"style": "x"}, "low"),
        (None, True, "high", {"style": "x"}, None),
    ],
)
def test_a_model_gets_the_reasoning_fields_of_its_family_alone(
    family: ReasoningFamily | None,
    enabled: bool,
    effort: str | None,
    switches: dict[str, Any],
    level: str | None,
) -> None:
    body = set_reasoning("chat", BODY, family, enabled=enabled, effort=effort)
    assert body["chat_template_kwargs"] == switches
    assert body.get("reasoning_effort") == level


def test_the_responses_api_has_its_effort_elsewhere() -> None:
    body = {"input": "x", "reasoning": {"effort": "high", "summary": "auto"}}
    result = set_reasoning("responses", body, GPT, enabled=False)
    assert result["reasoning"] == {"summary": "auto", "effort": "low"}
    result = set_reasoning("responses", body, None, enabled=False)
    assert result["reasoning"] == {"summary": "auto"}
    assert set_reasoning("embeddings", body, GPT, enabled=True) == body


def test_a_system_prompt_is_added_before_the_clients_own_or_replaces_it() -> None:
    added = set_system_prompt("chat", BODY, "P")["messages"]
    assert added == [{"role": "system", "content": "P"}, *BODY["messages"]]
    own = {"messages": [{"role": "developer", "content": "own"}, *BODY["messages"]]}
    assert set_system_prompt("chat", own, "P")["messages"][0] == {
        "role": "developer",
        "content": "P\n\nown",
    }
    replaced = set_system_prompt("chat", own, "P", mode="replace")["messages"]
    assert replaced == [{"role": "developer", "content": "P"}, *BODY["messages"]]
    parts = {"messages": [{"role": "system", "content": [{"type": "text", "text": "own"}]}]}
    (first,) = set_system_prompt("chat", parts, "P")["messages"]
    assert [part["text"] for part in first["content"]] == ["P", "own"]


def test_the_responses_api_has_instructions() -> None:
    body = {"instructions": "own", "input": [{"role": "system", "content": "s"}]}
    assert set_system_prompt("responses", body, "P")["instructions"] == "P\n\nown"
    replaced = set_system_prompt("responses", body, "P", mode="replace")
    assert replaced == {"instructions": "P", "input": []}
    assert set_system_prompt("completions", {"prompt": "x"}, "P") == {"prompt": "x"}


def test_tools_are_set_in_the_form_of_the_endpoint() -> None:
    assert set_tools("chat", BODY, [TOOL])["tools"] == [TOOL]
    assert set_tools("responses", BODY, [TOOL])["tools"] == [
        {"type": "function", "name": "new", "parameters": {"type": "object"}}
    ]
    without = set_tools("chat", BODY, [])
    assert not {"tools", "tool_choice"} & without.keys()
