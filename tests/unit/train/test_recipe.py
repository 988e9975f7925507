"""What a recipe file means, wherever it is read from."""

from pathlib import Path

import pytest

from routewright.config import to_plain
from routewright.errors import ConfigError
from routewright.train.recipe import first_stage, load_recipe, parse_recipe

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
    assert recipe.model.backbone == str(tmp_path / "mine")


def test_a_backbone_that_is_a_folder_beside_the_recipe_needs_no_dot(tmp_path: Path) -> None:
    path = write(tmp_path / "recipes", "owner/model")
    assert load_recipe(path).model.backbone == "owner/model"
    (tmp_path / "recipes" / "owner" / "model").mkdir(parents=True)
    (tmp_path / "recipes" / "owner" / "model" / "config.json").write_text("{}")
    assert load_recipe(path).model.backbone == str(tmp_path / "recipes" / "owner" / "model")


def two_stages(folder: Path, *, first: str = "", second: str = "") -> Path:
    path = write(folder, "minilm")
    (folder / "first.yaml").write_text(path.read_text() + first)
    path.write_text(path.read_text() + "start_from: first.yaml\n" + second)
    return path


def test_a_recipe_holds_the_one_it_starts_from_and_shares_its_data_folder(
    tmp_path: Path,
) -> None:
    path = two_stages(tmp_path / "recipes", first="train: {num_train_epochs: 7}\n")
    recipe = load_recipe(path, [f"data_dir={tmp_path / 'elsewhere'}"])
    (path.parent / "first.yaml").unlink()
    again = parse_recipe(to_plain(recipe), source="run")
    first = first_stage(again, source="run")
    assert first is not None
    assert first.train["num_train_epochs"] == 7
    assert first.data_dir == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("start_from: recipe.yaml\n", "", "leads back to this recipe"),
        ("lora: {}\n", "", "leave lora out"),
        ("", "lora: {}\n", "leave lora out"),
        ("train: {num_epochs: 1}\n", "", "num_epochs"),
    ],
)
def test_a_first_stage_that_cannot_be_trained_is_refused(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(two_stages(tmp_path / "recipes", first=first, second=second))
