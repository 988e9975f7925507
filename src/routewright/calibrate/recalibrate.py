"""A bundle refitted to other labelled texts, such as the user's own traffic."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from routewright.bundle import CALIBRATION_FILE, Bundle, calibrations_to_plain, rewrite_bundle
from routewright.calibrate.fit import calibrate
from routewright.calibrate.section import with_calibration
from routewright.calibration import Target, TaskCalibration
from routewright.data.examples import Example
from routewright.errors import BundleError
from routewright.runtime.classifier import Classifier
from routewright.shipped import is_shipped

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

    Args:
        path: the bundle.
        task: one of its tasks.
        examples: labelled rows; other than those it was trained on.
        target: the operating point; None keeps the goal of the one the bundle has, if any.
        progress: called with the number of texts each batch completed, once a precision.

    Returns:
        The new calibration of the task by precision.

    Raises:
        BundleError: not a bundle, a damaged one, or one of the package, which stays as it is.
        ConfigError: the target does not fit the task.
        DataError: no examples, or none of the kind that the target counts.
        TaskError: no such task.
    """
    if is_shipped(path):
        raise BundleError(
            f"{path}: is a bundle of the package and read only; copy the folder to a place of "
            "yours and calibrate the copy"
        )
    bundle = Bundle.open(path)
    calibrations = {p: bundle.calibration(p) for p in bundle.manifest.precisions}
    fitted = {}
    for precision, by_task in calibrations.items():
        classifier = Classifier.open(path, precision=precision)
        goal = target or _goal(task, by_task.get(task))
        fitted[precision] = calibrate(classifier, task, examples, goal, progress=progress)
        by_task[task] = fitted[precision]
    plain = calibrations_to_plain(calibrations)
    contents = {CALIBRATION_FILE: json.dumps(plain, indent=1) + "\n"}
    card = path / CARD_FILE
    if card.is_file():
        contents[CARD_FILE] = with_calibration(card.read_text(encoding="utf-8"), calibrations)
    rewrite_bundle(bundle, contents)
    return fitted


def _goal(task: str, present: TaskCalibration | None) -> Target | None:
    point = None if present is None else present.operating_point
    return None if point is None else Target(task=task, metric=point.metric, goal=point.goal)
