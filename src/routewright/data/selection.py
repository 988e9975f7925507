"""Which examples of a data set are kept: filters, renamed labels, stratified samples."""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample
from routewright.errors import DataError

logger = logging.getLogger(__name__)

NO_ENTITY = "(none)"
"""Stratum of token examples without spans."""


def matches(example: Example, spec: DataSpec) -> bool:
    """Whether `keep` and `drop` leave the example in."""
    return all(
        _has(example, column, values) for column, values in spec.keep.items()
    ) and not any(_has(example, column, values) for column, values in spec.drop.items())


def check_columns(spec: DataSpec, examples: Sequence[Example]) -> None:
    """Refuse filters on a column that no example has: most likely it is misspelt.

    A value that no example has is only warned of, since a file may well be free of what a
    recipe drops; but it may be ``no``, which YAML reads as false.

    Raises:
        DataError: names the column and the known ones.
    """
    known = {column for example in examples for column in example.meta} | {"label"}
    for name in ("keep", "drop"):
        for column, values in getattr(spec, name).items():
            if column not in known:
                raise DataError(
                    f"{name}: no row has a column {column!r}; "
                    f"known: {', '.join(sorted(known))}",
                    path=spec.origin,
                )
            found = {_comparable(_value(example, column)) for example in examples}
            wanted = {c for v in values if (c := _comparable(v)) is not None}
            for value in sorted(wanted - found):
                logger.warning(
                    "data=%s %s: no row has %s %r; quote yes and no, which YAML reads as true "
                    "and false",
                    spec.origin,
                    name,
                    column,
                    value,
                )


def rename(example: Example, label_map: Mapping[str, str | None]) -> Example | None:
    """The example with its labels renamed; None where its label is mapped to null."""
    if not label_map:
        return example
    if isinstance(example, SequenceExample):
        label = label_map.get(example.label, example.label)
        return None if label is None else replace(example, label=label)
    renamed = ((s, label_map.get(s.label, s.label)) for s in example.spans)
    spans = tuple(replace(s, label=label) for s, label in renamed if label is not None)
    return replace(example, spans=spans)


def strata_of(examples: Sequence[Example]) -> list[str]:
    """What each example is stratified by: its label, or its rarest entity type.

    The rarest type, because a random share of a common one is representative anyway.
    """
    counts = Counter(
        span.label
        for example in examples
        if not isinstance(example, SequenceExample)
        for span in example.spans
    )
    return [
        example.label
        if isinstance(example, SequenceExample)
        else min(
            (s.label for s in example.spans), key=lambda t: (counts[t], t), default=NO_ENTITY
        )
        for example in examples
    ]


def take_sample(examples: Sequence[Example], limit: int, *, seed: int) -> list[Example]:
    """At most `limit` examples in their order, each stratum with its share of the whole.

    Shares are rounded by largest remainder; the same seed gives the same sample.
    """
    if len(examples) <= limit:
        return list(examples)
    members: dict[str, list[int]] = defaultdict(list)
    for i, stratum in enumerate(strata_of(examples)):
        members[stratum].append(i)
    exact = {name: limit * len(rows) / len(examples) for name, rows in members.items()}
    quota = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quota[name] - exact[name], name))
    for name in by_remainder[: limit - sum(quota.values())]:
        quota[name] += 1
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen = [i for name in sorted(members) for i in rng.sample(members[name], quota[name])]
    return [examples[i] for i in sorted(chosen)]


def _has(example: Example, column: str, values: Sequence[object]) -> bool:
    return _comparable(_value(example, column)) in {_comparable(v) for v in values}


def _value(example: Example, column: str) -> object:
    if column == "label" and isinstance(example, SequenceExample):
        return example.label
    return example.meta.get(column)


def _comparable(value: object) -> str | None:
    """A value as CSV would spell it, so that 1 in a recipe finds ``1`` in a CSV file.

    None is what CSV can only write as an empty field, so that null in a recipe finds it.
    Of true and false there are several spellings: pandas and Excel write ``True`` and ``TRUE``.
    """
    if isinstance(value, bool) or str(value) in ("True", "False", "TRUE", "FALSE"):
        return str(value).lower()
    return None if value in (None, "") else str(value)
