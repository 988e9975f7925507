"""When the first byte of a stream arrives, and whether the rest comes piece by piece.

    python benchmarks/gateway/first_byte.py --bundle BUNDLE --data ../shared/data --out FILE

The model server waits 20 ms before every word. The same request goes to it directly, through
Envoy and the gateway, and through the gateway alone, in turn; half of the texts name a
telephone number that is masked, so that the stream is looked into. Differences are within a
round, in milliseconds.
"""

import argparse
import json
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from programs import MODEL, Programs, prompts
from rich.console import Console
from wire import Connection, request_bytes

from routewright import Classifier
from routewright.data.readers import read_texts
from routewright.runtime.machine import describe_machine, library_versions, source_commit

PATH = "/v1/chat/completions"
DELAY_MS = 20.0
WARM_UP = 10


def measure(given: argparse.Namespace, programs: Programs) -> dict[str, Any]:
    encoder = Classifier.open(given.bundle, num_threads=1).encoder
    data = Path(given.data) / "jailbreak" / "prompts_validation.jsonl.gz"
    texts = prompts(given.rounds + WARM_UP, 32, encoder.encode, list(read_texts(data)))
    upstream = programs.model_server(token_delay_ms=DELAY_MS)
    guards = {"jailbreak": {"mode": "shadow"}, "pii": {"types": {"PHONE_NUMBER": "mask"}}}
    guards["pii"]["default"] = "allow"
    http, ext_proc, _ = programs.gateway(upstream, given.bundle, guards=guards)
    ways = {
        "direct": Connection(upstream),
        "envoy": Connection(programs.envoy(upstream, ext_proc)),
        "http": Connection(http),
    }
    first: dict[str, list[float]] = {name: [] for name in ways}
    spread: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number, text in enumerate(texts):
        content = f"{text} My number is 555-010-{number:04}." if number % 2 else text
        messages = [{"role": "user", "content": content}]
        raw = request_bytes(PATH, {"model": MODEL, "messages": messages, "stream": True}, {})
        for name in names[number % 3 :] + names[: number % 3]:
            answer = ways[name].ask(raw)
            if answer.status != 200:
                raise SystemExit(f"{name}: status {answer.status}: {answer.body[:300]!r}")
            first[name].append(answer.first_byte_s * 1000)
            spread[name].append((answer.chunk_times_s[-1] - answer.first_byte_s) * 1000)
    added = {}
    for name in ("envoy", "http"):
        values = np.array(first[name][WARM_UP:]) - np.array(first["direct"][WARM_UP:])
        quantiles = np.percentile(values, [50, 95, 99])
        added[name] = dict(
            zip(("p50", "p95", "p99"), (round(float(q), 2) for q in quantiles), strict=True)
        )
    return {
        "first_byte_ms": {n: round(statistics.median(v), 2) for n, v in first.items()},
        "added_ms": added,
        "first_to_last_ms": {n: round(statistics.median(v), 1) for n, v in spread.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.bundle = given.bundle.resolve()
    with tempfile.TemporaryDirectory() as work, Programs(Path(work)) as programs:
        result = measure(given, programs)
    record = {
        "question": "first byte of a stream",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "machine": describe_machine(),
        "versions": library_versions(),
        "rounds": given.rounds,
        "token_delay_ms": DELAY_MS,
        **result,
    }
    Console().print_json(json.dumps(record))
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
