"""How good a model is on labelled data: a run or a bundle, a task and a file to one report."""

from routewright.evaluate.gates import Gate, check_gates, check_metrics, parse_gate
from routewright.evaluate.outcomes import metric_names
from routewright.evaluate.report import Report
from routewright.evaluate.run import evaluate, evaluate_file, view_of, with_origin
from routewright.evaluate.targets import Target, open_target
from routewright.evaluate.view import View, load_examples

__all__ = [
    "Gate",
    "Report",
    "Target",
    "View",
    "check_gates",
    "check_metrics",
    "evaluate",
    "evaluate_file",
    "load_examples",
    "metric_names",
    "open_target",
    "parse_gate",
    "view_of",
    "with_origin",
]
