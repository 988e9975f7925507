"""A run of every architecture to a bundle that serving opens and that says what torch says."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.checkpoints import ARCHITECTURES
from tests.untrained import make_run

from routewright.bundle import Bundle
from routewright.cli.main import main
from routewright.errors import BundleError, ConfigError, ExportError
from routewright.export.bundle_export import attach_reports, export_bundle
from routewright.export.golden import GOLDEN_TEXTS
from routewright.export.parity import TOLERANCE
from routewright.runtime.classifier import Classifier
from routewright.train.run import Run, load_model
from routewright.train.scoring import torch_classifier

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ANY_LOSS = 100.0
"""Points: the heads are random, so their metrics jump with the last bit."""
TEXTS = [text for text in GOLDEN_TEXTS if text] + ["call Alice at 7 please " * 60]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    lora = {"rank": 4, "alpha": 8, "target": "all"}
    return make_run(tmp_path_factory.mktemp(request.param), request.param, lora=lora)


@pytest.fixture(scope="module")
def bundle(run: Run) -> Bundle:
    targets = ["topic.precision=0.9", "names.recall=0.9"]
    return export_bundle(run, run.bundle, targets=targets, max_int8_loss=ANY_LOSS)


def test_fp32_answers_are_those_of_torch_for_texts_of_all_lengths(
    run: Run, bundle: Bundle
) -> None:
    model, _, encoder = load_model(run)
    of_torch = torch_classifier(model, encoder).raw(TEXTS)
    of_graph = Classifier.open(bundle.path, precision="fp32").raw(TEXTS)
    for expected, actual in zip(of_torch, of_graph, strict=True):
        pairs = [
            (expected.sequence_logits["topic"], actual.sequence_logits["topic"]),
            (expected.token_logits["names"], actual.token_logits["names"]),
            (expected.embedding, actual.embedding),
        ]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=TOLERANCE)
    assert {"names"} == set(bundle.transitions())


def test_a_batch_of_fp32_answers_equals_the_single_ones(bundle: Bundle) -> None:
    classifier = Classifier.open(bundle.path, precision="fp32")
    together = classifier(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        alone = classifier(text)[0]
        bounds = [[(s.start, s.end) for s in a.spans["names"]] for a in (answer, alone)]
        assert bounds[0] == bounds[1]
        one, other = answer.sequence["topic"], alone.sequence["topic"]
        assert one.probabilities == pytest.approx(dict(other.probabilities), abs=TOLERANCE)


def test_int8_stays_near_fp32_and_is_the_default(bundle: Bundle) -> None:
    fp32 = Classifier.open(bundle.path, precision="fp32").raw(TEXTS)
    int8 = Classifier.open(bundle.path).raw(TEXTS)
    assert bundle.manifest.default_precision == "int8"
    for one, other in zip(fp32, int8, strict=True):
        expected, actual = one.token_logits["names"], other.token_logits["names"]
        assert np.linalg.norm(expected - actual) < 0.1 * np.linalg.norm(expected)


def test_the_graphs_are_single_files_with_readable_names(bundle: Bundle) -> None:
    for precision in ("fp32", "int8"):
        path = bundle.graph_path(precision)
        graph = onnx.load(path, load_external_data=False).graph
        shapes = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }
        assert shapes == {
            "input_ids": ["batch", "tokens"],
            "attention_mask": ["batch", "tokens"],
            "logits_topic": ["batch", 2],
            "logits_names": ["batch", "tokens", 3],
            "embedding": ["batch", 32],
        }
        # Exporters note the file of every operator, as it is called on the machine they run on.
        for place in (ROOT, Path(onnx.__file__).parents[1]):
            assert str(place).encode() not in path.read_bytes()
    assert not list(bundle.path.glob("*.data"))


def test_the_card_states_what_was_measured(bundle: Bundle) -> None:
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    record = json.loads((bundle.path / "reports" / "export.json").read_text(encoding="utf-8"))
    for name, metric in (("topic", "macro_f1"), ("names", "span_f1")):
        row = record["validation"][name]
        shown = f"| {name} | 24 | {metric} | {row['fp32']:.4f} | {row['int8']:.4f} |"
        assert shown in card
    assert "precision >= 0.9" in card
    assert "names/train.jsonl" in card
    assert record["parity"]["largest_difference"] <= TOLERANCE


def test_reports_of_an_evaluation_join_the_bundle_and_its_card(
    bundle: Bundle, tmp_path: Path
) -> None:
    metrics = {"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}}
    report = {"task": "topic", "num_examples": 40, "metrics": metrics}
    (tmp_path / "topic.test.json").write_text(json.dumps(report))
    (tmp_path / "notes.json").write_text("[]")
    renewed = attach_reports(bundle.path, tmp_path)
    renewed.verify()
    assert "| topic.test | topic | 40 |  | accuracy | 0.7500 | 0.7000 - 0.8000 |" in (
        bundle.path / "README.md"
    ).read_text(encoding="utf-8")
    assert not (bundle.path / "reports" / "notes.json").exists()


@pytest.fixture(scope="module")
def bert_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("bert"), "bert")


def test_int8_that_loses_too_much_is_refused_and_leaves_the_old_bundle(
    bert_run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    first = export_bundle(bert_run, out, max_int8_loss=ANY_LOSS, int8_only=True)
    assert list(first.manifest.precisions) == ["int8"]
    Classifier.open(out)
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ExportError, match=r"int8 loses more than -99 points.* task \w+ falls"):
        export_bundle(bert_run, out, max_int8_loss=-99)
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_foreign_folder_is_not_overwritten(bert_run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(BundleError, match="other things in it"):
        export_bundle(bert_run, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["jailbreak.fpr=0.01"], "no such task; it has: topic, names"),
        (["topic.fpr=0.01"], "sequence task without a positive label; use precision"),
        (["names.precision=0.9"], "is a token task; use recall"),
        (["names.recall=0.9", "names.recall=0.8"], "has a target already"),
    ],
)
def test_a_target_that_does_not_fit_is_refused_before_any_work(
    bert_run: Run, tmp_path: Path, targets: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_bundle(bert_run, tmp_path / "bundle", targets=targets)


def test_the_verb_writes_a_bundle_and_shows_each_step(
    bert_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "bundle"
    arguments = ["export", str(bert_run.folder), "--out", str(out), "--max-int8-loss", "100"]
    monkeypatch.setattr(sys, "argv", ["routewright", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    printed = capsys.readouterr()
    assert exit_info.value.code in (0, None), printed.err
    assert "compare it with torch" in printed.out
    assert printed.err == ""
    Bundle.open(out)
