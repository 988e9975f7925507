import argparse
import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.default_bundle import (
    acceptance,
    baselines,
    card_reports,
    everyday,
    loso,
    quality,
    twins,
)
from benchmarks.default_bundle.presidio import without_overlaps
from benchmarks.default_bundle.quality_tables import Goal, quality_tables
from benchmarks.default_bundle.records import FILES, README, SPLITS, Record, place_table
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import write_tiny_bundle

from routewright import Classifier
from routewright.data.config import DataSpec
from routewright.data.near_duplicates import cluster_near_duplicates
from routewright.data.readers import read_examples
from routewright.labels import LabelSet, Span
from routewright.tasks import BUILT_IN, CATEGORY, INTENT, JAILBREAK, PII

SOURCES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(
        tmp_path_factory.mktemp("tiny") / "bundle", tasks=(CATEGORY, PII, JAILBREAK, INTENT)
    ).path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of every task and split, under the names of the shared data."""
    folder = tmp_path_factory.mktemp("data")
    for task, pattern in FILES.items():
        for split in ("train", "validation", "test"):
            path = folder / pattern.format(split)
            path.parent.mkdir(exist_ok=True)
            with gzip.open(path, "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows_of(task, split))
    return folder


def rows_of(task: str, split: str) -> list[dict[str, Any]]:
    labels = BUILT_IN[task].labels
    if task == "pii":
        spans = [{"start": 5, "end": 8, "label": "PERSON"}]
        return [{"text": f"call ann at {split} {i}", "spans": spans} for i in range(6)]
    return [
        {
            "text": f"{label} words of {split} {i}",
            "label": label,
            "source": source,
            "quality": "marked",
        }
        for i in range(4)
        for label in labels
        for source in SOURCES
    ]


def test_every_acceptance_row_and_breakdown_gets_a_table(bundle: Path, data: Path) -> None:
    args = argparse.Namespace(bundle=bundle, data=data, split="test", tasks=list(FILES))
    results = quality.measure(args)
    text = quality_tables(results)
    assert results["reports"].keys() == {"int8", "fp32"}
    for row in ("span_f2", "recall_at_fpr_1pct", "share it answers", "int8 - fp32, points"):
        assert row in text
    assert results["false_alarms"]["rows of pii"]["of"] == 6


def test_the_card_of_a_bundle_gets_what_it_reaches_on_test(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    card_reports.attach_test_reports(copy, data)
    card = (copy / "README.md").read_text(encoding="utf-8")
    assert "## Evaluation" in card
    for task in FILES:
        assert (copy / "reports" / f"{task}.test.json").is_file()
        assert f"| {task}.test | {task} | " in card
    assert Classifier.open(copy).heads.keys() == Classifier.open(bundle).heads.keys()


def test_a_record_names_its_origin_and_holds_no_text_of_a_row(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    args = argparse.Namespace(
        bundle=bundle,
        data=data,
        split="test",
        tasks=["pii"],
        out=tmp_path / "r.json",
        readme=False,
    )
    Record("quality", "?", args, 0.0).write(quality.measure(args), "table")
    text = args.out.read_text(encoding="utf-8")
    assert {"command", "date", "commit", "machine", "versions"} <= json.loads(text).keys()
    assert "call ann" not in text


def test_acceptance_judges_every_sentence_of_the_specification(bundle: Path) -> None:
    verdicts = acceptance.judge(Classifier.open(bundle))
    assert sum(v.acceptance for v in verdicts) == 15
    text = acceptance.table(verdicts)
    assert all(v.text in text for v in verdicts)


def test_entities_are_right_only_with_the_very_characters() -> None:
    for text, entities in acceptance.PII.items():
        assert all(value in text and label in PII.labels for label, value in entities)


@pytest.mark.parametrize("task", everyday.SHOWN)
def test_everyday_rows_are_sound_and_in_one_half_only(task: str) -> None:
    kind = BUILT_IN[task].kind
    labels = LabelSet(BUILT_IN[task].labels)
    halves = [
        read_examples(
            DataSpec(path=f"{task}_{split}.jsonl"), kind, root=everyday.ROWS, labels=labels
        )
        for split in SPLITS
    ]
    assert min(map(len, halves)) >= 130
    near = cluster_near_duplicates([e.text for half in halves for e in half])
    assert not set(near[: len(halves[0])]) & set(near[len(halves[0]) :])
    # What a second writer added came to the half that may be looked at.
    kinds = [Counter(str(e.meta["kind"]) for e in half) for half in halves]
    del kinds[SPLITS.index("validation")]["second writer"]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("task", ["intent", "pii"])
def test_everyday_rows_are_counted_by_kind(bundle: Path, tmp_path: Path, task: str) -> None:
    classifier = Classifier.open(bundle)
    texts = ["move it", "call ann", "what is a tort"]
    answers = classifier(texts, tasks=[task])
    rows: list[dict[str, Any]] = [
        {"text": text, "kind": f"k{i // 2}"} for i, text in enumerate(texts)
    ]
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if task == "pii":
            found = [
                {"start": s.start, "end": s.end, "label": s.label} for s in answer.spans[task]
            ]
            row["spans"] = found if i else [*found, {"start": 0, "end": 4, "label": "AGE"}][-1:]
        else:
            label = answer.sequence[task].label
            others = (other for other in INTENT.labels if other != label)
            row["label"] = label if i else next(others)
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scores = everyday.score_task(classifier, task, path)
    assert scores.right_by_kind == {"k0": (1, 2), "k1": (1, 1)}
    text = everyday.tables([scores])
    assert "k0 1 of 2, k1 1 of 1" in text
    assert all(everyday.SHOWN[task][name] in text for name in scores.metrics)


def test_twins_are_sound_and_in_one_half_only() -> None:
    halves = [twins.read_pairs(twins.ROWS / f"{split}.jsonl") for split in SPLITS]
    kinds = [Counter(pair.kind for pair in half) for half in halves]
    assert kinds[0] == kinds[1]
    assert min(map(len, halves)) >= 80
    texts = [[text for p in half for text in (p.attack, p.benign)] for half in halves]
    assert all(text.strip() for half in texts for text in half)
    near = cluster_near_duplicates([text for half in texts for text in half])
    assert not set(near[: len(texts[0])]) & set(near[len(texts[0]) :])


def test_only_verdicts_that_were_right_are_tried_in_other_forms(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [{"id": "1", "kind": "a", "attack": "X", "benign": "hello there"}]
    pairs.append({"id": "2", "kind": "b", "attack": "hello", "benign": "X too"})
    for split in SPLITS:
        path = tmp_path / f"{split}.jsonl"
        path.write_text("".join(json.dumps(p) + "\n" for p in pairs), "utf-8")
    monkeypatch.setattr(twins, "ROWS", tmp_path)
    # Whatever is in capitals is an attack.
    monkeypatch.setattr(
        twins, "flags", lambda _, texts: np.array([any(map(str.isupper, t)) for t in texts])
    )
    out = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["twins", "--bundle", str(bundle), "--out", str(out)])
    twins.main()
    found = json.loads(out.read_text("utf-8"))["results"]
    assert {k: v["value"] for k, v in found["shares"].items()} == {
        "attacks caught": 0.5,
        "twins flagged": 0.5,
        "pairs with both right": 0.5,
    }
    by_name = {change["name"]: change for change in found["changes"]}
    assert (by_name["capitals"]["num_caught"], by_name["capitals"]["num_passed"]) == (1, 1)
    assert (by_name["lower case"]["lost"], by_name["lower case"]["ever_lost"]) == (1, 1)
    assert (by_name["capitals"]["lost"], by_name["capitals"]["flagged"]) == (0, 1)


def test_a_table_replaces_only_what_stands_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- x -->\nold\n<!-- /x -->\n<!-- y -->\n<!-- /y -->\n", "utf-8")
    place_table(readme, "x", "new")
    place_table(readme, "x", r"newer \1")
    expected = "a\n<!-- x -->\nnewer \\1\n<!-- /x -->\n<!-- y -->\n<!-- /y -->\n"
    assert readme.read_text("utf-8") == expected
    with pytest.raises(ValueError, match="no marks <!-- z -->"):
        place_table(readme, "z", "new")


@pytest.mark.parametrize(
    "name",
    ["quality", "precisions", "acceptance", "everyday", "twins", "baselines", "presidio",
     "loso", "loso-family", "lora_vs_full", "loso-full-jailbreak", "loso-full-intent",
     "joint_vs_single", "training_time"],
)  # fmt: skip
def test_the_readme_has_a_place_for_every_table(name: str) -> None:
    text = README.read_text("utf-8")
    assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1


def test_a_goal_is_reached_from_the_right_side() -> None:
    error = Goal("category", "ece", 0.03, 0.015, less_is_better=True)
    assert [error.verdict(v) for v in (0.01, 0.02, 0.04)] == ["aim", "floor", "**missed**"]
    accuracy = Goal("category", "accuracy", 0.85, 0.9)
    assert [accuracy.verdict(v) for v in (0.9, 0.86, 0.8)] == ["aim", "floor", "**missed**"]


@given(
    st.lists(
        st.builds(
            lambda start, length, score: Span(start, start + length, "X", score),
            st.integers(0, 30),
            st.integers(1, 10),
            st.floats(0, 1),
        )
    ),
    st.floats(0, 1),
)
def test_entities_of_presidio_end_up_apart_and_above_the_threshold(
    spans: list[Span], threshold: float
) -> None:
    kept = without_overlaps(spans, threshold)
    assert all(s.score >= threshold for s in kept)
    assert not any(a.overlaps(b) for i, a in enumerate(kept) for b in kept[i + 1 :])
    allowed = [s for s in spans if s.score >= threshold]
    assert all(any(s.overlaps(k) for k in kept) for s in allowed)


@pytest.mark.parametrize("task", ["jailbreak", "intent"])
def test_a_source_left_out_is_scored_by_a_model_of_the_others(task: str, data: Path) -> None:
    args = argparse.Namespace(
        data=data, splits=["train", "validation"], by="source", limit=None
    )
    pool = loso.load_pool(args, task, "n-grams")
    found = loso.leave_out(pool, "red", "n-grams")
    num_labels = len(BUILT_IN[task].labels)
    assert found["num_rows"] == 2 * 4 * num_labels
    assert found["recall" if task == "jailbreak" else "macro_f1"] == 1.0
    assert "red" in loso.table(
        [{"task": task, "model": "n-grams", "means": loso.means(task, [found]),
          "sources": [found]}]
    )  # fmt: skip


def test_a_mean_leaves_out_sources_with_too_few_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"recall": 1.0, "num_recall": 50, "fpr": None, "num_fpr": 0},
        {"recall": 0.0, "num_recall": 3, "fpr": 0.5, "num_fpr": 10},
    ]
    expected = {"recall": 1.0, "num_attack_sources": 1, "fpr": 0.5, "num_benign_sources": 1}
    assert loso.means("jailbreak", rows) == expected


def test_the_linear_baseline_learns_what_is_easy(data: Path) -> None:
    found = baselines.ngrams(baselines.Question("intent", data, "test", None))
    assert found.metrics["accuracy"].value == 1.0
    assert "n-grams" in baselines.table([found])
    assert set(baselines.DESCRIPTIONS) == set(INTENT.labels)
