"""Where a result goes: results/DATE-NAME.json with its origin, its table into README.md.

Knows files, machines and Markdown; knows nothing of models or of what was asked.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic_core import to_jsonable_python

from routewright.config import write_text
from routewright.metrics import Estimate
from routewright.runtime.machine import (
    describe_machine,
    library_versions,
    peak_memory_bytes,
    source_commit,
)

HERE = Path(__file__).parent
README = HERE / "README.md"
SPLITS = ("validation", "test")
FILES: Mapping[str, str] = {
    "category": "category/mmlu_pro_{}.jsonl.gz",
    "pii": "pii/presidio_v2_by_template_{}.jsonl.gz",
    "jailbreak": "jailbreak/prompts_{}.jsonl.gz",
    "intent": "intent/mapped_{}.jsonl.gz",
}
"""By task, below the data folder; the blank takes train, validation or test."""
MAIN: Mapping[str, str] = {
    "category": "accuracy",
    "pii": "span_f1",
    "jailbreak": "roc_auc",
    "intent": "macro_f1",
}
"""The metric by which the issue judges each task."""


@dataclass
class Record:
    """What one run of a script found; `write` adds origin and time."""

    name: str
    """Of the marks in README.md, and in the name of the file."""
    question: str
    args: argparse.Namespace
    started: float

    def write(self, results: Mapping[str, Any], table: str) -> Path:
        """Write the JSON, print the table and, with ``--readme``, put it into README.md."""
        plain = {
            "question": self.question,
            "command": command_line(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": source_commit(),
            "machine": describe_machine(),
            "versions": library_versions(),
            "duration_s": round(perf_counter() - self.started, 1),
            "peak_memory_bytes": peak_memory_bytes(),
            "results": results,
        }
        split = getattr(self.args, "split", None)
        stem = f"{self.name}-{split}" if split else self.name
        file = f"{datetime.now(UTC):%Y-%m-%d}-{stem}.json"
        out: Path = self.args.out or HERE / "results" / file
        write_text(out, json.dumps(to_jsonable_python(plain), indent=1) + "\n")
        print(table)
        print(f"written to {out}")
        if self.args.readme:
            place_table(README, self.name, f"{origin_line(plain)}\n\n{table}")
        return out


def command_line() -> str:
    """The command that started this process, as a person would type it."""
    module = Path(sys.argv[0]).stem
    return " ".join(["python -m", f"benchmarks.default_bundle.{module}", *sys.argv[1:]])


def origin_line(plain: Mapping[str, Any]) -> str:
    """One line under which a table can be believed."""
    machine = plain["machine"]
    return (
        f"`{plain['command']}`, {plain['date'][:10]}, commit {plain['commit']}, "
        f"{machine['cores']} cores of {machine['processor']} (load {machine['load_average']} "
        f"at the end), {plain['duration_s']:.0f} s"
    )


def place_table(readme: Path, name: str, table: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises:
        ValueError: the marks are not there.
    """
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text = readme.read_text(encoding="utf-8")
    if not marks.search(text):
        raise ValueError(f"{readme}: no marks <!-- {name} --> and <!-- /{name} -->")
    new = marks.sub(lambda found: f"{found[1]}{table.rstrip()}\n{found[2]}", text)
    write_text(readme, new)


def new_parser(doc: str | None, *, bundle: bool = True) -> argparse.ArgumentParser:
    """The options every script has.

    Args:
        doc: the docstring of the script.
        bundle: whether the script needs a bundle.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=bundle, help="a bundle folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="JSON file; by default under results/")
    parser.add_argument(
        "--readme", action="store_true", help="put the table into README.md too"
    )
    return parser


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table whose first `left` columns are text and whose others are numbers."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def number(value: float | None, digits: int = 4) -> str:
    """A value, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(estimate: Estimate | None, digits: int = 4) -> str:
    """A value with its interval in brackets."""
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return number(estimate.value, digits)
    ends = f"{estimate.low:.{digits}f} - {estimate.high:.{digits}f}"
    return f"{estimate.value:.{digits}f} ({ends})"


def megabytes(num_bytes: float | None) -> str:
    """In MB of a million bytes."""
    return "-" if num_bytes is None else f"{num_bytes / 1e6:.1f} MB"
