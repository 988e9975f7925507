"""One column of a row to a text, a label or spans, with a clear message where it is neither.

Messages carry no place: the reader knows file and line and adds them.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from routewright.data.examples import Example
from routewright.errors import DataError
from routewright.labels import Span

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def column_of(row: Mapping[str, Any], name: str) -> Any:
    """Value of a column.

    Raises:
        DataError: the row has no such column; names those it has.
    """
    if name not in row:
        raise DataError(f"no column {name!r}; found: {', '.join(map(str, row))}")
    return row[name]


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A text with at least one visible character, which UTF-8 can hold."""
    value = column_of(row, name)
    if not isinstance(value, str):
        raise DataError(f"{name}: must be text, found {_type_of(value)}")
    if not value.strip():
        raise DataError(f"{name}: the text is empty")
    if _SURROGATE.search(value):
        raise DataError(f"{name}: half of a surrogate pair, which UTF-8 cannot hold")
    return value


def lines_of(row: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a column that holds one, or a list of texts and numbers; none if empty."""
    value = column_of(row, name)
    values = value if isinstance(value, list) else [value]
    for entry in values:
        if not isinstance(entry, str | int | float) or isinstance(entry, bool):
            raise DataError(f"{name}: must be text or a list of texts, found {_type_of(entry)}")
    lines = [_SURROGATE.sub("\ufffd", str(entry)).strip() for entry in values]
    return [line for line in lines if line]


def label_of(row: Mapping[str, Any], name: str) -> str:
    """A label name; numbers, as CSV and JSON carry them, stand for their own digits."""
    value = column_of(row, name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise DataError(f"{name}: must be a label name, found {_type_of(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{name}: must be a label name, found {value}")
    return _label(str(value), f"{name}: the label")


def spans_of(
    row: Mapping[str, Any], name: str, keys: tuple[str, str, str] = ("start", "end", "label")
) -> tuple[Span, ...]:
    """Spans sorted by position, from a list of objects or its JSON text; ranges unchecked.

    Args:
        row: of the file.
        name: of the column.
        keys: names of start, end and label in each object.
    """
    value = column_of(row, name)
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except (ValueError, RecursionError) as exc:
            raise DataError(f"{name}: not a JSON list of spans") from exc
    if not isinstance(value, list):
        raise DataError(f"{name}: must be a list of spans, found {_type_of(value)}")
    return tuple(sorted(_span_of(entry, keys) for entry in value))


def _span_of(entry: object, keys: tuple[str, str, str]) -> Span:
    if not isinstance(entry, Mapping) or not set(keys) <= entry.keys():
        raise DataError(f"each span must be an object with {', '.join(keys)}")
    start, end, label = (entry[key] for key in keys)
    for key, value in zip(keys, (start, end), strict=False):
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"span {key} must be a whole number, found {_type_of(value)}")
    place = f"span [{start}, {end}): the {keys[2]}"
    if not isinstance(label, str):
        raise DataError(f"{place} is empty or not text")
    return Span(start, end, _label(label, place))


def with_whole_characters(example: Example) -> Example:
    """The example with every half of a surrogate pair in its meta columns made U+FFFD.

    Scraped data has them where an emoji was cut off, and no file could be written with them.
    """
    meta = {_whole(k): _whole(v) for k, v in example.meta.items()}
    return example if meta == example.meta else replace(example, meta=meta)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(entry) for key, entry in value.items()}
    return value


def _label(value: str, place: str) -> str:
    """A name without the spaces around it; messages begin with `place`."""
    if not value.strip():
        raise DataError(f"{place} is empty")
    if _SURROGATE.search(value):
        raise DataError(f"{place} has half of a surrogate pair, which UTF-8 cannot hold")
    return value.strip()


def _type_of(value: object) -> str:
    return "nothing (null)" if value is None else type(value).__name__
