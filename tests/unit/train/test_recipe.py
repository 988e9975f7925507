"""What a recipe file means, wherever it is read from."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from routewright.config import to_plain
from routewright.errors import ConfigError
from routewright.train.recipe import averaged_recipes, load_recipe, parse_recipe

RECIPE = """
name: r
data_dir: data
model: {backbone: %s}
tasks: {intent: {train: [{path: a.jsonl}]}}
"""


def write(folder: Path, backbone: str) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE % backbone)
    return folder / "recipe.yaml"


def test_paths_are_relative_to_the_recipe_and_overrides_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "recipes", "../models/mine")
    recipe = load_recipe(path)
    assert recipe.data_dir == str(tmp_path / "recipes" / "data")
    assert recipe.model.backbone == str(tmp_path / "models" / "mine")
    recipe = load_recipe(path, ["data_dir=here", "model.backbone=./mine"])
    assert recipe.data_dir == str(tmp_path / "here")
    assert load_recipe(path, ["data_dir="]).data_dir == str(tmp_path)
    assert recipe.model.backbone == str(tmp_path / "mine")


def test_a_backbone_that_is_a_folder_beside_the_recipe_needs_no_dot(tmp_path: Path) -> None:
    path = write(tmp_path / "recipes", "owner/model")
    assert load_recipe(path).model.backbone == "owner/model"
    (tmp_path / "recipes" / "owner" / "model").mkdir(parents=True)
    (tmp_path / "recipes" / "owner" / "model" / "config.json").write_text("{}")
    assert load_recipe(path).model.backbone == str(tmp_path / "recipes" / "owner" / "model")


def averaging(folder: Path, *runs: str, extra: str = "") -> Path:
    path = write(folder, "minilm")
    path.write_text(path.read_text() + "average:\n" + "".join(f"- {r}\n" for r in runs) + extra)
    return path


def test_averaged_runs_differ_in_what_they_change_and_leave_ngrams_to_the_average(
    tmp_path: Path,
) -> None:
    path = averaging(
        tmp_path / "recipes",
        "{}",
        "{share: 2, changes: {train.data_seed: 1, tasks.intent.loss.weight: 3}}",
    )
    recipe = load_recipe(path, ["model.ngrams={tasks: [intent]}", "seed=7"])
    again = parse_recipe(to_plain(recipe), source="run")
    plain, changed = averaged_recipes(again, source="run")
    assert recipe.model.ngrams is not None
    assert plain.model.ngrams is None
    assert plain == replace(again, average=(), model=plain.model)
    assert changed.train == {**plain.train, "data_seed": 1}
    assert changed.tasks["intent"].resolve("intent").loss.weight == 3
    assert changed.seed == plain.seed == 7


@pytest.mark.parametrize(
    ("runs", "extra", "message"),
    [
        (["{}"], "", "needs two runs or more"),
        (["{}", "{share: 0}"], "", r"average\.1.*0 < share"),
        (["{}", "{changes: {seed: 1}}"], "", r"seed: averaged runs differ in how they train"),
        (["{}", "{changes: {tasks.intent.loss.kind: focal}}"], "", "not its kind"),
        (["{}", "{changes: {train.data_seeds: 1}}"], "", r"average\[1\].*data_seeds"),
        (["{}", "{changes: {tasks.intend.loss.weight: 1}}"], "", "intend"),
        (["{}", "{}"], "lora: {}\n", "leave lora out"),
    ],
)
def test_runs_that_cannot_be_averaged_are_refused(
    tmp_path: Path, runs: list[str], extra: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(averaging(tmp_path / "recipes", *runs, extra=extra))


def test_a_recipe_from_a_pipe_is_checked_like_a_file(tmp_path: Path) -> None:
    plain = write(tmp_path / "recipes", "minilm").read_text()
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(f"{plain}lora:\n")
    try:
        with pytest.raises(ConfigError, match="lora: needs a mapping"):
            load_recipe(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)


@pytest.mark.parametrize("key", ["lora", "train", "export.second_look", "tasks.intent.loss"])
def test_a_section_with_nothing_behind_it_is_refused_and_a_written_null_is_not(
    tmp_path: Path, key: str
) -> None:
    path = write(tmp_path / "recipes", "minilm")
    plain = path.read_text()
    *parents, last = key.split(".")
    section = "".join(f"{name}: {{" for name in parents) + f"{last}:" + "}" * len(parents)
    whole = f"name: r\ntasks: {{intent: {{train: [{{path: a.jsonl}}], {last}: }}}}\n"
    path.write_text(whole if parents[:1] == ["tasks"] else f"{plain}{section}\n")
    with pytest.raises(ConfigError, match=rf"{key}: needs a mapping; use `{last}: {{}}`"):
        load_recipe(path)
    path.write_text(plain)
    with pytest.raises(ConfigError, match=rf"{key}: needs a mapping"):
        load_recipe(path, [f"{key}="])
    if key != "train":
        load_recipe(path, [f"{key}=null"])


def test_a_loss_without_a_kind_changes_the_built_in_one(tmp_path: Path) -> None:
    path = write(tmp_path / "recipes", "minilm")
    path.write_text(path.read_text().replace("intent:", "pii:"))
    for recipe in (
        load_recipe(path, ["tasks.pii.loss.weight=3"]),
        averaged_recipes(
            load_recipe(path, ["average=[{}, {changes: {tasks.pii.loss.weight: 3}}]"]),
            source="r",
        )[1],
    ):
        loss = recipe.tasks["pii"].resolve("pii").loss
        assert (loss.kind, loss.weight) == ("crf_cross_entropy", 3.0)
    path.write_text(path.read_text().replace("pii:", "jailbreak:"))
    balanced = load_recipe(path, ["tasks.jailbreak.loss.weight=2"])
    plain = load_recipe(path, ["tasks.jailbreak.loss={kind: cross_entropy}"])
    assert balanced.tasks["jailbreak"].resolve("jailbreak").loss.class_weights == "balanced"
    assert plain.tasks["jailbreak"].resolve("jailbreak").loss.class_weights == "none"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data_dir=~nobodyhere/x", "data_dir: ~nobodyhere/x: "),
        ("tasks.intent.teacher.model=~nobodyhere/x", r"teacher\.model: ~nobodyhere/x: "),
        (f"model.backbone={'x' * 300}", r"model\.backbone: x+: cannot be read: "),
        ("tasks.intent.teacher=", r"tasks\.intent\.teacher: needs a mapping"),
        ("tasks.intent.teacher={}", "needs a model, or the answers"),
    ],
)
def test_paths_and_teachers_that_mean_nothing_are_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path / "recipes", "minilm"), [override])


def test_default_is_the_model_of_the_package_whatever_folder_has_that_name(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "recipes", "minilm")
    (path.parent / "default").mkdir()
    for name, meant in (("default", "default"), ("./default", str(path.parent / "default"))):
        path.write_text(
            RECIPE.replace("a.jsonl}]", f"a.jsonl}}], teacher: {{model: {name}}}") % "minilm"
        )
        teacher = load_recipe(path).tasks["intent"].teacher
        assert teacher is not None
        assert teacher.model == meant
