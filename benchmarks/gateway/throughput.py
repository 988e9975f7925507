"""Texts a second under load, against the bare onnxruntime call on the same texts.

    python benchmarks/gateway/throughput.py --bundle BUNDLE --data ../shared/data --out FILE

Bare: the graph alone, texts tokenised beforehand, sorted by length and batched by token budget.
Every thread count, number of passes at once and budget is tried on some of the texts; the best
ones run in every round, and the one with the least median counts. `single` is the best with one
pass at a time. Engine: the gateway's batcher with 100 callers, each waiting for its answer
before it asks again; it tokenises, batches as texts come, decodes all heads. API:
``POST /api/v1/classify`` over HTTP with 100 connections and 32 texts a request; the client
shares the machine. Rounds are interleaved; ratios are within a round.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from programs import Programs, free_port
from rich.console import Console
from wire import ask_open, request_bytes

from routewright import Classifier
from routewright.data.readers import read_texts
from routewright.encoding import TextEncoder
from routewright.runtime.batcher import Batcher, BatcherConfig
from routewright.runtime.machine import describe_machine, library_versions, source_commit

BUDGETS = (256, 512, 1024, 2048, 4096)
TRIAL_TEXTS = 400
NUM_FINALISTS = 2
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


class Setting(NamedTuple):
    """Of the bare graph."""

    threads: int
    at_once: int
    batch_tokens: int


class Bare:
    """The graph alone over texts that were tokenised once."""

    def __init__(self, classifiers: dict[int, Classifier], texts: Sequence[str]) -> None:
        encoder = next(iter(classifiers.values())).encoder
        rows = [
            encoder.window_ids(encoded, window)
            for encoded in encoder.encode_batch(list(texts))
            for window in encoded.windows
        ]
        rows.sort(key=len)
        self.classifiers = classifiers
        self.batches = {budget: list(_batches(encoder, rows, budget)) for budget in BUDGETS}

    def seconds(self, setting: Setting) -> float:
        """Of the forward passes, the longest first."""
        run = self.classifiers[setting.threads].backend.run
        batches = reversed(self.batches[setting.batch_tokens])
        with ThreadPoolExecutor(setting.at_once) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda batch: run(*batch), batches))
            return time.perf_counter() - begun


def _batches(
    encoder: TextEncoder, rows: Sequence[list[int]], budget: int
) -> Iterator[tuple[Any, Any]]:
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and (end + 1 - start) * len(rows[end]) <= budget:
            end += 1
        yield encoder.pad(rows[start:end])
        start = end


async def engine(
    classifier: Classifier, texts: Sequence[str], num_workers: int, callers: int
) -> float:
    async with Batcher(classifier, BatcherConfig(num_workers=num_workers)) as batcher:
        waiting = iter(texts)

        async def caller() -> None:
            for text in waiting:
                await batcher.run(text)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return time.perf_counter() - begun


async def api(port: int, texts: Sequence[str], callers: int) -> float:
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
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - begun


def finalists(bare: Bare) -> list[Setting]:
    """The best settings, and the best with one pass at a time; each was tried twice."""
    cores = max(bare.classifiers)
    settings = [
        Setting(threads, at_once, budget)
        for threads in bare.classifiers
        for at_once in sorted({1, cores // threads})
        for budget in BUDGETS
    ]
    turns = [[bare.seconds(setting) for setting in settings] for _ in range(2)]
    ranked = [setting for _, setting in sorted(zip(map(min, *turns), settings, strict=True))]
    single = next(setting for setting in ranked if setting.at_once == 1)
    return list(dict.fromkeys([*ranked[:NUM_FINALISTS], single]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--callers", type=int, default=100, help="that ask at once")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    texts = load_texts(given.data, given.texts)
    classifiers = {n: Classifier.open(given.bundle, num_threads=n) for n in given.threads}
    settings = finalists(Bare(classifiers, texts[:TRIAL_TEXTS]))
    bare = Bare(classifiers, texts)
    cores = max(given.threads)
    quiet = Classifier.open(given.bundle, num_threads=1, spinning=False)  # as `serve` opens it
    rounds = []
    bare_s: dict[Setting, list[float]] = {setting: [] for setting in settings}
    with tempfile.TemporaryDirectory() as work, Programs(Path(work)) as programs:
        _, _, port = programs.gateway(free_port(), given.bundle.resolve())
        for _ in range(given.rounds):
            for setting, seconds in reversed(bare_s.items()):  # the best beside the engine
                seconds.append(bare.seconds(setting))
            engine_s = asyncio.run(engine(quiet, texts, cores, given.callers))
            api_s = asyncio.run(api(port, texts, given.callers))
            rounds.append({"engine_s": engine_s, "api_s": api_s})
    ranked = sorted(settings, key=lambda setting: statistics.median(bare_s[setting]))
    best, single = ranked[0], next(setting for setting in ranked if setting.at_once == 1)
    for number, times in enumerate(rounds):
        times |= {"bare_s": bare_s[best][number], "single_s": bare_s[single][number]}
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
        "callers": given.callers,
        "best_bare": best._asdict(),
        "engine": {"threads": 1, "at_once": cores},
        "texts_per_s": per_s,
        "best_single": single._asdict(),
        "ratios": {name: {"median": statistics.median(v), "rounds": v}
                    for name, v in ratios.items()},
    }  # fmt: skip
    Console().print_json(json.dumps(record))
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
