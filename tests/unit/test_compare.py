"""Comparison of tiny bundles, each measured in a real process of its own."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.tiny import write_tiny_bundle

from routewright.bundle import Bundle
from routewright.cli.comparison_table import comparison_table
from routewright.compare import Comparison, MeasurementRequest, compare, run
from routewright.compare.worker import is_deterministic, spread
from routewright.decoding import FloatArray
from routewright.encoding import IntArray
from routewright.errors import (
    BundleError,
    DataError,
    IntegrityError,
    MissingExtraError,
    RoutewrightError,
    TaskError,
)
from routewright.runtime.backend import OnnxBackend
from routewright.runtime.classifier import Classifier
from routewright.runtime.machine import peak_memory_bytes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "attacks.jsonl"
    rows = [("x x", "attack"), ("hello", "benign"), ("fix a box", "benign")] * 20
    path.write_text(
        "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def comparison(
    data: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    other = tmp_path_factory.mktemp("other") / "b"
    write_tiny_bundle(other, name="other")
    request = MeasurementRequest(target="", task="attack", data=str(data), limit=30)
    return compare([tiny_bundle.path, other], request)


def test_every_target_is_measured_on_the_same_rows(comparison: Comparison) -> None:
    first, second = comparison.targets
    assert (first.name, second.name) == ("tiny", "other")
    assert first.num_examples == second.num_examples == 30
    assert first.metrics == second.metrics
    assert first.metrics["roc_auc"].value == 1.0


def test_a_model_differs_from_itself_by_nothing(comparison: Comparison) -> None:
    (difference,) = comparison.differences
    assert difference.against == comparison.targets[0].target
    assert list(difference.metrics) == list(comparison.targets[0].metrics)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in difference.metrics.values())


def test_a_measurement_holds_what_a_choice_needs(comparison: Comparison) -> None:
    measured = comparison.targets[0]
    assert 0 < measured.latency_p50_ms <= measured.latency_p95_ms
    assert measured.texts_per_s > 0
    assert measured.tokens_per_s > measured.texts_per_s
    assert measured.size_bytes > 1000
    assert measured.deterministic
    assert measured.confidence_right is not None
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_the_table_says_what_the_training_of_a_run_took(comparison: Comparison) -> None:
    first, second = comparison.targets
    trained = replace(
        first,
        num_parameters=23_000_000,
        num_trained_parameters=300_000,
        train_s=3661.4,
        train_peak_memory_bytes=1_234_000_000,
        train_peak_gpu_memory_bytes=9_870_000_000,
    )
    console = Console(file=StringIO(), width=200)
    console.print(comparison_table(replace(comparison, targets=[trained, second])))
    assert isinstance(console.file, StringIO)
    rows = {
        cells[0]: cells[1:]
        for line in console.file.getvalue().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("\u2502").split("\u2502")]) == 3
    }
    assert rows["trained parameters"] == ["300,000 (1.3 %)", "-"]
    assert rows["training time (s)"] == ["3,661", "-"]
    assert rows["training peak memory (MB)"] == ["1,234", "-"]
    assert rows["training peak GPU memory (MB)"] == ["9,870", "-"]


def test_targets_are_compared_under_the_view_that_was_asked_for(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "numbers.jsonl"
    spans = [{"start": 5, "end": 7, "label": "COUNT"}, {"start": 8, "end": 11, "label": "X"}]
    path.write_text(json.dumps({"text": "call 12 now", "spans": spans}) + "\n", "utf-8")
    request = MeasurementRequest(
        target="", task="entities", data=str(path), label_map={"COUNT": "NUMBER", "X": None}
    )
    for view in ({"only_types": ["NUMBER"]}, {"coarse": True}):
        found = compare([tiny_bundle.path], replace(request, **view))
        assert found.targets[0].metrics["span_f1"].value == 1.0
        assert found.to_dict().items() >= view.items()
    with pytest.raises(TaskError, match="--only-types: entities has no type 'WHO'"):
        compare([tiny_bundle.path], replace(request, only_types=["WHO"]))


def test_memory_is_that_of_the_measuring_process_alone(comparison: Comparison) -> None:
    ballast = np.ones(25_000_000)  # 200 MB in this process only
    assert peak_memory_bytes() > ballast.nbytes
    assert all(m.peak_memory_bytes < ballast.nbytes for m in comparison.targets)


def test_what_is_wrong_has_the_class_of_its_error_and_names_the_target(
    data: Path, tiny_bundle: Bundle
) -> None:
    request = MeasurementRequest(target="", task="mood", data=str(data))
    path = tiny_bundle.path
    with pytest.raises(TaskError, match=rf"^{path}: .*no task 'mood'"):
        compare([path], request)
    with pytest.raises(DataError, match=rf"^{data}:1: unknown .*\(measuring {path}\)$"):
        compare([path], replace(request, task="topic"))
    missing = str(data.with_name("missing.csv"))
    with pytest.raises(DataError, match=rf"^{missing}: no such file; .*\(measuring {path}\)$"):
        compare([path], replace(request, task="attack", data=missing))
    with pytest.raises(BundleError, match=rf"^{data}: is a file, not a bundle"):
        compare([data], request)


@pytest.mark.parametrize("kind", [MissingExtraError, IntegrityError])
def test_an_error_of_any_class_comes_over_with_its_message(
    kind: type[RoutewrightError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"error": "torch is not installed", "code": kind.code})
    program = f"import sys\nopen(sys.argv[2], 'w').write({answer!r})\nsys.exit(2)"
    monkeypatch.setattr(run, "_WORKER", (sys.executable, "-c", program))
    request = MeasurementRequest(target="", task="attack", data="x.jsonl")
    with pytest.raises(RoutewrightError) as caught:
        compare([tmp_path], request)
    assert type(caught.value) is kind
    assert str(caught.value) == f"{tmp_path}: torch is not installed"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("{}['width']", "failed: KeyError: 'width'"),
        ("raise OSError('two\\nlines')", "failed: OSError: two"),
        ("try: 1 / 0\nexcept ArithmeticError: int('x')", "failed: ValueError: .* 'x'"),
        ("raise MemoryError", "failed: MemoryError; it needs more memory"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL; it may need more memory"),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("sys.stderr.write('a\\nno space\\n'); sys.exit(7)", "failed: no space"),
        ("sys.exit(7)", "ended with exit code 7 and said nothing"),
        ("open(sys.argv[2], 'w').write('{'); raise OSError('full')", "failed: OSError: full"),
    ],
)
def test_what_ended_a_measuring_process_is_said_in_one_line(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = (sys.executable, "-c", f"import os, sys\n{program}")
    monkeypatch.setattr(run, "_WORKER", worker)
    request = MeasurementRequest(target="", task="attack", data="x.jsonl")
    with pytest.raises(BundleError, match=rf"^{tmp_path}: the measuring process {reason}$"):
        compare([tmp_path], request)


class Wavering:
    """A backend whose second answer differs from the first in one bit."""

    def __init__(self, backend: OnnxBackend) -> None:
        self.backend = backend
        self.calls = 0

    def run(self, input_ids_BT: IntArray, attention_mask_BT: IntArray) -> dict[str, FloatArray]:
        self.calls += 1
        outputs = self.backend.run(input_ids_BT, attention_mask_BT)
        if self.calls == 2:
            outputs["logits_topic"] = np.nextafter(outputs["logits_topic"], np.float32(9))
        return outputs


def test_a_difference_of_one_bit_is_not_deterministic(tiny_bundle: Bundle) -> None:
    steady = Classifier.open(tiny_bundle.path, verify=False)
    assert is_deterministic(steady, ["some text"])
    wavering = Wavering(OnnxBackend(tiny_bundle.graph_path("fp32")))
    assert not is_deterministic(
        Classifier(steady.encoder, steady.heads, wavering), ["some text"]
    )


def test_a_spread_of_texts_keeps_both_ends_and_never_repeats() -> None:
    texts = [str(i) for i in range(100)]
    chosen = spread(texts, 7)
    assert (chosen[0], chosen[-1], len(set(chosen))) == ("0", "99", 7)
    assert spread(["a", "b"], 7) == ["a", "b"]
