"""A gateway from its policy file to its last answer: load, open the doors, reload, drain.

Everything runs in one event loop; the model runs in the worker thread of the batcher.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from routewright.bundle import Bundle
from routewright.gateway.api import (
    create_api,
    create_metrics_app,
    overdue_answer,
    oversized_answer,
)
from routewright.gateway.deploying import Loaded, load_deployment
from routewright.gateway.drift.watcher import Drift
from routewright.gateway.engine import Engine
from routewright.gateway.ext_proc import ExtProcServer, ExtProcSettings
from routewright.gateway.http import HttpDoor
from routewright.gateway.listening import AsgiDoor, bound_socket
from routewright.gateway.logs import OWN, JsonFormatter
from routewright.gateway.observation import (
    counting,
    counting_answers,
    logging_answers,
    logging_requests,
)
from routewright.gateway.pipeline import Pipeline
from routewright.gateway.policy_file import PolicyFile, admin_token
from routewright.gateway.reload import Reloader
from routewright.gateway.review import review_queue
from routewright.gateway.settings import Listen
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.threads import ThreadChoice, choose_threads, workers_for
from routewright.gateway.tracing import start_tracing

logger = logging.getLogger(__name__)

Announce = Callable[[str], None]
"""Told of what the operator wants to see at the start: one line each."""

_WARM_UP = ("ready?", "Is everything ready to answer the questions of this day? " * 8)
"""Classified before the first request: a model's first passes are its slowest."""
_INLINE_S = 0.005
"""`BatcherConfig.inline_s` where the file gives none; all other connections wait that long."""


@dataclass(frozen=True, slots=True)
class _Door:
    """How one kind of door is opened and closed."""

    listen: Listen
    start: Callable[[], Awaitable[int]]
    """Gives the port."""
    stop: Callable[[float], Awaitable[None]]
    """Takes the seconds that requests may go on."""


class Gateway:
    """An engine with its doors; belongs to the event loop that starts it."""

    def __init__(self, loaded: Loaded, formatter: JsonFormatter | None = None) -> None:
        """`formatter` of the log learns the names of every deployment put in place."""
        settings = loaded.file.settings
        self.telemetry = Telemetry()
        batching = settings.batching
        if batching.num_workers is None and loaded.num_threads is not None:
            batching = replace(batching, num_workers=workers_for(loaded.num_threads))
        if batching.inline_s is None:
            batching = replace(batching, inline_s=_INLINE_S)
        settings = replace(settings, batching=batching)
        self.engine = Engine(loaded.deployment, settings, self.telemetry)
        self.reloader = Reloader(self.engine, loaded, formatter)
        self._drift = Drift.of(loaded.file, loaded.deployment)
        if self._drift is not None:
            self.engine.follow_swaps(self._drift.swap)
            self.telemetry.watch_drift(self._drift.samples)
        self._tracing = start_tracing(os.environ, self.telemetry)
        traced = () if self._tracing is None else (self._tracing.observe,)
        observers = (counting(self.telemetry), logging_requests, *traced)
        begin = None if self._tracing is None else self._tracing.begin
        self._review = review_queue(loaded.file, self.telemetry)
        watchers = tuple(w for w in (self._review, self._drift) if w is not None)
        self._pipeline = Pipeline(self.engine, observers, begin, watchers)
        self._ext_proc: ExtProcServer | None = None
        self._doors = self._new_doors(admin_token(loaded.file, os.environ))
        self._open: list[str] = []
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> Mapping[str, str]:
        """Open the doors, warm up, take requests; gives ``host:port`` by door.

        Raises:
            ConfigError: an address cannot be listened on, or a folder not written to; nothing
                is left running.
        """
        addresses = {}
        try:
            if self._review is not None:
                self._review.open()
            for name, door in self._doors.items():
                addresses[name] = f"{door.listen.host}:{await door.start()}"
                self._open.append(name)
            for text in _WARM_UP:
                await self.engine.classify(text)
        except BaseException:
            await self.stop(drain_s=0.0)
            raise
        await self._set_ready()
        watch_s = self.engine.settings.reload.watch_s
        if watch_s is not None:
            self._watching = asyncio.create_task(self.reloader.watch(watch_s))
        return addresses

    async def stop(self, drain_s: float | None = None) -> None:
        """Turn unready, take no new requests, let those under way end, stop everything.

        Args:
            drain_s: how long requests may go on; None takes that of the settings, and
                before it the time in which requests are still taken.
        """
        limit_s = self.engine.settings.drain_s if drain_s is None else drain_s
        if self.engine.ready:
            await self._set_unready()
            if drain_s is None:
                await asyncio.sleep(self.engine.settings.unready_s)
        if self._watching is not None:
            self._watching.cancel()
        # Metrics stay readable until the last request has ended.
        names = [name for name in self._open if name != "metrics"]
        await asyncio.gather(*(self._doors[name].stop(limit_s) for name in names))
        if "metrics" in self._open:
            await self._doors["metrics"].stop(0.0)
        self._open.clear()
        await self.engine.close()
        if self._drift is not None:
            await asyncio.to_thread(self._drift.close)
        if self._review is not None:
            await asyncio.to_thread(self._review.close)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    async def _set_ready(self) -> None:
        self.engine.ready = True
        self.telemetry.gauge("ready", 1)
        if self._ext_proc is not None:
            await self._ext_proc.set_ready(ready=True)

    async def _set_unready(self) -> None:
        self.engine.ready = False
        self.telemetry.gauge("ready", -1)
        if self._ext_proc is not None:
            await self._ext_proc.set_ready(ready=False)

    def _new_doors(self, token: str | None) -> dict[str, _Door]:
        settings, engine = self.engine.settings, self.engine
        refusals = (partial(overdue_answer, engine), partial(oversized_answer, engine))
        doors: dict[str, _Door] = {}
        if (at := settings.http) is not None:
            door = HttpDoor(
                partial(self._pipeline.handler, "http"),
                settings,
                self.telemetry,
                lambda: engine.ready,
            )
            doors["http"] = _Door(at, door.start, door.stop)
        if (at := settings.ext_proc) is not None:
            doors["ext_proc"] = self._envoy_door(at)
        if (at := settings.api) is not None:
            app = create_api(engine, reload=self.reloader.reload, admin_token=token)
            api = AsgiDoor(app, at, "gateway.api", settings.clients, *refusals)
            doors["api"] = _Door(at, api.start, api.stop)
        if (at := settings.metrics) is not None:
            app = create_metrics_app(engine)
            metrics = AsgiDoor(app, at, "gateway.metrics", settings.clients, *refusals)
            doors["metrics"] = _Door(at, metrics.start, metrics.stop)
        return doors

    def _envoy_door(self, at: Listen) -> _Door:
        settings = self.engine.settings
        server = self._ext_proc = ExtProcServer(
            partial(self._pipeline.handler, "ext_proc"),
            ExtProcSettings(
                host=at.host,
                port=at.port,
                on_error=settings.on_error,
                max_body_bytes=settings.max_body_bytes,
                drain_s=settings.drain_s,
                connections=settings.ext_proc_connections,
            ),
            (counting_answers(self.telemetry, "ext_proc"), logging_answers("ext_proc")),
        )

        async def start() -> int:
            # gRPC would print lines of its own about an address that it cannot have.
            bound_socket(at, "gateway.ext_proc").close()
            return await server.start()

        return _Door(at, start, lambda _drain_s: server.stop())


class _Signals:
    """SIGTERM and SIGINT end the gateway, a second one at once; SIGHUP reloads."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()
        self.reloader: Reloader | None = None
        self._reloads: set[asyncio.Task[Any]] = set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _end(self) -> None:
        (self.at_once if self.stop.is_set() else self.stop).set()

    def _reload(self) -> None:
        if self.reloader is not None and not self.stop.is_set():
            task = asyncio.create_task(self.reloader.reload())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)


def run_gateway(file: PolicyFile, announce: Announce) -> None:
    """Serve until a signal; returns once the last request has ended.

    Raises:
        ConfigError: a setting, a secret or an address is wrong; nothing is left running.
        BundleError: the bundle is not the one that was exported.
        KeyboardInterrupt: a second signal cut the drain short.
    """
    formatter = log_as_json()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(file, announce, formatter))


def log_as_json() -> JsonFormatter:
    """Send all logs to standard error as JSON lines; other libraries' from warnings on."""
    formatter = JsonFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    return formatter


async def _serve(file: PolicyFile, announce: Announce, formatter: JsonFormatter) -> None:
    signals = _Signals()
    announce(f"bundle: {file.bundle_origin}")
    loaded = await asyncio.to_thread(_load, file, announce)
    if signals.stop.is_set():
        return
    formatter.extend(loaded.deployment.vocabulary())
    for warning in loaded.warnings:
        announce(f"warning: {warning}")
    gateway = Gateway(loaded, formatter)
    addresses = await gateway.start()
    for name, address in addresses.items():
        announce(f"{name}: listening on {address}")
    signals.reloader = gateway.reloader
    # What is loaded by now stays: later collections need not look at it again and again.
    gc.collect()
    gc.freeze()
    announce("ready")
    logger.info("ready")
    await signals.stop.wait()
    logger.info("draining")
    draining = asyncio.create_task(gateway.stop())
    forced = asyncio.create_task(signals.at_once.wait())
    await asyncio.wait({draining, forced}, return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    if not draining.done():
        logger.warning("ended before the requests under way")
        raise KeyboardInterrupt
    draining.result()
    logger.info("drained")


def _load(file: PolicyFile, announce: Announce) -> Loaded:
    """Open the bundle with as many threads as the settings say, or as measure best."""
    threads = file.settings.threads
    if threads != "auto":
        return load_deployment(file, num_threads=threads)
    # Hashes first: what is measured is what was exported.
    choice = choose_threads(Bundle.open(file.required_bundle()))
    announce(_describe(choice))
    for m in choice.measured:
        logger.info(
            "threads=%d short_text_s=%.4f tokens_per_s=%.0f",
            m.num_threads,
            m.short_s,
            m.tokens_per_s,
        )
    logger.info("threads=%d workers=%d chosen", choice.num_threads, choice.num_workers)
    return load_deployment(file, num_threads=choice.num_threads)


def _describe(choice: ThreadChoice) -> str:
    found = [
        f"{m.num_threads}: {m.short_s * 1000:.1f} ms, {m.tokens_per_s:,.0f} tokens/s"
        for m in choice.measured
    ]
    chosen = f"{choice.num_threads} a pass, {choice.num_workers} at the same time"
    return f"threads: {chosen} (measured {'; '.join(found) or 'nothing: one core'})"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where it is installed."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
