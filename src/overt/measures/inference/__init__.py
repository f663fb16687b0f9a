"""The inverse question: which penalty a solution looks like a minimum of."""

from overt.measures.inference.inferred import InferredPenalty, Stationarity
from overt.measures.inference.inverse import infer_penalty

__all__ = ["InferredPenalty", "Stationarity", "infer_penalty"]
