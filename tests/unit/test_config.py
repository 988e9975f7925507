"""Configuration messages name file, key and remedy."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ConfigDict

from routewright.config import (
    STRICT,
    apply_overrides,
    parse,
    read_yaml,
    refuse_file,
    to_plain,
    write_text,
)
from routewright.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    learning_rate: float = 1e-3
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: str
    train: Optimizer = field(default_factory=Optimizer)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "a", "trian": {}}, "r.yaml: trian: unknown key; did you mean train?"),
        (
            {"name": "a", "train": {"learning_rat": 1}},
            "r.yaml: train.learning_rat: unknown key; did you mean learning_rate?",
        ),
        ({"name": "a", "zzz": 1}, "r.yaml: zzz: unknown key; known: name, train"),
        ({}, "r.yaml: name: field required"),
        ({"name": "a", "train": {"learning_rate": "fast"}}, "r.yaml: train.learning_rate: "),
        ({"nam": "a"}, "r.yaml: nam: unknown key; did you mean name? (and 1 more)"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Recipe, data, source="r.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_plain_values_parse_back_to_the_same_configuration() -> None:
    recipe = Recipe(name="a", train=Optimizer(names=("x", "y")))
    assert parse(Recipe, to_plain(recipe), source="here") == recipe


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("true", True),
        ("[a, b]", ["a", "b"]),
        ("text", "text"),
        ("2024-02-30", "2024-02-30"),
    ],
)
def test_overrides_are_read_as_yaml_and_leave_the_original_alone(
    override: str, value: object
) -> None:
    data = {"train": {"seed": 1}}
    result = apply_overrides(data, [f"train.rate={override}", "new.key=1"])
    assert result == {"train": {"seed": 1, "rate": value}, "new": {"key": 1}}
    assert data == {"train": {"seed": 1}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "--set train.seed: expected KEY=VALUE"),
        ("name.x=1", "--set name.x=1: name is a value, not a group of settings"),
        ("a=[", "--set a=[: the value is not valid YAML"),
        ("a=0x_", "--set a=0x_: the value is not valid YAML"),
        ("a=&r [*r]", "--set a=&r [*r]: the value is not valid YAML"),
    ],
)
def test_a_wrong_override_is_quoted(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides({"name": "a"}, [override])
    assert str(caught.value).startswith(message)


def test_unreadable_yaml_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1\nb: [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"r\.yaml:3: not valid YAML"):
        read_yaml(path)


def message_of(path: Path) -> str:
    """What `read_yaml` says of the file."""
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    return str(caught.value)


def test_a_file_that_is_no_text_or_none_at_all_is_named_once_with_advice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.yaml"
    assert message_of(path) == f"{path}: no such file; check the path"
    assert message_of(tmp_path) == f"{tmp_path}: is a folder; name a file in it"
    long = tmp_path / ("x" * 300)
    assert message_of(long).endswith(
        ": cannot be read: File name too long; check path and rights"
    )
    path.write_bytes(b"a: 1\r\nb: caf\xe9\n")
    advice = "not UTF-8 text; convert the file, for example with iconv"
    assert message_of(path) == f"{path}:2: {advice}"


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "nothing"), ("text,label\na,b\n", "text"), ("- a\n", "a list"), ("1\n", "a value")],
)
def test_a_file_of_something_else_than_settings_says_what_is_expected(
    content: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content, encoding="utf-8")
    assert message_of(path) == (
        f"{path}: expected settings as KEY: VALUE, found {found}; name a file of settings"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0x_", "'0x_' is no int; quote it if text is meant"),
        ("!!int x", "'x' is no int; quote it if text is meant"),
        ("!!float ''", "'' is no float; quote it if text is meant"),
        ("!!bool x", "'x' is no bool; quote it if text is meant"),
        ("!!timestamp x", "'x' is no timestamp; quote it if text is meant"),
        ("9" * 5000, "'999999999999...9999999999999' is no int; quote it if text is meant"),
        ("&r {not: *r}", "alias *r stands inside what it names; write it out"),
        ("&r [[*r]]", "alias *r stands inside what it names; write it out"),
        ("a\0b", "character U+0000 is not allowed"),
    ],
)
def test_a_value_that_is_not_what_it_looks_like_is_one_line_with_its_place(
    value: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"a: 1\nb: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}:2: not valid YAML: {message}"


def test_nesting_without_end_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: " + "[" * 5000, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: not valid YAML: nested too deeply"


def test_what_looks_like_a_date_is_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    texts = {"a": "2024-02-30", "b": "2024-01-01T25:00:00Z", "c": "2024-01-01"}
    path.write_text("".join(f"{k}: {v}\n" for k, v in texts.items()), encoding="utf-8")
    assert read_yaml(path) == texts


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("rate: 1e-4\nsha: 7e1b\n", encoding="utf-8")
    assert read_yaml(path) == {"rate": 1e-4, "sha": "7e1b"}


def test_json_is_read_as_json_with_characters_beyond_the_first_plane(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = {"labels": ["\U0001f600", "ok"], "\U00020bb7": "/data/\U0001f600 \u00e9"}
    path.write_text(json.dumps(content), encoding="utf-8")  # escapes each as a pair
    assert read_yaml(path) == content


def test_a_written_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_text(tmp_path / "folder" / "a.txt", "old")
    write_text(tmp_path / "folder" / "a.txt", "new")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["a.txt"]
    assert (tmp_path / "folder" / "a.txt").read_text(encoding="utf-8") == "new"


def test_a_private_file_is_never_there_for_others(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o644)
    write_text(path, "new", mode=0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


@pytest.mark.parametrize("place", ["", ".", "/"])
def test_a_folder_is_no_place_for_a_file(place: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written: Is a directory; name a file"):
        write_text(Path(place), "x")


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="taken: cannot be written: Is a directory"):
        write_text(tmp_path / "taken", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.touch()
    refuse_file(tmp_path)
    refuse_file(tmp_path / "new" / "folder")
    with pytest.raises(ConfigError) as caught:
        refuse_file(file)
    assert str(caught.value) == f"{file}: cannot be written: is a file; name a folder"
    for path in (file / "a.txt", file / "folder" / "a.txt"):
        with pytest.raises(ConfigError, match=rf"written: {file} is a file; name a folder"):
            refuse_file(path.parent / "below")
        with pytest.raises(ConfigError, match=rf"{file} is a file, not a folder; check place"):
            write_text(path, "x")
