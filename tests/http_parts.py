"""Real parts around the standalone door: a scripted handler, and servers down to the socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from routewright.gateway.answering import ANSWER_TOO_LARGE
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    Outcome,
    ResponsePlan,
)
from routewright.gateway.guarded import immediate_answer
from routewright.gateway.http import HttpDoor
from routewright.gateway.settings import GatewaySettings, Listen
from routewright.gateway.telemetry import Telemetry, Vocabulary
from routewright.policy.settings import Endpoint

SOON_S = 5.0
"""Longest wait for anything that should take milliseconds."""


@dataclass
class Received:
    """A request as a server on a socket got it; names are lower case, repeats are kept."""

    method: str
    target: str
    headers: list[tuple[str, bytes]]
    body: bytes = b""

    def values(self, name: str) -> list[bytes]:
        return [value for known, value in self.headers if known == name]


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


async def read_message(reader: asyncio.StreamReader) -> tuple[str, Received]:
    """The start line, and a message whose body has a length or is chunked."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    start = head[0].decode()
    method, _, rest = start.partition(" ")
    headers = [
        (name.decode().lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in head[1:] if line)
    ]
    message = Received(method, rest.partition(" ")[0], headers)
    if message.values("transfer-encoding"):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            message.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        size = int((message.values("content-length") or [b"0"])[0])
        message.body = await reader.readexactly(size)
    return start, message


class SocketServer:
    """A model server that answers as a test says, byte by byte."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Received] = []
        self.connections = 0
        self.port = 0
        self.serving: set[asyncio.Task[None]] = set()
        self.hung_up = asyncio.Event()
        """A connection was closed by the other side."""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.1:{self.port}")

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        serving = asyncio.ensure_future(self._converse(reader, writer))
        # No `finally`: a coroutine that is cancelled before its first step does not get there.
        serving.add_done_callback(lambda _: writer.close())
        self.serving.add(serving)

    async def close(self) -> None:
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                request = (await read_message(reader))[1]
                self.requests.append(request)
                answering = asyncio.ensure_future(self.answer(request, writer))
                ending = asyncio.ensure_future(reader.read(1))  # all that may come meanwhile
                both: set[asyncio.Future[Any]] = {answering, ending}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                gone = not answering.done()
                (answering if gone else ending).cancel()
                await asyncio.gather(*both, return_exceptions=True)  # or asyncio logs them
                if gone:
                    self.hung_up.set()
                    break
                await answering


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[SocketServer]:
    """A `SocketServer` on a free port."""
    made = SocketServer(answer)
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole answer; `headers` are lines that end in CRLF."""
    head = f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def says(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    """Always the same answer."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body, status, headers))

    return answer


EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
"""Start of an answer in chunks."""


async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(response(request.body))


async def hang_up(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def silence(_: Received, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(2 * SOON_S)


@dataclass
class Script:
    """What the handlers of a door do, and what they saw."""

    steps: list[Forward | Immediate | None] = field(default_factory=list)
    """The answer of `on_request`, then those of `on_unavailable`."""
    plan: ResponsePlan | Immediate = field(default_factory=ResponsePlan)
    change: Callable[[bytes, bool], bytes] = lambda chunk, _end: chunk
    may_decide: asyncio.Event | None = None
    """Set when `on_request` may answer; at once without it."""
    raise_in: str = ""
    thinking: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    response_headers: list[dict[str, str]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    codes: list[str | None] = field(default_factory=list)
    interrupted: bool = False


class ScriptedHandler:
    """Does what its script says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.steps = iter(script.steps)

    def _step(self, phase: str) -> None:
        if self.script.raise_in == phase:
            raise RuntimeError("canary-7f3a: the prompt was here")

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        self.script.seen.append((dict(headers), body))
        self.script.thinking.set()
        self._step("request")
        if self.script.may_decide is not None:
            try:
                await self.script.may_decide.wait()
            except asyncio.CancelledError:
                self.script.interrupted = True
                raise
        step = next(self.steps)
        assert step is not None
        return step

    def unguarded(self) -> Forward:
        step = next(self.steps)
        assert isinstance(step, Forward)
        return step

    async def on_unavailable(self) -> Forward | Immediate | None:
        return next(self.steps, None)

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        self.script.response_headers.append(dict(headers))
        self._step("response_headers")
        return self.script.plan

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        self._step("response_chunk")
        return self.script.change(chunk, end)

    on_too_large = staticmethod(lambda: immediate_answer(ANSWER_TOO_LARGE))
    on_left = staticmethod(lambda: None)

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        self.script.outcomes.append(outcome)
        self.script.codes.append(code)
        self.script.ended.set()


def to(*servers: SocketServer | Endpoint, **fields: Any) -> Forward:
    """Forward to these servers of the model ``m``."""
    endpoints = (s if isinstance(s, Endpoint) else s.endpoint for s in servers)
    return Forward(**{"model": "m", "endpoints": tuple(endpoints), **fields})


def code(answer: Received) -> str | None:
    """Of an error in OpenAI's shape."""
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    found: str | None = error["code"]
    return found


async def ended(script: Script) -> Outcome:
    """How the one exchange ended."""
    await asyncio.wait_for(script.ended.wait(), SOON_S)
    await asyncio.sleep(0.01)
    assert len(script.outcomes) == 1
    return script.outcomes[0]


PASS = ResponsePlan()
STREAM = ResponsePlan(body=BodyHandling.STREAM)
WHOLE = ResponsePlan(body=BodyHandling.WHOLE)


@dataclass
class Running:
    """A door that listens."""

    door: HttpDoor
    port: int
    telemetry: Telemetry
    state: dict[str, bool]
    clients: list["Client"] = field(default_factory=list)

    async def connect(self) -> "Client":
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def hang_up(self) -> None:
        while self.clients:
            await self.clients.pop().close()


@asynccontextmanager
async def open_door(script: Callable[[], Script], **settings: Any) -> AsyncIterator[Running]:
    """A door whose handlers follow what `script` returns at the time."""
    telemetry = Telemetry(Vocabulary(models=["m", "standby"]))
    state = {"ready": True}
    own = GatewaySettings(**{"http": Listen(port=0), "drain_s": 0.1, **settings})
    door = HttpDoor(lambda: ScriptedHandler(script()), own, telemetry, lambda: state["ready"])
    running = Running(door, await door.start(), telemetry, state)
    try:
        yield running
    finally:
        await door.stop()
        await running.hang_up()


class Client:
    """One connection to a door, down to the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def post(self, body: bytes = b"{}", *lines: str, path: str = "/v1/x") -> None:
        """Send a request; `lines` are further header lines."""
        head = [f"POST {path} HTTP/1.1", "host: door", f"content-length: {len(body)}", *lines]
        await self.send("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, Received]:
        """Status and answer of a request."""
        start, message = await asyncio.wait_for(read_message(self.reader), SOON_S)
        return int(start.split()[1]), message

    async def ask(
        self, body: bytes = b"{}", *lines: str, path: str = "/v1/x"
    ) -> tuple[int, Received]:
        await self.post(body, *lines, path=path)
        return await self.answer()

    async def head(self) -> bytes:
        """Start line and headers of an answer whose body is read by `chunk`."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON_S)

    async def chunk(self) -> bytes:
        """The next chunk of an answer without a length; empty at its end."""
        size = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), SOON_S)
        return (await self.reader.readexactly(int(size, 16) + 2))[:-2]

    async def rest(self) -> bytes:
        """All that comes until the door closes the connection."""
        return await asyncio.wait_for(self.reader.read(), SOON_S)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a test's scene, which may not take long."""
    asyncio.run(limited(scene()))


async def limited(work: Awaitable[None]) -> None:
    await asyncio.wait_for(work, 3 * SOON_S)


@dataclass
class Parts:
    """What a scene has to work with."""

    server: SocketServer
    script: Script
    running: Running
    client: Client


Scene = Callable[[Parts], Awaitable[None]]


class Stage:
    """Scenes with a server, a door in front of it and a client, in one event loop.

    Stopping a door takes a fifth of a second, so those with equal settings are used again.
    """

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.doors: dict[str, tuple[Running, AbstractAsyncContextManager[Running]]] = {}
        self.script = Script()

    def exchange(
        self, answer: Answer, plan: ResponsePlan | Immediate = PASS, **settings: Any
    ) -> Callable[[Scene], None]:
        """Run the decorated scene now; its requests are forwarded to a server so answering."""

        async def run(scene: Scene) -> None:
            async with listening(answer) as server:
                self.script = Script(steps=[to(server)], plan=plan)
                running = await self._door(settings)
                try:
                    client = await running.connect()
                    await scene(Parts(server, self.script, running, client))
                finally:
                    await running.hang_up()

        return lambda scene: self.runner.run(limited(run(scene)))

    async def _door(self, settings: dict[str, Any]) -> Running:
        key = repr(settings)
        if key not in self.doors:
            manager = open_door(lambda: self.script, **settings)
            self.doors[key] = (await manager.__aenter__(), manager)
        return self.doors[key][0]

    def close(self) -> None:
        async def stop() -> None:
            leave = [m.__aexit__(None, None, None) for _, m in self.doors.values()]
            await asyncio.gather(*leave)

        self.runner.run(stop())
        self.runner.close()
