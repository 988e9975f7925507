"""Hyper-parameter search: many runs of one recipe that differ in how they train."""

from routewright.tune.trials import Search, SearchPlan, TrialResult, search

__all__ = ["Search", "SearchPlan", "TrialResult", "search"]
