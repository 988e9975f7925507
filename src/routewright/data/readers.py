"""Rows to examples: columns checked, labels renamed, rows selected, wherever they come from.

Every message about a row names file and line.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from routewright.data.columnar import read_dataset_folder, read_hub
from routewright.data.columns import (
    label_of,
    lines_of,
    spans_of,
    text_of,
    with_whole_characters,
)
from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.rows import (
    OnError,
    Row,
    at_row,
    exists,
    is_folder,
    read_lines,
    read_rows,
    stop,
)
from routewright.data.selection import check_columns, matches, rename, take_sample
from routewright.data.sources import SOURCES, PublicSource
from routewright.errors import DataError
from routewright.labels import LabelSet, check_spans

ExampleKind = Literal["sequence", "token"]
Origin = tuple[Path | str, Iterable[tuple[int, Row]]]


def read_examples(
    spec: DataSpec, kind: ExampleKind, *, root: Path, labels: LabelSet | None = None
) -> list[Example]:
    """All examples of one origin, in its order: filtered, renamed, sampled and repeated.

    Args:
        spec: where rows come from and what is kept.
        kind: ``sequence`` rows have a label, ``token`` rows have spans.
        root: folder that relative paths start from.
        labels: labels or entity types that may occur after renaming; None allows all.

    Raises:
        DataError: the first wrong row or file, with file and line.
        MissingExtraError: the format needs a package of ``routewright[train]``.
    """
    examples = list(_checked_examples(spec, kind, root, labels, stop))
    if not examples:
        raise DataError("no rows are left to read", path=spec.origin)
    check_columns(spec, examples)
    kept = [e for e in examples if matches(e, spec)]
    kept = [e for e in (rename(e, spec.label_map or {}) for e in kept) if e is not None]
    if not kept:
        raise DataError("keep, drop and label_map leave no rows", path=spec.origin)
    if spec.limit is not None:
        kept = take_sample(kept, spec.limit, seed=spec.seed)
    return kept * spec.repeat


def find_errors(
    spec: DataSpec, kind: ExampleKind, *, root: Path, labels: LabelSet | None = None
) -> tuple[int, list[DataError]]:
    """Number of good rows, and every wrong row.

    An error behind which no row can be found (damaged gzip, a broken JSON list, a quote that is
    never closed in CSV) ends the list.
    """
    errors: list[DataError] = []
    count = 0
    try:
        for _ in _checked_examples(spec, kind, root, labels, errors.append):
            count += 1
    except DataError as exc:
        errors.append(exc)
    return count, errors


def guess_kind(spec: DataSpec, *, root: Path) -> ExampleKind:
    """The kind of a public or synthetic set; else by the first row: token if it has spans.

    Rows that get their label from `spec` are sequence rows.
    """
    if spec.label is not None:
        return "sequence"
    if spec.source is not None:
        return _source(spec.source).kind
    if spec.synthetic is not None:
        return _synthetic_kind(spec)
    errors: list[DataError] = []
    for _, rows in _origins(spec, root, errors.append):
        for _, row in rows:
            return "token" if spec.spans_column in row else "sequence"
    raise errors[0] if errors else DataError("holds no rows", path=spec.origin)


def read_texts(path: Path, *, text_column: str = "text") -> Iterator[str]:
    """Texts to classify: of a ``.txt`` file one a line, of any row format the text column.

    Empty lines of a text file are skipped; nothing but the text column of a row is looked at.

    Raises:
        DataError: as for `read_examples`; at the end, that there was no text.
    """
    is_plain = path.name.lower().endswith((".txt", ".txt.gz"))
    texts = _plain_texts(path) if is_plain else _row_texts(path, text_column)
    found = False
    for text in texts:
        found = True
        yield text
    if not found:
        raise DataError(f"holds no {'texts' if is_plain else 'rows'}", path=path)


def _plain_texts(path: Path) -> Iterator[str]:
    if not exists(path):
        raise DataError("no such file; check the path", path=path)
    for _, line in read_lines(path):
        if line.strip():
            yield line.rstrip("\r\n")


def _row_texts(path: Path, text_column: str) -> Iterator[str]:
    for line_number, row in read_rows(path):
        try:
            yield text_of(row, text_column)
        except DataError as exc:
            raise at_row(str(exc), path, line_number) from exc


def _checked_examples(
    spec: DataSpec,
    kind: ExampleKind,
    root: Path,
    labels: LabelSet | None,
    on_error: OnError,
) -> Iterator[Example]:
    if kind == "token" and spec.label is not None:
        raise DataError(
            "label is for sequence tasks; a token task needs spans", path=spec.origin
        )
    if spec.synthetic is not None:
        yield from _synthetic_examples(spec, kind, labels)
        return
    to_examples = _row_rule(spec, kind)
    for place, rows in _origins(spec, root, on_error):
        for line, row in rows:
            try:
                examples = [with_whole_characters(e) for e in to_examples(row)]
                for example in examples:
                    _check(example, spec, labels)
            except DataError as exc:
                error = at_row(str(exc), place, line)
                error.__cause__ = exc
                on_error(error)
            else:
                yield from examples


def _synthetic_examples(
    spec: DataSpec, kind: ExampleKind, labels: LabelSet | None
) -> Iterator[Example]:
    # Imported here: the generators load their word lists.
    from routewright.data.synth import generate_pii, generate_samples

    _check_kind(spec, _synthetic_kind(spec), kind)
    num = spec.limit or 0
    made: Iterable[Example] = (
        generate_pii(num, seed=spec.seed)
        if spec.synthetic == "pii"
        else generate_samples(str(spec.synthetic), num, seed=spec.seed)
    )
    for example in made:
        labelled = _with_label(example, spec)
        _check(labelled, spec, labels)
        yield labelled


def _check_kind(spec: DataSpec, found: ExampleKind, wanted: ExampleKind) -> None:
    """Refuse rows that are not of the kind wanted, unless `spec` labels them itself."""
    if found != wanted and spec.label is None:
        raise DataError(f"{spec.origin} has {found} rows, not {wanted} rows")


def _with_label(example: Example, spec: DataSpec) -> Example:
    if spec.label is None:
        return example
    return SequenceExample(example.text, spec.label, example.meta)


def _synthetic_kind(spec: DataSpec) -> ExampleKind:
    return "token" if spec.synthetic == "pii" else "sequence"


def _row_rule(spec: DataSpec, kind: ExampleKind) -> Callable[[Row], list[Example]]:
    if spec.source is not None:
        source = _source(spec.source)
        _check_kind(spec, source.kind, kind)
        return lambda row: [_with_label(e, spec) for e in source.to_examples(row)]
    if kind == "token" and spec.appended_column is not None:
        raise DataError(
            "appended_column is for rows with a label; spans count from the text as it is",
            path=spec.origin,
        )
    return lambda row: [_to_example(row, spec, kind)]


def _source(name: str) -> PublicSource:
    if name not in SOURCES:
        raise DataError(f"no public source {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name]


def _origins(spec: DataSpec, root: Path, on_error: OnError) -> Iterator[Origin]:
    """Each file, folder or hub data set of the spec, with its rows."""
    if spec.source is not None:
        yield from _source_origins(_source(spec.source), spec, root, on_error)
        return
    if spec.path is not None:
        path = root / spec.path
        if is_folder(path):
            yield path, read_dataset_folder(path, split=spec.split)
        else:
            yield path, read_rows(path, on_error)
        return
    hub_id = spec.hub or ""
    if is_folder(root / hub_id):
        yield (
            root / hub_id,
            read_dataset_folder(root / hub_id, config_name=spec.config_name, split=spec.split),
        )
        return
    options = {"config_name": spec.config_name, "revision": spec.revision}
    yield hub_id, read_hub(hub_id, split=spec.split or "train", **options)


def _source_origins(
    source: PublicSource, spec: DataSpec, root: Path, on_error: OnError
) -> Iterator[Origin]:
    configs = (spec.config_name,) if spec.config_name else source.default_configs
    split = spec.split or source.split
    local = root / spec.local_copy if spec.local_copy is not None else None
    for config in configs:
        if config not in source.configs:
            raise DataError(
                f"source {source.name} has no configuration {config!r}; "
                f"known: {', '.join(source.configs)}"
            )
        if local is None:
            yield _hub_origin(source, config, split, spec.revision)
        elif is_folder(local):
            yield from _folder_origins(local, source, config, split, on_error)
        else:
            yield local, read_rows(local, on_error)
            return  # one file holds one configuration


def _hub_origin(source: PublicSource, config: str, split: str, revision: str | None) -> Origin:
    if source.hub_id is None:
        raise DataError(
            f"source {source.name} is not on the hub; download {source.url} "
            "and give the file as local_copy"
        )
    rows = read_hub(
        source.hub_id,
        config_name=config,
        split=split,
        revision=revision or source.revision,
    )
    return source.hub_id, rows


def _folder_origins(
    folder: Path, source: PublicSource, config: str, split: str, on_error: OnError
) -> Iterator[Origin]:
    """Files of a clone of the published repository, or a folder saved by `datasets`."""
    patterns = [pattern.format(split=split) for pattern in source.configs[config]]
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            yield from ((file, read_rows(file, on_error)) for file in files)
            return
    if exists(folder / "dataset_dict.json") or exists(folder / "state.json"):
        yield folder, read_dataset_folder(folder, split=split)
        return
    raise DataError(
        f"no file of {source.name} here; expected {' or '.join(patterns)}", path=folder
    )


def _check(example: Example, spec: DataSpec, labels: LabelSet | None) -> None:
    """What holds for every example, whichever rule made it; names count as they are renamed."""
    problem = None
    if isinstance(example, TokenExample):
        problem = check_spans(example.text, example.spans)
    if problem is None and labels is not None and matches(example, spec):
        renamed = rename(example, spec.label_map or {})
        if isinstance(renamed, TokenExample):
            problem = check_spans(renamed.text, renamed.spans, labels)
        elif renamed is not None and renamed.label not in labels:
            problem = f"unknown label {renamed.label!r}; known: {', '.join(labels)}"
    if problem is not None:
        raise DataError(problem)


def _to_example(row: Row, spec: DataSpec, kind: ExampleKind) -> Example:
    text = text_of(row, spec.text_column)
    target = spec.spans_column if kind == "token" else spec.label_column
    used = {spec.text_column, target}
    if spec.label is not None:
        used |= {spec.label_column, spec.spans_column}
    meta = {k: v for k, v in row.items() if k not in used}
    if kind == "token":
        return TokenExample(text, spans_of(row, target), meta)
    if spec.appended_column is not None:
        text = "\n".join([text, *lines_of(row, spec.appended_column)])
    label = spec.label if spec.label is not None else label_of(row, target)
    return SequenceExample(text, label, meta)
