"""Which new rows are kept: of a fitting length, and no repetition of anything there is."""

from collections.abc import Sequence

from routewright.data.examples import Example
from routewright.data.near_index import NearIndex

NEAR_HELD_OUT = "near a held-out text"
NEAR_GIVEN = "near a row there is"
NEAR_NEW = "near another new row"


class Screen:
    """Length limits, and an index of all texts that a new one may not come near to."""

    def __init__(
        self, limits: tuple[int, int], *, given: Sequence[str], held_out: Sequence[str]
    ) -> None:
        self._limits = limits
        self._index = NearIndex()
        self._index.add(held_out, NEAR_HELD_OUT)
        self._index.add(given, NEAR_GIVEN)

    def add(self, rows: Sequence[Example]) -> None:
        """Rows that are kept."""
        self._index.add([row.text for row in rows], NEAR_NEW)

    def problem(self, row: Example) -> str | None:
        """Why the row is not kept, or None."""
        low, high = self._limits
        if not low <= len(row.text) <= high:
            return "too short" if len(row.text) < low else "too long"
        return self._index.owner_of(row.text)
