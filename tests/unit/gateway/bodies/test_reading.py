"""What is routed on, and the state of the conversation."""

import json
from typing import Any

import pytest

from routewright.errors import RequestError
from routewright.gateway.bodies.reading import (
    RequestFacts,
    encoding_refusal,
    parse_body,
    read_request,
)

USER: dict[str, Any] = {"role": "user", "content": "question"}
CALLS: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
]}  # fmt: skip
RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "1", "content": "42"}
SAYS: dict[str, Any] = {"role": "assistant", "content": "answer"}


def chat(*messages: dict[str, Any], **fields: Any) -> RequestFacts:
    return read_request("chat", {"model": "auto", "messages": list(messages), **fields})


def test_the_last_user_turn_is_routed_on() -> None:
    last = {"role": "user", "content": [{"type": "text", "text": t} for t in ("one", "two")]}
    assert chat(USER, SAYS, last, CALLS, RESULT).routing_text == "one\ntwo"
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    assert chat(USER, image).routing_text == "question"
    assert chat({"role": "system", "content": "alone"}).routing_text == "alone"
    both = read_request("completions", {"model": "m", "prompt": ["p", "q"]})
    assert both.routing_text == "p\nq"


@pytest.mark.parametrize(
    ("messages", "is_open"),
    [
        ([USER], False),
        ([USER, CALLS], True),
        ([USER, CALLS, RESULT], True),
        ([USER, CALLS, RESULT, USER], True),
        ([USER, CALLS, RESULT, SAYS], False),
        ([USER, CALLS, RESULT, SAYS, USER], False),
    ],
)
def test_a_tool_loop_is_open_until_the_assistant_speaks(
    messages: list[dict[str, Any]], is_open: bool
) -> None:
    assert chat(*messages).open_tool_loop is is_open


def test_a_tool_loop_of_the_responses_api_is_seen() -> None:
    output = {"type": "function_call_output", "call_id": "1", "output": "42"}
    assert read_request("responses", {"model": "m", "input": [output]}).open_tool_loop
    spoken = {"type": "message", "role": "assistant", "content": "answer"}
    facts = read_request("responses", {"model": "m", "input": [output, spoken]})
    assert not facts.open_tool_loop


def test_the_settings_are_read() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]
    facts = chat(USER, stream=True, tools=tools, tool_choice={"type": "function"})
    assert (facts.model, facts.stream, facts.tools) == ("auto", True, ("f", "web_search"))
    assert facts.tool_choice == "named"
    assert chat(USER).tool_choice is None
    assert chat(USER, response_format={"type": "json_object"}).json_answer
    text = {"format": {"type": "json_schema"}}
    assert read_request("responses", {"model": "m", "input": "x", "text": text}).json_answer


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"tools": "all"}, "tools"),
        ({"tools": ["f"]}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ],
)
def test_a_wrong_setting_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError, match=f"^{param} ") as caught:
        chat(USER, **fields)
    assert caught.value.param == param


def test_a_body_is_an_object() -> None:
    assert parse_body(b'{"a": 1}') == {"a": 1}
    with pytest.raises(RequestError, match="must be a JSON object"):
        parse_body(b"[1]")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("gzip", "gzip"),
        ("GZip , identity", "gzip"),
        ("deflate, br", "deflate, br"),
        ("aes128gcm-secret", "an unknown one"),
    ],
)
def test_a_body_in_another_encoding_is_refused_by_its_name(header: str, told: str) -> None:
    refusal = encoding_refusal(header)
    assert refusal is not None
    assert refusal.status == 415
    error = json.loads(refusal.body)["error"]
    assert error["code"] == "unsupported_encoding"
    assert f" is {told}; send it uncompressed" in error["message"]


@pytest.mark.parametrize("header", ["", "identity", "Identity, ,identity"])
def test_a_body_as_it_is_may_say_so(header: str) -> None:
    assert encoding_refusal(header) is None
