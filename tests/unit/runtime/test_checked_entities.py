"""A bundle whose entities rules check, from the manifest to the report."""

import json
from pathlib import Path

import pytest
from tests.tiny import TASKS, write_tiny_bundle

from routewright import Classifier
from routewright.bundle import MANIFEST_FILE, Bundle
from routewright.config import to_plain
from routewright.data.examples import TokenExample
from routewright.errors import BundleError
from routewright.evaluate import evaluate, open_target
from routewright.labels import Span
from routewright.second_look import SecondLookSettings
from routewright.tasks import Task

NUMBERS = Task(name="numbers", kind="token", labels=("US_SSN", "EMAIL_ADDRESS"))
"""Digits are of its first label, and nothing else is an entity."""
TEXT = "ssn 123-45-6789 of a@b.co, room 12"
GOLD = (Span(4, 15, "US_SSN"), Span(19, 25, "EMAIL_ADDRESS"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", tasks=(*TASKS, NUMBERS)).path


def switch_on(path: Path) -> None:
    manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["second_look"] = to_plain(SecondLookSettings())
    (path / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")


def entities(classifier: Classifier) -> list[tuple[str, str]]:
    spans = classifier(TEXT)[0].spans["numbers"]
    return [(TEXT[s.start : s.end], s.label) for s in spans]


def test_the_manifest_decides_whether_rules_check_entities(path: Path) -> None:
    by_model = entities(Classifier.open(path))
    assert ("12", "US_SSN") in by_model
    switch_on(path)
    checked = Classifier.open(path)
    assert entities(checked) == [("123-45-6789", "US_SSN"), ("a@b.co", "EMAIL_ADDRESS")]
    assert checked.heads["entities"].second_look is None  # knows none of its labels
    assert entities(checked.with_second_look(None)) == by_model


def test_a_bundle_without_the_key_opens_as_before(path: Path) -> None:
    manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    del manifest["second_look"]
    (path / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    assert Bundle.open(path).manifest.second_look is None


def test_an_unknown_type_in_the_manifest_is_refused(path: Path) -> None:
    manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["second_look"] = {"types": ["PERSON"]}
    (path / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=r"second_look\.types"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("in_bundle", "wanted", "is_checked"),
    [(False, None, False), (False, True, True), (True, None, True), (True, False, False)],
)
def test_an_evaluation_can_switch_it(
    path: Path, in_bundle: bool, wanted: bool | None, is_checked: bool
) -> None:
    if in_bundle:
        switch_on(path)
    target = open_target(path, second_look=wanted)
    examples = [TokenExample(TEXT, GOLD, {})]
    report = evaluate(target.classifier, "numbers", examples, num_resamples=0)
    assert report.model.second_look is is_checked
    assert (report.metrics["span_f1"].value == 1.0) is is_checked
