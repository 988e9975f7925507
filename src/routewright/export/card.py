"""The model card of a bundle: what was measured, and nothing that was not."""

import json
from collections.abc import Mapping
from typing import Any

from routewright.bundle import Bundle, BundleManifest, Calibrations
from routewright.calibrate import calibration_section
from routewright.tasks import Task

EXPORT_REPORT = "reports/export.json"
_HEADLINES = (
    "accuracy", "macro_f1", "weighted_f1", "roc_auc", "recall_at_fpr_1pct", "fpr_at_threshold",
    "recall_at_threshold", "ece", "span_f1", "span_f2", "partial_f1", "token_f1",
)  # fmt: skip


def model_card(
    manifest: BundleManifest,
    calibrations: Calibrations,
    record: Mapping[str, Any],
    reports: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown for ``README.md``.

    Args:
        manifest: of the bundle, hashes not needed.
        calibrations: by precision and task.
        record: what `export_bundle` measured, the content of ``reports/export.json``.
        reports: evaluation reports by file name, as `routewright evaluate --out` writes them.
    """
    sections = [
        _summary(manifest, record),
        str(record.get("card") or "").strip(),
        _usage(manifest),
        _tasks(manifest.tasks),
        _validation(record),
        _tests(reports),
        f"## Calibration\n\n{calibration_section(calibrations, reports.values())}",
        _training(record),
        _limits(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def renewed_card(bundle: Bundle, reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The card of an existing bundle with `reports` in it."""
    calibrations = {p: bundle.calibration(p) for p in bundle.manifest.precisions}
    path = bundle.path / EXPORT_REPORT
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return model_card(bundle.manifest, calibrations, record, reports)


def _summary(manifest: BundleManifest, record: Mapping[str, Any]) -> str:
    model = manifest.model
    lines = [
        f"# {manifest.name}",
        "",
        f"One {model.architecture} encoder with {len(manifest.tasks)} heads, "
        f"{model.num_parameters / 1e6:.1f} million parameters; one forward pass answers all "
        "tasks and gives a text embedding.",
        "",
        "| | |",
        "|---|---|",
        f"| made | {manifest.created} by routewright {manifest.routewright_version} |",
        f"| base weights | {record.get('backbone', 'unknown')} |",
        f"| sequence heads read | the {manifest.model.pooling} vector |",
        f"| window | {manifest.encoding.max_tokens} tokens, overlapping by "
        f"{manifest.encoding.overlap_tokens}; longer texts are read whole, in windows |",
    ]
    if (second_look := manifest.second_look) is not None:
        lines.append(f"| entities checked by rules | {', '.join(second_look.types)} |")
    for name, size in record.get("graph_bytes", {}).items():
        mark = ", default" if name == manifest.default_precision else ""
        lines.append(f"| {name} graph | {size / 1e6:.1f} MB{mark} |")
    if parity := record.get("parity"):
        lines.append(
            "| fp32 graph against torch | largest difference "
            f"{parity['largest_difference']:.1e} on {parity['num_texts']} texts, "
            "alone and in padded batches |"
        )
    return "\n".join(lines)


def _usage(manifest: BundleManifest) -> str:
    first = manifest.tasks[0]
    part = f"sequence[{first.name!r}].label" if first.kind == "sequence" else "spans"
    return f"""## Use

```python
from routewright import Classifier

classifier = Classifier.open("path/to/this/folder")
answer = classifier(["What is the capital of France?"])[0]
print(answer.{part})
```

or `routewright classify --bundle path/to/this/folder "What is the capital of France?"`. Opening
checks every file against the hashes in `manifest.json` and replays `golden.json`."""


def _tasks(tasks: tuple[Task, ...]) -> str:
    lines = ["## Tasks", "", "| task | kind | labels | long texts |", "|---|---|---|---|"]
    for task in tasks:
        if task.kind == "token":
            rule = "windows stitched, then decoded at once"
        elif task.windows == "maximum":
            rule = f"the window with the highest score of {task.positive}"
        else:
            rule = "mean of the windows, weighted by tokens"
        lines.append(f"| {task.name} | {task.kind} | {', '.join(task.labels)} | {rule} |")
    return "\n".join(lines)


def _validation(record: Mapping[str, Any]) -> str:
    by_task = record.get("validation", {})
    if not by_task:
        return ""
    lines = ["## Validation", ""]
    if (int8 := record.get("int8")) is not None:
        lines += [
            f"int8 computes {int8['scope']} of the encoder in integers; export allows it to "
            f"lose {int8['max_loss_points']:g} points.",
            "",
        ]
    lines += [
        "| task | rows | metric | fp32 | int8 | int8 loss, points |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in by_task.items():
        loss = row.get("loss_points")
        shown = "" if loss is None else f"{loss:+.2f}"
        lines.append(
            f"| {name} | {row['num_examples']} | {row['metric']} | {_number(row['fp32'])} | "
            f"{_number(row.get('int8'))} | {shown} |"
        )
    return "\n".join(lines)


def _tests(reports: Mapping[str, Mapping[str, Any]]) -> str:
    if not reports:
        return ""
    lines = [
        "## Evaluation",
        "",
        "With 95 % bootstrap intervals over texts.",
        "",
        "| report | task | rows | precision | metric | value | interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for file, report in reports.items():
        precision = report.get("model", {}).get("precision") or ""
        for metric in _HEADLINES:
            estimate = report["metrics"].get(metric)
            if estimate is None or estimate["value"] is None:
                continue
            low, high = _number(estimate.get("low")), _number(estimate.get("high"))
            lines.append(
                f"| {file.removesuffix('.json')} | {report['task']} | "
                f"{report['num_examples']} | {precision} | {metric} | "
                f"{_number(estimate['value'])} | {f'{low} - {high}' if low else ''} |"
            )
    return "\n".join(lines)


def _training(record: Mapping[str, Any]) -> str:
    sources = record.get("training_data", {})
    if not sources:
        return ""
    lines = ["## Training data", "", "| task | split | rows | from |", "|---|---|---|---|"]
    for name, splits in sources.items():
        for split, part in splits.items():
            rows = "" if part["num_examples"] is None else part["num_examples"]
            lines.append(f"| {name} | {split} | {rows} | {'; '.join(part['origins'])} |")
    return "\n".join(lines)


def _limits(manifest: BundleManifest) -> str:
    return f"""## Limits

- It knows the languages and subjects of its training data; on others nothing was measured.
- Labels are those above; a text that fits none still gets one, with its probability.
- Numbers are of the data named; fit thresholds to your own traffic with
  `routewright calibrate BUNDLE --task TASK --data FILE --target TASK.METRIC=GOAL`.
- int8 scales activations over a batch: a text's probabilities may differ a little with the
  texts beside it.
- A text in one window of {manifest.encoding.max_tokens} tokens is read as a whole; evidence
  spread over several windows is only combined by the rules above."""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
