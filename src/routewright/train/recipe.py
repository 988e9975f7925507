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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from routewright.calibration import parse_target
from routewright.config import STRICT, apply_overrides, parse, read_yaml, to_plain
from routewright.data.config import DataSpec
from routewright.encoding import EncodingConfig
from routewright.errors import ConfigError, TaskError
from routewright.second_look import SecondLookSettings
from routewright.tasks import BUILT_IN, LossConfig, Task, TaskKind, WindowRule
from routewright.train.lora import LoraConfig
from routewright.train.modeling import ModelConfig
from routewright.train.settings import SETTING_NAMES, checked_values, lora_defaults


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
    kind: TaskKind | None = None
    labels: tuple[str, ...] | None = None
    loss: LossConfig | None = None
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
            if f.name not in ("train", "validation", "test")
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
    start_from: Mapping[str, Any] | None = None
    """A recipe to train first, on the same `data_dir`, whose weights this one starts from; in a
    file the path of that recipe."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `TrainSettings` and of `transformers.TrainingArguments`."""
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a recipe needs at least one task")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"needs 0 <= seed < 2**32, found {self.seed}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply ``KEY=VALUE`` overrides and check it.

    A key without a dot that is one of the `train` settings means ``train.KEY``. `data_dir` and
    the folder of a backbone are relative to the file; given as overrides, to the current
    folder.

    Raises:
        ConfigError: anything wrong, with the dotted path of the key.
    """
    return _load(path, overrides, later=())


def _load(path: Path, overrides: Sequence[str], later: tuple[Path, ...]) -> Recipe:
    """Read a recipe that the recipes `later` start from."""
    if path.resolve() in later:
        raise ConfigError(
            f"{path}: start_from leads back to this recipe; let the first stage start from none"
        )
    data = read_yaml(path)
    data["data_dir"] = str(data.get("data_dir") or ".")
    data = _with_full_paths(data, path.parent)
    start = data.get("start_from")
    if isinstance(start, str):
        first = path.parent / Path(start).expanduser()
        data["start_from"] = to_plain(_load(first, (), (*later, path.resolve())))
    data = apply_overrides(data, [_expand(o) for o in overrides])
    return parse_recipe(_with_full_paths(data, Path()), source=str(path))


def parse_recipe(data: Mapping[str, Any], *, source: str) -> Recipe:
    """Check a mapping as `load_recipe` reads it.

    Raises:
        ConfigError: anything wrong, with the dotted path of the key.
    """
    values = dict(data)
    tasks = values.get("tasks")
    if isinstance(values.get("lora"), Mapping) and isinstance(tasks, Mapping):
        values["lora"] = {**lora_defaults(list(tasks))[0], **values["lora"]}
    recipe = parse(Recipe, values, source=source)
    try:
        checked_values(recipe.train)
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
    _check_targets(recipe, source)
    first = first_stage(recipe, source=source)
    if first is not None and (recipe.lora is not None or first.lora is not None):
        raise ConfigError(
            f"{source}: start_from: needs recipes that train all weights; leave lora out"
        )
    return recipe


def first_stage(recipe: Recipe, *, source: str) -> Recipe | None:
    """The recipe that `recipe` starts from, reading the same data folder.

    Raises:
        ConfigError: anything wrong in it.
    """
    if recipe.start_from is None:
        return None
    values = {**recipe.start_from, "data_dir": recipe.data_dir}
    return parse_recipe(values, source=f"{source}: start_from")


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
    result["data_dir"] = str((root / Path(str(data["data_dir"])).expanduser()).resolve())
    model = data.get("model")
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    if isinstance(backbone, str):
        folder = root / Path(backbone).expanduser()
        if backbone.startswith((".", "~")) or (folder / "config.json").is_file():
            result["model"] = {**(model or {}), "backbone": str(folder.resolve())}
    return result


def _expand(override: str) -> str:
    key, separator, value = override.partition("=")
    own = {f.name for f in fields(Recipe)}
    is_training = separator and key in SETTING_NAMES - own
    return f"train.{key}={value}" if is_training else override
