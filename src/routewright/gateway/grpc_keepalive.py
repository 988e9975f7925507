"""Whether the peer of an HTTP/2 connection is still there: it is asked after a silence.

An Envoy without requests is silent for hours and well; it answers a PING in its sleep. A peer
that vanished, or that never spoke HTTP/2, does not, and must not hold a connection for ever.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a peer may be silent; both > 0."""

    ping_after_s: float
    """Then it is asked for a sign of life."""
    ping_timeout_s: float
    """How long it may take for one, and for its first word on a new connection."""


class KeepAlive:
    """Watches one connection; belongs to the event loop."""

    def __init__(
        self, patience: Patience, *, ping: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        """Call `ping` after a silence, and `give_up` if nothing was heard after that."""
        self._patience = patience
        self._ping = ping
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        """When it was heard, or asked."""
        self._is_asked = True
        """Whether it owes a word; a new peer does."""
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def heard(self) -> None:
        """The peer said something whole."""
        self._since = self._loop.time()
        self._is_asked = False

    def stop(self) -> None:
        """The connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        # One timer looks at how long it has been: to hear costs no timer.
        delay_s = min(max(self._left_s(), 0.0), self._patience.ping_after_s)
        self._timer = self._loop.call_later(delay_s, self._look)

    def _left_s(self) -> float:
        patience = self._patience
        limit_s = patience.ping_timeout_s if self._is_asked else patience.ping_after_s
        return self._since + limit_s - self._loop.time()

    def _look(self) -> None:
        self._timer = None
        if self._left_s() > 0:
            self._wait()
        elif self._is_asked:
            self._give_up()
        else:
            self._since, self._is_asked = self._loop.time(), True
            self._wait()
            self._ping()
