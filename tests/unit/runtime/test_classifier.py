"""Answers of the tiny model, whose weights say what they must be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.tiny import ENTITIES, write_tiny_bundle

import routewright
from routewright.bundle import Bundle
from routewright.calibration import TaskCalibration
from routewright.decoding import FloatArray
from routewright.errors import BundleError, TaskError
from routewright.labels import Span
from routewright.runtime.backend import OnnxBackend
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput

LONG_HARMLESS = "plain words " * 30
TEXTS = st.lists(st.text(max_size=100), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def places(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in spans]


def calibrated(folder: Path, **calibrations: TaskCalibration) -> Classifier:
    write_tiny_bundle(folder / "bundle", calibrations=calibrations)
    return Classifier.open(folder / "bundle", precision="fp32")


def test_one_call_answers_every_task(classifier: Classifier) -> None:
    (answer,) = classifier("call 12 or 345 xxx")
    assert places(answer.spans["entities"]) == [(5, 7, "NUMBER"), (11, 14, "NUMBER")]
    assert answer.sequence["attack"].flagged
    assert answer.sequence["attack"].label == "attack"
    assert sum(answer.sequence["topic"].probabilities.values()) == pytest.approx(1)
    assert answer.sequence["topic"].flagged is None


def test_the_dictionary_has_exactly_the_documented_keys(classifier: Classifier) -> None:
    plain = classifier("call 12")[0].to_dict()
    assert list(plain) == ["topic", "attack", "entities", "num_windows", "timings_ms"]
    assert set(plain["topic"]) == {"label", "confidence", "probabilities", "abstained"}
    assert set(plain["attack"]) == {*plain["topic"], "flagged"}
    assert set(plain["entities"][0]) == {"start", "end", "label", "score"}
    assert set(plain["timings_ms"]) == {"tokenize", "inference", "decode", "total"}


def test_an_attack_at_the_end_of_a_long_text_is_seen(classifier: Classifier) -> None:
    (answer,) = classifier(LONG_HARMLESS + "xxxx xxxx xxxx")
    assert answer.num_windows > 10
    assert answer.sequence["attack"].flagged
    assert not classifier(LONG_HARMLESS)[0].sequence["attack"].flagged


def test_entities_of_a_long_text_come_once_with_exact_offsets(classifier: Classifier) -> None:
    text = " ".join(f"word {number}" for number in range(100, 200))
    spans = classifier(text)[0].spans["entities"]
    assert [text[span.start : span.end] for span in spans] == [
        str(number) for number in range(100, 200)
    ]


@settings(max_examples=50)
@given(
    st.lists(st.text(max_size=100), min_size=1, max_size=6), st.sampled_from([32, 100, 8192])
)
def test_a_batch_answers_like_single_texts(
    classifier: Classifier, texts: list[str], batch_tokens: int
) -> None:
    batch = classifier.raw(texts, batch_tokens=batch_tokens)
    for text, together in zip(texts, batch, strict=True):
        (alone,) = classifier.raw([text])
        assert together.encoded == alone.encoded
        assert together.token_logits["entities"].shape == (len(alone.encoded.ids), 5)
        for a, b in zip(_arrays(together), _arrays(alone), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        (answer,) = classifier.interpret([together], [text])
        for span in answer.spans["entities"]:
            assert any(c.isdigit() for c in text[span.start : span.end])


def _arrays(raw: RawOutput) -> list[FloatArray]:
    return [*raw.sequence_logits.values(), *raw.token_logits.values(), raw.embedding]


def test_empty_and_blank_texts_are_texts(classifier: Classifier) -> None:
    for answer in classifier(["", "  \n"]):
        assert answer.num_windows == 1
        assert answer.spans["entities"] == []
    assert classifier([]) == []


def test_the_embedding_has_length_one_and_weighs_windows_by_tokens(
    classifier: Classifier,
) -> None:
    (raw,) = classifier.raw([LONG_HARMLESS])
    assert np.linalg.norm(raw.embedding) == pytest.approx(1, abs=1e-6)
    assert raw.window_sizes[0] == 30


def test_progress_counts_every_text_once(classifier: Classifier) -> None:
    counts: list[int] = []
    classifier.raw(["short", LONG_HARMLESS, "12"], batch_tokens=64, progress=counts.append)
    assert sum(counts) == 3
    assert len(counts) > 3


def test_only_the_asked_tasks_answer(classifier: Classifier) -> None:
    (answer,) = classifier("call 12", tasks=["entities"])
    assert (dict(answer.sequence), list(answer.spans)) == ({}, ["entities"])
    with pytest.raises(TaskError, match="no task 'intent'; it has: topic, entities, attack"):
        classifier("call 12", tasks=["intent"])


def test_a_detector_is_flagged_from_its_threshold_on_and_labelled_so(tmp_path: Path) -> None:
    probability = 1 / (1 + np.exp(4))  # the tiny model's answer without an x
    for threshold, flagged in ((probability - 1e-6, True), (probability + 1e-6, False)):
        classifier = calibrated(tmp_path, attack=TaskCalibration(threshold=threshold))
        answer = classifier("hello")[0].sequence["attack"]
        assert (answer.flagged, answer.label == "attack") == (flagged, flagged)
        assert answer.confidence == pytest.approx(probability if flagged else 1 - probability)
        assert not answer.abstained


def test_other_tasks_abstain_below_their_threshold(tmp_path: Path) -> None:
    confidence = calibrated(tmp_path)("hello")[0].sequence["topic"].confidence
    for threshold, abstained in ((confidence + 0.01, True), (confidence, False)):
        classifier = calibrated(tmp_path, topic=TaskCalibration(threshold=threshold))
        assert classifier("hello")[0].sequence["topic"].abstained is abstained


def test_temperature_applies_to_each_window_before_they_combine(tmp_path: Path) -> None:
    classifier = calibrated(tmp_path, topic=TaskCalibration(temperature=2.0))
    (raw,) = classifier.raw([LONG_HARMLESS])
    logits_WC = raw.sequence_logits["topic"].astype(np.float64) / 2
    softmax_WC = np.exp(logits_WC) / np.exp(logits_WC).sum(axis=1, keepdims=True)
    weights_W = np.array(raw.window_sizes)
    expected_C = weights_W @ softmax_WC / weights_W.sum()
    np.testing.assert_allclose(classifier.heads["topic"].probabilities(raw), expected_C)


def test_the_precision_chooses_the_graph(tiny_bundle: Bundle) -> None:
    values = {
        precision: Classifier.open(tiny_bundle.path, precision=precision).raw(["hello"])
        for precision in ("fp32", "int8", None)
    }
    difference = np.abs(values["fp32"][0].embedding - values["int8"][0].embedding).max()
    assert difference > 1e-4
    np.testing.assert_array_equal(values["int8"][0].embedding, values[None][0].embedding)


def test_the_package_offers_the_classifier() -> None:
    assert routewright.Classifier is Classifier


def test_a_token_head_without_a_decoder_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="token tasks and only they need a decoder"):
        Head(ENTITIES, TaskCalibration())


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        OnnxBackend(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match=r"none\.onnx: ONNX Runtime cannot load it"):
        OnnxBackend(tmp_path / "none.onnx")


class CountingBackend:
    """Counts forward passes of the backend behind it."""

    def __init__(self, backend: OnnxBackend) -> None:
        self.backend = backend
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        self.shapes.append(input_ids_BT.shape)
        return self.backend.run(input_ids_BT, attention_mask_BT)


def test_batches_keep_to_the_token_budget_and_sort_by_length(tiny_bundle: Bundle) -> None:
    opened = Classifier.open(tiny_bundle.path)
    assert isinstance(opened.backend, OnnxBackend)
    backend = CountingBackend(opened.backend)
    counting = Classifier(opened.encoder, opened.heads, backend)
    counting.raw(["a" * n for n in (1, 20, 3, 20, 2)], batch_tokens=50)
    assert backend.shapes == [(2, 22), (3, 5)]
