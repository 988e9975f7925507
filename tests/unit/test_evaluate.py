"""Evaluation of the tiny model with known answers: digits are NUMBER, ``x`` is an attack."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import ATTACK, ENTITIES, TOPIC, write_tiny_bundle

from routewright.bundle import Bundle
from routewright.calibration import TaskCalibration
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.errors import (
    BundleError,
    ConfigError,
    DataError,
    GateError,
    RoutewrightError,
    TaskError,
)
from routewright.evaluate import (
    Report,
    View,
    check_gates,
    evaluate,
    evaluate_file,
    load_examples,
    metric_names,
    open_target,
    parse_gate,
    view_of,
)
from routewright.labels import Span
from routewright.runtime.classifier import Classifier

KEYS = [
    "task", "data", "num_examples", "metrics", "per_class", "confusion_matrix", "by_length",
    "by_source", "calibration", "model", "created", "duration_s", "versions",
]  # fmt: skip
ATTACKS = [
    SequenceExample("x x", "attack", {"source": "one"}),
    SequenceExample("hello", "benign", {"source": "one"}),
    SequenceExample("xx rays xx fun xx " * 3, "attack", {"source": "two"}),
    SequenceExample("fix a box", "benign", {"source": "two"}),
]


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32", verify=False)


def number_example(text: str, *extra: Span) -> TokenExample:
    digits = [i for i, char in enumerate(text) if char.isdigit()]
    return TokenExample(text, (Span(digits[0], digits[-1] + 1, "NUMBER"), *extra))


def value(report: Report, metric: str) -> float | None:
    return report.metrics[metric].value


def test_a_report_has_exactly_the_promised_keys(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", ATTACKS, num_resamples=50)
    plain = report.to_dict()
    assert list(plain) == KEYS
    assert set(plain["metrics"]["accuracy"]) == {"value", "low", "high"}
    json.dumps(plain, allow_nan=False)


def test_a_detector_is_scored_by_its_known_answers(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", ATTACKS, num_resamples=0)
    assert value(report, "recall_at_threshold") == 1.0
    assert value(report, "fpr_at_threshold") == 0.5
    assert report.calibration.flagged_share == 0.75
    assert report.confusion_matrix.counts == [[1, 1], [0, 2]]
    assert report.by_source["two"]["flagged_share"] == 1.0
    assert report.by_source["one"]["roc_auc"] == 1.0


def test_every_text_is_in_one_length_and_one_source(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", ATTACKS, num_resamples=0)
    assert set(report.by_length) == {"<=16", "17-64"}
    for groups in (report.by_length, report.by_source):
        assert sum(row["num_examples"] or 0 for row in groups.values()) == len(ATTACKS)


def test_the_order_of_the_rows_changes_nothing(classifier: Classifier) -> None:
    first = evaluate(classifier, "attack", ATTACKS, num_resamples=0)
    second = evaluate(classifier, "attack", ATTACKS[::-1], num_resamples=0)
    assert value(first, "roc_auc") == value(second, "roc_auc")
    assert value(first, "nll") == pytest.approx(value(second, "nll"))


def test_one_class_alone_gives_the_defined_metrics_and_no_auc(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", [ATTACKS[1]] * 3, num_resamples=50)
    assert value(report, "accuracy") == 1.0
    assert value(report, "roc_auc") is None
    assert value(report, "recall_at_threshold") is None


def test_spans_are_scored_exactly(classifier: Classifier) -> None:
    missed = Span(0, 4, "OTHER")
    examples = [number_example("call 12 now"), number_example("call 345", missed)]
    report = evaluate(classifier, "entities", examples, num_resamples=0)
    assert value(report, "span_precision") == 1.0
    assert value(report, "span_recall") == pytest.approx(2 / 3)
    assert report.per_class["OTHER"]["recall"] == 0.0
    assert report.calibration.ece_after is not None
    assert report.calibration.confidence_wrong is None


def test_only_types_leaves_other_types_out_on_both_sides(classifier: Classifier) -> None:
    examples = [number_example("call 12 now", Span(0, 4, "SOMETHING_ELSE"))]
    report = evaluate(classifier, "entities", examples, only_types=["NUMBER"], num_resamples=0)
    assert value(report, "span_f1") == 1.0
    assert list(report.per_class) == ["NUMBER"]
    assert report.calibration.ece_before is None
    assert report.model.only_types == ["NUMBER"]


def test_coarse_labels_may_be_in_the_data_or_come_from_fine_ones(
    classifier: Classifier,
) -> None:
    coarse = TokenExample("call 12", (Span(5, 7, "DIGITS"),))
    examples = [coarse, number_example("call 12 now", Span(0, 4, "OTHER"))]
    report = evaluate(classifier, "entities", examples, coarse=True, num_resamples=0)
    assert value(report, "span_f1") == 1.0
    assert list(report.per_class) == ["DIGITS", "O"]
    assert report.per_class["O"]["token_f1"] == 1.0
    assert report.per_class["O"]["support"] == 3


@given(st.permutations(TOPIC.labels))
def test_the_coarse_view_of_classes_keeps_those_without_a_coarse_name(names: list[str]) -> None:
    task = type(TOPIC)(
        name="t", kind="sequence", labels=tuple(names), coarse={"sports": "fun", "music": "fun"}
    )
    view = View(task, coarse=True)
    assert set(view.labels) == {"fun", "law"}
    assert [view.label(n) for n in ("sports", "music", "law")] == ["fun", "fun", "law"]


def test_summed_classes_are_judged_by_their_coarse_name(tmp_path: Path) -> None:
    topic = type(TOPIC)(
        name="topic",
        kind="sequence",
        labels=TOPIC.labels,
        coarse=dict.fromkeys(TOPIC.labels, "any"),
    )
    write_tiny_bundle(tmp_path / "b", tasks=[topic])
    target = open_target(tmp_path / "b")
    examples = [SequenceExample("hello", "law"), SequenceExample("goodbye", "any")]
    report = evaluate(target.classifier, "topic", examples, coarse=True, num_resamples=0)
    assert value(report, "accuracy") == 1.0


def test_abstention_and_calibration_are_those_of_the_bundle(tmp_path: Path) -> None:
    strict = {"topic": TaskCalibration(temperature=2.0, threshold=0.999999)}
    write_tiny_bundle(tmp_path / "strict", calibrations=strict)
    target = open_target(tmp_path / "strict")
    examples = [SequenceExample(t, "law") for t in ("a ball", "a song", "a court")]
    record = evaluate(target.classifier, "topic", examples, num_resamples=0).calibration
    assert (record.temperature, record.threshold) == (2.0, 0.999999)
    assert record.abstained_share == 1.0
    assert record.accepted_accuracy is None
    assert record.ece_before != record.ece_after


def write_rows(path: Path, *rows: dict[str, object]) -> DataSpec:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataSpec(path=str(path))


def test_a_file_is_evaluated_with_the_names_of_model_and_data(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "rows.jsonl", {"text": "x", "label": "attack"})
    target = open_target(tiny_bundle.path)
    report = evaluate_file(target, view_of(target.classifier, "attack"), data, num_resamples=0)
    assert report.data == str(tmp_path / "rows.jsonl")
    assert (report.model.name, report.model.precision) == ("tiny", "int8")
    assert report.model.sha256 == tiny_bundle.manifest.files["model.int8.onnx"].sha256


UNKNOWN_LABEL = (
    [{"text": "x", "label": "attack"}, {"text": "y", "label": "evil"}],
    ATTACK,
    r"rows.jsonl:2: unknown label 'evil'; known: benign, attack; .*--label-map",
)
UNKNOWN_TYPE = (
    [{"text": "Ann", "spans": [{"start": 0, "end": 3, "label": "PER"}]}],
    ENTITIES,
    r"rows.jsonl:1: .*PER.* known: NUMBER, OTHER; .*label_map.*--only-types",
)
WRONG_KIND = (
    [{"text": "Ann", "spans": []}],
    ATTACK,
    r"rows.jsonl: has token rows; attack is a sequence task and needs rows with a label",
)
BROKEN_ROW = ([{"text": 5, "label": "attack"}], ATTACK, r"rows.jsonl:1: text: must be text")


@pytest.mark.parametrize(
    ("rows", "task", "message"), [UNKNOWN_LABEL, UNKNOWN_TYPE, WRONG_KIND, BROKEN_ROW]
)
def test_rows_that_do_not_fit_are_named_with_file_line_and_remedy(
    rows: list[dict[str, object]], task: type[object], message: str, tmp_path: Path
) -> None:
    spec = write_rows(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(DataError, match=message):
        load_examples(spec, View(task))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("mood", {}, "no task 'mood'; it has: topic, entities, attack"),
        ("entities", {"only_types": ["CAT"]}, "no type 'CAT'; known: NUMBER, OTHER"),
        ("attack", {"only_types": ["attack"]}, "attack is a sequence task"),
        ("attack", {"coarse": True}, "no coarse labels"),
    ],
)
def test_a_view_the_model_lacks_is_refused(
    classifier: Classifier, task: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        view_of(classifier, task, **options)  # type: ignore[arg-type]


def test_examples_in_memory_are_checked_too(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="example 1: unknown label 'evil'"):
        evaluate(classifier, "attack", [SequenceExample("x", "evil")])
    with pytest.raises(DataError, match="needs rows with spans"):
        evaluate(classifier, "entities", ATTACKS)
    with pytest.raises(DataError, match="no examples"):
        evaluate(classifier, "entities", [])


def test_a_folder_that_is_neither_bundle_nor_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"neither a bundle .* nor a training run"):
        open_target(tmp_path)
    with pytest.raises(BundleError, match="no such bundle folder"):
        open_target(tmp_path / "missing")


def test_gates_compare_and_name_what_failed(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", ATTACKS, num_resamples=0)
    check_gates(report, [parse_gate("accuracy>=0.75"), parse_gate(" fpr_at_threshold <= .5 ")])
    with pytest.raises(GateError, match=r"accuracy>=0.9 \(is 0.7500\)"):
        check_gates(report, [parse_gate("accuracy>=0.9")])
    with pytest.raises(ConfigError, match="no such metric; attack has: accuracy"):
        check_gates(report, [parse_gate("beauty>=0.9")])


@pytest.mark.parametrize("task", ["topic", "attack", "entities"])
@pytest.mark.parametrize("coarse", [False, True])
def test_the_metrics_are_known_before_the_answers(
    task: str, coarse: bool, classifier: Classifier
) -> None:
    head = classifier.heads[task]
    if coarse and not head.task.coarse:
        return
    examples: list[Example] = [number_example("call 12")]
    if head.task.kind == "sequence":
        examples = [SequenceExample("call 12", head.task.labels[0])]
    report = evaluate(classifier, task, examples, coarse=coarse, num_resamples=0)
    view = view_of(classifier, task, coarse=coarse)
    assert metric_names(classifier, view) == list(report.metrics)


@pytest.mark.parametrize("text", ["accuracy", "accuracy>0.5", "accuracy>=high", "a>=nan", ""])
def test_a_gate_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(RoutewrightError, match="--gate"):
        parse_gate(text)


def test_an_undefined_metric_fails_its_gate(classifier: Classifier) -> None:
    report = evaluate(classifier, "attack", ATTACKS[:1], num_resamples=0)
    with pytest.raises(GateError, match="undefined on this data"):
        check_gates(report, [parse_gate("roc_auc>=0.5")])
