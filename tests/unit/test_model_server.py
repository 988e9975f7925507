"""The stand-in model server, asked with the client that people use."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from examples.model_server import ENDPOINTS, Reply, answer_text, create_app
from hypothesis import given
from hypothesis import strategies as st
from tests.envoy_parts import PATIENCE_S, Loop, serving, wait_until

PROMPT = "write to  [EMAIL_ADDRESS_1],\nplease\n"
HEARD = answer_text("alpha", "m", PROMPT)
USER: Any = {"role": "user", "content": PROMPT}
TOOL: Any = {"type": "function", "function": {"name": "mail", "parameters": {}}}
ASKING: Any = {"role": "user", "content": "use tool for Zoë"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Any]]:
    loop = Loop()
    app = create_app("alpha", api_key="sesame")
    with serving(app, loop) as port:
        yield f"http://127.0.0.1:{port}/v1", app.state.requests
    loop.close()


@pytest.fixture
def client(served: tuple[str, Any]) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE_S)
    with openai.OpenAI(
        base_url=served[0], api_key="sesame", max_retries=0, http_client=http
    ) as found:
        yield found


def test_a_chat_answer_repeats_what_arrived_and_the_server_remembers_it(
    client: openai.OpenAI, served: tuple[str, Any]
) -> None:
    tag = {"x-request-tag": "17"}
    answer = client.chat.completions.create(model="m", messages=[USER], n=2, extra_headers=tag)
    texts = [choice.message.content for choice in answer.choices]
    assert texts == [answer_text("alpha", "m", PROMPT, "17")] * 2
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    seen = served[1][-1]
    assert seen.body["messages"] == [USER]
    assert seen.headers["x-request-tag"] == "17"
    wait_until(lambda: seen.finished, "the end of the answer")


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"model": "m", "prompt": "\\ud83d"}'])
def test_a_body_that_is_no_utf8_json_is_refused_and_not_remembered(
    served: tuple[str, Any], raw: bytes
) -> None:
    key = {"authorization": "Bearer sesame"}
    with httpx.Client(base_url=served[0], headers=key, trust_env=False) as http:
        assert http.post("/completions", content=raw).status_code == 400
        assert http.get(served[0].replace("/v1", "/requests")).status_code == 200


@pytest.mark.parametrize("size", [None, "1", "3"])
def test_a_streamed_chat_begins_with_the_role_and_ends_with_reason_and_usage(
    client: openai.OpenAI, served: tuple[str, Any], size: str | None
) -> None:
    stream = client.chat.completions.create(
        model="m",
        messages=[USER],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={} if size is None else {"x-test-chunk": size},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [c.choices[0].delta.content or "" for c in chunks[:-1]]
    assert "".join(pieces) == HEARD
    assert size is None or max(map(len, pieces)) == int(size)
    assert [c.choices[0].finish_reason for c in chunks[-3:-1]] == [None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    # The last byte arrives a moment before the server has noted that it sent it.
    wait_until(lambda: served[1][-1].finished, "the end of the answer")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_with_the_text_and_not_again_after_its_answer(
    client: openai.OpenAI, stream: bool
) -> None:
    create: Any = client.chat.completions.create
    answer = create(model="m", messages=[ASKING], tools=[TOOL], stream=stream)
    if stream:
        deltas = [c.choices[0].delta for c in answer]
        calls = [d.tool_calls[0].function for d in deltas if d.tool_calls]
        name, arguments = calls[0].name, "".join(c.arguments for c in calls)
        assert len(calls) > 2
    else:
        function = answer.choices[0].message.tool_calls[0].function
        name, arguments = function.name, function.arguments
        assert answer.choices[0].finish_reason == "tool_calls"
    assert (name, json.loads(arguments)) == ("mail", {"text": ASKING["content"]})
    after = [ASKING, {"role": "tool", "tool_call_id": "call_1", "content": "sent"}]
    answer = create(model="m", messages=after, tools=[TOOL])
    assert answer.choices[0].message.content == answer_text("alpha", "m", ASKING["content"])


def test_completions_answer_every_prompt_whole_and_streamed(client: openai.OpenAI) -> None:
    prompts = [PROMPT, "two"]
    whole = client.completions.create(model="m", prompt=prompts)
    expected = [answer_text("alpha", "m", prompt) for prompt in prompts]
    assert [choice.text for choice in whole.choices] == expected
    streamed = ["", ""]
    for chunk in client.completions.create(model="m", prompt=prompts, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == expected


@pytest.mark.parametrize("given", [PROMPT, [USER]])
def test_responses_come_whole_and_as_typed_events(client: openai.OpenAI, given: Any) -> None:
    whole = client.responses.create(model="m", input=given)
    assert whole.output_text == HEARD
    with client.responses.stream(model="m", input=given) as stream:
        events = list(stream)
        assert stream.get_final_response().output_text == HEARD
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(deltas) == HEARD


def test_a_response_can_be_a_function_call(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "mail", "parameters": {}, "strict": False}
    whole: Any = client.responses.create(model="m", input="use tool", tools=[tool])
    assert json.loads(whole.output[0].arguments) == {"text": "use tool"}
    events: Any = client.responses.create(
        model="m", input="use tool", tools=[tool], stream=True
    )
    pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == whole.output[0].arguments


def test_embeddings_depend_on_the_text_alone_in_either_encoding(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="m", input=["a", "b", "a"]).data
    plain = client.embeddings.create(model="m", input="b", encoding_format="float").data
    assert packed[0].embedding == packed[2].embedding != packed[1].embedding
    assert packed[1].embedding == pytest.approx(plain[0].embedding, abs=1e-6)


def test_models_lists_the_server(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["alpha"]


def test_a_wrong_key_is_refused(served: tuple[str, Any]) -> None:
    wrong = {"authorization": "Bearer x"}
    answer = httpx.get(f"{served[0]}/models", headers=wrong, trust_env=False)
    assert answer.status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize("path", [*ENDPOINTS, "/v1/embeddings"])
def test_an_error_comes_when_it_is_asked_for(client: openai.OpenAI, path: str) -> None:
    headers = {"x-test-status": "429"}
    with pytest.raises(openai.RateLimitError) as caught:
        client.post(path.removeprefix("/v1"), cast_to=object, body={"input": "x"},
                    options={"headers": headers})  # fmt: skip
    assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_breaks_off_in_the_middle_when_it_is_asked_for(
    client: openai.OpenAI, served: tuple[str, Any], stream: bool
) -> None:
    create: Any = client.chat.completions.create
    cut = {"x-test-abort": "mid-stream"}
    parts: list[Any] = []

    def read() -> None:
        answer = create(model="m", messages=[USER], stream=stream, extra_headers=cut)
        parts.extend(answer)

    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        read()
    assert bool(parts) is stream
    assert not served[1][-1].finished


@given(st.text(), st.none() | st.integers(1, 7))
def test_the_pieces_of_a_text_are_the_text(text: str, size: int | None) -> None:
    reply = Reply(1, "m", (text,), None, size, 0, usage_in_stream=False)
    assert "".join(reply.pieces(text)) == text
