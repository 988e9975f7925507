"""What a request asks for: its model, its texts, its tools.

A request is routed by its last user turn: the text of the last message of the user that has
any. It is guarded by everything the client sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from routewright.errors import RequestError
from routewright.gateway.bodies.failures import HttpAnswer, error_answer
from routewright.gateway.bodies.texts import Endpoint, TextPlace, find_texts
from routewright.gateway.json_bytes import parse_json

_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
"""Those that a client is told by name; else a refusal would repeat what it sent."""
_CHARSET = re.compile(r"charset[^=;,]*=\s*[\"']?([^\"';,\s]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request body, read."""

    endpoint: Endpoint
    model: str
    stream: bool
    texts: tuple[TextPlace, ...]
    """All that the client sent, in the order that `replace_texts` wants them back."""
    num_unread: int
    """Images, sounds, files and the like, which no classifier sees."""
    tools: tuple[str, ...]
    """Names of the tools the client offers."""
    tool_choice: str | None
    """``auto``, ``none``, ``required``; ``named`` for one tool or a list; None if not sent."""
    open_tool_loop: bool
    """Whether the assistant has called tools and not yet spoken since."""
    json_answer: bool
    """Whether the answer's text is to be JSON."""

    @property
    def routing_text(self) -> str:
        """The last user turn; without one, the last turn of anybody; else empty."""
        conversation = [place for place in self.texts if place.turn is not None]
        users = [place for place in conversation if place.role == "user"] or conversation
        return "\n".join(p.text for p in users if p.turn == users[-1].turn)


def check_charset(content_type: str) -> None:
    """Refuse a charset by which a server may read another text than the guards.

    Raises:
        RequestError: the header ``content-type`` names one that is not UTF-8.
    """
    named = [name.lower() for name in _CHARSET.findall(content_type)]
    if any(name not in {"utf-8", "utf8"} for name in named):
        raise RequestError("the content-type names a charset other than UTF-8; send UTF-8")


def encoding_refusal(content_encoding: str) -> HttpAnswer | None:
    """The answer to a body in another encoding than it is read in; None if it may be read.

    A header that is not true is refused too: the model's server would believe it.

    Args:
        content_encoding: the header; empty if it was not sent.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    given = [name for name in names if name not in {"", "identity"}]
    if not given:
        return None
    told = ", ".join(name if name in _ENCODINGS else "an unknown one" for name in given)
    return error_answer(
        415,
        f"the content-encoding of the body is {told}; send it uncompressed, without the header",
        code="unsupported_encoding",
        headers={"accept-encoding": "identity"},
    )


def parse_body(raw: bytes) -> dict[str, Any]:
    """A request body as a mapping.

    Raises:
        RequestError: see `parse_json`; or it is not an object.
    """
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    return body


def read_request(endpoint: Endpoint, body: Mapping[str, Any]) -> RequestFacts:
    """Facts and texts of a request.

    Raises:
        RequestError: see `find_texts`; or a field named here is malformed.
    """
    model, stream = body.get("model"), body.get("stream")
    if not isinstance(model, str) or not model:
        raise RequestError("model must be a non-empty string", param="model")
    if stream is not None and not isinstance(stream, bool):
        raise RequestError("stream must be true or false", param="stream")
    for name in ("chat_template_kwargs", "reasoning"):
        if body.get(name) is not None and not _is_object(body[name]):
            raise RequestError(f"{name} must be an object", param=name)
    texts, num_unread = find_texts(endpoint, body)
    return RequestFacts(
        endpoint=endpoint,
        model=model,
        stream=bool(stream),
        texts=tuple(texts),
        num_unread=num_unread,
        tools=_tool_names(body),
        tool_choice=_tool_choice(body),
        open_tool_loop=_open_tool_loop(endpoint, body),
        json_answer=_wants_json(body),
    )


def _tool_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    names = []
    for param in ("tools", "functions"):
        tools = body.get(param) or []
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise RequestError(f"{param} must be an array of objects", param=param)
        for tool in tools:
            inner = tool.get("function") or tool.get("custom")
            holder = inner if isinstance(inner, dict) else tool
            names.append(str(holder.get("name") or tool.get("type") or ""))
    return tuple(names)


def _tool_choice(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    if choice is None or isinstance(choice, str):
        return choice
    if isinstance(choice, dict):
        return "named"
    raise RequestError("tool_choice must be a string or an object", param="tool_choice")


def _open_tool_loop(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    turns = body.get("input") if endpoint == "responses" else body.get("messages")
    for turn in reversed(turns if isinstance(turns, list) else []):
        if not _is_object(turn):
            continue
        role, kind = turn.get("role"), str(turn.get("type", ""))
        if role in {"tool", "function"} or kind.endswith(("_call", "_call_output")):
            return True
        if role == "assistant":
            return bool(turn.get("tool_calls") or turn.get("function_call"))
    return False


def _wants_json(body: Mapping[str, Any]) -> bool:
    text = body.get("text")
    shapes = [body.get("response_format"), text.get("format") if _is_object(text) else None]
    return any(_is_object(s) and str(s.get("type", "")).startswith("json") for s in shapes)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
