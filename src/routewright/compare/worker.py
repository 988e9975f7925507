"""The measuring process: ``python -m routewright.compare.worker REQUEST RESULT``.

One process a model, so that memory is that model's alone. Reads a `MeasurementRequest` and
writes a `Measured`, or ``{"error": message, "code": code}`` of an error, as JSON.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from routewright.compare.measurement import Measured, Measurement, MeasurementRequest
from routewright.config import parse
from routewright.data.config import DataSpec
from routewright.errors import RoutewrightError
from routewright.evaluate import load_examples, open_target, view_of
from routewright.evaluate.outcomes import run_model
from routewright.evaluate.run import main_metrics
from routewright.metrics import resampled_values
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import RawOutput
from routewright.runtime.machine import peak_memory_bytes

_NUM_LATENCY_TEXTS = 200
_NUM_WARM_UP = 5
_NUM_REPEATED_TEXTS = 64


def measure(request: MeasurementRequest) -> Measured:
    """Measure one model.

    Raises:
        RoutewrightError: it cannot be opened, or the data does not fit it.
    """
    target = open_target(
        Path(request.target), precision=request.precision, num_threads=request.num_threads
    )
    view = view_of(
        target.classifier, request.task, only_types=request.only_types, coarse=request.coarse
    )
    spec = DataSpec(path=request.data, limit=request.limit, label_map=request.label_map)
    examples = load_examples(spec, view)
    texts = spread([e.text for e in examples], _NUM_LATENCY_TEXTS)
    latency_s = _latencies(target.classifier, request.task, texts)
    started = perf_counter()
    outcome = run_model(target.classifier, view, examples)
    duration_s = perf_counter() - started
    deterministic = is_deterministic(
        target.classifier, spread([e.text for e in examples], _NUM_REPEATED_TEXTS)
    )
    memory_bytes = peak_memory_bytes()  # before the metrics, which take memory of their own
    report = outcome.report(num_resamples=request.num_resamples)
    calibration = outcome.calibration()
    p50, p95 = np.percentile(latency_s, (50, 95)) * 1000
    names = [n for n in main_metrics(view.task) if n in report.metrics]
    resampled = resampled_values(
        outcome.weighted(), len(examples), num_resamples=request.num_resamples
    )
    measurement = Measurement(
        target=request.target,
        name=target.model.name,
        kind=target.kind,
        precision=target.model.precision,
        num_examples=len(examples),
        metrics={name: report.metrics[name] for name in names},
        latency_p50_ms=float(p50),
        latency_p95_ms=float(p95),
        num_latency_texts=len(texts),
        texts_per_s=len(examples) / duration_s,
        tokens_per_s=float(outcome.num_tokens_N.sum()) / duration_s,
        peak_memory_bytes=memory_bytes,
        size_bytes=target.size_bytes,
        num_parameters=target.num_parameters,
        num_trained_parameters=target.num_trained_parameters,
        train_s=target.train_s,
        train_peak_memory_bytes=target.train_peak_memory_bytes,
        train_peak_gpu_memory_bytes=target.train_peak_gpu_memory_bytes,
        deterministic=deterministic,
        ece=calibration.ece_after,
        confidence_right=calibration.confidence_right,
        confidence_wrong=calibration.confidence_wrong,
    )
    return Measured(
        measurement=measurement,
        resampled={name: resampled[name].tolist() for name in names if name in resampled},
    )


def spread(texts: list[str], num_texts: int) -> list[str]:
    """At most `num_texts`, evenly spread over the list."""
    places = np.linspace(0, len(texts) - 1, min(num_texts, len(texts))).round()
    return [texts[int(i)] for i in places]


def is_deterministic(classifier: Classifier, texts: list[str]) -> bool:
    """Whether two passes give bit-identical logits."""
    passes = zip(classifier.raw(texts), classifier.raw(texts), strict=True)
    return all(_same_bits(first, second) for first, second in passes)


def _latencies(classifier: Classifier, task: str, texts: list[str]) -> list[float]:
    """Seconds of each text alone."""
    for text in texts[:_NUM_WARM_UP]:
        classifier(text, tasks=[task])
    durations = []
    for text in texts:
        started = perf_counter()
        classifier(text, tasks=[task])
        durations.append(perf_counter() - started)
    return durations


def _same_bits(first: RawOutput, second: RawOutput) -> bool:
    pairs = [
        *((first.sequence_logits[n], second.sequence_logits[n]) for n in first.sequence_logits),
        *((first.token_logits[n], second.token_logits[n]) for n in first.token_logits),
    ]
    return all(np.array_equal(a, b) for a, b in pairs)


def main(request_path: str, result_path: str) -> int:
    """Read, measure, write; the exit code of the process."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    result: dict[str, Any]
    code = 0
    try:
        measured = measure(parse(MeasurementRequest, request, source=request_path))
        result = asdict(measured)
    except RoutewrightError as exc:
        result, code = {"error": str(exc), "code": exc.code}, exc.exit_code
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
