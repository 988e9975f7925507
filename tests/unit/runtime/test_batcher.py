"""The engine over the tiny model: every answer is the classifier's own, whatever the load."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.held import behind_one, entered, held, run, start
from tests.tiny import write_tiny_bundle

from routewright.bundle import Bundle
from routewright.calibration import TaskCalibration
from routewright.errors import ClosedError, DeadlineError, OverloadedError, ServingError
from routewright.runtime.answers import Answer
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.classifier import Classifier

LONG = " ".join(f"plain words {n}" for n in range(400)) + " xxxx xxxx xxxx"


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def same(answer: Answer, expected: Answer) -> None:
    assert answer.text == expected.text
    assert answer.num_windows == expected.num_windows
    for name, mine in answer.sequence.items():
        other = expected.sequence[name]
        assert replace(mine, confidence=0, probabilities={}) == replace(
            other, confidence=0, probabilities={}
        )
        assert mine.probabilities == pytest.approx(dict(other.probabilities), abs=1e-5)
    for name, spans in answer.spans.items():
        assert [(s.start, s.end, s.label) for s in spans] == [
            (s.start, s.end, s.label) for s in expected.spans[name]
        ]


def test_answers_are_the_classifiers_own(classifier: Classifier) -> None:
    async def check() -> None:
        async with Batcher(classifier) as batcher:
            for text in ("call 12 or 345 xxx", "", LONG):
                same(await batcher.classify(text), classifier(text)[0])
            classified = await batcher.run("call 12")
            np.testing.assert_allclose(
                classified.embedding, classifier.raw(["call 12"])[0].embedding
            )
            assert set(classified.answer.timings_ms) >= {"queue", "total", "inference"}

    run(check)


def test_two_hundred_callers_at_once_each_get_their_own_answer(classifier: Classifier) -> None:
    texts = [f"number {n} of " + "word " * (n % 50) + "x" * (n % 3) for n in range(200)]

    async def check() -> None:
        async with Batcher(classifier, BatcherConfig(max_batch_tokens=256)) as batcher:
            answers = await asyncio.gather(*(batcher.classify(text) for text in texts))
            assert batcher.counters.num_texts == 200
            assert 5 < batcher.counters.num_batches < 200
            assert batcher.queued_tokens == 0
        for answer, expected in zip(answers, classifier(texts), strict=True):
            same(answer, expected)

    run(check)


def test_several_workers_answer_the_same(classifier: Classifier) -> None:
    texts = [LONG[i : i + n] for i, n in enumerate((0, 3, 40, 900, 4000, 17) * 5)]
    expected = classifier(texts)

    async def check() -> None:
        config = BatcherConfig(max_batch_tokens=64, num_workers=4)
        async with Batcher(classifier, config) as batcher:
            answers = await asyncio.gather(*(batcher.classify(text) for text in texts))
        for answer, wanted in zip(answers, expected, strict=True):
            same(answer, wanted)

    run(check)


def test_a_lone_text_does_not_wait_and_batches_keep_to_the_budget(
    classifier: Classifier,
) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow, BatcherConfig(max_batch_tokens=60)) as batcher:
            tasks = await behind_one(batcher, backend, ["a" * 18] * 7)
            backend.open.set()
            await asyncio.gather(*tasks)
        assert backend.shapes == [(1, 7), (3, 20), (3, 20), (1, 20)]

    run(check)


def test_a_short_text_overtakes_the_windows_of_a_long_one(classifier: Classifier) -> None:
    slow, backend = held(classifier)
    config = BatcherConfig(max_batch_tokens=64, max_wait_s=60)

    async def check() -> None:
        async with Batcher(slow, config) as batcher:
            first = await start(batcher.classify("alone"))
            await entered(backend)
            long = await start(batcher.classify(LONG[:2000]))
            short = await start(batcher.classify("a" * 10))
            backend.open.set()
            await short
            assert not long.done()
            await asyncio.gather(first, long)
        assert backend.shapes[1] == (1, 12)

    run(check)


def test_text_that_repeats_itself_costs_one_pass(classifier: Classifier) -> None:
    counted, backend = held(classifier)
    backend.open.set()
    flood = "ab " * 20_000 + "xxxx"

    async def check() -> None:
        async with Batcher(counted) as batcher:
            same(await batcher.classify(flood), classifier([flood])[0])
            assert batcher.counters.num_tokens < 200

    run(check)


def test_a_cancelled_caller_never_reaches_the_model(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow) as batcher:
            first = await start(batcher.classify("alone"))
            await entered(backend)
            gone = [await start(batcher.classify("a" * 9)) for _ in range(5)]
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            assert batcher.queued_tokens == 0
            backend.open.set()
            await first
            assert batcher.counters.num_dropped == 5
        assert backend.shapes == [(1, 7)]

    run(check)


def test_a_deadline_ends_the_wait_while_the_model_is_busy(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow) as batcher:
            with pytest.raises(DeadlineError, match=r"no answer within 0\.02 s"):
                await batcher.classify("in the model", deadline_s=0.02)
            with pytest.raises(DeadlineError):
                await batcher.classify("in the queue", deadline_s=0.02)
            assert batcher.queued_tokens == 0
            backend.open.set()
            same(await batcher.classify("after", deadline_s=20), classifier("after")[0])

    run(check)


def test_a_full_queue_refuses_and_says_when_to_come_back(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        async with Batcher(slow, BatcherConfig(max_queue_tokens=50)) as batcher:
            tasks = [await start(batcher.classify("alone"))]
            await entered(backend)
            tasks.append(await start(batcher.classify(LONG)))
            while batcher.queued_tokens < 4000:
                await asyncio.sleep(0.005)
            tasks.append(await start(batcher.classify("a" * 22)))
            with pytest.raises(OverloadedError, match="the limit is 50") as caught:
                await batcher.classify("one more")
            assert 0 < caught.value.retry_after_s <= 60
            assert batcher.counters.num_refused == 1
            backend.open.set()
            await asyncio.gather(*tasks)
            await batcher.classify("one more")

    run(check)


def test_a_swap_under_load_loses_nothing_and_mixes_nothing(
    classifier: Classifier, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "b", calibrations={"topic": TaskCalibration(temperature=9.0)})
    other = Classifier.open(tmp_path / "b", precision="fp32", verify=False)
    texts = ["word " * (n % 40) + f"{n}" for n in range(120)]
    expected = {
        name: [c.heads["topic"].probabilities(raw).max() for raw in c.raw(texts)]
        for name, c in (("old", classifier), ("new", other))
    }

    async def check() -> None:
        async with Batcher(classifier, BatcherConfig(max_batch_tokens=64)) as batcher:
            before = [await start(batcher.classify(t)) for t in texts[:60]]
            assert batcher.swap(other) is classifier
            after = [await start(batcher.classify(t)) for t in texts[60:]]
            answers = await asyncio.gather(*before, *after)
        confidences = [a.sequence["topic"].confidence for a in answers]
        wanted = [*expected["old"][:60], *expected["new"][60:]]
        assert confidences == pytest.approx(wanted, abs=1e-5)

    run(check)


def test_closing_answers_what_waits_and_takes_nothing_new(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        batcher = Batcher(slow, BatcherConfig(max_batch_tokens=16))
        tasks = [await start(batcher.classify(f"text {n}")) for n in range(9)]
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await batcher.classify("too late")
        backend.open.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.text for answer in answers] == [f"text {n}" for n in range(9)]
        await closing

    run(check)


def test_what_a_drain_does_not_reach_fails_as_closed(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        batcher = Batcher(slow)
        tasks = [await start(batcher.classify(f"text {n}")) for n in range(3)]
        threading.Timer(0.2, backend.open.set).start()
        await batcher.close(drain_s=0.05)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, ClosedError)

    run(check)


def test_a_failing_model_fails_its_batch_only_and_quotes_nothing(
    classifier: Classifier,
) -> None:
    broken, backend = held(classifier)
    backend.open.set()

    async def check() -> None:
        async with Batcher(broken) as batcher:
            backend.failure = RuntimeError("bad input: secret words")
            with pytest.raises(ServingError, match=r"the model failed \(RuntimeError\)") as e:
                await batcher.classify("secret words")
            assert "secret" not in str(e.value)
            backend.failure = None
            same(await batcher.classify("fine"), classifier("fine")[0])

    run(check)


def test_a_flood_of_a_text_neither_stops_nor_refuses_the_others(classifier: Classifier) -> None:
    slow, backend = held(classifier)
    config = BatcherConfig(max_batch_tokens=64, max_wait_s=0.001, max_queue_tokens=500)

    async def check() -> None:
        async with Batcher(slow, config) as batcher:
            long = await start(batcher.classify(LONG))
            await entered(backend)
            await asyncio.sleep(0.01)  # the long text is overdue, and so are all after it
            short = [await start(batcher.classify(f"{n} and more")) for n in range(5)]
            backend.open.set()
            await asyncio.gather(*short)
            assert not long.done()
            assert len(backend.shapes) < 8
            same(await long, classifier(LONG)[0])
        assert batcher.counters.num_refused == 0

    run(check)


def test_a_window_that_waited_too_long_leads(classifier: Classifier) -> None:
    slow, backend = held(classifier)

    async def check() -> None:
        config = BatcherConfig(max_batch_tokens=32, max_wait_s=0)
        async with Batcher(slow, config) as batcher:
            first = await start(batcher.classify("alone"))
            await entered(backend)
            rest = [await start(batcher.classify("a" * n)) for n in (20, 2)]
            backend.open.set()
            await asyncio.gather(first, *rest)
        assert backend.shapes == [(1, 7), (1, 22), (1, 4)]

    run(check)
