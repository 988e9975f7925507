"""A new bundle or policy for a running gateway: loaded and proved beside the old, then swapped.

Whatever fails, the old one stays. Requests keep the deployment they began with, so a swap
changes nothing about those that are under way.
"""

import asyncio
import logging
from pathlib import Path
from time import perf_counter

from routewright.bundle import MANIFEST_FILE
from routewright.errors import BundleError, RoutewrightError
from routewright.gateway.deploying import (
    Loaded,
    Part,
    ReloadResult,
    changed_settings,
    load_deployment,
)
from routewright.gateway.engine import Engine
from routewright.gateway.logs import OPERATOR_LOGGER, JsonFormatter
from routewright.gateway.policy_file import Signature, signature_of

logger = logging.getLogger(OPERATOR_LOGGER)

_SETTLE_S = 0.5
"""How long files must have stayed as they are before they are read."""


class Reloader:
    """Reloads on request, one at a time; belongs to the engine's event loop."""

    def __init__(
        self, engine: Engine, loaded: Loaded, formatter: JsonFormatter | None = None
    ) -> None:
        """`formatter` learns the names of every deployment put in place."""
        self._engine = engine
        self._loaded = loaded
        # As the file said: the engine's have what was chosen at the start filled in.
        self._started_with = loaded.file.settings
        self._formatter = formatter
        self._bundle = loaded.deployment.bundle
        self._seen = (loaded.file.signature, loaded.manifest_signature)
        self._running: asyncio.Task[ReloadResult] | None = None
        self._next: asyncio.Task[ReloadResult] | None = None

    async def reload(self) -> ReloadResult:
        """Load what the files hold now, and swap what differs.

        Callers that come while a reload runs share the one after it, so each gets the result
        of a reading that began after its call.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def watch(self, every_s: float) -> None:
        """Reload whenever a file has changed and then stayed so for a moment; never returns."""
        settle_s = min(_SETTLE_S, every_s)
        while True:
            await asyncio.sleep(every_s)
            found = self._signatures()
            while None not in found and found != self._seen:
                await asyncio.sleep(settle_s)
                before, found = found, self._signatures()
                if found == before:
                    await self.reload()
                    found = self._signatures()

    async def _after(self, running: asyncio.Task[ReloadResult] | None) -> ReloadResult:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        started = perf_counter()
        self._seen = self._signatures()
        try:
            file = await asyncio.to_thread(self._loaded.file.read_again)
            self._watch_bundle(file.required_bundle())
            loaded = await asyncio.to_thread(
                load_deployment,
                file,
                num_threads=self._loaded.num_threads,
                before=self._loaded,
            )
        except Exception as exc:  # noqa: BLE001  whatever it is, the old one goes on serving
            return self._refused(exc, perf_counter() - started)
        return self._swap(loaded, perf_counter() - started)

    def _watch_bundle(self, folder: Path) -> None:
        """Look at the bundle that was tried last: if it is refused, it may be mended."""
        if folder != self._bundle:
            self._bundle = folder
            self._seen = self._signatures()

    def _swap(self, loaded: Loaded, duration_s: float) -> ReloadResult:
        swapped = loaded.changes_since(self._loaded)
        restart = changed_settings(self._started_with, loaded.file.settings)
        if swapped:
            self._engine.swap(loaded.deployment)
            if self._formatter is not None:
                self._formatter.extend(loaded.deployment.vocabulary())
        self._loaded = loaded
        self._tell(swapped, "done")
        for part in swapped:
            fields = {"part": part, "duration_s": round(duration_s, 3)}
            logger.info("put in place", extra=fields)
        if not swapped:
            logger.info("nothing to put in place: policy and bundle are unchanged")
        for key in restart:
            logger.warning("restart to apply a setting", extra={"detail": key})
        for warning in loaded.warnings if swapped else ():
            logger.warning("policy warning", extra={"detail": warning})
        return ReloadResult(
            swapped=swapped, restart=restart, warnings=loaded.warnings, duration_s=duration_s
        )

    def _refused(self, exc: Exception, duration_s: float) -> ReloadResult:
        part: Part = "bundle" if isinstance(exc, BundleError) else "policy"
        self._tell((part,), "refused")
        if isinstance(exc, RoutewrightError):
            code, message = exc.code, str(exc)
            fields = {"part": part, "code": code, "detail": message}
            logger.error("kept the old, the new was refused", extra=fields)
        else:
            code, message = "internal", f"{type(exc).__name__} while loading; see the log"
            fields = {"part": part, "code": code}
            logger.error("kept the old, the new was refused", extra=fields, exc_info=exc)
        return ReloadResult(code=code, error=message, duration_s=duration_s)

    def _tell(self, parts: tuple[Part, ...], outcome: str) -> None:
        for part in parts:
            self._engine.telemetry.count("swaps_total", part=part, outcome=outcome)

    def _signatures(self) -> tuple[Signature | None, Signature | None]:
        """Of the policy file and of the bundle's manifest, as they are now."""
        return signature_of(self._loaded.file.path), signature_of(self._bundle / MANIFEST_FILE)
