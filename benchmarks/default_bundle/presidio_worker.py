"""Presidio's analyzer over texts, in an environment of its own that has no routewright.

    python presidio_worker.py REQUEST RESULT

REQUEST: ``{"texts": [...], "model": "en_core_web_sm" or null, "organizations": bool}``; without
a model only the pattern recognizers answer. RESULT: entities of each text as Presidio names
them, seconds, peak memory, versions.
"""

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import spacy  # type: ignore[import-not-found]
from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found]
from presidio_analyzer.nlp_engine import (  # type: ignore[import-not-found]
    NerModelConfiguration,
    NlpEngine,
    SpacyNlpEngine,
)

_LABELS = {
    "PER": "PERSON",
    "PERSON": "PERSON",
    "NORP": "NRP",
    "FAC": "LOCATION",
    "LOC": "LOCATION",
    "GPE": "LOCATION",
    "LOCATION": "LOCATION",
    "ORG": "ORGANIZATION",
    "ORGANIZATION": "ORGANIZATION",
    "DATE": "DATE_TIME",
    "TIME": "DATE_TIME",
}
_IGNORED = (
    "CARDINAL", "EVENT", "LANGUAGE", "LAW", "MONEY", "ORDINAL", "PERCENT", "PRODUCT",
    "QUANTITY", "WORK_OF_ART",
)  # fmt: skip
"""Both as in Presidio's conf/default.yaml, which also ignores ORGANIZATION."""


def main(request_path: str, result_path: str) -> None:
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    # The list of top-level domains that its package carries will do: there is no network.
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)
    started = perf_counter()
    analyzer = AnalyzerEngine(nlp_engine=_engine(request), supported_languages=["en"])
    if request["model"] is None:
        analyzer.registry.remove_recognizer("SpacyRecognizer")
    opened_s = perf_counter() - started
    analyzer.analyze("Ask Ann at ann@example.com or 555-123-4567.", language="en")
    started = perf_counter()
    entities = [
        [
            {"start": e.start, "end": e.end, "label": e.entity_type, "score": e.score}
            for e in analyzer.analyze(text, language="en")
        ]
        for text in request["texts"]
    ]
    result = {
        "entities": entities,
        "analyze_s": perf_counter() - started,
        "open_s": opened_s,
        "peak_memory_bytes": _peak_memory_bytes(),
        "versions": {name: version(name) for name in ("presidio-analyzer", "spacy")},
        "model": request["model"],
    }
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def _engine(request: dict[str, Any]) -> NlpEngine:
    ignored = [*_IGNORED, *([] if request["organizations"] else ["ORGANIZATION", "ORG"])]
    configuration = NerModelConfiguration(
        model_to_presidio_entity_mapping=_LABELS, labels_to_ignore=ignored
    )
    name = request["model"] or "blank"
    engine = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": name}], ner_model_configuration=configuration
    )
    if request["model"] is None:
        engine.nlp = {"en": spacy.blank("en")}
    return engine


def _peak_memory_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:3])
