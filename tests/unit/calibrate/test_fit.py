"""Calibration on a tiny bundle whose answers are known: digits are entities, x is an attack."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import write_tiny_bundle

from routewright.bundle import Bundle, rewrite_bundle
from routewright.calibrate import (
    FEW_ROWS,
    calibrate,
    calibration_section,
    few_rows,
    fit_calibration,
    recalibrate,
)
from routewright.calibration import TaskCalibration, parse_target
from routewright.confidence import BetaCalibration
from routewright.data.examples import SequenceExample, TokenExample
from routewright.decoding import SpanDecoder
from routewright.encoding import EncodedText
from routewright.errors import BundleError, ConfigError, DataError, TaskError
from routewright.labels import Span
from routewright.metrics import sequence_report
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head, RawOutput
from routewright.second_look import SecondLookSettings
from routewright.tag_search import Transitions
from routewright.tasks import Task

PRECISION = parse_target("topic.precision=0.9")

ATTACKS = [
    SequenceExample(text, label)
    for text, label in [
        ("x", "attack"), ("xx now", "attack"), ("call x", "attack"), ("do it", "attack"),
        ("hello", "benign"), ("fix it", "benign"), ("good day to you", "benign"),
        ("one box of tea", "benign"), ("please", "benign"), ("a b c", "benign"),
    ]
]  # fmt: skip
NUMBERS = [
    TokenExample("call 12 now", (Span(5, 7, "NUMBER"),)),
    TokenExample("no digits", ()),
    TokenExample("7 of nine", (Span(0, 1, "NUMBER"), Span(5, 9, "NUMBER"))),
]


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier.open(tiny_bundle.path, precision="fp32")


def test_the_temperature_lowers_the_loss_on_the_examples(classifier: Classifier) -> None:
    fitted = calibrate(classifier, "attack", ATTACKS)
    head = classifier.heads["attack"]
    raws = classifier.raw([e.text for e in ATTACKS])
    ids = np.array([head.task.label_set.id(e.label) for e in ATTACKS])

    def loss(temperature: float) -> float:
        other = Head(head.task, type(fitted)(temperature=temperature))
        rows = np.stack([other.probabilities(raw) for raw in raws])
        report = sequence_report(
            rows, ids, head.task.label_set, positive=None, threshold=None, num_resamples=0
        )
        return report.metrics["nll"].value or 0.0

    assert fitted.threshold is None
    best = loss(fitted.temperature)
    assert best <= min(loss(fitted.temperature * factor) for factor in (0.5, 2.0)) + 1e-9


def test_a_false_positive_goal_holds_when_the_threshold_is_used(classifier: Classifier) -> None:
    fitted = calibrate(classifier, "attack", ATTACKS, parse_target("attack.fpr=0.2"))
    head = Head(classifier.heads["attack"].task, fitted)
    raws = classifier.raw([e.text for e in ATTACKS])
    flagged = [answer.flagged for answer in head.answers(raws)]
    benign = [f for f, e in zip(flagged, ATTACKS, strict=True) if e.label == "benign"]
    assert fitted.operating_point is not None
    assert sum(map(bool, benign)) / len(benign) == fitted.operating_point.achieved <= 0.2


def test_entity_recall_is_what_the_decoder_reaches_at_the_threshold(
    classifier: Classifier,
) -> None:
    """Digits are found at any threshold, the word "nine" never with confidence."""
    easy = calibrate(classifier, "entities", NUMBERS, parse_target("entities.recall=0.6"))
    assert easy.operating_point is not None
    assert easy.operating_point.met
    head = Head(classifier.heads["entities"].task, easy, classifier.heads["entities"].decoder)
    raws = classifier.raw([e.text for e in NUMBERS])
    found = [head.spans(raw, e.text) for raw, e in zip(raws, NUMBERS, strict=True)]
    assert [(s.start, s.end) for s in found[0]] == [(5, 7)]
    assert found[1] == []
    assert easy.operating_point.num_examples == 3
    assert easy.operating_point.achieved == pytest.approx(2 / 3)


def test_entity_recall_is_of_what_serving_finds_second_look_included() -> None:
    task = Task(name="pii", kind="token", labels=("EMAIL_ADDRESS", "PERSON"))
    example = TokenExample("mail ann@example.com now", (Span(5, 20, "EMAIL_ADDRESS"),))
    encoded = EncodedText([5, 6, 7], [(0, 4), (5, 20), (21, 24)], [(0, 3)])
    blind = np.tile([1e5, 0, 0, 0, 0], (3, 1))  # at no temperature an entity
    raws = [RawOutput(encoded, {}, {"pii": blind}, np.ones(2), 0, 0)]
    believing = Head(task, TaskCalibration(), SpanDecoder(task.scheme))
    target = parse_target("pii.recall=1")
    for head, achieved in (
        (believing, 0.0),
        (believing.with_second_look(SecondLookSettings()), 1.0),
    ):
        point = fit_calibration(head, raws, [example], target).operating_point
        assert point is not None
        assert (point.achieved, point.met) == (achieved, achieved == 1)


def test_a_lowest_score_stays_where_right_entities_are_too_few_for_another(
    tmp_path: Path,
) -> None:
    present = TaskCalibration(min_score=0.3)
    path = write_tiny_bundle(tmp_path / "bundle", calibrations={"entities": present}).path
    fitted = recalibrate(path, "entities", NUMBERS)
    assert {calibration.min_score for calibration in fitted.values()} == {0.3}


def test_the_lowest_score_keeps_what_is_right_and_drops_what_scores_less(
    classifier: Classifier,
) -> None:
    fitted = calibrate(classifier, "entities", NUMBERS * 100)
    head = classifier.heads["entities"]
    [raw] = classifier.raw(["call 12 now"])
    scores = [span.score for span in head.spans(raw, "call 12 now")]
    assert 0 < fitted.min_score <= min(0.5, *scores)
    assert Head(head.task, fitted, head.decoder).spans(raw, "call 12 now")
    strict = TaskCalibration(min_score=np.nextafter(max(scores), 2))
    assert Head(head.task, strict, head.decoder).spans(raw, "call 12 now") == []


def test_a_recall_out_of_reach_is_said_to_be_missed(classifier: Classifier) -> None:
    wrong_type = [TokenExample("call 12 now", (Span(5, 7, "OTHER"),)), *NUMBERS]
    fitted = calibrate(classifier, "entities", wrong_type, parse_target("entities.recall=1"))
    assert fitted.operating_point is not None
    assert not fitted.operating_point.met
    assert fitted.operating_point.achieved < 1


def test_precision_with_abstention_counts_only_accepted_texts(classifier: Classifier) -> None:
    labels = [a.sequence["topic"].label for a in classifier([e.text for e in ATTACKS])]
    wrong = {"sports": "music", "music": "law", "law": "sports"}
    examples = [
        SequenceExample(e.text, label if i else wrong[label])
        for i, (e, label) in enumerate(zip(ATTACKS, labels, strict=True))
    ]
    fitted = calibrate(classifier, "topic", examples, parse_target("topic.precision=0.85"))
    assert fitted.operating_point is not None
    assert fitted.operating_point.met
    assert fitted.operating_point.achieved >= 0.85


@pytest.mark.parametrize(
    ("task", "examples", "target", "error", "message"),
    [
        ("attack", [], None, DataError, "no validation examples"),
        ("weather", ATTACKS, None, TaskError, "it has: topic, entities, attack"),
        ("entities", ATTACKS, None, DataError, "row 1 has a label"),
        ("attack", NUMBERS, None, DataError, "row 1 has spans"),
        (
            "attack",
            ATTACKS[:4],
            "attack.fpr=0.1",
            DataError,
            "task attack: .*needs rows not labelled attack",
        ),
        (
            "attack",
            ATTACKS[4:],
            "attack.precision=0.9",
            DataError,
            "task attack: .*precision=0.9 needs rows labelled attack",
        ),
        ("entities", NUMBERS[1:2], "entities.recall=0.9", DataError, "needs entities"),
        ("topic", ATTACKS, "topic.recall=0.9", ConfigError, "use precision"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_line(
    classifier: Classifier,
    task: str,
    examples: list[SequenceExample],
    target: str | None,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        calibrate(classifier, task, examples, parse_target(target) if target else None)
    assert "\n" not in str(caught.value)


def test_a_refitted_bundle_opens_with_its_new_thresholds_and_card(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    fitted = recalibrate(path, "attack", ATTACKS, parse_target("attack.fpr=0.2"))
    assert set(fitted) == {"int8", "fp32"}
    for precision in fitted:
        classifier = Classifier.open(path, precision=precision)
        assert classifier.heads["attack"].calibration == fitted[precision]
    again = recalibrate(path, "attack", ATTACKS)
    assert again == fitted, "without a target the bundle's own goal stays"
    others = json.loads((path / "calibration.json").read_text(encoding="utf-8"))["fp32"]
    assert others["topic"]["temperature"] == 1.0


@pytest.mark.parametrize(
    ("task", "examples", "target", "message"),
    [
        (
            "topic",
            [SequenceExample("hello", "law"), SequenceExample("please", "law")],
            "topic.precision=0.9",
            r"precision 0.9 cannot be reached on these 2 rows, at most 0\.0000 \(.*--target",
        ),
        (
            "attack",
            [SequenceExample("xx", "benign"), SequenceExample("hello", "attack")],
            None,
            r"no temperature fits 2 rows, .*the end of its range, 20 \(.*check the labels",
        ),
    ],
)
def test_a_fit_that_is_worth_nothing_leaves_the_bundle_as_it_was(
    task: str,
    examples: list[SequenceExample],
    target: str | None,
    message: str,
    tmp_path: Path,
) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    goal = None if target is None else parse_target(target)
    with pytest.raises(DataError, match=rf"^task {task}: {message}") as caught:
        recalibrate(path, task, examples, goal)
    assert "the bundle keeps its calibration" in str(caught.value)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_the_card_names_tasks_whose_test_results_are_of_an_earlier_calibration(
    tmp_path: Path,
) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    card = f"# tiny\n\n{calibration_section({'int8': bundle.calibration('int8')})}\n"
    reports = {
        f"reports/{task}.test.json": json.dumps(
            {
                "task": task,
                "num_examples": 9,
                "metrics": {},
                "model": {"precision": "int8"},
                "calibration": {"temperature": 1.0, "threshold": None},
            }
        )
        for task in ("topic", "attack", "entities")
    }
    path = rewrite_bundle(bundle, {"README.md": card, **reports}).path
    recalibrate(path, "attack", ATTACKS)
    assert "Test results of attack in this card" in (path / "README.md").read_text()
    recalibrate(path, "entities", NUMBERS)
    assert "Test results of attack, entities in this card" in (path / "README.md").read_text()


def test_too_few_rows_are_counted_by_what_the_task_looks_for() -> None:
    topic = Task(name="topic", kind="sequence", labels=("attack", "benign"))
    detector = replace(topic, positive="attack")
    entities = Task(name="entities", kind="token", labels=("NUMBER",))
    assert few_rows(topic, ATTACKS) == "10 rows"
    assert few_rows(topic, ATTACKS * 10) is None
    assert few_rows(detector, ATTACKS * 20) == "80 labelled attack"
    assert few_rows(detector, ATTACKS[:4] * 30) == "0 not labelled attack"
    assert few_rows(detector, ATTACKS * FEW_ROWS) is None
    assert few_rows(entities, NUMBERS) == "3 rows, 3 entities"


def test_two_calibrations_of_one_bundle_at_once_both_stay(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    inner: list[dict[str, TaskCalibration]] = []

    def meanwhile(_: int) -> None:
        if not inner:
            inner.append({})
            inner[0] = recalibrate(
                path, "entities", NUMBERS, parse_target("entities.recall=0.5")
            )

    outer = recalibrate(path, "attack", ATTACKS, progress=meanwhile)
    bundle = Bundle.open(path)
    for precision in outer:
        by_task = bundle.calibration(precision)
        assert by_task["attack"] == outer[precision]
        assert by_task["entities"] == inner[0][precision]


def test_no_calibration_is_written_to_a_model_that_took_the_place_of_its_own(
    tmp_path: Path,
) -> None:
    path = write_tiny_bundle(tmp_path / "bundle").path
    crf = Transitions(np.arange(5.0), np.arange(25.0).reshape(5, 5), np.zeros(5))

    def meanwhile(_: int) -> None:
        write_tiny_bundle(path, transitions={"entities": crf})

    with pytest.raises(BundleError, match="was replaced by another model in the meantime"):
        recalibrate(path, "attack", ATTACKS, progress=meanwhile)
    assert Bundle.open(path).calibration("fp32")["attack"] == TaskCalibration()


def test_a_threshold_is_fitted_to_the_calibrated_confidences_that_it_will_meet() -> None:
    """Scores that say too much where they are high, as if fitted to fewer wrong answers."""
    rng = np.random.default_rng(5)
    task = Task(name="topic", kind="sequence", labels=("a", "b", "c"))
    logits = rng.normal(size=(3000, 3)) * 4
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    honest = BetaCalibration(a=0.5, b=0.1, c=1.0).apply(shares)
    ids = [rng.choice(3, p=row / row.sum()) for row in honest]
    examples = [SequenceExample(str(i), task.labels[label]) for i, label in enumerate(ids)]
    encoded = EncodedText([5], [(0, 1)], [(0, 1)])
    raws = [RawOutput(encoded, {"topic": row[None]}, {}, np.ones(2), 0, 0) for row in logits]
    fitted = fit_calibration(Head(task, TaskCalibration()), raws, examples, PRECISION)
    assert fitted.beta is not None
    head = Head(task, fitted)
    answers = head.answers(raws)
    taken = [
        a.label == e.label for a, e in zip(answers, examples, strict=True) if not a.abstained
    ]
    assert fitted.operating_point is not None
    assert sum(taken) / len(taken) == fitted.operating_point.achieved >= PRECISION.goal
    confidences = np.array([answer.confidence for answer in answers])
    assert np.abs(confidences - honest.max(axis=1)).mean() < 0.02
