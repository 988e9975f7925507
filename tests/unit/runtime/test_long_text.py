"""A long text is read window by window: the answer of the whole, in little memory."""

import asyncio
import random
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from routewright.bundle import Bundle
from routewright.decoding import FloatArray
from routewright.errors import ServingError
from routewright.runtime import heads, queue
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import LONG_WINDOWS, WindowOutput
from routewright.runtime.long_text import LongText
from routewright.runtime.queue import alike_windows
from routewright.runtime.work import Classified


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def long_text(num_characters: int) -> str:
    choice = random.Random(num_characters)  # noqa: S311
    return "".join(choice.choice("abc 123x. ") for _ in range(num_characters))


def batched(classifier: Classifier, text: str, **config: int) -> Classified:
    async def scene() -> Classified:
        batcher = Batcher(classifier, BatcherConfig(**config))
        given = await batcher.run(text)
        await batcher.close()
        return given

    return asyncio.run(scene())


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("num_characters", [300, 1_000, 12_000])
def test_windows_that_come_one_by_one_give_the_answer_of_the_whole(
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    num_characters: int,
    num_workers: int,
) -> None:
    text = long_text(num_characters)
    given = batched(classifier, text, num_workers=num_workers, max_batch_tokens=100)
    monkeypatch.setattr(heads, "LONG_WINDOWS", 10**9)
    (whole,) = classifier(text)
    answer = given.answer
    assert (answer.num_windows > LONG_WINDOWS) == (num_characters > 900)
    assert answer.spans == whole.spans
    assert len(answer.spans["entities"]) > num_characters // 20
    for name, expected in whole.sequence.items():
        assert answer.sequence[name].label == expected.label
        assert answer.sequence[name].probabilities == pytest.approx(expected.probabilities)
    (raw,) = classifier.raw([text])
    np.testing.assert_allclose(given.embedding, raw.embedding, atol=1e-6)


def test_windows_may_come_in_any_order_from_several_threads(classifier: Classifier) -> None:
    text = long_text(2_000)
    encoded = classifier.encoder.encode(text)
    numbers = range(len(encoded.windows))
    given = classifier.run_windows([(encoded, number) for number in numbers])
    reading = LongText(text, encoded, classifier.heads, list(numbers))
    outputs: dict[int, WindowOutput] = {}

    def bring(some: list[int]) -> None:
        for number in some:
            outputs[number] = given[number]
            reading.advance(outputs)

    shuffled = random.Random(1).sample(numbers, len(numbers))  # noqa: S311
    threads = [threading.Thread(target=bring, args=(shuffled[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raw = reading.finish(outputs, (0.0, 0.0))
    assert not outputs
    whole = classifier.join(encoded, given, (0.0, 0.0))
    for name, logits_WC in whole.sequence_logits.items():
        np.testing.assert_array_equal(raw.sequence_logits[name], logits_WC)
    assert classifier.interpret([raw], [text])[0].spans == classifier(text)[0].spans


def test_windows_alike_are_kept_until_the_last_of_them(classifier: Classifier) -> None:
    text = "ab 12 " * 1_000
    alike = alike_windows(classifier.encoder.encode(text))
    assert len(set(alike)) < len(alike) // 10
    given = batched(classifier, text)
    assert given.answer.spans == classifier(text)[0].spans


def test_only_the_newest_windows_are_looked_for_again(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_REMEMBERED", 2)
    encoded = classifier.encoder.encode("a" * 500)
    assert alike_windows(encoded)[-1] <= 1
    body = encoded.windows[0][1]
    stride = body - classifier.encoder.config.overlap_tokens
    period = "".join(letter * stride for letter in "abcd")
    encoded = classifier.encoder.encode(period * 3)
    assert alike_windows(encoded) == list(range(len(encoded.windows)))


def test_a_window_that_cannot_be_read_fails_its_text(classifier: Classifier) -> None:
    class Short:
        def run(self, *inputs: NDArray[np.int64]) -> dict[str, FloatArray]:
            given = classifier.backend.run(*inputs)
            return {name: v[..., :2] if v.ndim == 3 else v for name, v in given.items()}

    broken = Classifier(classifier.encoder, classifier.heads, Short())
    with pytest.raises(ServingError):
        batched(broken, long_text(3_000))
