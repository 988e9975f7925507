"""A language model server that writes rows as it is asked: OpenAI's API on a real socket."""

import asyncio
import itertools
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.envoy_parts import Loop, serving

Json = dict[str, Any]
Writer = Callable[["Asked"], str | Response]
"""The model: its words, or the server's whole answer."""

KEY = "sk-canary-7f3a"
_COUNT = re.compile(r"Write (\d+) new texts")
_CLASS = re.compile(r'of the class "([^"]*)" of a data set')
_TYPE = re.compile(r"at least one entity of the type (\w+)")


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    number: int
    """Counted from 1."""
    model: str
    prompt: str
    """The last message."""
    headers: dict[str, str]
    body: Json

    @property
    def num(self) -> int:
        """Texts asked for."""
        found = _COUNT.search(self.prompt)
        return int(found[1]) if found else 0

    @property
    def label(self) -> str:
        """Class or entity type asked for; empty for texts without entities."""
        found = _CLASS.search(self.prompt) or _TYPE.search(self.prompt)
        return found[1] if found else ""


WORDS = [a + b + c for a in ("ba", "ke", "mo", "ti") for b in ("ru", "so", "na", "li", "pe")
         for c in ("dok", "gam", "vex", "zil", "hut")]  # fmt: skip
_numbers = itertools.count()
_lock = threading.Lock()
_PATIENCE_S = 30.0


def new_words(num: int = 8) -> str:
    """Words that no other call gives in this order, so that no two texts are near."""
    with _lock:
        seed = next(_numbers)
    return " ".join(random.Random(seed).sample(WORDS, num))  # noqa: S311 - no secret


def fresh_texts(asked: Asked) -> str:
    """What a good model answers: new texts, as many as asked for."""
    return json.dumps([f"{asked.label} {new_words()}" for _ in range(asked.num)])


def completion(text: str | None, model: str = "writer-2", reason: str = "stop") -> JSONResponse:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": model}
    return JSONResponse({**head, "choices": [choice], "usage": usage})


def failure(status: int, message: str = "no", **headers: str) -> JSONResponse:
    """An error in OpenAI's shape."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"message": message}}, status_code=status, headers=sent)


@dataclass
class WritingServer:
    """The server and what it was asked."""

    base_url: str
    writer: Writer = fresh_texts
    key: str | None = None
    delay_s: float = 0.0
    is_held: bool = False
    """While it is true, no answer leaves."""
    asked: list[Asked] = field(default_factory=list)
    num_arrived: int = 0
    under_way: int = 0
    most_under_way: int = 0

    async def answer(self, request: Request) -> Response:
        """Of one request, in its time."""
        self.num_arrived += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.delay_s)
            while self.is_held:
                await asyncio.sleep(0.01)
            return await self.answer_at_once(request)
        finally:
            self.under_way -= 1

    def let_go(self) -> None:
        """Let requests end that their clients have left: they would count for the next test."""
        self.is_held = False
        limit, quiet_s = time.monotonic() + _PATIENCE_S, time.monotonic() + 0.02
        while time.monotonic() < quiet_s:
            assert time.monotonic() < limit, f"{self.under_way} requests do not end"
            time.sleep(0.005)
            if self.under_way:
                quiet_s = time.monotonic() + 0.02

    async def answer_at_once(self, request: Request) -> Response:
        """The key is looked at first."""
        body = await request.json()
        headers = dict(request.headers)
        prompt = body["messages"][-1]["content"]
        asked = Asked(len(self.asked) + 1, body["model"], prompt, headers, body)
        self.asked.append(asked)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            given = headers.get("authorization", "").removeprefix("Bearer ")
            return failure(401, f"Incorrect API key\nprovided: {given}")
        said = self.writer(asked)
        return said if isinstance(said, Response) else completion(said)


@contextmanager
def writing_server() -> Iterator[WritingServer]:
    """A server on a free port of this machine."""
    server = WritingServer("")
    app = Starlette(routes=[Route("/v1/chat/completions", server.answer, methods=["POST"])])
    loop = Loop()
    try:
        with serving(app, loop) as port:
            server.base_url = f"http://127.0.0.1:{port}/v1"
            yield server
    finally:
        loop.close()
