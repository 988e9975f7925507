"""Temperatures and operating points fitted to labelled texts: at export, and to own traffic."""

from routewright.calibrate.fit import (
    FEW_ROWS,
    calibrate,
    check_rows,
    check_target,
    few_rows,
    fit_calibration,
)
from routewright.calibrate.recalibrate import recalibrate
from routewright.calibrate.section import calibration_section, read_reports, with_calibration

__all__ = [
    "FEW_ROWS",
    "calibrate",
    "calibration_section",
    "check_rows",
    "check_target",
    "few_rows",
    "fit_calibration",
    "read_reports",
    "recalibrate",
    "with_calibration",
]
