"""The inverse question: which penalty a solution seems to minimize."""

from overt.measures.inference.inferred import InferredPenalty, Stationarity
from overt.measures.inference.inverse import infer_penalty

__all__ = ["InferredPenalty", "Stationarity", "infer_penalty"]
