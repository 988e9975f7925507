"""Where the rows of a data set come from, as a recipe states it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from pydantic import ConfigDict

from routewright.config import STRICT

SyntheticTask = Literal["category", "pii", "jailbreak", "intent"]
ORIGINS = ("path", "source", "hub", "synthetic")
Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """One origin of rows, exactly one of the first four, and what is kept of it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    path: str | None = None
    """A file in a row format (.jsonl, .json, .csv, each also .gz, .parquet) or a folder saved
    by `datasets`; relative paths are relative to the data folder."""
    source: str | None = None
    """Name of a public set (`routewright data sources` lists them); its own rule makes examples
    of its rows, so the column settings below do not apply."""
    hub: str | None = None
    """Id of a data set on the Hugging Face hub, or a local folder that `datasets` loads."""
    synthetic: SyntheticTask | None = None
    """A built-in task whose own generator makes the rows: `limit` of them, from `seed`."""
    local_copy: str | None = None
    """With `source`: a file or folder holding the set as it is published; without it, the set
    is fetched from the hub."""
    config_name: str | None = None
    """Configuration of the hub data set, where it has several."""
    split: str | None = None
    """Split to read; None is the split of the source's own rule, or ``train``."""
    revision: str | None = None
    """Commit, tag or branch on the hub; None is the pinned one of a source, or ``main``."""
    text_column: str = "text"
    """Column with the text."""
    appended_column: str | None = None
    """Column with a text, or a list of texts, to put below the text, one a line: the answers
    of an exam question, the body below a subject. Rows of a sequence task only."""
    label_column: str = "label"
    """Column with the label name of a sequence row."""
    label: str | None = None
    """Label of every row, whatever the rows say themselves: for a file with texts of one kind,
    or harmless texts of another task. Their own labels and spans are not read."""
    spans_column: str = "spans"
    """Column with the spans of a token row: a list of start, end and label, in CSV as JSON."""
    label_map: Mapping[str, str | None] | None = None
    """New name of a label or entity type, for example ``PER: PERSON``; others stay. Mapped to
    null, a sequence row is dropped, and a span is removed from its row."""
    keep: Mapping[str, Sequence[Scalar]] = field(default_factory=dict)
    """Column to the values it must have; a row that differs in one of them is left out. The
    column ``label`` means the label before `label_map`; null means the column is absent
    or, as in CSV, empty."""
    drop: Mapping[str, Sequence[Scalar]] = field(default_factory=dict)
    """Column to the values it must not have, for example ``quality: [noisy]``."""
    limit: int | None = None
    """At most so many rows: a seeded sample with the label shares of the whole."""
    seed: int = 0
    """Seed of that sample."""
    repeat: int = 1
    """How often each row is taken; more than 1 oversamples a small training set."""

    def __post_init__(self) -> None:
        given = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"needs exactly one of {', '.join(ORIGINS)}; found {found}")
        if self.local_copy is not None and self.source is None:
            raise ValueError(
                "local_copy belongs to source; use path for a file in a row format"
            )
        columns = [f for f in fields(self) if f.name.endswith("_column")]
        changed = [f.name for f in columns if getattr(self, f.name) != f.default]
        if changed and (self.source is not None or self.synthetic is not None):
            raise ValueError(
                f"{changed[0]} belongs to path or hub; {self.origin} has a rule of its own"
            )
        if self.label is not None and self.label_map is not None:
            raise ValueError("label gives every row its label; leave label_map out")
        if self.synthetic is not None and self.limit is None:
            raise ValueError("synthetic needs limit: the number of rows to make")
        if self.repeat < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("needs limit >= 1 and repeat >= 1")

    @property
    def origin(self) -> str:
        """What messages call this data."""
        synthetic = f"synthetic {self.synthetic}" if self.synthetic else ""
        return self.path or self.local_copy or self.source or self.hub or synthetic
