"""Problems and options that solvers of observed entries refuse, in words."""

from __future__ import annotations

import math
from typing import Any

import torch


def check_completion_problem(problem: Any) -> None:
    """Refuse what is no completion problem."""
    if not (hasattr(problem, "rows") and hasattr(problem, "cols")):
        raise TypeError(
            f"problem must be a CompletionProblem; got {type(problem).__name__}. For other measurements use "
            "nuclear_norm_minimization(problem, weight=…)"
        )
    if not bool(torch.isfinite(problem.y).all()):
        raise ValueError("problem.y must be finite; it holds NaN or infinity")


def check_options(
    weight: float | None,
    heldout: float,
    n_weights: int,
    smallest: float,
    max_rank: int | None,
    max_iter: int,
    tolerance: float,
) -> None:
    """Refuse options out of range, naming the argument."""
    if weight is not None and not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"weight must be positive and finite, or None; got {weight}")
    for name, share in (("heldout", heldout), ("smallest", smallest)):
        if not 0 < share < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1; got {share}")
    for name, count in (("n_weights", n_weights), ("max_iter", max_iter)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"max_rank must be at least 1, or None; got {max_rank}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive; got {tolerance}")
