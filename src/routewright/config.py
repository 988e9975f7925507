"""YAML to frozen dataclasses: strict, and every message carries the dotted path of the key.

Knows how to read, override and check a mapping; each configuration class lives with its owner.
"""

import difflib
import json
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from yaml.reader import ReaderError

from routewright.errors import ConfigError

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
"""What every configuration dataclass sets as ``__pydantic_config__``."""

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, not YAML (with its line) or not a mapping.
    """
    return parse_yaml(read_text(path), source=str(path))


def parse_yaml(text: str, *, source: str) -> dict[str, Any]:
    """The one mapping of a YAML document; `source` says in messages where it comes from.

    Raises:
        ConfigError: not YAML (with its line) or not a mapping.
    """
    try:
        data = load_yaml(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or str(exc).partition("\n")[0]
        raise ConfigError(f"{source}{line}: not valid YAML: {problem}") from exc
    if not isinstance(data, dict):
        found = next((n for kind, n in _KINDS.items() if isinstance(data, kind)), "a value")
        raise ConfigError(
            f"{source}: expected settings as KEY: VALUE, found {found}; name a file of settings"
        )
    return data


_KINDS: Mapping[type, str] = {type(None): "nothing", str: "text", list: "a list"}
"""Of YAML values, in words."""


def read_text(path: Path) -> str:
    """A whole file of UTF-8 text.

    Raises:
        ConfigError: it is missing, cannot be read, or is something else (with the line).
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file; check the path") from exc
    except IsADirectoryError as exc:
        raise ConfigError(f"{path}: is a folder; name a file in it") from exc
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read: {exc.strerror or exc}; check path and rights"
        ) from exc
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            f"{path}:{line}: not UTF-8 text; convert the file, for example with iconv"
        ) from exc


def load_yaml(text: str) -> Any:
    """Plain values of a YAML document, with ``1e-4`` a number and a date a string.

    Raises:
        yaml.YAMLError: it is none; a `yaml.MarkedYAMLError` where the line is known.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except ReaderError as exc:
        line = text.count("\n", 0, exc.position)
        raise yaml.MarkedYAMLError(
            problem=f"character U+{exc.character:04X} is not allowed",
            problem_mark=yaml.Mark("", exc.position, line, 0, None, 0),
        ) from exc
    except RecursionError as exc:
        raise yaml.YAMLError("nested too deeply") from exc


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, and reads ``1e-4``, dates and JSON as they are meant.

    YAML 1.1 takes the last of two equal keys without a word, ``1e-4``, without a dot, for a
    string, ``2024-02-30`` for a date that there is not, and the two halves by which JSON
    escapes an emoji for two broken characters. No setting is a date, so that none is read.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node and node.end_mark is None:  # still being read: it holds this alias
            problem = f"alias *{event.anchor} stands inside what it names; write it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE_TAG:
                if key.value in seen:
                    problem = f"key {key.value!r} occurs twice; keep one"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as exc:
            # What yaml raises for 0x_ and !!int x: they look like a type, and are none of it.
            kind = node.tag.rpartition(":")[2]
            problem = f"{reprlib.repr(node.value)} is no {kind}; quote it if text is meant"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from exc

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        return _PAIR.sub(_joined, value) if isinstance(value, str) else value


def _joined(pair: re.Match[str]) -> str:
    """The one character that a surrogate pair stands for."""
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_MERGE_TAG = "tag:yaml.org,2002:merge"
_DATE_TAG = "tag:yaml.org,2002:timestamp"

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE_TAG]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def apply_overrides(data: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `data` with ``a.b=value`` overrides applied; values are read as YAML.

    Raises:
        ConfigError: an override has no ``=``, or its path runs through something not a mapping.
    """
    result: dict[str, Any] = _copy(data)
    for override in overrides:
        path, separator, raw = override.partition("=")
        if not separator or not path:
            raise ConfigError(f"--set {override}: expected KEY=VALUE, for example train.seed=1")
        try:
            value = load_yaml(raw)
        except yaml.YAMLError as exc:
            raise ConfigError(f"--set {override}: the value is not valid YAML") from exc
        *parents, last = path.split(".")
        node = result
        for name in parents:
            child = node.setdefault(name, {})
            if child is None:
                child = node[name] = {}
            if not isinstance(child, dict):
                raise ConfigError(
                    f"--set {override}: {name} is a value, not a group of settings"
                )
            node = child
        node[last] = value
    return result


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """``KEY=VALUE`` of each plain value by dotted key, as `apply_overrides` takes them."""
    # JSON is YAML, and quotes what YAML would read otherwise.
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def parse(cls: type[T], data: Mapping[str, Any], *, source: str) -> T:
    """Build the dataclass `cls` from a mapping, refusing unknown keys.

    Args:
        cls: a dataclass with ``__pydantic_config__ = STRICT``.
        data: plain values as YAML or JSON give them.
        source: where they come from, named in messages.

    Raises:
        ConfigError: the first wrong key, with its dotted path and, for a typo, the nearest
            name.
    """
    try:
        result: T = _adapter(cls).validate_python(dict(data))  # type: ignore[arg-type]
    except ValidationError as exc:
        raise ConfigError(f"{source}: {_describe(cls, exc)}") from exc
    return result


@cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """Building one takes longer than most validations."""
    return TypeAdapter(cls)


def to_plain(value: Any) -> Any:
    """Plain values (dict, list, str, numbers) of a configuration dataclass, ready for YAML."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def refuse_folder(path: Path) -> None:
    """Refuse a place for a file that is a folder, before the work that is to be written there.

    Raises:
        ConfigError: `path` is empty, which stands for this folder, or an existing folder.
    """
    try:
        is_folder = not path.name or path.is_dir()
    except OSError:
        return  # `write_text` says what is wrong with it
    if is_folder:
        raise ConfigError(f"{path}: cannot be written: Is a directory; name a file in it")


def refuse_file(folder: Path) -> None:
    """Refuse a place for a folder that is a file or below one, before the work.

    Raises:
        ConfigError: names the file.
    """
    if (file := _file_at(folder)) is not None:
        what = "is a file" if file == folder else f"{file} is a file"
        raise ConfigError(f"{folder}: cannot be written: {what}; name a folder")


def why_unwritable(path: Path, error: OSError) -> str:
    """What kept a file from being written, in words for a message."""
    file = _file_at(path.parent)
    return str(error.strerror or error) if file is None else f"{file} is a file, not a folder"


def _file_at(folder: Path) -> Path | None:
    """The file that stands where `folder` or one above it would have to be."""
    for place in (folder, *folder.parents):
        # Unlike `Path.exists` these let no error of the system out.
        if os.path.exists(place):  # noqa: PTH110
            return None if os.path.isdir(place) else place  # noqa: PTH112
    return None


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: of the file; folders on the way are made.
        text: written as UTF-8.
        mode: of the new file, less what the umask takes away.

    Raises:
        ConfigError: the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8"), mode=mode)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file as `write_text` does, of any content.

    Raises:
        ConfigError: the file cannot be written.
    """
    refuse_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(mode)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be written: {why_unwritable(path, exc)}; check place, rights and "
            "space"
        ) from exc


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def key_hint(key: str, known: Sequence[str]) -> str:
    """What somebody who wrote the unknown `key` may have meant; else all that are `known`."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def _describe(cls: type[Any], exc: ValidationError) -> str:
    errors = exc.errors()
    # An unknown key explains a missing one; a person fixes it first.
    error = next((e for e in errors if e["type"] in _UNKNOWN_KEY), errors[0])
    path = ".".join(str(part) for part in error["loc"]) or "(top level)"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if error["type"] in _UNKNOWN_KEY:
        known = _known_keys(cls, error["loc"][:-1])
        hint = f"; {key_hint(str(error['loc'][-1]), known)}" if known else ""
        return f"{path}: unknown key{hint}{more}"
    message = error["msg"].removeprefix("Value error, ")
    given = f", got {error['input']!r}"
    if error["type"] == "missing" or len(given) > _LONGEST_VALUE:
        given = ""
    return f"{path}: {message[0].lower()}{message[1:]}{given}{more}"


_LONGEST_VALUE = 100
"""Characters of a value that still fit into a line with its message."""
_UNKNOWN_KEY = {"unexpected_keyword_argument", "extra_forbidden"}


def _known_keys(cls: Any, location: tuple[Any, ...]) -> list[str]:
    """Field names of the dataclass at `location` below `cls`, where types can be followed."""
    for part in location:
        names = get_type_hints(cls) if is_dataclass(cls) else {}
        candidates = _dataclasses_in(names[part]) if part in names else _dataclasses_in(cls)
        if not candidates:
            return []
        cls = candidates[0]
    # A field named for a Python keyword ends in "_" (`not_`); its key does not.
    return [f.name.rstrip("_") for f in fields(cls)] if is_dataclass(cls) else []


def _dataclasses_in(annotation: Any) -> list[Any]:
    if is_dataclass(annotation):
        return [annotation]
    return [c for arg in getattr(annotation, "__args__", ()) for c in _dataclasses_in(arg)]
