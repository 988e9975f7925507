"""New rows as they come: in a file beside the output, which becomes it when all are there.

A run that was stopped, however it was, finds its rows in that file and goes on with them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from routewright.data.augment.config import SOURCE
from routewright.data.config import DataSpec
from routewright.data.examples import Example
from routewright.data.readers import ExampleKind, read_examples
from routewright.data.writers import to_row
from routewright.errors import ConfigError, DataError

_SUFFIX = ".jsonl"


class Journal:
    """JSON lines, written to ``NAME.partial.jsonl`` first."""

    def __init__(self, out: Path) -> None:
        if out.suffix != _SUFFIX or out.stem == "":
            raise ConfigError(
                f"--out {out}: rows are written as JSON lines; give a name that ends in "
                f"{_SUFFIX} (`routewright data convert` makes other formats of it)"
            )
        self._out = out
        self.partial = out.with_suffix(f".partial{_SUFFIX}")
        with self._writing():
            if out.exists():
                raise ConfigError(
                    f"--out {out}: exists already; name another file, or delete it first"
                )
            out.parent.mkdir(parents=True, exist_ok=True)

    def resume(self, kind: ExampleKind) -> list[Example]:
        """The rows of an earlier run, without a last line that it did not finish.

        Raises:
            DataError: the file holds something else.
        """
        with self._writing():
            if not self.partial.exists():
                self.partial.touch()  # says at once, and not after an hour, that it cannot be
            content = self.partial.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(self.partial, whole)
        if not whole:
            return []
        rows = read_examples(DataSpec(path=str(self.partial)), kind, root=Path())
        if any(row.meta.get("source") != SOURCE for row in rows):
            raise self.foreign()
        return rows

    def foreign(self) -> DataError:
        """The rows are of another command than this one."""
        return DataError(
            "holds rows of another command; delete it, or give another --out",
            path=self.partial,
        )

    def append(self, rows: Sequence[Example]) -> None:
        """Write whole lines; after it returns they outlive the process."""
        lines = [json.dumps(to_row(row), ensure_ascii=False) + "\n" for row in rows]
        with self._writing(), self.partial.open("ab") as file:
            file.write("".join(lines).encode("utf-8"))

    def finish(self) -> None:
        """Give the file its name."""
        with self._writing():
            with self.partial.open("rb") as file:
                os.fsync(file.fileno())
            self.partial.replace(self._out)

    def drop_empty(self) -> None:
        """Leave nothing behind where there is nothing to go on with."""
        with self._writing():
            if self.partial.exists() and not self.partial.stat().st_size:
                self.partial.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise DataError(
                f"cannot be written: {exc.strerror or exc}; check place, rights and space",
                path=self._out,
            ) from exc
