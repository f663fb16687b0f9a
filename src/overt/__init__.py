"""Overt makes implicit regularization explicit: measure it, penalize it, solve with it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from overt._version import __version__

if TYPE_CHECKING:
    from overt import functional
    from overt.completion import MatrixCompletion, MatrixSensing
    from overt.features import RFMClassifier, RFMRegressor, reweighted
    from overt.linalg import Factored
    from overt.measures import Spectrum, SpectrumTracker, compress, infer_penalty, measure
    from overt.models import DeepCircularConvolution, DeepDiagonal, DeepLinear
    from overt.penalties import CompositionPenalty, JacobianPenalty, SpectralPenalty, VectorPenalty
    from overt.training import train

# Each public name has one home, imported when it is first asked for, so that `import overt` stays light.
_HOMES = {
    "CompositionPenalty": "overt.penalties",
    "DeepCircularConvolution": "overt.models",
    "DeepDiagonal": "overt.models",
    "DeepLinear": "overt.models",
    "Factored": "overt.linalg",
    "JacobianPenalty": "overt.penalties",
    "MatrixCompletion": "overt.completion",
    "MatrixSensing": "overt.completion",
    "RFMClassifier": "overt.features",
    "RFMRegressor": "overt.features",
    "SpectralPenalty": "overt.penalties",
    "Spectrum": "overt.measures",
    "SpectrumTracker": "overt.measures",
    "VectorPenalty": "overt.penalties",
    "compress": "overt.measures",
    "infer_penalty": "overt.measures",
    "measure": "overt.measures",
    "reweighted": "overt.features",
    "train": "overt.training",
}
_ROOMS = {
    "completion",
    "features",
    "functional",
    "integrations",
    "linalg",
    "measures",
    "models",
    "networks",
    "optim",
    "penalties",
    "problems",
    "studies",
    "training",
}

__all__ = [
    "CompositionPenalty",
    "DeepCircularConvolution",
    "DeepDiagonal",
    "DeepLinear",
    "Factored",
    "JacobianPenalty",
    "MatrixCompletion",
    "MatrixSensing",
    "RFMClassifier",
    "RFMRegressor",
    "SpectralPenalty",
    "Spectrum",
    "SpectrumTracker",
    "VectorPenalty",
    "__version__",
    "compress",
    "functional",
    "infer_penalty",
    "measure",
    "reweighted",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"overt.{name}")
    raise AttributeError(f"module 'overt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
