"""A whole gateway in this process: its doors open together, and close together."""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.gateway_parts import POLICY, chat, gateway_bundle, run
from tests.http_parts import echo, listening

from routewright.errors import ConfigError, ServingError
from routewright.gateway import serve
from routewright.gateway.deploying import Loaded, load_deployment
from routewright.gateway.engine import Engine
from routewright.gateway.policy_file import read_policy_file
from routewright.gateway.serve import Gateway, log_as_json
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.tracing import Tracing
from routewright.runtime.work import Classified

DOORS = ("http", "ext_proc", "api", "metrics")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gateway_bundle(tmp_path_factory.mktemp("serve") / "bundle")


def loaded(
    folder: Path, bundle: Path, policy: Mapping[str, Any] = POLICY, **gateway: Any
) -> Loaded:
    doors: dict[str, Any] = {name: {"port": 0} for name in DOORS}
    path = folder / "routewright.yaml"
    path.write_text(
        yaml.safe_dump({**POLICY, **policy, "gateway": doors | gateway}), encoding="utf-8"
    )
    return load_deployment(read_policy_file(path, bundle), num_threads=1)


async def status(address: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{address}/readyz")).status_code


async def refused(address: str) -> bool:
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


def test_the_doors_of_the_settings_open_and_close(tmp_path: Path, bundle: Path) -> None:
    async def play() -> None:
        gateway = Gateway(loaded(tmp_path, bundle, metrics=None))
        addresses = await gateway.start()
        assert list(addresses) == ["http", "ext_proc", "api"]
        assert await status(addresses["http"]) == await status(addresses["api"]) == 200
        assert b"routewright_ready 1.0" in gateway.telemetry.render()
        await gateway.stop(drain_s=1.0)
        assert b"routewright_ready 0.0" in gateway.telemetry.render()
        assert all([await refused(address) for address in addresses.values()])

    run(play())


def test_load_balancers_hear_of_the_end_before_the_doors_close(
    tmp_path: Path, bundle: Path
) -> None:
    async def play() -> None:
        gateway = Gateway(loaded(tmp_path, bundle, unready_s=60.0))
        addresses = await gateway.start()
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0.1)
        told = [await status(addresses[name]) for name in ("http", "api", "metrics")]
        assert told == [503] * 3
        async with httpx.AsyncClient(trust_env=False) as client:
            listed = await client.get(f"http://{addresses['http']}/v1/models")
            assert listed.status_code == 200
        assert not stopping.done()
        stopping.cancel()
        await gateway.stop()  # as it is unready by now, there is nothing to wait for
        assert all([await refused(address) for address in addresses.values()])

    run(play())


def test_nobody_is_sent_here_before_the_model_has_answered(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    classify = Engine.classify

    async def watched(engine: Engine, text: str) -> Classified:
        seen.append(engine.ready)
        return await classify(engine, text)

    monkeypatch.setattr(Engine, "classify", watched)

    async def play() -> None:
        gateway = Gateway(loaded(tmp_path, bundle))
        await gateway.start()
        assert gateway.engine.ready
        await gateway.stop(drain_s=1.0)

    run(play())
    assert seen
    assert not any(seen)


def test_a_taken_port_closes_the_doors_that_were_open(tmp_path: Path, bundle: Path) -> None:
    async def play() -> None:
        blocker = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = blocker.sockets[0].getsockname()[1]
        gateway = Gateway(loaded(tmp_path, bundle, metrics={"port": port}))
        with pytest.raises(ConfigError, match=rf"gateway\.metrics: .*127\.0\.0\.1:{port}: "):
            await gateway.start()
        assert not gateway.engine.ready
        with pytest.raises(ServingError, match="shutting down"):
            await gateway.engine.classify("late")
        blocker.close()
        await blocker.wait_closed()

    run(play())


def test_a_reload_of_an_unchanged_file_wants_no_restart(tmp_path: Path, bundle: Path) -> None:
    """Though the number of workers, which the file leaves open, was chosen at the start."""

    async def play() -> None:
        gateway = Gateway(loaded(tmp_path, bundle))
        assert gateway.engine.settings.batching.num_workers is not None
        assert (await gateway.reloader.reload()).restart == ()
        loaded(tmp_path, bundle, deadline_s=7.0)
        for _ in range(2):  # until there is one
            assert (await gateway.reloader.reload()).restart == ("gateway.deadline_s",)
        await gateway.engine.close()

    run(play())


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("routewright")
    before = (root.handlers, root.level, own.level)
    yield
    root.handlers, root.level, own.level = before
    logging.captureWarnings(capture=False)


def test_other_libraries_are_heard_from_warnings_on_and_not_quoted(
    logging_as_before: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log_as_json()
    logging.getLogger("httpx").info("GET http://example.test/canary-7f3a")
    logging.getLogger("uvicorn.error").error("canary-7f3a")
    logging.getLogger("routewright.gateway").info("told")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["uvicorn.error", "routewright.gateway"]
    assert "canary" not in json.dumps(lines)


def test_a_model_hears_of_the_span_that_is_exported(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()

    def start(_: Any, telemetry: Telemetry) -> Tracing:
        return Tracing(SimpleSpanProcessor(spans), telemetry)

    monkeypatch.setattr(serve, "start_tracing", start)

    async def play() -> str:
        async with listening(echo) as model:
            models = {name: {"endpoints": model.endpoint.url} for name in ("small", "large")}
            gateway = Gateway(loaded(tmp_path, bundle, policy={"models": models}))
            address = (await gateway.start())["http"]
            async with httpx.AsyncClient(trust_env=False) as client:
                url = f"http://{address}/v1/chat/completions"
                assert (await client.post(url, json=chat("hello"))).status_code == 200
            await gateway.stop(drain_s=1.0)
            return model.requests[0].values("traceparent")[0].decode()

    sent = run(play())
    [own] = [span.context for span in spans.get_finished_spans() if span.parent is None]
    assert own is not None
    assert sent.startswith(f"00-{own.trace_id:032x}-{own.span_id:016x}-")
