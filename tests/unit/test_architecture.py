"""Rules of the architecture that no linter checks: sizes, names, the error tree, the flags."""

import ast
import json
import re
import subprocess
import sys
import types
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.main import get_command

import routewright
from routewright import errors
from routewright.calibration import TaskCalibration
from routewright.config import STRICT
from routewright.data.config import DataSpec

ROOT = Path(__file__).parents[2]
PACKAGE = Path(routewright.__file__).parent
SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if "_proto" not in p.parts)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
FLAGS = ROOT / "tests" / "golden" / "cli_flags.json"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
DRAWERS = {"utils", "util", "common", "helpers", "helper", "base", "misc", "manager"}
HEAVY = ("numpy", "onnxruntime", "tokenizers", "torch", "transformers", "datasets", "typer")
TRAINING = ("torch", "transformers", "datasets", "peft", "sklearn", "accelerate")


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """A file's syntax tree, walked once for all rules."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES + TESTS}
    too_long = {p.name: n for p, n in lengths.items() if n > MAX_FILE_LINES}
    assert not too_long


def test_no_function_is_longer_than_the_limit() -> None:
    too_long = [
        f"{place(path, node)} {node.name}"
        for path in SOURCES + TESTS
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not too_long


def test_modules_are_named_for_what_they_hold() -> None:
    assert not [p.name for p in SOURCES + TESTS if p.stem in DRAWERS or p.stem[-3:] == "_v2"]


def test_imports_are_absolute() -> None:
    relative = [
        place(path, node)
        for path in SOURCES + TESTS
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not relative


def test_only_the_command_line_prints() -> None:
    printing = [
        place(path, node)
        for path in SOURCES
        if "cli" not in path.relative_to(PACKAGE).parts
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not printing


def error_classes() -> list[type[errors.RoutewrightError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.RoutewrightError)
    ]


def drawn_tree() -> dict[str, tuple[str | None, str]]:
    """Class name to parent and code, as the docstring of `errors` draws them."""
    tree: dict[str, tuple[str | None, str]] = {}
    ancestors: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([ |'-]*)(\w+Error)\s+(\w+)\s{2,}", line)
        if match is None:
            continue
        depth, name, code = len(match[1]), match[2], match[3]
        ancestors = [a for a in ancestors if a[0] < depth]
        tree[name] = (ancestors[-1][1] if ancestors else None, code)
        ancestors.append((depth, name))
    return tree


def test_the_error_tree_in_the_docstring_is_the_one_in_the_code() -> None:
    actual = {
        cls.__name__: (
            None if cls is errors.RoutewrightError else cls.__mro__[1].__name__,
            cls.code,
        )
        for cls in error_classes()
    }
    assert drawn_tree() == actual


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in error_classes()]
    assert len(set(codes)) == len(codes)


def test_every_error_class_is_defined_in_errors() -> None:
    elsewhere = [
        place(path, node)
        for path in SOURCES
        if path.name != "errors.py"
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    ]
    assert not elsewhere


def dataclasses_below(annotation: Any, seen: set[type]) -> None:
    """Add to `seen` every dataclass that can be reached, also one that holds itself."""
    if isinstance(annotation, types.GenericAlias) or get_args(annotation):
        for argument in get_args(annotation):
            dataclasses_below(argument, seen)
    elif isinstance(annotation, type) and is_dataclass(annotation) and annotation not in seen:
        seen.add(annotation)
        for inner in get_type_hints(annotation).values():
            dataclasses_below(inner, seen)


def configuration_roots() -> list[type]:
    from routewright.bundle import BundleManifest
    from routewright.gateway.settings import GatewaySettings
    from routewright.policy.settings import Policy
    from routewright.train.recipe import Recipe
    from routewright.train.run import SavedModel

    return [
        Recipe,
        DataSpec,
        SavedModel,
        BundleManifest,
        TaskCalibration,
        Policy,
        GatewaySettings,
    ]


def test_every_configuration_dataclass_refuses_unknown_keys() -> None:
    reachable: set[type] = set()
    for root in configuration_roots():
        dataclasses_below(root, reachable)
    assert len(reachable) > 40
    lenient = [
        cls.__qualname__
        for cls in reachable
        if getattr(cls, "__pydantic_config__", None) is not STRICT
    ]
    assert not lenient


def loaded_after(statement: str, modules: tuple[str, ...]) -> list[str]:
    """Which of `modules` a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint([m for m in {modules!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded: list[str] = ast.literal_eval(result.stdout.decode())
    return loaded


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import routewright", HEAVY) == []


@pytest.mark.parametrize("module", ["runtime.classifier", "evaluate", "compare", "cli.main"])
def test_what_the_base_install_uses_does_not_load_the_training_stack(module: str) -> None:
    assert loaded_after(f"import routewright.{module}", TRAINING) == []


def flags(command: Any, name: str = "") -> dict[str, list[str]]:
    """Arguments and options of a command and of those below it."""
    if hasattr(command, "commands"):
        inner = [flags(c, f"{name} {n}".strip()) for n, c in sorted(command.commands.items())]
        return {verb: options for group in inner for verb, options in group.items()}
    return {
        name: sorted(
            option
            for p in command.params
            for option in (
                [*p.opts, *p.secondary_opts] if p.param_type_name == "option" else [p.name]
            )
        )
    }


def test_the_flags_of_every_verb_are_the_frozen_ones(update_golden: bool) -> None:
    from routewright.cli.main import app

    actual = flags(get_command(app))
    if update_golden:
        FLAGS.write_text(json.dumps(actual, indent=2) + "\n", encoding="utf-8")
    assert actual == json.loads(FLAGS.read_text(encoding="utf-8")), (
        "flags are an interface; if the change is meant, run: "
        "pytest tests/unit/test_architecture.py --update-golden"
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_loads(path: Path) -> None:
    from routewright.train.recipe import load_recipe

    recipe = load_recipe(path)
    for name, task in recipe.tasks.items():
        if task.labels is not None or task.kind is None:
            task.resolve(name)
