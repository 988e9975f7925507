"""Texts a second under load, against the bare onnxruntime call on the same texts.

    python benchmarks/gateway/throughput.py --bundle BUNDLE --data ../shared/data --out FILE

Bare: the graph alone, texts tokenised beforehand, sorted by length and batched by token budget,
with the best of several budgets, thread counts and numbers of passes at once; `single` is the
best with one pass at a time. Engine: the
gateway's batcher with 100 callers, each waiting for its answer before it asks again; it
tokenises, batches as texts come, decodes all heads. API: ``POST /api/v1/classify`` over HTTP
with 100 connections and 32 texts a request; the client shares the machine. Rounds are
interleaved; ratios are within a round.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from programs import Programs, free_port
from rich.console import Console
from wire import ask_open, request_bytes

from routewright import Classifier
from routewright.data.readers import read_texts
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.machine import describe_machine, library_versions, source_commit

BUDGETS = (1024, 2048, 4096, 8192)
CALLERS = 100
TEXTS_A_REQUEST = 32


def load_texts(data: Path, num: int) -> list[str]:
    """Validation texts of all tasks, taking turns, up to 2,000 characters long."""
    files = (
        "category/mmlu_pro_validation.jsonl.gz",
        "pii/presidio_v2_by_template_validation.jsonl.gz",
        "jailbreak/prompts_validation.jsonl.gz",
        "intent/mapped_validation.jsonl.gz",
    )
    readers = [itertools.cycle(read_texts(data / name)) for name in files]
    texts = (text for group in zip(*readers, strict=False) for text in group)
    return list(itertools.islice((t for t in texts if len(t) <= 2000), num))


def bare(classifier: Classifier, texts: Sequence[str], budget: int, at_once: int) -> float:
    """Seconds of the forward passes alone over all texts, `at_once` of them in parallel."""
    encoder = classifier.encoder
    rows = [
        encoder.window_ids(encoded, window)
        for encoded in encoder.encode_batch(list(texts))
        for window in encoded.windows
    ]
    rows.sort(key=len)
    batches, start = [], 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and (end + 1 - start) * len(rows[end]) <= budget:
            end += 1
        batches.append(encoder.pad(rows[start:end]))
        start = end
    with ThreadPoolExecutor(at_once) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda batch: classifier.backend.run(*batch), reversed(batches)))
        return time.perf_counter() - begun


async def engine(classifier: Classifier, texts: Sequence[str], num_workers: int) -> float:
    async with Batcher(classifier, BatcherConfig(num_workers=num_workers)) as batcher:
        waiting = iter(texts)

        async def caller() -> None:
            for text in waiting:
                await batcher.run(text)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return time.perf_counter() - begun


async def api(port: int, texts: Sequence[str]) -> float:
    groups = iter(
        [texts[i : i + TEXTS_A_REQUEST] for i in range(0, len(texts), TEXTS_A_REQUEST)]
    )

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for group in groups:
            raw = request_bytes("/api/v1/classify", {"texts": list(group)}, {})
            answer = await ask_open(reader, writer, raw)
            if answer.status != 200:
                raise SystemExit(f"status {answer.status}: {answer.body[:300]!r}")
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - begun


def best_bare(
    classifiers: dict[int, Classifier], texts: Sequence[str]
) -> tuple[int, int, int, float]:
    """Threads of a pass, passes at once, budget and seconds of the quickest bare setting."""
    cores = max(classifiers)
    trials = [
        (bare(classifier, texts, budget, at_once), threads, at_once, budget)
        for threads, classifier in classifiers.items()
        for at_once in sorted({1, cores // threads})
        for budget in BUDGETS
    ]
    seconds, threads, at_once, budget = min(trials)
    return threads, at_once, budget, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    texts = load_texts(given.data, given.texts)
    classifiers = {n: Classifier.open(given.bundle, num_threads=n) for n in given.threads}
    threads, at_once, budget, _ = best_bare(classifiers, texts)
    single = min(
        (bare(classifier, texts, size, 1), n, size)
        for n, classifier in classifiers.items()
        for size in BUDGETS
    )
    cores = max(given.threads)
    quiet = Classifier.open(given.bundle, num_threads=1, spinning=False)  # as `serve` opens it
    rounds = []
    with tempfile.TemporaryDirectory() as work, Programs(Path(work)) as programs:
        _, _, port = programs.gateway(free_port(), given.bundle.resolve())
        for _ in range(given.rounds):
            bare_s = bare(classifiers[threads], texts, budget, at_once)
            single_s = bare(classifiers[single[1]], texts, single[2], 1)
            engine_s = asyncio.run(engine(quiet, texts, cores))
            api_s = asyncio.run(api(port, texts))
            rounds.append(
                {"bare_s": bare_s, "single_s": single_s, "engine_s": engine_s, "api_s": api_s}
            )
    per_s: dict[str, Any] = {
        name: round(len(texts) / statistics.median(r[f"{name}_s"] for r in rounds), 1)
        for name in ("bare", "single", "engine", "api")
    }
    ratios = {
        f"{name}_of_{against}": [round(r[f"{against}_s"] / r[f"{name}_s"], 3) for r in rounds]
        for name in ("engine", "api")
        for against in ("bare", "single")
    }
    record = {
        "question": "throughput under load",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "machine": describe_machine(),
        "versions": library_versions(),
        "texts": len(texts),
        "callers": CALLERS,
        "best_bare": {"threads": threads, "at_once": at_once, "batch_tokens": budget},
        "engine": {"threads": 1, "at_once": cores},
        "texts_per_s": per_s,
        "best_single": {"threads": single[1], "at_once": 1, "batch_tokens": single[2]},
        "ratios": {name: {"median": statistics.median(v), "rounds": v}
                    for name, v in ratios.items()},
    }  # fmt: skip
    Console().print_json(json.dumps(record))
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
