"""100 connections for 60 s: is any answer wrong, lost, or another request's?

    python benchmarks/gateway/load.py --bundle BUNDLE --door envoy --out FILE

Every request carries its own identifier in its text and in a header; the model server repeats
both. Every third request streams, every third names a telephone number that is masked on the
way out and must come back. Latencies are those of a client with 100 requests open at all times
on the same two cores, so they say how the gateway queues, not what it adds.
"""

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from programs import MODEL, Programs
from rich.console import Console
from wire import Answer, ask_open, request_bytes

from routewright.runtime.machine import describe_machine, library_versions, source_commit

PATH = "/v1/chat/completions"


def request_of(number: int) -> tuple[bytes, str]:
    """The request of a number, and the text that must come back."""
    tag = f"tag-{number}"
    text = f"Question {tag}: what follows from axiom {number % 97} of the theory?"
    if number % 3 == 0:
        text += f" Call me on 555-01{number % 90 + 10}-{number % 9000 + 1000}."
    messages = [{"role": "user", "content": text}]
    body = {"model": "auto", "messages": messages, "stream": number % 3 == 1}
    return request_bytes(PATH, body, {"x-request-tag": tag}), text


def text_of(answer: Answer) -> str:
    if "event-stream" not in answer.headers.get("content-type", ""):
        content = json.loads(answer.body)["choices"][0]["message"]["content"]
        return str(content)
    lines = [line[6:] for line in answer.body.decode().splitlines() if line[:7] == "data: {"]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    return "".join(delta.get("content") or "" for delta in deltas)


def verdict(number: int, text: str, answer: Answer) -> str:
    if answer.status != 200:
        return f"status {answer.status}"
    tag = f"tag-{number}"
    if answer.headers.get("x-request-tag") != tag:
        return "another request's answer"
    heard = text_of(answer).partition("heard: ")[2]
    return "right" if heard == text else "wrong text"


async def client(
    port: int, until: float, numbers: Any, seen: Counter[str], masked: Counter[bool]
) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    try:
        while time.monotonic() < until:
            number = next(numbers)
            raw, text = request_of(number)
            start = time.perf_counter()
            try:
                answer = await asyncio.wait_for(ask_open(reader, writer, raw), 60)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as exc:
                seen[f"lost ({type(exc).__name__})"] += 1
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            times.append(time.perf_counter() - start)
            seen[verdict(number, text, answer)] += 1
            masked["x-routewright-masked" in answer.headers] += 1
    finally:
        writer.close()
    return times


async def load(port: int, connections: int, duration_s: float) -> dict[str, Any]:
    seen: Counter[str] = Counter()
    masked: Counter[bool] = Counter()
    numbers = itertools.count(1)
    until = time.monotonic() + duration_s
    start = time.perf_counter()
    clients = [client(port, until, numbers, seen, masked) for _ in range(connections)]
    times = np.array(list(itertools.chain(*await asyncio.gather(*clients)))) * 1000
    elapsed = time.perf_counter() - start
    return {
        "answers": dict(seen),
        "masked": masked[True],
        "requests_per_s": round(len(times) / elapsed, 1),
        "latency_ms": {f"p{q}": round(float(np.percentile(times, q)), 1) for q in (50, 95, 99)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--door", choices=["envoy", "http"], default="envoy")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Programs(Path(work)) as programs:
        upstream = programs.model_server()
        guards = {"pii": {"default": "allow", "types": {"PHONE_NUMBER": "mask"}}}
        http, ext_proc, _ = programs.gateway(upstream, given.bundle.resolve(), guards=guards)
        port = programs.envoy(upstream, ext_proc) if given.door == "envoy" else http
        result = asyncio.run(load(port, given.connections, given.duration))
    record = {
        "question": "answers under load",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "machine": describe_machine(),
        "versions": library_versions(),
        "door": given.door,
        "model": MODEL,
        "connections": given.connections,
        "duration_s": given.duration,
        **result,
    }
    Console().print_json(json.dumps(record))
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if set(result["answers"]) != {"right"}:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
