"""What the solvers ask of a problem: its kind, finite values, and units."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.checks import message
from overt._utils.tensors import require_finite
from overt.problems import CompletionProblem, SensingProblem

Matrices = CompletionProblem | SensingProblem

ZERO_MESSAGE = "all observations are zero: completed by zero"
MATRICES = "a CompletionProblem or a SensingProblem, whose unknown is a matrix"
_ELSEWHERE = "for other measurements use irls or nuclear_norm_minimization"
_NO_MEASUREMENT = "problem.A: all measurement matrices are zero; they say nothing about the matrix"


def check_problem(problem: Any, *, entries: bool = False) -> tuple[int, int]:
    """Refuse what is neither a completion nor a sensing problem, or holds NaN; the shape (m, n).

    Anything with their fields is accepted: ``y``, ``shape`` and either ``rows`` and ``cols`` or ``A``.

    Parameters
    ----------
    problem : object
    entries : bool
        Whether it must have observed entries.

    Raises
    ------
    TypeError
        If it is another kind of problem, or none.
    ValueError
        If ``y`` is not finite, or all measurement matrices are zero.
    """
    positions = hasattr(problem, "rows") and hasattr(problem, "cols")
    kind = positions or (hasattr(problem, "A") and not entries)
    if not (kind and hasattr(problem, "y")) or len(getattr(problem, "shape", ())) != 2:
        expected, remedy = ("a CompletionProblem", _ELSEWHERE) if entries else (MATRICES, "")
        raise TypeError(message("problem", expected, problem, remedy))
    require_finite(problem.y, "problem.y", remedy="leave out what is not observed")
    if not positions and problem.A.numel() and not bool(problem.A.any()):
        raise ValueError(_NO_MEASUREMENT)
    return int(problem.shape[0]), int(problem.shape[1])


def root_mean_square(y: Tensor) -> float:
    """Root mean square, safe against overflow and underflow of the squares; 0 for no values."""
    top = float(y.abs().max()) if y.numel() else 0.0
    return top * float((y / top).square().mean().sqrt()) if top > 0 else 0.0


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
    rms = root_mean_square(problem.y)
    changed: dict[str, Any] = {"y": problem.y / level / (rms / level)}
    unit = rms
    if isinstance(problem, SensingProblem):
        per_measurement = float(torch.linalg.vector_norm(problem.A)) / math.sqrt(problem.n_observed)
        if per_measurement == 0.0:
            raise ValueError(_NO_MEASUREMENT)
        unit, changed["A"] = rms / per_measurement, problem.A / per_measurement
    else:
        changed["truth_factors"] = None
        if problem.heldout is not None:
            changed["heldout"] = (*problem.heldout[:2], problem.heldout[2] / unit)
    changed["truth"] = None if problem.truth is None else problem.truth / unit
    return cast(Matrices, replace(cast(Any, problem), **changed)), unit
