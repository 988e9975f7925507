"""A bundle refitted to other labelled texts, such as the user's own traffic."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from routewright.bundle import (
    CALIBRATION_FILE,
    Bundle,
    FileRecord,
    calibrations_to_plain,
    rewrite_bundle,
)
from routewright.calibrate.fit import calibrate, few_rows
from routewright.calibrate.section import read_reports, with_calibration
from routewright.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Target,
    TaskCalibration,
)
from routewright.data.examples import Example
from routewright.errors import BundleError, DataError
from routewright.runtime.classifier import Classifier
from routewright.shipped import is_shipped
from routewright.tasks import Task

CARD_FILE = "README.md"


def recalibrate(
    path: Path,
    task: str,
    examples: Sequence[Example],
    target: Target | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, TaskCalibration]:
    """Fit one task of a bundle anew and write it back, as atomically as a bundle is written.

    A fit that is worth nothing leaves the bundle as it was. At export one is kept and marked in
    the card, for there is no earlier one to keep.

    Args:
        path: the bundle.
        task: one of its tasks.
        examples: labelled rows; other than those it was trained on.
        target: the operating point; None keeps the goal of the one the bundle has, if any.
        progress: called with the number of texts each batch completed, once a precision.

    Returns:
        The new calibration of the task by precision.

    Raises:
        BundleError: not a bundle, a damaged one, one of the package, which stays as it is, or
            another model by the time the fit is done.
        ConfigError: the target does not fit the task.
        DataError: no examples, or none of the kind that the target counts; the target cannot be
            reached on them; or they are few and their temperature is an end of its range.
        TaskError: no such task.
    """
    if is_shipped(path):
        raise BundleError(
            f"{path}: is a bundle of the package and read only; copy the folder to a place of "
            "yours and calibrate the copy"
        )
    bundle = Bundle.open(path)
    fitted = {}
    for precision in bundle.manifest.precisions:
        classifier = Classifier.open(path, precision=precision)
        goal = target or _goal(task, bundle.calibration(precision).get(task))
        fit = calibrate(classifier, task, examples, goal, progress=progress)
        _refuse_useless(fit, bundle.tasks[task], examples, precision)
        fitted[precision] = fit
    # Fitting takes minutes, in which another process may have written to the bundle.
    bundle = _still_the_same(bundle)
    calibrations = {p: {**bundle.calibration(p), task: fitted[p]} for p in fitted}
    plain = calibrations_to_plain(calibrations)
    contents = {CALIBRATION_FILE: json.dumps(plain, indent=1) + "\n"}
    card = path / CARD_FILE
    if card.is_file():
        reports = read_reports(path / "reports").values()
        contents[CARD_FILE] = with_calibration(
            card.read_text(encoding="utf-8"), calibrations, reports
        )
    rewrite_bundle(bundle, contents)
    return fitted


def _refuse_useless(
    fit: TaskCalibration, task: Task, examples: Sequence[Example], precision: str
) -> None:
    """Refuse a fit that nobody would take over the one that the bundle has.

    A temperature at an end of its range is where the search was stopped, not what fits best: of
    few rows most are wrong, or their labels stand for something else.
    """
    point, few = fit.operating_point, few_rows(task, examples)
    kept = "the bundle keeps its calibration"
    if point is not None and not point.met:
        raise DataError(
            f"task {task.name}: {point.metric} {point.goal:g} cannot be reached on these "
            f"{len(examples)} rows, at most {point.achieved:.4f} ({precision}); {kept}; check "
            "the labels, add rows or set a lower --target"
        )
    if few is not None and fit.temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE):
        raise DataError(
            f"task {task.name}: no temperature fits {few}, the best is the end of its range, "
            f"{fit.temperature:g} ({precision}); {kept}; check the labels or add rows"
        )


def _still_the_same(bundle: Bundle) -> Bundle:
    """The bundle as it is now, with the calibration of other tasks that it now has."""
    now = Bundle.open(bundle.path)
    if _model_files(now) != _model_files(bundle):
        raise BundleError(
            f"{bundle.path}: was replaced by another model in the meantime; calibrate again"
        )
    return now


def _model_files(bundle: Bundle) -> dict[str, FileRecord]:
    """The files that a calibration is for."""
    others = (CALIBRATION_FILE, CARD_FILE, "reports/")
    files = bundle.manifest.files
    return {name: record for name, record in files.items() if not name.startswith(others)}


def _goal(task: str, present: TaskCalibration | None) -> Target | None:
    point = None if present is None else present.operating_point
    return None if point is None else Target(task=task, metric=point.metric, goal=point.goal)
