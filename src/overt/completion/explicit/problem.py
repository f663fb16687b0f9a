"""Units of a problem, and what an exact fit of it must be to be believed: for the explicit route."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch

from overt.completion.result import Completion
from overt.problems import CompletionProblem, SensingProblem

__all__ = ["Matrices", "largest_rank", "normalized_problem", "sane", "without_zeros"]

Matrices = CompletionProblem | SensingProblem

_LARGEST_ENTRY = 100.0  # a refit with an entry above this many times the largest observed one is refused


def normalized_problem(problem: Matrices) -> tuple[Matrices, float]:
    """Return the problem in units in which ``mean(y²) = 1`` and ``‖W‖_F ≈ √(m n)``, and the unit of W.

    The second holds for observations that are spread evenly, as random entries or Gaussian measurements are:
    then ``E ‖A(W)‖² = ‖A‖_F² ‖W‖_F² / (m n)``.

    Raises
    ------
    ValueError
        If all observations are zero: any scale would do.
    """
    level = float(problem.y.abs().max())
    if level == 0.0:
        raise ValueError(
            "problem: all observations are zero, so the data have no scale; the zero matrix fits"
        )
    rms = level * float((problem.y / level).square().mean().sqrt())
    y = problem.y / level / (rms / level)
    if isinstance(problem, CompletionProblem):
        unit, changed = rms, cast(Matrices, replace(problem, y=y, heldout=None))
    else:
        per_measurement = float(torch.linalg.vector_norm(problem.A)) / math.sqrt(problem.n_observed)
        if per_measurement == 0.0:
            raise ValueError("problem: all measurement matrices are zero; they say nothing about the matrix")
        unit, changed = rms / per_measurement, replace(problem, A=problem.A / per_measurement, y=y)
    truth = None if problem.truth is None else problem.truth / unit
    if isinstance(changed, CompletionProblem) and isinstance(problem, CompletionProblem):
        heldout = problem.heldout
        if heldout is not None:
            heldout = (heldout[0], heldout[1], heldout[2] / unit)
        return replace(changed, truth=truth, truth_factors=None, heldout=heldout), unit
    return replace(changed, truth=truth), unit


def largest_rank(shape: tuple[int, int], n_observed: int) -> int:
    """Return the largest r with fewer degrees of freedom ``r (m + n − r)`` than observations (at least 1)."""
    m, n = shape
    ranks = [r for r in range(1, min(m, n)) if r * (m + n - r) < n_observed]
    return ranks[-1] if ranks else 1


def sane(problem: Matrices, fit: Completion) -> bool:
    """Whether no entry is above 100 times the largest observed one (for completion), and all are finite."""
    largest = float(fit.W.abs().max()) if fit.rank else 0.0
    bound = problem.max_abs_observed if isinstance(problem, CompletionProblem) else math.inf
    return math.isfinite(largest) and largest <= _LARGEST_ENTRY * bound


def without_zeros(fit: Completion, tolerance: float = 1e-9) -> Completion:
    """Drop the singular values at or below ``tolerance · σ_1``."""
    s = fit.singular_values
    rank = int((s > tolerance * s[0]).sum()) if s.numel() else 0
    return replace(fit, U=fit.U[:, :rank], singular_values=s[:rank], Vt=fit.Vt[:rank])
