"""Where the texts of a request are, found and replaced by one and the same walk.

Everything a client sent that a model reads is a text: messages of every role, content parts,
tool results, the arguments of earlier tool calls value by value, what schemas of tools tell.
Images, audio, files and encrypted reasoning cannot be read and are counted. Names of tools,
ids, URLs and the settings of sampling are not texts. What goes along beside the texts, such as
metadata, is not looked for values in, but loses those that were found.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from routewright.errors import RequestError
from routewright.gateway.bodies.beside import Replace, replace_beside, replace_strings
from routewright.gateway.bodies.definitions import DEFINITIONS, Definitions
from routewright.gateway.bodies.roles import Role, results_of, role_of_item, role_of_message
from routewright.gateway.json_bytes import dump_json, parse_json

Endpoint = Literal["chat", "completions", "responses", "embeddings"]

ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}

_PART_TEXTS = ("text", "refusal", "thinking", "reasoning")
_MESSAGE_TEXTS = ("reasoning_content", "reasoning", "refusal")
_NO_TEXTS = frozenset(
    {"type", "id", "call_id", "item_id", "role", "status", "encrypted_content", "image_url",
     "file_id", "file_data", "file_url", "url", "server_label", "container_id"}
)  # fmt: skip
"""Keys of items of the responses API whose strings are not read as text."""
_MESSAGE_KEYS = frozenset(
    {"content", "name", "tool_calls", "function_call", "tool_call_id", "audio", *_MESSAGE_TEXTS}
)
"""Keys of a chat message that are read by themselves, or are no text."""
_CALL_KEYS = frozenset({"function", "custom", "arguments", "input", "name", "index"})
_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$.-]*")
_MIN_DIGITS = 5
"""Numbers from so many digits on may be a telephone or an account number."""
_ALSO_READ = frozenset({"documents", "chat_template_kwargs", "chat_template", *DEFINITIONS})
_READ: Mapping[Endpoint, frozenset[str]] = {
    "chat": _ALSO_READ | {"messages", "prediction"},
    "completions": _ALSO_READ | {"prompt", "suffix"},
    "responses": _ALSO_READ | {"instructions", "prompt", "input"},
    "embeddings": _ALSO_READ | {"messages", "input"},
}
"""Fields whose texts are found."""
_MEDIA = _NO_TEXTS | {
    "data", "format", "detail", "media_type", "uuid", "input_audio", "audio", "audio_url",
    "audio_embeds", "video", "video_url", "image", "image_embeds", "tool_use_id",
}  # fmt: skip
"""Keys of a content part below which everything stays."""


@dataclass(frozen=True, slots=True)
class TextPlace:
    """One text of a request."""

    text: str
    role: Role
    turn: int | None = None
    """Number of the message or item, from 0; None outside the conversation."""
    is_value: bool = False
    """Whether it is one value of the arguments of a tool call, not prose."""
    is_part: bool = False
    """Whether it is one of the parts of a message's content, which are read as one."""
    is_pattern: bool = False
    """Whether it is a regular expression."""


Visit = Callable[[TextPlace], str]


def find_texts(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[list[TextPlace], int]:
    """All texts in the order of the body, and how many parts cannot be read.

    Raises:
        RequestError: the body has not the shape of the endpoint, or its prompt is given as
            token ids or embeddings, which nobody can check.
    """
    places: list[TextPlace] = []

    def note(place: TextPlace) -> str:
        places.append(place)
        return place.text

    walk = _Walk(note)
    walk.run(endpoint, body)
    return places, walk.num_unread


def _as_it_is(text: str) -> str:
    return text


def replace_texts(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    texts: Sequence[str],
    others: Replace = _as_it_is,
    patterns: Replace = _as_it_is,
) -> dict[str, Any]:
    """A copy of `body` with its texts, as `find_texts` lists them, replaced by `texts`.

    Args:
        endpoint: whose body it is.
        body: the request; not changed.
        texts: as many as it has.
        others: gives what replaces a string that is no text, as in ``metadata``, ``user`` and
            ``stop``. Keys, names, ids, URLs, media and choices of the protocol stay.
        patterns: does so for one that is a regular expression.

    Raises:
        ValueError: not as many texts as the body has.
    """
    rest: Iterator[str] = iter(texts)
    result = _Walk(lambda _: next(rest), others, patterns).run(endpoint, body)
    if next(rest, None) is not None:
        raise ValueError("more texts than the body has")
    return result


class _Walk:
    """Rebuilds a body, each text replaced by what `visit` gives for it."""

    def __init__(
        self, visit: Visit, others: Replace = _as_it_is, patterns: Replace = _as_it_is
    ) -> None:
        self.visit = visit
        self.others = others
        self.num_unread = 0
        self._definitions = Definitions(
            lambda text: visit(TextPlace(text, "definition")),
            lambda text: visit(TextPlace(text, "definition", is_pattern=True)),
            lambda value: self._leaves(value, "definition", None),
            lambda value: self._leaves(value, "definition", None, keeps_numbers=True),
            others,
            patterns,
        )

    def run(self, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(body)
        steps = {
            "chat": self._chat,
            "completions": self._completions,
            "responses": self._responses,
            "embeddings": self._embeddings,
        }
        try:
            steps[endpoint](result)
            for name in DEFINITIONS:
                if name in result:
                    result[name] = self._definitions.replaced(result[name], name)
            for name in ("documents", "chat_template_kwargs"):
                if name in result:
                    result[name] = self._leaves(result[name], "user", None)
            self._optional(result, "chat_template", TextPlace("", "system"))
            result |= replace_beside(result, _READ[endpoint], self.others)
        except RecursionError:
            raise RequestError("the body is nested too deeply") from None
        except StopIteration:
            raise ValueError("fewer texts than the body has") from None
        return result

    def _chat(self, body: dict[str, Any]) -> None:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise RequestError("messages must be a non-empty array", param="messages")
        body["messages"] = [self._message(m, i) for i, m in enumerate(messages)]
        if (prediction := body.get("prediction")) is not None:
            if not isinstance(prediction, dict):
                raise RequestError("prediction must be an object", param="prediction")
            content = self._content(prediction.get("content"), "assistant", None, "prediction")
            body["prediction"] = {**prediction, "content": content}

    def _completions(self, body: dict[str, Any]) -> None:
        if body.get("prompt_embeds") is not None:
            raise _unreadable("prompt_embeds")
        body["prompt"] = self._prompt(body, "prompt")
        self._optional(body, "suffix", TextPlace("", "user", 0))

    def _embeddings(self, body: dict[str, Any]) -> None:
        # With both, servers differ in which they read.
        if "messages" in body:
            self._chat(body)
        if "input" in body or "messages" not in body:
            body["input"] = self._prompt(body, "input")

    def _optional(self, body: dict[str, Any], name: str, place: TextPlace) -> None:
        """A field that is one text at `place`, or absent."""
        given = body.get(name)
        if isinstance(given, str):
            body[name] = self.visit(replace(place, text=given))
        elif given is not None:
            raise RequestError(f"{name} must be a string", param=name)

    def _prompt(self, body: Mapping[str, Any], name: str) -> Any:
        prompt = body.get(name)
        if isinstance(prompt, str):
            return self.visit(TextPlace(prompt, "user", 0))
        if not isinstance(prompt, list) or not prompt:
            raise RequestError(f"{name} must be a string or a non-empty array", param=name)
        if not all(isinstance(text, str) for text in prompt):
            raise _unreadable(name)
        return [self.visit(TextPlace(text, "user", 0)) for text in prompt]

    def _message(self, message: Any, turn: int) -> dict[str, Any]:
        where = f"messages[{turn}]"
        role = role_of_message(message, where)
        result = dict(message)
        if "content" in message:
            where += ".content"
            result["content"] = self._content(message["content"], role, turn, where)
        elif role in {"user", "tool", "system"}:
            raise RequestError(f"{where} has no content", param=f"{where}.content")
        for name in (*_MESSAGE_TEXTS, "name"):
            if name == "name" and role == "tool":
                self._name(result, role, turn)
            elif isinstance(message.get(name), str):
                result[name] = self.visit(TextPlace(message[name], role, turn))
            elif name in message:
                result[name] = self._leaves(message[name], role, turn)
        calls, call = message.get("tool_calls"), message.get("function_call")
        if calls is not None and not isinstance(calls, list):
            raise RequestError(
                "tool_calls must be an array", param=f"messages[{turn}].tool_calls"
            )
        if isinstance(calls, list):
            result["tool_calls"] = [self._call(one, role, turn) for one in calls]
        if isinstance(call, dict):
            result["function_call"] = self._arguments_of(call, role, turn)
        return self._rest(result, _MESSAGE_KEYS, role, turn)

    def _name(self, holder: dict[str, Any], role: Role, turn: int | None) -> None:
        """A tool's name, which is a text if it is no plain name."""
        if isinstance(name := holder.get("name"), str):
            holder["name"] = self._key(name, role, turn)

    def _rest(
        self, holder: dict[str, Any], read: frozenset[str], role: Role, turn: int | None
    ) -> dict[str, Any]:
        """Texts under keys that we do not know; the template of a model may."""
        for name in [n for n in holder if n not in read and n not in _NO_TEXTS]:
            holder[name] = self._leaves(holder[name], role, turn, _NO_TEXTS)
        return holder

    def _call(self, call: Any, role: Role, turn: int) -> Any:
        where = f"messages[{turn}].tool_calls"
        if not isinstance(call, dict):
            raise RequestError(f"{where} must hold objects", param=where)
        result = dict(call)
        for kind in ("function", "custom"):
            if isinstance(inner := call.get(kind), dict):
                result[kind] = self._arguments_of(inner, role, turn)
        return self._rest(result, _CALL_KEYS, role, turn)

    def _arguments_of(self, call: Mapping[str, Any], role: Role, turn: int) -> dict[str, Any]:
        result = dict(call)
        if "arguments" in call:
            result["arguments"] = self._arguments(call["arguments"], role, turn)
        if isinstance(call.get("input"), str):
            result["input"] = self.visit(TextPlace(call["input"], role, turn))
        elif "input" in call:
            result["input"] = self._leaves(call["input"], role, turn)
        self._name(result, role, turn)
        return self._rest(result, _CALL_KEYS, role, turn)

    def _arguments(self, arguments: Any, role: Role, turn: int) -> Any:
        """JSON in a string value by value, so that escapes neither hide nor break a value."""
        if not isinstance(arguments, str):
            return self._leaves(arguments, role, turn)
        try:
            parsed = parse_json(arguments)
        except RequestError:
            parsed = None
        if not isinstance(parsed, dict | list):
            return self.visit(TextPlace(arguments, role, turn))
        changed = self._leaves(parsed, role, turn)
        return arguments if changed == parsed else dump_json(changed).decode("utf-8")

    def _content(self, content: Any, role: Role, turn: int | None, where: str) -> Any:
        if content is None and role == "assistant":
            return None
        if isinstance(content, str):
            return self.visit(TextPlace(content, role, turn))
        if not isinstance(content, list):
            raise RequestError(f"{where} must be a string or an array of parts", param=where)
        return [self._part(part, role, turn, f"{where}[{i}]") for i, part in enumerate(content)]

    def _part(self, part: Any, role: Role, turn: int | None, where: str) -> Any:
        if isinstance(part, str):
            return self.visit(TextPlace(part, role, turn, is_part=True))
        if not isinstance(part, dict):
            raise RequestError(f"{where} must be an object", param=where)
        result = dict(part)
        names = [name for name in _PART_TEXTS if part.get(name) is not None]
        for name in names:
            if isinstance(part[name], str):
                result[name] = self.visit(TextPlace(part[name], role, turn, is_part=True))
            else:
                result[name] = self._leaves(part[name], role, turn)
        if isinstance(part.get("content"), str | list):
            result["content"] = self._content(part["content"], role, turn, f"{where}.content")
        elif not names:
            self.num_unread += 1
        for name in result.keys() - {*names, "content", *_MEDIA}:
            result[name] = replace_strings(result[name], self.others, _MEDIA)
        return result

    def _responses(self, body: dict[str, Any]) -> None:
        self._optional(body, "instructions", TextPlace("", "system"))
        if (prompt := body.get("prompt")) is not None:
            if not isinstance(prompt, dict):
                raise RequestError("prompt must be an object", param="prompt")
            variables = self._leaves(prompt.get("variables"), "user", None)
            body["prompt"] = {**prompt, **({"variables": variables} if variables else {})}
        given = body.get("input")
        if isinstance(given, str):
            body["input"] = self.visit(TextPlace(given, "user", 0))
        elif isinstance(given, list):
            body["input"] = [self._item(item, i) for i, item in enumerate(given)]
        elif given is not None or prompt is None:
            raise RequestError("input must be a string or an array of items", param="input")

    def _item(self, item: Any, turn: int) -> dict[str, Any]:
        where = f"input[{turn}]"
        role = role_of_item(item, where)
        result = dict(item)
        read = {"arguments", "name"}
        if "role" in item:
            content = self._content(item.get("content"), role, turn, f"{where}.content")
            result |= {"content": content} if "content" in item else {}
            read.add("content")
        if "arguments" in item:
            result["arguments"] = self._arguments(item["arguments"], role, turn)
        self._name(result, role, turn)
        results = results_of(item, role)
        self._rest(result, results | read, role, turn)
        self._rest(result, frozenset(result) - results, "tool", turn)
        self.num_unread += "encrypted_content" in item
        return result

    def _leaves(
        self,
        value: Any,
        role: Role,
        turn: int | None,
        skipped: frozenset[str] = frozenset(),
        keeps_numbers: bool = False,
    ) -> Any:
        """Every string and long number of plain JSON, and keys that are no plain names."""
        if isinstance(value, str):
            return self.visit(TextPlace(value, role, turn, is_value=True))
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)
            if sum(map(str.isdigit, text)) < _MIN_DIGITS:
                return value
            seen = self.visit(TextPlace(text, role, turn, is_value=True))
            return value if seen == text or keeps_numbers else seen
        if isinstance(value, list):
            return [self._leaves(item, role, turn, skipped, keeps_numbers) for item in value]
        if isinstance(value, dict):
            return {
                self._key(key, role, turn): item
                if key in skipped
                else self._leaves(item, role, turn, skipped, keeps_numbers)
                for key, item in value.items()
            }
        return value

    def _key(self, key: str, role: Role, turn: int | None) -> str:
        if _PLAIN_KEY.fullmatch(key):
            return key
        return self.visit(TextPlace(key, role, turn, is_value=True))


def _unreadable(name: str) -> RequestError:
    return RequestError(
        f"{name} holds something other than text, which cannot be checked; send text",
        param=name,
    )
