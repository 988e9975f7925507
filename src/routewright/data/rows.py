"""Files to rows: a row is a mapping from column to value, with the line it stands on.

Knows file formats and nothing of texts and labels. Lines count from 1; formats without lines
(Parquet, saved data sets) count rows from 1.
"""

import csv
import gzip
import json
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from routewright.data.columnar import read_dataset_folder, read_parquet
from routewright.errors import DataError

Row = Mapping[str, Any]
OnError = Callable[[DataError], None]
"""Hears of a row that is wrong, and may raise; if it returns, the row is left out."""

ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
_LINELESS = (".parquet",)


def stop(error: DataError) -> None:
    """Raise the first error."""
    raise error


def read_rows(path: Path, on_error: OnError = stop) -> Iterator[tuple[int, Row]]:
    """Rows of a file (by its name's ending) or of a folder saved by `datasets`.

    Args:
        path: of the file or folder.
        on_error: hears of each row after which the next one can still be found.

    Raises:
        DataError: the file is missing, damaged or of an unknown kind, with file and line.
    """
    if is_folder(path):
        return read_dataset_folder(path)
    if not exists(path):
        raise DataError("no such file; check the path", path=path)
    name = path.name.lower().removesuffix(".gz")
    if path.name.lower().endswith(".parquet"):
        return read_parquet(path)
    for suffix, reader in ((".jsonl", _read_jsonl), (".json", _read_json), (".csv", _read_csv)):
        if name.endswith(suffix):
            return reader(path, on_error)
    raise DataError(
        f"unknown kind of file; known endings: {', '.join(ROW_SUFFIXES)}", path=path
    )


def exists(path: Path) -> bool:
    """Whether a file or folder has this name.

    Raises:
        DataError: the system cannot tell, for example of what is in an unreadable folder.
    """
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder has this name.

    Raises:
        DataError: the system cannot tell, for example of what is in an unreadable folder.
    """
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    # Not `Path.exists`, which lets every OSError but a few out.
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return None
    except OSError as exc:
        raise DataError(
            f"cannot be read: {exc.strerror}; check path and rights", path=path
        ) from exc


def at_row(message: str, path: Path | str, line: int) -> DataError:
    """A `DataError` that names the line, or the row in formats without lines."""
    place = Path(path)
    if place.name.lower().endswith(ROW_SUFFIXES) and place.suffix.lower() not in _LINELESS:
        return DataError(message, path=path, line=line)
    return DataError(f"row {line}: {message}", path=path)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 text file, with their ending, numbered from 1; unpacks ``.gz``.

    Raises:
        DataError: missing or unreadable file, damaged gzip, or a line that is not UTF-8.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                text = raw.decode("utf-8")
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as exc:
        raise DataError(
            "not UTF-8 text; convert the file, for example with iconv", path=path, line=number
        ) from exc
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise DataError(
            f"damaged gzip after line {number} ({exc}); copy or download it again", path=path
        ) from exc
    except OSError as exc:
        raise DataError(f"cannot be read: {exc.strerror or exc}", path=path) from exc


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _read_jsonl(path: Path, on_error: OnError) -> Iterator[tuple[int, Row]]:
    for number, line in read_lines(path):
        if line.strip():
            try:
                row = _json_row(line, path, number)
            except DataError as exc:
                on_error(exc)
            else:
                yield number, row


def _json_row(line: str, path: Path, number: int) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DataError(f"not valid JSON: {_reason(exc)}", path=path, line=number) from exc
    return _require_object(value, path, number)


def _reason(exc: Exception) -> str:
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at column {exc.colno}"
    return "nested too deeply" if isinstance(exc, RecursionError) else str(exc)


def _require_object(value: object, path: Path, number: int) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"expected an object with columns, found {type(value).__name__}",
            path=path,
            line=number,
        )
    return value


def _read_json(path: Path, on_error: OnError) -> Iterator[tuple[int, Row]]:
    """Rows of one JSON list; a file of JSON lines named ``.json`` is read as such."""
    text = "".join(line for _, line in read_lines(path))
    position = _after_space(text, 0)
    if text[position : position + 1] != "[":
        yield from _read_jsonl(path, on_error)
        return
    position = _after_space(text, position + 1)
    line, counted, more = 1, 0, text[position : position + 1] != "]"
    while more:
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(text, position, path, line)
        try:
            row = _require_object(value, path, line)
        except DataError as exc:
            on_error(exc)
        else:
            yield line, row
        position = _after_space(text, position)
        more = text[position : position + 1] == ","
        position = _after_space(text, position + 1) if more else position
    if text[position : position + 1] != "]" or text[position + 1 :].strip():
        line += text.count("\n", counted, position)
        raise DataError(
            "not valid JSON: expected a comma or the end of the list", path=path, line=line
        )


def _decode(text: str, position: int, path: Path, line: int) -> tuple[object, int]:
    try:
        return json.JSONDecoder().raw_decode(text, position)
    except (ValueError, RecursionError) as exc:
        at = exc.lineno if isinstance(exc, json.JSONDecodeError) else line
        raise DataError(f"not valid JSON: {_reason(exc)}", path=path, line=at) from exc


def _after_space(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\n", "\r", "\t"):
        position += 1
    return position


def _read_csv(path: Path, on_error: OnError) -> Iterator[tuple[int, Row]]:
    # Texts may be longer than the 131,072 characters the csv module allows a field at first.
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    reader = csv.reader((line for _, line in read_lines(path)), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for fields in reader:
            if header is None and fields:
                header = _check_header(fields, path, start)
            elif header is not None and len(fields) == len(header):
                yield start, dict(zip(header, fields, strict=True))
            elif header is not None and fields:
                problem = (
                    f"expected {len(header)} columns, found {len(fields)}; quote fields that "
                    "hold commas or line breaks"
                )
                on_error(DataError(problem, path=path, line=start))
            start = reader.line_num + 1
    except csv.Error as exc:
        raise DataError(f"not valid CSV: {exc}", path=path, line=start) from exc
    if header is None:
        raise DataError("empty; the first line must name the columns", path=path)


def _check_header(fields: list[str], path: Path, line: int) -> list[str]:
    names = [name.strip() for name in fields]
    if len(set(names)) != len(names) or not all(names):
        raise DataError(
            "the first line must name each column once: " + ", ".join(names),
            path=path,
            line=line,
        )
    return names
