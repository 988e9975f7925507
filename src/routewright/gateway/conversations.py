"""Which model a conversation was given, remembered by keyed hashes for a bounded time."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

_MAX_CONVERSATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Turn:
    """What the last turn of a conversation was given."""

    model: str
    decision: str | None


class Conversations:
    """The newest turn of every conversation; holds hashes, models and decisions, no text."""

    def __init__(self, *, ttl_s: float, now: Callable[[], float] = monotonic) -> None:
        self.ttl_s = ttl_s
        self._now = now
        self._key = os.urandom(32)
        self._turns: OrderedDict[bytes, tuple[float, Turn]] = OrderedDict()

    def name(self, parts: Iterable[str]) -> bytes:
        """The name of the conversation that has `parts`, which cannot be read from it."""
        digest = hashlib.blake2b(key=self._key, digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        return digest.digest()

    def find(self, name: bytes) -> Turn | None:
        """The last turn, if it is not longer ago than `ttl_s`."""
        found = self._turns.get(name)
        if found is None:
            return None
        if self._now() - found[0] > self.ttl_s:
            del self._turns[name]
            return None
        return found[1]

    def note(self, name: bytes, turn: Turn) -> None:
        """Remember `turn`; the time to live begins anew."""
        self._turns[name] = (self._now(), turn)
        self._turns.move_to_end(name)
        oldest = next(iter(self._turns))
        expired = self._now() - self._turns[oldest][0] > self.ttl_s
        if expired or len(self._turns) > _MAX_CONVERSATIONS:
            del self._turns[oldest]
