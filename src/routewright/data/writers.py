"""Examples to files: a reader sees the old file or the whole new one, never a part."""

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from routewright.config import why_unwritable
from routewright.data.examples import Example, SequenceExample
from routewright.errors import DataError, MissingExtraError


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write in the format of the name's ending: .jsonl, .json, .csv (each also .gz), .parquet.

    The columns are those `read_examples` expects, then the meta columns. A meta column called
    text, label or spans gives way to the example's own.

    Raises:
        DataError: unknown ending, or the file cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    name = path.name.lower().removesuffix(".gz")
    if path.name.lower().endswith(".parquet"):
        _write_parquet(path, examples)
    elif name.endswith(".jsonl"):
        write_jsonl(path, examples)
    elif name.endswith(".json"):
        with _replacing(path) as file:
            rows = [to_row(example) for example in examples]
            file.write(_json(rows, indent=1).encode("utf-8") + b"\n")
    elif name.endswith(".csv"):
        _write_csv(path, examples)
    else:
        raise DataError("unknown kind of file; use .jsonl, .json, .csv or .parquet", path=path)


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """Write JSON lines; ``.gz`` packs them, and the same examples give the same bytes.

    Raises:
        DataError: the file cannot be written.
    """
    with _replacing(path) as file:
        _write_lines(file, examples)


def write_parts(parts: Mapping[Path, Sequence[Example]]) -> None:
    """Write JSON lines files that belong together; of a part without examples none is left.

    No file is touched before all of them are complete beside their places.

    Raises:
        DataError: a file cannot be written.
    """
    complete: dict[Path, Path] = {}
    try:
        for path, examples in parts.items():
            with _named(path):
                if path.is_dir():
                    raise DataError("cannot be written: is a folder", path=path)
                if examples:
                    complete[path] = _beside(path)
                    with _opened(path, complete[path]) as file:
                        _write_lines(file, examples)
        for path in parts:
            with _named(path):
                if path in complete:
                    complete[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
    finally:
        for temporary in complete.values():
            with suppress(OSError):
                temporary.unlink()


def to_row(example: Example) -> dict[str, Any]:
    """The columns of an example: text, label or spans, then its meta columns."""
    row: dict[str, Any] = {"text": example.text}
    if isinstance(example, SequenceExample):
        row["label"] = example.label
    else:
        row["spans"] = [
            {"start": span.start, "end": span.end, "label": span.label}
            for span in example.spans
        ]
    return row | {k: v for k, v in example.meta.items() if k not in row}


def _write_lines(file: BinaryIO, examples: Iterable[Example]) -> None:
    for example in examples:
        file.write(_json(to_row(example)).encode("utf-8") + b"\n")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is complete."""
    temporary = _beside(path)
    with _named(path):
        try:
            with _opened(path, temporary) as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def _opened(path: Path, temporary: Path) -> Iterator[BinaryIO]:
    """The file `temporary`, packed if `path` says so."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            # No name and no time in the header: equal content gives equal files.
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                yield packed  # type: ignore[misc]
        else:
            yield raw


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the system as one that names the file that was asked for."""
    try:
        yield
    except OSError as exc:
        raise DataError(
            f"cannot be written: {why_unwritable(path, exc)}; check place, rights and space",
            path=path,
        ) from exc


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, indent=indent)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _write_csv(path: Path, examples: Sequence[Example]) -> None:
    rows = [to_row(example) for example in examples]
    with _replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        # Lines end with \r\n, the module's default: only then does it quote a lone \r.
        writer = csv.DictWriter(text, _columns(rows) or ["text", "label"])
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _cell(v) for k, v in row.items()})
        text.detach()


def _cell(value: object) -> object:
    return _json(value) if isinstance(value, list | dict | bool) else value


def _write_parquet(path: Path, examples: Sequence[Example]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("pyarrow", "train") from exc
    rows = [to_row(example) for example in examples]
    arrays = {c: _array(pa, c, [row.get(c) for row in rows]) for c in _columns(rows)}
    with _replacing(path) as file:
        pq.write_table(pa.table(arrays), file)


def _array(pa: Any, column: str, values: list[Any]) -> Any:
    """A typed column; meta values that Parquet has no one type for become JSON text."""
    if column == "spans":
        fields = [("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())]
        return pa.array(values, type=pa.list_(pa.struct(fields)))
    try:
        typed = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        typed = None
    if typed is None or not _is_writable(pa, typed.type):
        return pa.array([v if v is None or isinstance(v, str) else _json(v) for v in values])
    return typed


def _is_writable(pa: Any, kind: Any) -> bool:
    """Whether Parquet has the type: it knows no objects without a field."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_writable(pa, field.type) for field in kind)
    return not pa.types.is_list(kind) or _is_writable(pa, kind.value_type)
