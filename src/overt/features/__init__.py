"""Beyond linear: models that learn which directions of their inputs matter, by iterative reweighting.

`powers.py` has the step itself. `reweighted` (`reweighting.py`) takes it around any learner. `RFMRegressor`
and `RFMClassifier` take it around kernels: `kernels.py`, `machine.py` (a kernel model and its gradients),
`agop.py` (its M), `ridge.py` (settings), `path.py` (rounds in folds), `stacking.py` (weights), `fitting.py`
(all rows).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from overt.features.powers import reweighting_exponent, reweighting_root
from overt.features.result import Reweighted, Round
from overt.features.reweighting import reweighted

if TYPE_CHECKING:
    from overt.features.classifier import RFMClassifier
    from overt.features.regressor import RFMRegressor

__all__ = [
    "RFMClassifier",
    "RFMRegressor",
    "Reweighted",
    "Round",
    "reweighted",
    "reweighting_exponent",
    "reweighting_root",
]

# The estimators bring scikit-learn, which the rest does without.
_ESTIMATORS = {"RFMClassifier": "classifier", "RFMRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'overt.features' has no attribute {name!r}")
    return getattr(import_module(f"overt.features.{_ESTIMATORS[name]}"), name)
