"""Passes of lone texts on the event loop: when, and that they are like any other."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from tests.held import HeldBackend, entered, held, run, start

from routewright.bundle import Bundle
from routewright.errors import ServingError
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.classifier import Classifier

PAUSE_S = 0.05
"""Longer than a pass of the tiny model."""
LONG = " ".join(f"call {number}" for number in range(200))
"""Of several windows."""
LIMIT_S = 1.0
"""Longer than its passes take on the slowest machine."""


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def threads_of(
    classifier: Classifier,
    scene: Callable[[Batcher, HeldBackend], Awaitable[None]],
    *,
    inline_s: float | None = LIMIT_S,
) -> list[bool]:
    """Whether each pass of `scene` ran on the event loop, after one that measures the model."""
    model, backend = held(classifier)
    backend.open.set()

    async def check() -> None:
        async with Batcher(model, BatcherConfig(inline_s=inline_s)) as batcher:
            await batcher.classify("the first one")
            await asyncio.sleep(PAUSE_S)
            await scene(batcher, backend)

    run(check)
    first, *others = backend.threads
    assert first != threading.get_ident(), "how long a pass takes was not known yet"
    return [thread == threading.get_ident() for thread in others]


async def one(batcher: Batcher, _: HeldBackend) -> None:
    await batcher.classify("call 12")


def test_a_lone_text_after_a_pause_runs_on_the_loop_and_is_answered_alike(
    classifier: Classifier,
) -> None:
    async def scene(batcher: Batcher, _: HeldBackend) -> None:
        classified = await batcher.run("call 12 or 345 xxx")
        expected = classifier("call 12 or 345 xxx")[0]
        assert classified.answer.spans == expected.spans
        assert classified.answer.sequence.keys() == expected.sequence.keys()
        assert classified.answer.timings_ms["queue"] >= 0
        assert (batcher.counters.num_texts, batcher.counters.num_batches) == (2, 2)
        assert batcher.queued_tokens == 0

    assert threads_of(classifier, scene) == [True]


def test_texts_that_come_together_or_one_after_the_other_go_to_workers(
    classifier: Classifier,
) -> None:
    async def together(batcher: Batcher, _: HeldBackend) -> None:
        # The first is so long that a thread tokenises it, while the loop takes the second.
        await asyncio.gather(batcher.classify("x " * 3000), batcher.classify("call 12"))

    async def at_once_again(batcher: Batcher, backend: HeldBackend) -> None:
        await one(batcher, backend)
        batcher._busy_until = math.inf  # the pause of a pass's length, however fast this is
        await one(batcher, backend)

    assert threads_of(classifier, together)[0] is False
    assert threads_of(classifier, at_once_again) == [True, False]


@pytest.mark.parametrize("inline_s", [None, 0.0, 1e-9])
def test_a_pass_that_would_take_longer_goes_to_a_worker(
    classifier: Classifier, inline_s: float | None
) -> None:
    assert threads_of(classifier, one, inline_s=inline_s) == [False]


def test_a_failure_on_the_loop_is_told_and_the_next_text_is_answered(
    classifier: Classifier,
) -> None:
    async def scene(batcher: Batcher, backend: HeldBackend) -> None:
        backend.failure = RuntimeError("bad input: secret words")
        with pytest.raises(ServingError, match=r"the model failed \(RuntimeError\)"):
            await batcher.classify("secret words")
        backend.failure = None
        await asyncio.sleep(PAUSE_S)
        await one(batcher, backend)

    assert threads_of(classifier, scene) == [True, True]


def test_a_model_put_in_place_is_measured_before_it_runs_on_the_loop(
    classifier: Classifier,
) -> None:
    async def scene(batcher: Batcher, backend: HeldBackend) -> None:
        before = batcher.swap(Classifier(classifier.encoder, classifier.heads, backend))
        await one(batcher, backend)
        await asyncio.sleep(PAUSE_S)
        await one(batcher, backend)
        await asyncio.sleep(PAUSE_S)
        await batcher.run("of a request that began before", classifier=before)

    assert threads_of(classifier, scene) == [False, True, False]


def test_a_pass_of_the_model_before_does_not_measure_the_one_of_now(
    classifier: Classifier,
) -> None:
    async def scene(batcher: Batcher, backend: HeldBackend) -> None:
        before = batcher.swap(Classifier(classifier.encoder, classifier.heads, backend))
        await batcher.run("of a request that began before", classifier=before)
        await asyncio.sleep(PAUSE_S)
        await one(batcher, backend)

    assert threads_of(classifier, scene) == [False, False]


def test_after_a_failed_pass_no_other_window_of_its_text_runs(classifier: Classifier) -> None:
    model, backend = held(classifier)
    backend.open.set()

    async def check() -> None:
        async with Batcher(model, BatcherConfig(inline_s=60, max_batch_tokens=1)) as batcher:
            await batcher.classify("the first one")
            await asyncio.sleep(PAUSE_S)
            backend.failure = RuntimeError()
            with pytest.raises(ServingError):
                await batcher.classify(LONG)

    run(check)
    assert len(backend.threads) == 2
    assert backend.threads[1] == threading.get_ident()


def test_a_text_that_failed_in_two_workers_at_once_leaves_the_loop_as_it_was(
    classifier: Classifier,
) -> None:
    model, backend = held(classifier)
    backend.open.set()
    failures: list[object] = []

    async def check() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        config = BatcherConfig(inline_s=60, max_batch_tokens=1, num_workers=2)
        async with Batcher(model, config) as batcher:
            await batcher.classify("the first one")
            batcher._busy_until = math.inf  # or the loop would run the next text itself
            backend.open.clear()
            backend.entered.clear()
            backend.failure = RuntimeError()
            long = await start(batcher.classify(LONG))
            await entered(backend)
            backend.open.set()
            time.sleep(PAUSE_S)  # both batches are done before the loop hears of one
            with pytest.raises(ServingError):
                await long
            backend.failure = None
            await batcher.classify("the next one")

    run(check)
    assert failures == []


def test_an_interrupt_while_the_loop_runs_a_pass_is_not_taken_for_a_failure(
    classifier: Classifier,
) -> None:
    async def scene(batcher: Batcher, backend: HeldBackend) -> None:
        backend.failure = KeyboardInterrupt()
        await one(batcher, backend)

    with pytest.raises(KeyboardInterrupt):
        threads_of(classifier, scene)


@pytest.mark.parametrize("inline_s", [-1.0, math.inf, math.nan])
def test_a_limit_that_is_none_is_refused(inline_s: float) -> None:
    with pytest.raises(ValueError, match="inline_s"):
        BatcherConfig(inline_s=inline_s)
