"""The scikit-learn estimators: inputs, model selection, answers."""

from __future__ import annotations

from overt.completion.estimator.completion import MatrixCompletion
from overt.completion.estimator.sensing import MatrixSensing

__all__ = ["MatrixCompletion", "MatrixSensing"]
