"""Temperatures and operating points fitted to labelled texts: at export, and to own traffic."""

from routewright.calibrate.fit import calibrate, check_rows, check_target, fit_calibration
from routewright.calibrate.recalibrate import recalibrate
from routewright.calibrate.section import calibration_section, with_calibration

__all__ = [
    "calibrate",
    "calibration_section",
    "check_rows",
    "check_target",
    "fit_calibration",
    "recalibrate",
    "with_calibration",
]
