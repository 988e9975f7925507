"""Counts every request that was decided about, and says at a scrape how far things have moved.

What is counted is what the model says about the text that routes, with the bundle's own
thresholds: a new policy changes nothing about it, so that what moves is the traffic.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

from routewright.errors import ConfigError
from routewright.gateway.drift.counts import Counts, Layout
from routewright.gateway.drift.reference import ReferenceFile
from routewright.gateway.drift.windows import Windows
from routewright.gateway.engine import Deployment
from routewright.gateway.logs import OPERATOR_LOGGER
from routewright.gateway.policy_file import PolicyFile
from routewright.gateway.telemetry import Samples
from routewright.gateway.watching import Decided

logger = logging.getLogger(OPERATOR_LOGGER)


class Drift:
    """A `Watcher`; belongs to the event loop that tells it of requests."""

    def __init__(
        self,
        window: int,
        deployment: Deployment,
        file: ReferenceFile | None = None,
    ) -> None:
        """Begin with the reference of `file`, else with the next requests.

        Args:
            window: requests of the reference, and of the newest ones.
            deployment: the one in place; `swap` is told of the next.
            file: keeps the reference over a restart.

        Raises:
            ConfigError: there is something else in the file's place, or no reference of this
                bundle and it could not be written.
        """
        self._window, self._file = window, file
        # One thread, so that what is done to the file is done in order.
        self._thread = ThreadPoolExecutor(1, "routewright-drift")
        self._manifest = deployment.manifest_sha256
        layout = Layout(deployment.classifier.heads)
        reference = None
        if file is not None:
            reference = file.read(self._manifest, layout)
            if reference is None:
                file.check_place()
                if file.path.exists():
                    logger.info("drift reference is of another bundle; a new one is begun")
        self._windows = Windows(layout, window, reference)

    @classmethod
    def of(cls, file: PolicyFile, deployment: Deployment) -> "Drift | None":
        """As the settings of a policy file say; errors as for ``Drift()``."""
        settings = file.settings.drift
        if settings is None:
            return None
        return cls(settings.window, deployment, ReferenceFile.of(file))

    def __call__(self, decided: Decided) -> None:
        """Count the request.

        Not if there was no text, or no answer about it; nor if another bundle has been put in
        place since it came; nor the steps of a tool loop, each of which brings the user's turn
        again that came with the first.
        """
        windows, found = self._windows, decided.scanned.routing
        if found is None or not found.num_tokens or decided.facts.open_tool_loop:
            return
        if decided.deployment.manifest_sha256 == self._manifest and windows.add(found):
            num = windows.reference.num_requests
            logger.info("drift reference complete requests=%d", num)
            if self._file is not None:
                self._thread.submit(_save, self._file, self._manifest, windows.reference)

    def samples(self) -> Samples:
        """Values of `telemetry.DRIFT_METRICS`."""
        windows = self._windows
        psi = windows.drift().items()
        num_reference, num_recent = windows.reference.num_requests, windows.num_recent
        return {
            "drift_psi": [((task, of), value) for (task, of), value in psi],
            "drift_requests": [(("reference",), num_reference), (("recent",), num_recent)],
        }

    def swap(self, deployment: Deployment) -> None:
        """Begin anew if it has another bundle, whose answers cannot be compared."""
        if deployment.manifest_sha256 == self._manifest:
            return
        self._manifest = deployment.manifest_sha256
        self._windows = Windows(Layout(deployment.classifier.heads), self._window)
        logger.info("drift reference starts anew: another bundle is in place")

    def close(self) -> None:
        """Wait until the file is written, if it is being; what comes later leaves it alone."""
        self._file = None
        self._thread.shutdown()


def _save(file: ReferenceFile, manifest_sha256: str, counts: Counts) -> None:
    try:
        file.save(manifest_sha256, counts)
    except ConfigError as exc:
        logger.error("drift reference not written", extra={"detail": str(exc)})  # noqa: TRY400
    else:
        logger.info("drift reference written", extra={"detail": str(file.path)})
