"""What the gateway adds to a request: medians of interleaved rounds over one connection.

    python benchmarks/gateway/latency.py --bundle BUNDLE --data ../shared/data --out FILE

Ways, in turn in every round, the same text (a new one each round): the model server directly;
Envoy alone; Envoy asking a gateway without a model that says CONTINUE; Envoy asking
``routewright serve``; both gateways without Envoy. The bare onnxruntime call on the text is
timed in the same round. Numbers are medians of differences within a round, in milliseconds.

``--against TREE`` measures the gateways of another checkout in the same rounds too. Whether a
change helps shows only so: the machine's speed changes from minute to minute.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from programs import MODEL, REPOSITORY, Programs, prompts
from rich.console import Console
from wire import Connection, request_bytes

from routewright import Classifier
from routewright.data.readers import read_texts
from routewright.runtime.machine import describe_machine, library_versions, source_commit

PATH = "/v1/chat/completions"
WARM_UP = 30
NUM_SHARED, NUM_OWN = 2, 4
"""Ways without a gateway, and through those of one checkout."""
AGAINST = "against: "
"""Before the names of what was measured of the other checkout."""


def measure(given: argparse.Namespace, programs: Programs) -> dict[str, list[float]]:
    classifier = Classifier.open(given.bundle, num_threads=given.threads)
    data = Path(given.data) / "jailbreak" / "prompts_validation.jsonl.gz"
    texts = prompts(
        given.rounds + WARM_UP, given.tokens, classifier.encoder.encode, list(read_texts(data))
    )
    upstream = programs.model_server()
    ports = {"direct": upstream, "envoy": programs.envoy(upstream, None)}
    for prefix in ("", AGAINST) if given.against else ("",):
        programs.tree = given.against if prefix else REPOSITORY
        empty_http, empty_ext_proc = programs.empty_gateway(upstream)
        http, ext_proc, _ = programs.gateway(upstream, given.bundle, threads=given.threads)
        ports |= {
            f"{prefix}envoy_continue": programs.envoy(upstream, empty_ext_proc),
            f"{prefix}envoy_gateway": programs.envoy(upstream, ext_proc),
            f"{prefix}http_continue": empty_http,
            f"{prefix}http_gateway": http,
        }
    ways = {name: Connection(port) for name, port in ports.items()}
    # A way's own texts: `remembered_texts` is 0, but fairness should not depend on it.
    times: dict[str, list[float]] = {name: [] for name in (*ways, "model")}
    names = list(ways)
    for number, text in enumerate(texts):
        if number % len(names) == 0:
            # What goes before a way leaves its traces, so the checkouts change places.
            names = [*names[:NUM_SHARED], *names[-NUM_OWN:], *names[NUM_SHARED:-NUM_OWN]]
        turn = names[number % len(names) :] + names[: number % len(names)]
        for name in turn:
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
            raw = request_bytes(PATH, body, {})
            start = time.perf_counter()
            answer = ways[name].ask(raw)
            elapsed = time.perf_counter() - start
            if answer.status != 200:
                raise SystemExit(f"{name}: status {answer.status}: {answer.body[:300]!r}")
            times[name].append(elapsed * 1000)
        encoded = classifier.encoder.encode(text)
        inputs = classifier.encoder.pad(
            [classifier.encoder.window_ids(encoded, window) for window in encoded.windows]
        )
        start = time.perf_counter()
        classifier.backend.run(*inputs)
        times["model"].append((time.perf_counter() - start) * 1000)
    return {name: values[WARM_UP:] for name, values in times.items()}


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    def difference(name: str, *less: str) -> dict[str, float]:
        values = np.array(times[name])
        for other in less:
            values = values - np.array(times[other])
        low, high = np.percentile(values, [25, 75])
        return {
            "p50": round(float(np.median(values)), 3),
            "p25": round(float(low), 3),
            "p75": round(float(high), 3),
        }

    added = {
        "Envoy: CONTINUE, less Envoy alone": ("envoy_continue", "envoy"),
        "Envoy: gateway, less Envoy alone": ("envoy_gateway", "envoy"),
        "Envoy: gateway, less Envoy alone and model": ("envoy_gateway", "envoy", "model"),
        "HTTP: CONTINUE, less direct": ("http_continue", "direct"),
        "HTTP: gateway, less direct": ("http_gateway", "direct"),
        "HTTP: gateway, less direct and model": ("http_gateway", "direct", "model"),
    }
    return {
        "median_ms": {name: round(statistics.median(v), 3) for name, v in times.items()},
        "added_ms": {
            f"{prefix}{what}": difference(f"{prefix}{way}", *less)
            for what, (way, *less) in added.items()
            for prefix in ("", AGAINST)
            if f"{prefix}{way}" in times
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--against", type=lambda path: Path(path).resolve())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.bundle = given.bundle.resolve()
    with tempfile.TemporaryDirectory() as work, Programs(Path(work)) as programs:
        times = measure(given, programs)
    record = {
        "question": "added latency",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        **({"against": source_commit(given.against)} if given.against else {}),
        "machine": describe_machine(),
        "versions": library_versions(),
        "rounds": given.rounds,
        "tokens": given.tokens,
        "threads": given.threads,
        **summary(times),
    }
    Console().print_json(json.dumps(record))
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
