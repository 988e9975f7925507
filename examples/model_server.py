"""A stand-in for a model server: speaks the OpenAI API and answers with what reached it.

    python examples/model_server.py --name math-model --port 8101

An answer names the server and the model it was asked for and repeats the last user text as it
came, so routing and masking can be seen. `GET /requests` lists what came in. A text with "use
tool" gets a call of the first tool offered. Request headers ask for trouble:

    x-test-status: 503        an error of that status
    x-test-delay-ms: 200      nothing for so long
    x-test-abort: mid-stream  half an answer, then the connection is closed
    x-test-chunk: 3           characters in an event of a stream; a word without it
    x-request-tag: 17         repeated in the answer's text and headers
"""

import argparse
import asyncio
import base64
import hashlib
import itertools
import json
import math
import re
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

KEPT_REQUESTS = 1000
EVENT_STREAM = "text/event-stream"
DIMENSIONS = 8
CREATED = 1_700_000_000
OUTPUT_TEXT = {"type": "output_text", "annotations": []}
Json = dict[str, Any]


def answer_text(server: str, model: str, text: str, tag: str | None = None) -> str:
    """What `server` answers to `text`."""
    return f"{server} ({model}){'' if tag is None else f' #{tag}'} heard: {text}"


@dataclass
class SeenRequest:
    """What reached the server; header names are lower case. `finished`: answered to the end."""

    path: str
    headers: dict[str, str]
    body: Any
    finished: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer before it takes the shape of an endpoint."""

    number: int
    model: str
    texts: tuple[str, ...]
    """One a choice; with `tool` the arguments of its call, as JSON."""
    tool: str | None
    piece_chars: int | None
    num_prompt_tokens: int
    usage_in_stream: bool

    def pieces(self, text: str) -> list[str]:
        """`text` cut for streaming; together they are the text."""
        size = self.piece_chars
        return re.findall(r"\s*\S+|\s+$" if size is None else f"(?s).{{1,{size}}}", text)

    @property
    def reason(self) -> str:
        return "stop" if self.tool is None else "tool_calls"

    def usage(self, names: tuple[str, str] = ("prompt", "completion")) -> Json:
        """Words of the request and of the answer, under the endpoint's names for them."""
        counts = (self.num_prompt_tokens, sum(len(text.split()) for text in self.texts))
        named = {f"{name}_tokens": n for name, n in zip(names, counts, strict=True)}
        return {**named, "total_tokens": sum(counts)}

    def head(self, prefix: str, kind: str) -> Json:
        about = {"object": kind, "created": CREATED, "model": self.model}
        return {"id": f"{prefix}-{self.number}", **about}


@dataclass(frozen=True)
class Endpoint:
    """How one endpoint reads a request and writes an answer, whole and as events."""

    user_texts: Callable[[Json], list[str]]
    whole: Callable[[Reply], Json]
    events: Callable[[Reply], Iterator[str]]


def last_user_text(messages: Any) -> str:
    """Of a conversation, or of a lone text."""
    if isinstance(messages, str):
        return messages
    contents = [m.get("content") for m in messages or [] if m.get("role") == "user"]
    last = contents[-1] if contents else ""
    return last if isinstance(last, str) else "".join(p.get("text", "") for p in last)


def chat_texts(body: Json) -> list[str]:
    """The text to answer, once a choice; the Responses API calls the messages its input."""
    return [last_user_text(body.get("messages", body.get("input")))] * int(body.get("n") or 1)


def completion_texts(body: Json) -> list[str]:
    prompt = body.get("prompt")
    return [str(p) for p in prompt] if isinstance(prompt, list) else [str(prompt)]


def data_line(content: Json) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def chat_call(reply: Reply, arguments: str) -> Json:
    function = {"name": reply.tool, "arguments": arguments}
    return {"id": f"call_{reply.number}", "type": "function", "function": function}


def chat_whole(reply: Reply) -> Json:
    choices = []
    for index, text in enumerate(reply.texts):
        message: Json = {"role": "assistant", "content": text, "refusal": None}
        if reply.tool is not None:
            message |= {"content": None, "tool_calls": [chat_call(reply, text)]}
        choices.append({"index": index, "message": message, "finish_reason": reply.reason})
    head = reply.head("chatcmpl", "chat.completion")
    return {**head, "choices": choices, "usage": reply.usage()}


def chat_events(reply: Reply) -> Iterator[str]:
    head = reply.head("chatcmpl", "chat.completion.chunk")

    def event(index: int, delta: Json, reason: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        usage = {"usage": None} if reply.usage_in_stream else {}
        return data_line({**head, "choices": [choice], **usage})

    for index, text in enumerate(reply.texts):
        content = "" if reply.tool is None else None
        yield event(index, {"role": "assistant", "content": content})
        if reply.tool is not None:
            yield event(index, {"tool_calls": [{"index": 0, **chat_call(reply, "")}]})
        for piece in reply.pieces(text):
            call = {"index": 0, "function": {"arguments": piece}}
            said = {"content": piece} if reply.tool is None else {"tool_calls": [call]}
            yield event(index, said)
        yield event(index, {}, reply.reason)
    yield stream_end(reply, head)


def stream_end(reply: Reply, head: Json) -> str:
    usage = data_line({**head, "choices": [], "usage": reply.usage()})
    return f"{usage if reply.usage_in_stream else ''}data: [DONE]\n\n"


def completion_whole(reply: Reply) -> Json:
    rest = {"logprobs": None, "finish_reason": "stop"}
    choices = [{"index": i, "text": text, **rest} for i, text in enumerate(reply.texts)]
    head = reply.head("cmpl", "text_completion")
    return {**head, "choices": choices, "usage": reply.usage()}


def completion_events(reply: Reply) -> Iterator[str]:
    head = reply.head("cmpl", "text_completion")
    for index, text in enumerate(reply.texts):
        for piece in [*reply.pieces(text), ""]:
            rest = {"logprobs": None, "finish_reason": None if piece else "stop"}
            yield data_line({**head, "choices": [{"index": index, "text": piece, **rest}]})
    yield stream_end(reply, head)


def response_item(reply: Reply, text: str, status: str) -> Json:
    if reply.tool is not None:
        ids = {"id": f"fc_{reply.number}", "call_id": f"call_{reply.number}"}
        call = {"type": "function_call", "name": reply.tool, "arguments": text}
        return {**ids, **call, "status": status}
    content = [{**OUTPUT_TEXT, "text": text}] if status == "completed" else []
    said = {"type": "message", "role": "assistant", "content": content}
    return {"id": f"msg_{reply.number}", **said, "status": status}


def response_whole(reply: Reply, status: str = "completed") -> Json:
    done = status == "completed"
    return {
        "id": f"resp_{reply.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": reply.model,
        "output": [response_item(reply, reply.texts[0], status)] if done else [],
        "usage": reply.usage(("input", "output")) if done else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
    }


def response_steps(reply: Reply) -> Iterator[tuple[str, Json]]:
    """Events of the Responses API in their order, without their numbers."""
    text = reply.texts[0]
    item = response_item(reply, "", "in_progress")
    at = {"item_id": item["id"], "output_index": 0}
    part_at = {**at, "content_index": 0}
    for step in ("created", "in_progress"):
        yield f"response.{step}", {"response": response_whole(reply, "in_progress")}
    yield "response.output_item.added", {"output_index": 0, "item": item}
    if reply.tool is not None:
        for piece in reply.pieces(text):
            yield "response.function_call_arguments.delta", {**at, "delta": piece}
        done = {**at, "name": reply.tool, "arguments": text}
        yield "response.function_call_arguments.done", done
    else:
        yield "response.content_part.added", {**part_at, "part": {**OUTPUT_TEXT, "text": ""}}
        for piece in reply.pieces(text):
            yield "response.output_text.delta", {**part_at, "delta": piece, "logprobs": []}
        yield "response.output_text.done", {**part_at, "text": text, "logprobs": []}
        yield "response.content_part.done", {**part_at, "part": {**OUTPUT_TEXT, "text": text}}
    item = response_item(reply, text, "completed")
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": response_whole(reply)}


def response_events(reply: Reply) -> Iterator[str]:
    for number, (kind, content) in enumerate(response_steps(reply)):
        line = data_line({"type": kind, "sequence_number": number, **content})
        yield f"event: {kind}\n{line}"


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(chat_texts, chat_whole, chat_events),
    "/v1/completions": Endpoint(completion_texts, completion_whole, completion_events),
    "/v1/responses": Endpoint(chat_texts, response_whole, response_events),
}


def tool_called(body: Json, text: str) -> str | None:
    """The first tool, where tools are offered and the last message, a user's, asks for it."""
    tools, messages = body.get("tools"), body.get("messages", body.get("input"))
    answered = isinstance(messages, list) and messages[-1].get("role") != "user"
    if not tools or answered or "use tool" not in text:
        return None
    return str(tools[0].get("function", tools[0]).get("name"))


def embedding(text: Any, num_dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    digest = hashlib.shake_256(str(text).encode()).digest(num_dimensions)
    values = [byte - 127.5 for byte in digest]
    return [value / math.hypot(*values) for value in values]


def error(status: int, message: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    content = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    headers = {"retry-after": "1"} if status in (429, 503) else None
    return JSONResponse(content, status_code=status, headers=headers)


class CutOff(Response):
    """The first parts of an answer, after which the connection is closed."""

    def __init__(self, parts: list[bytes], media_type: str, headers: dict[str, str]) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers.update(headers)
        self.parts = parts

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        kind = "http.response.start"
        await send({"type": kind, "status": self.status_code, "headers": self.raw_headers})
        for part in self.parts:
            # Returning with `more_body` still true makes uvicorn close the connection.
            await send({"type": "http.response.body", "body": part, "more_body": True})


class ModelServer:
    """Endpoints of one stand-in server."""

    def __init__(self, name: str, api_key: str | None, token_delay_s: float) -> None:
        self.name = name
        self.api_key = api_key
        self.token_delay_s = token_delay_s
        self.requests: deque[SeenRequest] = deque(maxlen=KEPT_REQUESTS)
        self.numbers = itertools.count(1)

    def embeddings(self, seen: SeenRequest) -> Response:
        given = seen.body.get("input")
        inputs = given if isinstance(given, list) else [given]
        data = []
        for index, text in enumerate(inputs):
            vector: Any = embedding(text, int(seen.body.get("dimensions") or DIMENSIONS))
            if seen.body.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
        model = seen.body.get("model")
        return JSONResponse({"object": "list", "data": data, "model": model, "usage": usage})

    def models(self, _: SeenRequest) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": self.name, "object": "model"}]})

    def generation(self, seen: SeenRequest) -> Response:
        endpoint = ENDPOINTS["/v1/" + seen.path.rpartition("/v1/")[2]]  # after any prefix
        reply = self.reply(seen, endpoint.user_texts(seen.body))
        headers = {k: v for k, v in seen.headers.items() if k == "x-request-tag"}
        cut = seen.headers.get("x-test-abort") == "mid-stream"
        if seen.body.get("stream"):
            events = [event.encode() for event in endpoint.events(reply)]
            if cut:
                return CutOff(events[: len(events) // 2], EVENT_STREAM, headers)
            stream = self.paced(events, seen)
            return StreamingResponse(stream, media_type=EVENT_STREAM, headers=headers)
        whole = json.dumps(endpoint.whole(reply), ensure_ascii=False).encode()
        if cut:
            headers["content-length"] = str(len(whole))
            return CutOff([whole[: len(whole) // 2]], "application/json", headers)
        return Response(whole, media_type="application/json", headers=headers)

    async def answer(self, request: Request) -> Response:
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
            json.dumps(body, ensure_ascii=False).encode()  # not if half an emoji is escaped
        except ValueError:
            return error(400, "the body is not JSON in UTF-8")
        seen = SeenRequest(request.url.path, dict(request.headers), body)
        self.requests.append(seen)
        if self.api_key and seen.headers.get("authorization") != f"Bearer {self.api_key}":
            return error(401, f"{self.name} does not know this key")
        await asyncio.sleep(float(seen.headers.get("x-test-delay-ms", 0)) / 1000)
        if (status := int(seen.headers.get("x-test-status", 200))) != 200:
            return error(status, f"{self.name} was asked to fail")
        others = {"embeddings": self.embeddings, "models": self.models}
        answer = others.get(seen.path.rpartition("/")[2], self.generation)(seen)
        seen.finished = not isinstance(answer, CutOff | StreamingResponse)  # those come later
        return answer

    def reply(self, seen: SeenRequest, said: list[str]) -> Reply:
        model, tag = str(seen.body.get("model")), seen.headers.get("x-request-tag")
        texts = [answer_text(self.name, model, text, tag) for text in said]
        if tool := tool_called(seen.body, said[0]):
            texts = [json.dumps({"text": text}, ensure_ascii=False) for text in said]
        chars = int(seen.headers.get("x-test-chunk", 0)) or None
        counted = bool((seen.body.get("stream_options") or {}).get("include_usage"))
        words = len(json.dumps(seen.body).split())
        return Reply(next(self.numbers), model, tuple(texts), tool, chars, words, counted)

    async def paced(self, events: list[bytes], seen: SeenRequest) -> AsyncIterator[bytes]:
        for event in events:
            await asyncio.sleep(self.token_delay_s)
            yield event
        seen.finished = True


def create_app(name: str, *, api_key: str | None = None, token_delay_s: float = 0) -> Starlette:
    """The server as an application; `app.state.requests` holds the last `SeenRequest`s."""
    server = ModelServer(name, api_key, token_delay_s)
    app = Starlette()
    for path in ("/v1/embeddings", *ENDPOINTS):
        app.router.add_route(path, server.answer, methods=["POST"])
    app.router.add_route("/v1/models", server.answer)

    def seen(_: Request) -> Response:
        return JSONResponse([asdict(request) for request in server.requests])

    app.router.add_route("/requests", seen)
    app.state.requests = server.requests
    return app


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key", help="ask for this bearer token")
    parser.add_argument("--token-delay-ms", type=float, default=0.0)
    return parser


def main() -> None:
    given = arguments().parse_args()
    delay_s = given.token_delay_ms / 1000
    app = create_app(given.name, api_key=given.api_key, token_delay_s=delay_s)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
