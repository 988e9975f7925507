"""Which texts run together, and when a batch is handed over, while many wait."""

import asyncio
import time

import pytest
from tests.held import behind_one, held, run

from routewright.bundle import Bundle
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.classifier import Classifier


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def test_in_a_crowd_a_worker_goes_on_without_waiting_for_the_loop(
    classifier: Classifier,
) -> None:
    slow, backend = held(classifier)

    async def passes_without_the_loop(num_texts: int) -> int:
        backend.open.clear()
        backend.entered.clear()
        async with Batcher(slow, BatcherConfig(max_batch_tokens=60)) as batcher:
            texts = await behind_one(batcher, backend, ["a" * 18] * (num_texts - 1))
            before = len(backend.shapes)
            backend.open.set()
            time.sleep(0.3)  # the loop does nothing meanwhile
            num_passes = len(backend.shapes) - before
            await asyncio.gather(*texts)
        return num_passes

    async def check() -> None:
        assert await passes_without_the_loop(31) == 1
        assert await passes_without_the_loop(40) == 2

    run(check)


def test_whoever_leaves_a_batch_that_waits_for_a_worker_is_not_run(
    classifier: Classifier,
) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow, BatcherConfig(max_batch_tokens=60)) as batcher:
            first, *rest = await behind_one(batcher, backend, ["a" * 18] * 40)
            for text in rest:
                text.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            backend.open.set()
            await first
        assert backend.shapes == [(1, 7)]
        assert batcher.counters.num_dropped == 40

    run(check)


def test_texts_of_few_tokens_share_a_pass_whatever_their_lengths(
    classifier: Classifier,
) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow, BatcherConfig(max_padding=0)) as batcher:
            lengths = (3, 6, 9, 11, 28)
            tasks = await behind_one(batcher, backend, ["a" * length for length in lengths])
            backend.open.set()
            await asyncio.gather(*tasks)
        assert backend.shapes == [(1, 7), (4, 13), (1, 30)]

    run(check)
