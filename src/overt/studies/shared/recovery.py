"""The refit that every arm of a study of completion is offered, implicit or explicit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from overt import functional as F
from overt.completion import refit
from overt.problems import CompletionProblem, SensingProblem

__all__ = ["gap_rank", "refit_record"]

FLOOR = 1e-3  # of the largest singular value: gaps below it are rounding or the start's remains


def gap_rank(singular_values: Tensor, degrees: int, shape: tuple[int, int]) -> int:
    """The rank at the largest gap: the r that maximizes σ_r / max(σ_{r+1}, 1e-3 σ₁).

    Only ranks count at which a matrix of this shape has at most ``degrees`` degrees of freedom,
    r (m + n − r): the data determine no other.

    Examples
    --------
    >>> gap_rank(torch.tensor([9.0, 7.0, 0.2, 0.1]), 100, (4, 4))
    2
    """
    m, n = shape
    ranks = [r for r in range(1, min(m, n) + 1) if r * (m + n - r) <= degrees]
    s = torch.cat((singular_values, singular_values.new_zeros(1))).clamp_min(
        FLOOR * float(singular_values[0])
    )
    return max(ranks, key=lambda r: float(s[r - 1] / s[r]), default=1)


def refit_record(W: Tensor, problem: CompletionProblem | SensingProblem) -> dict[str, Any]:
    """The error that training ended with and the one after the refit, with the rank that it was made at.

    The refit is the exact fit at the rank of the largest gap (`gap_rank`), started at W. Where it does not
    meet the data, W stays as it is: ``error`` then is ``raw_error``, and ``refitted`` is False.

    Returns
    -------
    dict
        ``raw_error``, ``error``, ``rank``, ``refitted``.
    """
    raw = problem.error(W)
    s = F.singular_values(W)
    if not bool(torch.isfinite(s).all()) or float(s[0]) == 0:
        return {"raw_error": raw, "error": raw, "rank": 0, "refitted": False}
    rank = gap_rank(s, len(problem.y), (W.shape[0], W.shape[1]))
    found = refit(problem, W.detach(), rank=rank)
    error = problem.error(found.W) if found.converged else raw
    return {"raw_error": raw, "error": error, "rank": rank, "refitted": found.converged}
