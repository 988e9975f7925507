"""The standalone gateway when model servers fail, as the `openai` client sees it.

What it does while they work is tested through both doors in test_gateway.py.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import openai
import pytest
from examples.model_server import create_app
from openai.types.chat import ChatCompletionMessageParam
from tests.envoy_parts import Loop, free_port, serving, wait_until
from tests.gateway_parts import MATH, NEUTRAL, Gateway, deployment, make_gateway

from routewright.gateway.http import HttpDoor

pytestmark = pytest.mark.integration

PHONE = "555-0123-4567"


@dataclass
class Standalone:
    """Two model servers, the gateway in front of them, and its client."""

    loop: Loop
    gateway: Gateway
    door: HttpDoor
    apps: dict[str, Any]
    ports: dict[str, int]
    client: openai.OpenAI

    def serve_by(self, **endpoints: list[int]) -> None:
        """Serve from now on by models with endpoints on these ports."""
        models = {
            name: {"endpoints": [f"http://127.0.0.1:{port}" for port in ports]}
            for name, ports in endpoints.items()
        }

        async def swap() -> None:
            self.gateway.engine.swap(deployment({"models": models}))

        self.loop.run(swap())

    def ask(self, text: str = NEUTRAL, **headers: str) -> Any:
        """The raw answer to a chat request; ``_`` in names of headers is ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.chat.completions.with_raw_response.create(
            model="auto", messages=said(text), extra_headers=named
        )


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@contextmanager
def started(loop: Loop) -> Iterator[Standalone]:
    async def make() -> tuple[Gateway, HttpDoor, int]:
        upstream = {"eject_s": 0.0, "idle_timeout_s": 1.0}
        gateway = make_gateway(settings={"http": {"port": 0}, "upstream": upstream})
        handler = partial(gateway.pipeline.handler, "http")
        settings, telemetry = gateway.engine.settings, gateway.telemetry
        door = HttpDoor(handler, settings, telemetry, lambda: True)
        return gateway, door, await door.start()

    with ExitStack() as stack:
        apps = {name: create_app(name) for name in ("small", "large")}
        ports = {name: stack.enter_context(serving(app, loop)) for name, app in apps.items()}
        gateway, door, port = loop.run(make())
        stack.callback(lambda: loop.run(door.stop(0.5)))
        base = f"http://127.0.0.1:{port}/v1"
        client = openai.OpenAI(base_url=base, api_key="of-the-client", max_retries=0)
        stack.callback(client.close)
        yield Standalone(loop, gateway, door, apps, ports, client)


@pytest.fixture(scope="module")
def running() -> Iterator[Standalone]:
    loop = Loop()
    with started(loop) as parts:
        yield parts
    loop.close()


@pytest.fixture
def standalone(running: Standalone) -> Standalone:
    running.serve_by(small=[running.ports["small"]], large=[running.ports["large"]])
    return running


def test_a_dead_server_of_a_model_is_passed_over(standalone: Standalone) -> None:
    live = standalone.ports["small"]
    standalone.serve_by(small=[free_port(), live], large=[free_port()])
    for _ in range(5):
        assert "small (small) heard" in standalone.ask().text


def test_a_dead_model_is_replaced_by_the_one_standing_by(standalone: Standalone) -> None:
    standalone.serve_by(small=[standalone.ports["small"]], large=[free_port()])
    answer = standalone.ask(MATH)
    assert "small (small) heard" in answer.text
    assert answer.headers["x-vsr-selected-model"] == "small"


def test_values_stay_here_also_when_another_model_answers(standalone: Standalone) -> None:
    standalone.serve_by(small=[standalone.ports["small"]], large=[free_port()])
    text = f"{MATH}, call {PHONE}"
    assert f"heard: {text}" in standalone.ask(text).text
    heard = standalone.apps["small"].state.requests[-1].body
    assert PHONE not in str(heard)


def test_without_any_server_the_client_gets_an_error_it_understands(
    standalone: Standalone,
) -> None:
    standalone.serve_by(small=[free_port()], large=[free_port()])
    with pytest.raises(openai.InternalServerError) as raised:
        standalone.ask()
    assert (raised.value.status_code, raised.value.code) == (502, "upstream")


def test_a_silent_server_is_a_timeout(standalone: Standalone) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        standalone.ask(x_test_delay_ms="3000")
    assert (raised.value.status_code, raised.value.code) == (504, "timeout")


def test_a_busy_model_is_retried_and_its_last_word_passed_on(standalone: Standalone) -> None:
    seen = standalone.apps["small"].state.requests
    before = len(seen)
    standalone.serve_by(small=[standalone.ports["small"]] * 2, large=[free_port()])
    with pytest.raises(openai.RateLimitError) as raised:
        standalone.ask(x_test_status="429")
    assert raised.value.response.headers["retry-after"] == "1"
    assert len(seen) == before + 2


@pytest.mark.parametrize("text", [NEUTRAL, f"call {PHONE}"], ids=["passed", "changed"])
def test_a_stream_that_breaks_off_is_an_error_of_the_client(
    standalone: Standalone, text: str
) -> None:
    stream = standalone.client.chat.completions.create(
        model="auto",
        messages=said(text),
        stream=True,
        extra_headers={"x-test-abort": "mid-stream"},
    )
    with pytest.raises(openai.APIConnectionError):
        list(stream)


def test_a_client_that_stops_reading_ends_the_work_of_the_server(
    standalone: Standalone,
) -> None:
    app = create_app("slow", token_delay_s=0.05)
    with serving(app, standalone.loop) as port:
        standalone.serve_by(small=[port], large=[port])
        before = len(standalone.gateway.records)
        stream = standalone.client.chat.completions.create(
            model="auto", messages=said("word " * 200), stream=True
        )
        next(stream)
        stream.close()
        records = standalone.gateway.records
        wait_until(lambda: len(records) > before, "the end of the request")
        assert records[before].outcome == "aborted"
        assert not app.state.requests[-1].finished


def test_stopping_lets_a_stream_come_to_its_end() -> None:
    loop = Loop()
    app = create_app("slow", token_delay_s=0.02)
    with serving(app, loop) as port, started(loop) as parts:
        parts.serve_by(small=[port], large=[port])
        stream = parts.client.chat.completions.create(
            model="auto", messages=said("word " * 20), stream=True
        )
        first = next(stream)
        stopping = asyncio.run_coroutine_threadsafe(parts.door.stop(10.0), loop.loop)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert first.choices[0].delta.role == "assistant"
        assert "".join(texts).count("word") == 20
        stopping.result(10)
        with pytest.raises(openai.APIConnectionError):
            parts.ask()
    loop.close()
