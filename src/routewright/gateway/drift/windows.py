"""The first requests of a bundle and its newest ones, as counts of constant size."""

from collections import deque
from collections.abc import Mapping

from routewright.gateway.drift.counts import (
    Counts,
    Layout,
    Measure,
    population_stability_index,
    total,
)
from routewright.runtime.work import Classified

NUM_BLOCKS = 10
"""The newest requests are counted in so many parts, of which the oldest is forgotten whole."""


class Windows:
    """A reference that stays as it is once complete, and the requests after it."""

    def __init__(self, layout: Layout, window: int, reference: Counts | None = None) -> None:
        """Begin with nothing but, where there is one, a complete `reference`.

        Args:
            layout: of the bundle.
            window: requests of the reference, and of the newest ones; at least `NUM_BLOCKS`.
            reference: from before, of however many requests.
        """
        self.reference = Counts(layout) if reference is None else reference
        self.complete = reference is not None
        """Whether there is all of the reference."""
        self._layout, self._window = layout, window
        self._blocks = deque([Counts(layout)], maxlen=NUM_BLOCKS)

    def add(self, found: Classified) -> bool:
        """Count the answer about a request; whether it was the last of the reference."""
        if not self.complete:
            self.reference.add(found)
            self.complete = self.reference.num_requests >= self._window
            return self.complete
        if self._blocks[-1].num_requests >= self._window // NUM_BLOCKS:
            self._blocks.append(Counts(self._layout))
        self._blocks[-1].add(found)
        return False

    @property
    def num_recent(self) -> int:
        """The newest requests that are counted: nine to ten tenths of the window once full."""
        return sum(block.num_requests for block in self._blocks)

    def drift(self) -> Mapping[Measure, float]:
        """How far the newest requests are from the reference; empty until both are there.

        The newest are there from nine tenths of their window on, which is what is left of them
        whenever the oldest tenth has been forgotten.
        """
        if not self.complete or self.num_recent < self._window // NUM_BLOCKS * (NUM_BLOCKS - 1):
            return {}
        recent = total(self._layout, self._blocks)
        return {
            measure: population_stability_index(self.reference.bins[measure], bins)
            for measure, bins in recent.bins.items()
        }
