"""Solvers of matrix completion and sensing, estimators built on them, and baselines to judge them by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from overt.completion.certificate import Certificate, certificate
from overt.completion.convex import nuclear_norm_minimization, soft_impute
from overt.completion.explicit import ExplicitRun, explicit, explicit_run
from overt.completion.irls import irls
from overt.completion.refit import refit
from overt.completion.result import Completion

if TYPE_CHECKING:
    from overt.completion.estimator import MatrixCompletion, MatrixSensing

__all__ = [
    "Certificate",
    "Completion",
    "ExplicitRun",
    "MatrixCompletion",
    "MatrixSensing",
    "certificate",
    "explicit",
    "explicit_run",
    "irls",
    "nuclear_norm_minimization",
    "refit",
    "soft_impute",
]

# The estimators bring scikit-learn, which the solvers do without.
_ESTIMATORS = ("MatrixCompletion", "MatrixSensing")


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'overt.completion' has no attribute {name!r}")
    return getattr(import_module("overt.completion.estimator"), name)
