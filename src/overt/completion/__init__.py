"""Solvers of matrix completion and sensing, and the baselines that they are judged by."""

from __future__ import annotations

from overt.completion.explicit import ExplicitRun, explicit, explicit_run
from overt.completion.irls import irls
from overt.completion.nuclear import nuclear_norm_minimization
from overt.completion.refit import refit
from overt.completion.result import Completion
from overt.completion.soft_impute import soft_impute

__all__ = [
    "Completion",
    "ExplicitRun",
    "explicit",
    "explicit_run",
    "irls",
    "nuclear_norm_minimization",
    "refit",
    "soft_impute",
]
