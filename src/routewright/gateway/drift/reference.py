"""The file that keeps a reference over a restart: counts, and the bundle that gave them.

Needs nothing of the gateway extra, so that ``routewright check`` reads it on the base install.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from routewright.bundle import manifest_digest
from routewright.config import STRICT, parse, why_unwritable, write_text
from routewright.errors import ConfigError
from routewright.gateway.drift.counts import Counts, Layout, Measure
from routewright.gateway.policy_file import PolicyFile
from routewright.runtime.classifier import Classifier

_FORMAT_VERSION = 1
_TO_DO = "move it away and a new one is written, or name another file"
_LONGEST_BYTES = 16 * 1024 * 1024
"""Of a file that may be one of ours."""
_MOST_REQUESTS = 10**12
_SHA256 = re.compile("[0-9a-f]{64}")
"""Part of it becomes part of a file name."""


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """The contents of the file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format_version: int
    manifest_sha256: str
    """Of the bundle whose answers were counted."""
    created: str
    """UTC, ISO 8601."""
    num_requests: int
    counts: Mapping[str, Mapping[str, tuple[float, ...]]]
    """Task, then what of it, to its bins: labels or entity types in the order of the bundle and
    last the abstained or those without any; other bins in ascending order."""

    def __post_init__(self) -> None:
        if self.format_version != _FORMAT_VERSION:
            raise ValueError(
                f"format_version {self.format_version} is not the {_FORMAT_VERSION} of this "
                "routewright"
            )
        if not _SHA256.fullmatch(self.manifest_sha256):
            raise ValueError("manifest_sha256 must be 64 hexadecimal digits")
        if not 1 <= self.num_requests <= _MOST_REQUESTS:
            raise ValueError(f"num_requests must be in 1..{_MOST_REQUESTS}")


class ReferenceFile:
    """Where the reference is kept."""

    def __init__(self, path: Path, source: str) -> None:
        """`source` is the place of the setting, with which messages begin."""
        self.path = path
        self._source = source

    @classmethod
    def of(cls, file: PolicyFile) -> "ReferenceFile | None":
        """The one of a policy file's settings, from whose folder its path counts."""
        drift = file.settings.drift
        if drift is None or drift.reference is None:
            return None
        source = f"{file.path}: gateway.drift.reference"
        return cls(file.path.parent / drift.reference, source)

    def read(self, manifest_sha256: str, layout: Layout) -> Counts | None:
        """The reference; None if there is no file, or one of another bundle.

        Args:
            manifest_sha256: of the bundle that serves.
            layout: of that bundle.

        Raises:
            ConfigError: the file cannot be read or is none of ours.
        """
        raw = self._raw()
        if raw is None:
            return None
        saved = self._parsed(raw)
        if saved.manifest_sha256 != manifest_sha256:
            return None
        counts = Counts(layout)
        counts.num_requests = saved.num_requests
        given = {
            (t, of): bins for t, kinds in saved.counts.items() for of, bins in kinds.items()
        }
        if given.keys() != layout.sizes.keys():
            raise self._error(f"does not count what this bundle answers; {_TO_DO}")
        for measure, size in layout.sizes.items():
            bins = list(given[measure])
            self._check(measure, bins, size, saved.num_requests)
            counts.bins[measure] = bins
        return counts

    def check_place(self) -> None:
        """Make sure that a file that is not there can be written.

        Raises:
            ConfigError: it cannot.
        """
        attempt = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            attempt.parent.mkdir(parents=True, exist_ok=True)
            attempt.touch()
            attempt.unlink()
        except OSError as exc:
            why = why_unwritable(self.path, exc)
            raise self._error(f"cannot be written: {why}; check place and rights") from exc

    def save(self, manifest_sha256: str, counts: Counts) -> None:
        """Write `counts`; what is there, of this bundle or of another, is moved aside before.

        Raises:
            ConfigError: the file cannot be written.
        """
        self._make_way()
        by_task: dict[str, dict[str, list[float]]] = {}
        for measure, bins in counts.bins.items():
            by_task.setdefault(measure.task, {})[measure.of] = bins
        plain = {
            "format_version": _FORMAT_VERSION,
            "manifest_sha256": manifest_sha256,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "num_requests": counts.num_requests,
            "counts": by_task,
        }
        write_text(self.path, json.dumps(plain, indent=1) + "\n")

    def _make_way(self) -> None:
        """Move what is there to a free name beside it.

        The name ends in the first digits of the hash of its bundle.
        """
        raw = self._raw()
        if raw is None:
            return
        try:
            made_with = self._parsed(raw).manifest_sha256
        except ConfigError:
            made_with = "damaged"
        first = self.path.with_name(f"{self.path.name}.{made_with[:12]}")
        others = (first.with_name(f"{first.name}.{number}") for number in count(2))
        free = next(path for path in chain([first], others) if not path.exists())
        try:
            self.path.rename(free)
        except OSError as exc:
            raise self._error(f"cannot be moved to {free.name}: {exc.strerror}") from exc

    def _raw(self) -> bytes | None:
        try:
            with self.path.open("rb") as file:
                return file.read(_LONGEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None  # whether there can be one, `check_place` says
        except OSError as exc:
            raise self._error(f"cannot be read: {exc.strerror}; check path and rights") from exc

    def _parsed(self, raw: bytes) -> _Saved:
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise self._error(f"is not the JSON of a drift reference; {_TO_DO}") from exc
        if not isinstance(data, dict):
            raise self._error(f"is no drift reference; {_TO_DO}")
        try:
            return parse(_Saved, data, source=str(self.path))
        except ConfigError as exc:
            raise ConfigError(f"{self._source}: {exc}; {_TO_DO}") from exc

    def _check(self, measure: Measure, bins: list[float], size: int, num: int) -> None:
        """Refuse bins that no requests can have given."""
        place = f"counts.{measure.task}.{measure.of}"
        if len(bins) != size:
            raise self._error(f"{place}: has {len(bins)} bins instead of {size}; {_TO_DO}")
        if not all(0 <= n <= num for n in bins):
            raise self._error(f"{place}: counts must be in 0..{num}; {_TO_DO}")
        if not math.isclose(math.fsum(bins), num, rel_tol=1e-6):
            raise self._error(
                f"{place}: adds up to {math.fsum(bins):g} instead of num_requests {num}; "
                f"{_TO_DO}"
            )

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"{self._source}: {self.path}: {problem}")


def check_reference(file: PolicyFile, classifier: Classifier) -> None:
    """Read the reference of a policy file's settings, if there is one; errors as for `read`.

    `classifier` is that of the policy file's bundle.
    """
    if (reference := ReferenceFile.of(file)) is not None:
        digest = manifest_digest(file.required_bundle())
        reference.read(digest, Layout(classifier.heads))
