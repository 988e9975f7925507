"""Benchmarks that train: their folds, budgets, run folders and scores, without any training."""

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmarks.default_bundle import loso_full, mean_of_runs, small_budget, training_time
from benchmarks.default_bundle.loso_folds import FOLDS, Fold, left_out_by, recipe_without
from benchmarks.default_bundle.records import FILES, HERE
from benchmarks.default_bundle.source_scores import (
    Score,
    SourceResult,
    class_scores,
    mean,
    pooled,
    share,
)
from benchmarks.default_bundle.training_runs import Variant, finished_run, tried
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from tests.tiny import write_tiny_bundle

from routewright.config import to_plain
from routewright.tasks import BUILT_IN
from routewright.train.recipe import load_recipe, parse_recipe
from routewright.train.run import Run

ROOT = HERE.parent.parent
SHARED = ROOT.parent / "shared" / "data"
DEFAULT = to_plain(load_recipe(ROOT / "recipes" / "default.yaml"))
SMALL = to_plain(load_recipe(ROOT / "recipes" / "router-minilm-small.yaml"))
FOLDS_OF_TASKS = [(task, fold) for task, folds in FOLDS.items() for fold in folds]


@pytest.mark.parametrize(("task", "fold"), FOLDS_OF_TASKS, ids=lambda x: getattr(x, "name", x))
def test_a_recipe_without_a_fold_reads_none_of_its_rows(task: str, fold: Fold) -> None:
    plain = recipe_without(DEFAULT, task, fold, epochs=1.0, generated=100)
    parsed = parse_recipe(plain, source="test").tasks
    assert list(parsed) == [task]
    real = [s for s in parsed[task].train if s.synthetic is None and s.label is None]
    out = {*fold.sources, *left_out_by(DEFAULT, task)}
    assert all(set(s.drop["source"]) == out for s in (*real, *parsed[task].validation))
    assert all(s.keep == {"source": list(fold.sources)} for s in parsed[task].test)
    assert sum(s.limit or 0 for s in parsed[task].train if s.synthetic) <= 100


def test_every_source_is_in_one_fold() -> None:
    for folds in FOLDS.values():
        counts = Counter(source for fold in folds for source in fold.sources)
        assert set(counts.values()) == {1}


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_folds_of_jailbreak_hold_every_source_of_the_recipe() -> None:
    with gzip.open(SHARED / FILES["jailbreak"].format("train"), "rt", encoding="utf-8") as file:
        there = {json.loads(line)["source"] for line in file}
    mine = {source for fold in FOLDS["jailbreak"] for source in fold.sources}
    assert mine == there - set(left_out_by(DEFAULT, "jailbreak"))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60),
)
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(column, dtype=np.intp) for column in zip(*pairs, strict=True))
    found = class_scores(true, predicted, 4)
    assert found["macro_f1_all"].value == pytest.approx(
        f1_score(true, predicted, average="macro", zero_division=0)
    )
    common = [c for c in range(4) if (true == c).sum() >= 10]
    assert ("macro_f1" in found) == bool(common)
    if common:
        expected = f1_score(true, predicted, labels=common, average="macro", zero_division=0)
        assert found["macro_f1"].value == pytest.approx(expected)
    assert found["accuracy"].value == pytest.approx((true == predicted).mean())


def test_an_interval_of_a_share_is_that_of_the_binomial() -> None:
    values = np.repeat([1.0, 0.0], [90, 10])
    found = share(values).estimate()
    assert found.value == pytest.approx(0.9)
    assert (found.low, found.high) == pytest.approx((0.84, 0.96), abs=0.011)


def result(source: str, value: float, num_rows: int, num_classes: int = 2) -> SourceResult:
    score = Score(value, np.full(1000, value), num_rows)
    scores = {"recall": score, "macro_f1": score}
    return SourceResult(source, "m", num_rows, num_classes, scores)


def test_a_mean_counts_only_sources_with_enough_rows_or_classes() -> None:
    rows = [result("a", 1.0, 10, 3), result("b", 0.5, 100, 2), result("c", 0.0, 9, 3)]
    estimate, count = mean(rows, "recall")
    assert (estimate.value, count) == (0.75, 2)
    estimate, count = mean(rows, "macro_f1")
    assert (estimate.value, count) == (0.5, 2)
    assert mean(rows, "fpr")[1] == 0


def test_a_source_under_several_models_counts_once() -> None:
    both = pooled("a", "both", [result("a", 1.0, 20), result("a", 0.5, 20)])
    assert both.scores["recall"].value == 0.75
    assert both.num_rows == 20


@pytest.mark.parametrize(("task", "limit"), [("jailbreak", None), ("intent", 10)])
def test_a_fold_is_scored_on_its_own_rows_by_its_own_bundle(
    task: str, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = BUILT_IN[task]
    folder = tmp_path / "run"
    write_tiny_bundle(folder / "bundle", tasks=(built_in,))
    path = tmp_path / FILES[task].format("train")
    path.parent.mkdir()
    rows = [
        {"text": f"{label} {i} {source}", "label": label, "source": source, "quality": quality}
        for source in ("red", "green", "blue")
        for label in built_in.labels
        for i, quality in enumerate(["marked"] * 12 + ["noisy"])
    ]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setattr(loso_full, "FOLDS", {task: (Fold("red", ("red",)),)})
    args = argparse.Namespace(task=task, data=tmp_path, splits=["train"], limit=limit)
    found = loso_full.score_folds(args, {"red": folder}, ["blue"] * (task == "jailbreak"))
    assert next((r.source, r.model) for r in found) == ("red", "without red")
    assert all(r.num_rows == (limit or 12) * len(built_in.labels) for r in found)
    assert all(r.num_classes == len(built_in.labels) for r in found)
    text = loso_full.table(task, found)
    assert "| red | without red |" in text
    assert ("| blue | mean of the folds |" in text) == (task == "jailbreak")


@pytest.mark.parametrize("task", list(FILES))
def test_runs_of_a_budget_differ_in_what_is_compared_alone(task: str) -> None:
    joint = parse_recipe(small_budget.joint(SMALL).recipe, source="test")
    single = parse_recipe(small_budget.single(SMALL, task).recipe, source="test")
    adapted = parse_recipe(small_budget.adapted(SMALL, task).recipe, source="test")
    assert joint.tasks[task] == single.tasks[task] == adapted.tasks[task]
    assert joint.train == single.train
    assert single.lora is None
    assert adapted.lora is not None
    assert adapted.lora.rank == {"pii": 32, "jailbreak": 12}.get(task, 8)
    assert "generated" in small_budget.budget_line(SMALL, "models in fp32")
    assert small_budget.budget_line(SMALL, "models in fp32").endswith("; models in fp32.\n")


def test_a_run_is_taken_only_if_complete_and_of_the_same_settings(tmp_path: Path) -> None:
    variant = Variant("joint", SMALL)
    assert finished_run(variant, tmp_path, train=False) is None
    folder = tmp_path / "joint"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(SMALL), "utf-8")
    (folder / "run.json").write_text('{"status": "training"}', "utf-8")
    assert finished_run(variant, tmp_path, train=False) is None
    (folder / "run.json").write_text('{"status": "complete"}', "utf-8")
    assert finished_run(variant, tmp_path, train=False) == folder
    with pytest.raises(SystemExit, match="other settings"):
        finished_run(Variant("joint", tried(SMALL, 2)), tmp_path, train=False)


def test_training_times_come_from_the_record_of_the_run(tmp_path: Path) -> None:
    run = {
        "train_s": 123.0, "num_steps": 100, "num_rows": 3200, "num_train_tokens": 61500,
        "num_parameters": 10, "num_trainable_parameters": 10,
        "num_examples": {"pii": {"train": 1}, "intent": {"train": 1}},
        "arguments": {"num_train_epochs": 9.0},
        "history": [{"loss": 1.0, "epoch": 1.0}, {"train_runtime": 123.0, "epoch": 2.0}],
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    described = training_time.describe(tmp_path)
    assert described["specification_s"] == 41 * 60
    assert described["epochs"] == 2.0
    averaged = {**run, "num_epochs": 4.0, "history": None}
    (tmp_path / "average").mkdir()
    (tmp_path / "average" / "run.json").write_text(json.dumps(averaged), "utf-8")
    assert training_time.describe(tmp_path / "average")["epochs"] == 4.0
    line = training_time.table([described]).splitlines()[-1]
    for cell in ("full", "3,200", "1000", "2.0 min", "41.0 min", "20 times as fast"):
        assert f"| {cell} |" in line


def test_a_mean_of_runs_is_a_run_whose_members_are_trained(tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("one", "two", "three")]
    for source in sources:
        (source / "model").mkdir(parents=True)
        (source / "model" / "model.safetensors").write_text(source.name)
        (source / "recipe.yaml").write_text("name: any\n")
        (source / "run.json").write_text('{"status": "complete", "train_s": 1.0}')
    recipe = ROOT / "recipes" / "default.yaml"
    mean_of_runs.prepare(recipe, tmp_path / "mean", sources)
    run = Run.open(tmp_path / "mean")
    assert [(a.share, dict(a.changes)) for a in run.recipe().average] == [(1.0, {})] * 3
    assert "status" not in run.recorded()
    for number, source in enumerate(sources, start=1):
        member = Run.open(run.averaged / str(number))
        assert member.recorded() == {"status": "trained", "train_s": 1.0}
        assert (member.model_folder / "model.safetensors").read_text() == source.name
        assert member.recipe().model.ngrams is None
