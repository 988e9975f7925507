"""Parquet files and Hugging Face data sets to rows; pyarrow and datasets are needed only here.

Integer labels with a `ClassLabel` feature come out as their names.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from routewright.errors import DataError, MissingExtraError

_SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")


def read_parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows of a Parquet file, numbered from 1.

    Raises:
        DataError: not Parquet, or damaged.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("pyarrow", "train") from exc
    try:
        with pq.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata)
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _with_names(row, names, f"{path}", number)
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise DataError(
            f"not a readable Parquet file ({reason}); copy or download it again", path=path
        ) from exc


def read_dataset_folder(
    path: Path, *, config_name: str | None = None, split: str | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows of a folder written by ``save_to_disk``, or of a folder of data files.

    Args:
        path: the folder.
        config_name: configuration, where the folder states several.
        split: of a folder with several; None is ``train``.

    Raises:
        DataError: nothing that `datasets` can read, or no such split.
        MissingExtraError: datasets is not installed.
    """
    datasets = _import_datasets()
    try:
        with _silenced(datasets):
            if any((path / name).is_file() for name in _SAVED):
                data = datasets.load_from_disk(str(path))
            else:
                data = datasets.load_dataset(str(path), config_name)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as exc:
        raise DataError(
            f"not a data set that `datasets` can load: {str(exc).splitlines()[0]}", path=path
        ) from exc
    return _dataset_rows(_choose_split(data, split, str(path)), str(path))


def read_hub(
    hub_id: str, *, config_name: str | None, split: str, revision: str | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows of a data set of the Hugging Face hub; needs the network or a filled cache.

    Raises:
        DataError: it cannot be fetched; says how to give a local copy.
        MissingExtraError: datasets is not installed.
    """
    datasets = _import_datasets()
    errors = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
    try:
        with without_retries():
            data = datasets.load_dataset(hub_id, config_name, split=split, revision=revision)
    except (*errors, *_network_errors()) as exc:
        reason = f"{type(exc).__name__}: {exc}".splitlines()[0][:200]
        raise DataError(
            f"hub data set {hub_id} cannot be loaded ({reason}); check name and network, "
            "or download it elsewhere and give its local path"
        ) from exc
    return _dataset_rows(data, hub_id)


def _network_errors() -> tuple[type[Exception], ...]:
    """Of the client that huggingface_hub came with: httpx2 from 2.0 on, httpx from 1.0 on.

    The errors of the one before, requests, are OSErrors.
    """
    clients = [name for name in ("httpx2", "httpx") if find_spec(name) is not None]
    return tuple(import_module(name).HTTPError for name in clients)


@contextmanager
def without_retries() -> Iterator[None]:
    """No two log lines of the hub's client for each of its attempts; bars of downloads stay."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _silenced(datasets: Any) -> Iterator[None]:
    """No bars and no log lines of a library whose errors become one line of ours."""
    level, bars = datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as exc:
        raise MissingExtraError("datasets", "train") from exc
    return datasets


def _choose_split(data: Any, split: str | None, origin: str) -> Any:
    if not isinstance(data, dict):
        if split is not None and str(data.split or split) != split:
            raise DataError(f"{origin}: holds split {data.split}, not {split}")
        return data
    name = split or ("train" if "train" in data or len(data) != 1 else next(iter(data)))
    if name not in data:
        raise DataError(f"{origin}: no split {name}; known: {', '.join(data)}")
    return data[name]


def _dataset_rows(data: Any, origin: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    names = {
        column: list(feature.names)
        for column, feature in data.features.items()
        if type(feature).__name__ == "ClassLabel"
    }
    for number, row in enumerate(data, start=1):
        yield number, _with_names(row, names, origin, number)


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of the `ClassLabel` columns that `datasets` recorded in a Parquet schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        column: list(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _with_names(
    row: dict[str, Any], names: Mapping[str, list[str]], origin: str, number: int
) -> dict[str, Any]:
    for column, known in names.items():
        value = row.get(column)
        if isinstance(value, int):
            if not 0 <= value < len(known):
                raise DataError(
                    f"{origin}: row {number}: {column} {value} has no name; its labels are "
                    f"0 to {len(known) - 1}"
                )
            row[column] = known[value]
    return row
