"""Those who look at requests that were decided about, once these need nothing more here.

Unlike an observer, who gets names and numbers, a watcher sees the texts of a request. Each says
for itself what it keeps of them.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from routewright.gateway.bodies.reading import RequestFacts
from routewright.gateway.engine import Deployment
from routewright.gateway.scan import Scan
from routewright.policy.decision import Decision

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """A request with what the model said about it and what the policy made of that."""

    deployment: Deployment
    facts: RequestFacts
    scanned: Scan
    decision: Decision


Watcher = Callable[[Decided], None]
"""Told of it on the event loop, so it returns at once."""


def tell(watchers: Iterable[Watcher], decided: Decided) -> None:
    """Tell every one; what one of them raises is logged and harms nobody."""
    for watcher in watchers:
        try:
            watcher(decided)
        except Exception as exc:  # noqa: BLE001 - its message may quote a text
            logger.error("watcher failed error=%s", type(exc))  # noqa: TRY400
