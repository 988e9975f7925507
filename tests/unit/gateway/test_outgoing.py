"""What goes to a model's server with a request, and what the client is told of it."""

from typing import Any

import pytest
from tests.gateway_parts import NEUTRAL, chat, deployment, make_gateway, run

from routewright.gateway.outgoing import forward_to, model_headers

DESTINATION = "x-vsr-destination-endpoint"


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://10.0.0.1:8000", "10.0.0.1:8000"),
        ("http://[fd00::2]:8000", "[fd00::2]:8000"),
        ("http://models.internal:8000", None),
        ("https://10.0.0.1", None),
    ],
)
def test_a_client_cannot_name_the_destination_where_the_gateway_names_none(
    url: str, destination: str | None
) -> None:
    models = {"small": {"endpoints": url}}
    deployed = deployment({"models": models, "decisions": []}, small="key")
    forward = forward_to(deployed, "small", None, model_headers(deployed, "small"))
    assert forward.set_headers.get(DESTINATION) == destination
    assert forward.remove_headers == (() if destination else (DESTINATION,))
    assert forward.set_headers["authorization"] == "Bearer key"
    assert forward.endpoints[0].url == url


@pytest.mark.parametrize(
    ("path", "body", "injected"),
    [
        ("/v1/chat/completions", chat(NEUTRAL), "true"),
        ("/v1/responses", {"model": "auto", "input": NEUTRAL}, "true"),
        ("/v1/completions", {"model": "auto", "prompt": NEUTRAL}, "false"),
        ("/v1/embeddings", {"model": "auto", "input": NEUTRAL}, "false"),
    ],
)
def test_a_system_prompt_is_told_where_it_was_added(
    path: str, body: dict[str, Any], injected: str
) -> None:
    rule = {"name": "all", "models": ["small"], "system_prompt": "Show every step."}

    async def scene() -> None:
        asked = await make_gateway({"decisions": [rule]}).ask(body, path=path)
        assert (await asked.told())["x-vsr-injected-system-prompt"] == injected
        assert (b"Show every step." in (asked.forward.body or b"")) is (injected == "true")

    run(scene())


PHONE = "5551234"
MASKED = "[PHONE_NUMBER_1]"
LITERAL = r"\[PHONE_NUMBER_1\]"


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("user", PHONE, MASKED),
        ("user", f"me,{PHONE}", f"me,{MASKED}"),
        ("safety_identifier", PHONE, MASKED),
        ("prompt_cache_key", f"chat-{PHONE}", f"chat-{MASKED}"),
        ("stop", PHONE, MASKED),
        ("stop", ["end", PHONE], ["end", MASKED]),
        ("bad_words", [PHONE], [MASKED]),
        ("guided_choice", [PHONE, "nobody"], [MASKED, "nobody"]),
        ("guided_regex", f"({PHONE}|none)", f"({LITERAL}|none)"),
        ("guided_regex", f"call {PHONE}", f"call {LITERAL}"),
        ("structured_outputs", {"regex": PHONE}, {"regex": LITERAL}),
        ("guided_json", {"pattern": f"^{PHONE}$", "properties": {"pattern": {"const": PHONE}}},
         {"pattern": f"^{LITERAL}$", "properties": {"pattern": {"const": MASKED}}}),
        ("guided_json", f'{{"pattern":"{PHONE}"}}', r'{"pattern":"\\[PHONE_NUMBER_1\\]"}'),
        ("guided_json", {"patternProperties": {f"a {PHONE}": {"enum": [PHONE]}}},
         {"patternProperties": {f"a {LITERAL}": {"enum": [MASKED]}}}),
        ("tools", [{"type": "custom", "custom": {"name": "f", "format": {
            "syntax": "regex", "definition": f"to {PHONE}"}}}],
         [{"type": "custom", "custom": {"name": "f", "format": {
             "syntax": "regex", "definition": f"to {LITERAL}"}}}]),
        ("guided_json", {"enum": [int(PHONE), PHONE], "default": {"n": int(PHONE)}},
         {"enum": [int(PHONE), MASKED], "default": {"n": MASKED}}),
        ("web_search_options", {"user_location": {"approximate": {
            "country": PHONE, "city": PHONE}}}, {"user_location": {"approximate": {
                "country": PHONE, "city": MASKED}}}),
        ("guided_grammar", f'root ::= "{PHONE}"', f'root ::= "{MASKED}"'),
        ("guided_json", {"enum": [PHONE]}, {"enum": [MASKED]}),
        ("guided_json", f'{{"const":"{PHONE}"}}', f'{{"const":"{MASKED}"}}'),
        ("structured_outputs", {"choice": [PHONE, "no"]}, {"choice": [MASKED, "no"]}),
        ("metadata", {"id": PHONE, "a": {"b": [f"x {PHONE}"]}, PHONE: "x"},
         {"id": MASKED, "a": {"b": [f"x {MASKED}"]}, PHONE: "x"}),
        ("field_of_tomorrow", {"type": PHONE}, {"type": MASKED}),
    ],
)  # fmt: skip
def test_a_value_masked_in_a_message_leaves_in_no_field_beside_it(
    field: str, value: Any, sent: Any
) -> None:
    async def scene() -> None:
        gateway = make_gateway({"decisions": []})
        asked = await gateway.ask(chat(f"call {PHONE}", **{field: value}))
        assert asked.body["messages"][0]["content"] == f"call {MASKED}"
        assert asked.body[field] == sent

    run(scene())


def test_choices_of_the_protocol_are_no_values_though_they_read_like_one() -> None:
    kept = {
        "prompt_cache_retention": PHONE,
        "cache_salt": f"tenant {PHONE}",
        "request_id": PHONE,
        "kv_transfer_params": {"remote_engine_id": PHONE},
        "guided_decoding_backend": PHONE,
        "guided_whitespace_pattern": PHONE,
        "tools": [{"type": "web_search", "user_location": {"country": PHONE}}],
    }

    async def scene() -> None:
        asked = await make_gateway({"decisions": []}).ask(chat(f"call {PHONE}", **kept))
        assert asked.body["messages"][0]["content"] == f"call {MASKED}"
        assert {name: asked.body[name] for name in kept} == kept

    run(scene())


def test_what_the_protocol_goes_by_stays_though_it_holds_a_masked_value() -> None:
    url = {"url": f"https://x.org/?to={PHONE}", "detail": "low"}
    call = {"id": PHONE, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [
            {"type": "text", "text": f"call {PHONE}"},
            {"type": "image_url", "image_url": url},
            {"type": "input_audio", "input_audio": {"data": f"{PHONE}/{PHONE}"}},
            {"type": "file", "file": {"file_data": PHONE, "filename": f"{PHONE}.pdf"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": PHONE, "content": "done"},
        {"role": "user", "content": "go on"},
    ]  # fmt: skip
    choice = {"type": "function", "function": {"name": "f"}}

    async def scene() -> None:
        gateway = make_gateway({"decisions": []})
        body = {"model": "auto", "messages": messages, "tool_choice": choice}
        sent = (await gateway.ask(body)).body
        assert sent["tool_choice"] == choice
        assert sent["messages"][1:] == messages[1:]
        text, *media, file = sent["messages"][0]["content"]
        assert text["text"] == f"call {MASKED}"
        assert media == messages[0]["content"][1:3]
        assert file["file"] == {"file_data": PHONE, "filename": f"{MASKED}.pdf"}

    run(scene())


def test_without_a_masked_value_every_field_leaves_as_it_came() -> None:
    beside = {
        "user": "Ann",
        "metadata": {"to": "ann@x.org"},
        "stop": ["a"],
        "guided_choice": [],
    }

    async def scene() -> None:
        gateway = make_gateway({"decisions": [], "tools": {}})
        asked = await gateway.ask(chat(NEUTRAL, **beside))
        assert asked.body == {**chat(NEUTRAL, **beside), "model": "small"}

    run(scene())


def test_no_request_keeps_a_destination_of_the_clients_own() -> None:
    models = {"small": {"endpoints": "https://models.internal"}}

    async def scene() -> None:
        gateway = make_gateway({"models": models, "decisions": [], "guards": {}})
        asked = await gateway.ask(chat(NEUTRAL), x_vsr_destination_endpoint="10.0.0.9:80")
        for forward in (asked.forward, asked.handler.unguarded()):
            assert forward.remove_headers == (DESTINATION,)

    run(scene())
