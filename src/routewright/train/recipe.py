"""A recipe: one YAML file from data to bundle.

name: my-router
data_dir: ../data              # relative to this file; paths below are relative to it
model: {backbone: minilm}
tasks:
  category:                    # a built-in task brings its labels and loss
    train: [{path: category/train.jsonl.gz}]
    validation: [{path: category/validation.jsonl.gz}]
    test: [{path: category/test.jsonl.gz}]
  sentiment:                   # a task of your own needs its kind; labels come from the data
    kind: sequence
    train: [{path: reviews.csv}]
train: {num_train_epochs: 3}   # any name of transformers.TrainingArguments
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ConfigDict

from routewright.calibration import parse_target
from routewright.config import (
    STRICT,
    apply_overrides,
    as_overrides,
    parse,
    parse_yaml,
    read_text,
    to_plain,
)
from routewright.data.config import DataSpec
from routewright.encoding import EncodingConfig
from routewright.errors import ConfigError, TaskError
from routewright.second_look import SecondLookSettings
from routewright.shipped import DEFAULT
from routewright.tasks import BUILT_IN, LossConfig, Task, TaskKind, WindowRule
from routewright.train.distillation import TeacherConfig
from routewright.train.lora import LoraConfig
from routewright.train.modeling import ModelConfig
from routewright.train.settings import SETTING_NAMES, checked_values, lora_defaults

_HOW_IT_TRAINS = re.compile(r"train\.[^.]+|tasks\.[^.]+\.loss\.(?!kind$)[^.]+")
"""Keys in which averaged runs may differ: they share data, seed of the heads and shapes, and
the kind of a loss brings weights of its own."""

_SECTIONS = re.compile(
    r"lora|train|encoding|calibration|export(\.second_look)?|model(\.ngrams)?|"
    r"tasks\.[^.]+\.(loss|teacher)"
)
"""Keys of mappings: with nothing behind them they would be none, for `lora` the opposite of
what its presence says. A written ``null`` is a choice."""


@dataclass(frozen=True, kw_only=True)
class TaskRecipe:
    """One task of a recipe: its data, and what differs from the built-in task of that name."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    train: tuple[DataSpec, ...]
    """Where training rows come from."""
    validation: tuple[DataSpec, ...] = ()
    """Rows that choose the checkpoint and fit the calibration; none given: a tenth of `train`,
    split off after removing duplicates, near duplicates kept together."""
    test: tuple[DataSpec, ...] = ()
    """Rows read once, for the record."""
    teacher: TeacherConfig | None = None
    """A finished model whose probabilities the head learns beside the labels (distillation)."""
    kind: TaskKind | None = None
    labels: tuple[str, ...] | None = None
    loss: LossConfig | None = None
    """Without a `kind`, what is given changes the loss of the built-in task of that name."""
    positive: str | None = None
    windows: WindowRule | None = None
    main_metric: str | None = None
    tools: Mapping[str, tuple[str, ...]] | None = None
    coarse: Mapping[str, str] | None = None

    def resolve(self, name: str, labels_in_data: Sequence[str] = ()) -> Task:
        """The task: fields given here over those of the built-in task of that name.

        Args:
            name: of the task.
            labels_in_data: used where neither the recipe nor a built-in task states labels.
        """
        given = {
            f.name: value
            for f in fields(self)
            if f.name not in ("train", "validation", "test", "teacher")
            and (value := getattr(self, f.name)) is not None
        }
        if name in BUILT_IN:
            built_in = BUILT_IN[name]
            if given.get("labels", built_in.labels) != built_in.labels:
                # Tools and coarse names of labels that a subset leaves out would dangle.
                built_in = replace(built_in, tools={}, coarse={})
            return replace(built_in, **given)
        if self.kind is None:
            raise TaskError(
                f"tasks.{name}: not a built-in task ({', '.join(BUILT_IN)}); "
                "state kind: sequence or token"
            )
        given.setdefault("labels", tuple(sorted(labels_in_data)))
        return Task(name=name, **given)


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Operating points to fit on validation data."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    targets: tuple[str, ...] = ()
    """For example ``jailbreak.fpr=0.01``, ``pii.recall=0.98``, ``category.precision=0.95``."""

    def __post_init__(self) -> None:
        for target in self.targets:
            parse_target(target)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What an exported bundle must satisfy."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    int8: bool = True
    """Whether to write an int8 graph beside the fp32 one."""
    max_int8_loss: float = 0.5
    """Points (hundredths) of a task's main metric that int8 may lose on validation data."""
    second_look: SecondLookSettings | None = field(default_factory=SecondLookSettings)
    """How rules check the entities that the bundle finds; `second_look: null` for none. The
    int8 gate and the calibration judge the model without it."""
    card: str | None = None
    """Markdown for the model card, which otherwise says only what was measured: sources and
    their licences, intended use, known limits."""


@dataclass(frozen=True, kw_only=True)
class AveragedRun:
    """One of the runs whose weights are averaged: the recipe with a few settings changed."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    share: float = 1.0
    """Its part of the average, relative to the shares of the other runs; above 0."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """By dotted key, under ``train`` or ``tasks.NAME.loss``: ``{train.data_seed: 1}``."""

    def __post_init__(self) -> None:
        if not 0 < self.share < math.inf:
            raise ValueError(f"needs 0 < share, found {self.share}")
        for key in self.changes:
            if _HOW_IT_TRAINS.fullmatch(key) is None:
                raise ValueError(
                    f"changes: {key}: averaged runs differ in how they train; change "
                    "train.KEY or tasks.NAME.loss.KEY (not its kind)"
                )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines a training run."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    tasks: Mapping[str, TaskRecipe]
    data_dir: str = "."
    seed: int = 42
    model: ModelConfig = field(default_factory=ModelConfig)
    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    lora: LoraConfig | None = None
    """Train adapters on a frozen backbone; `lora: {}` takes the defaults of the tasks."""
    average: tuple[AveragedRun, ...] = ()
    """Runs of this recipe whose weights are averaged into one model, as `model_average` does;
    none given: one run, as it is."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `TrainSettings` and of `transformers.TrainingArguments`."""
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a recipe needs at least one task")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"needs 0 <= seed < 2**32, found {self.seed}")
        if len(self.average) == 1:
            raise ValueError("average: needs two runs or more; leave it out for a single one")
        if self.average and self.lora is not None:
            # The mean of two products is not the product of the means of their factors.
            raise ValueError("average: needs runs that train all weights; leave lora out")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply ``KEY=VALUE`` overrides and check it.

    A key without a dot that is one of the `train` settings means ``train.KEY``. `data_dir` and
    the folders of a backbone and of teachers are relative to the file; given as overrides, to
    the current folder.

    Raises:
        ConfigError: anything wrong, with the dotted path of the key.
    """
    text = read_text(path)  # once: it may come through a pipe
    data = parse_yaml(text, source=str(path))
    _refuse_empty_sections(path, text, overrides)
    data["data_dir"] = str(data.get("data_dir") or ".")
    data = _with_full_paths(data, path.parent)
    data = apply_overrides(data, [with_full_key(o) for o in overrides])
    return parse_recipe(_with_full_paths(data, Path()), source=str(path))


def _refuse_empty_sections(path: Path, text: str, overrides: Sequence[str]) -> None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    given = (override.partition("=") for override in overrides)
    unset = (key for key, separator, value in given if separator and not value.strip())
    for key in (*_empty_keys(root), *unset):
        if _SECTIONS.fullmatch(key):
            last = key.rpartition(".")[2]
            raise ConfigError(
                f"{path}: {key}: needs a mapping; use `{last}: {{}}` for the defaults, "
                "or leave it out"
            )


def _empty_keys(node: yaml.Node | None, prefix: str = "") -> Iterator[str]:
    """Dotted paths of the keys of mappings that have nothing behind them, not even `null`."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        path = f"{prefix}{key.value}"
        if isinstance(value, yaml.ScalarNode) and not value.value and not value.style:
            yield path
        yield from _empty_keys(value, f"{path}.")


def parse_recipe(data: Mapping[str, Any], *, source: str) -> Recipe:
    """Check a mapping as `load_recipe` reads it.

    Raises:
        ConfigError: anything wrong, with the dotted path of the key.
    """
    values = dict(data)
    tasks = values.get("tasks")
    if isinstance(values.get("lora"), Mapping) and isinstance(tasks, Mapping):
        values["lora"] = {**lora_defaults(list(tasks))[0], **values["lora"]}
    if isinstance(tasks, Mapping):
        values["tasks"] = {
            name: _with_built_in_loss(name, task) for name, task in tasks.items()
        }
    recipe = parse(Recipe, values, source=source)
    try:
        checked_values(recipe.train)
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
    _check_targets(recipe, source)
    averaged_recipes(recipe, source=source)
    return recipe


def _with_built_in_loss(name: str, task: Any) -> Any:
    """The task with a loss that states no kind laid over the one it changes."""
    loss = task.get("loss") if isinstance(task, Mapping) else None
    if name not in BUILT_IN or not isinstance(loss, Mapping) or loss.get("kind") is not None:
        return task
    return {**task, "loss": {**to_plain(BUILT_IN[name].loss), **loss}}


def averaged_recipes(recipe: Recipe, *, source: str) -> tuple[Recipe, ...]:
    """A recipe for each run that `recipe` averages; n-grams are left to the average itself.

    Raises:
        ConfigError: a change is not a setting.
    """
    model = replace(recipe.model, ngrams=None)
    shared = to_plain(replace(recipe, average=(), model=model))
    found = []
    for number, run in enumerate(recipe.average):
        place = f"{source}: average[{number}]"
        changed = apply_overrides(shared, as_overrides(run.changes))
        found.append(parse_recipe(changed, source=place))
    return tuple(found)


def _check_targets(recipe: Recipe, source: str) -> None:
    tasks = [parse_target(target).task for target in recipe.calibration.targets]
    for target, task in zip(recipe.calibration.targets, tasks, strict=True):
        place = f"{source}: calibration.targets: {target}"
        if task not in recipe.tasks:
            raise ConfigError(
                f"{place}: no such task in this recipe; tasks: {', '.join(recipe.tasks)}"
            )
        if tasks.count(task) > 1:
            raise ConfigError(f"{place}: {task} has another target; give one a task")


def _with_full_paths(data: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Paths that start from `root` made independent of it; a run is resumed from anywhere."""
    result = dict(data)
    result["data_dir"] = str(
        _seen_from(root, str(data["data_dir"] or "."), "data_dir").resolve()
    )
    result |= _with_full_path(data, "model", "backbone", root, mark="config.json")
    tasks = data.get("tasks")
    if isinstance(tasks, Mapping):
        result["tasks"] = {
            name: _with_full_teacher(task, root) if isinstance(task, Mapping) else task
            for name, task in tasks.items()
        }
    return result


def _with_full_teacher(task: Mapping[str, Any], root: Path) -> dict[str, Any]:
    result = {**task, **_with_full_path(task, "teacher", "model", root)}
    return {**result, **_with_full_path(result, "teacher", "answers", root)}


def _with_full_path(
    data: Mapping[str, Any], section: str, key: str, root: Path, *, mark: str = "."
) -> dict[str, Any]:
    """The section, if its key names a folder that holds `mark`, seen from `root`."""
    values = data.get(section)
    name = values.get(key) if isinstance(values, Mapping) else None
    if not isinstance(name, str) or name == DEFAULT:  # a folder of that name is ./default
        return {}
    folder = _seen_from(root, name, f"{section}.{key}")
    try:
        if not name.startswith((".", "~")) and not (folder / mark).exists():
            return {}
    except OSError as exc:  # a name too long, a folder without rights
        raise ConfigError(
            f"{section}.{key}: {name}: cannot be read: {exc.strerror}; check the path"
        ) from exc
    return {section: {**(values or {}), key: str(folder.resolve())}}


def _seen_from(root: Path, name: str, key: str) -> Path:
    try:
        return root / Path(name).expanduser()
    except RuntimeError as exc:  # nobody of that name has a home
        raise ConfigError(f"{key}: {name}: {exc}; check the path") from exc


def with_full_key(override: str) -> str:
    """``KEY=VALUE`` with ``train.`` before a key that is one of its settings."""
    key, separator, value = override.partition("=")
    own = {f.name for f in fields(Recipe)}
    is_training = separator and key in SETTING_NAMES - own
    return f"train.{key}={value}" if is_training else override
