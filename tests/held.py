"""A model that runs only when a test lets it, and tasks that wait for it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.decoding import FloatArray
from routewright.runtime.answers import Answer
from routewright.runtime.backend import Backend
from routewright.runtime.batcher import Batcher
from routewright.runtime.classifier import Classifier


class HeldBackend:
    """Runs only while `open` is set, and remembers what it ran."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.open = threading.Event()
        self.entered = threading.Event()
        self.shapes: list[tuple[int, ...]] = []
        self.failure: BaseException | None = None
        self.threads: list[int] = []
        """Of each pass, the thread it ran on."""

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        self.entered.set()
        assert self.open.wait(20)
        self.shapes.append(input_ids_BT.shape)
        self.threads.append(threading.get_ident())
        if self.failure is not None:
            raise self.failure
        return self.backend.run(input_ids_BT, attention_mask_BT)


def held(classifier: Classifier) -> tuple[Classifier, HeldBackend]:
    backend = HeldBackend(classifier.backend)
    return Classifier(classifier.encoder, classifier.heads, backend), backend


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def start(work: Awaitable[Answer]) -> "asyncio.Task[Answer]":
    """A task that has got as far as it can for now."""
    task = asyncio.ensure_future(work)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def entered(backend: HeldBackend) -> None:
    assert await asyncio.to_thread(backend.entered.wait, 20)


async def behind_one(
    batcher: Batcher, backend: HeldBackend, texts: Iterable[str]
) -> "list[asyncio.Task[Answer]]":
    """Tasks of ``alone``, which the model holds, and of `texts`, which wait behind it."""
    alone = await start(batcher.classify("alone"))
    await entered(backend)
    return [alone, *[await start(batcher.classify(text)) for text in texts]]
