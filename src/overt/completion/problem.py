"""What the solvers ask of a problem: kind, values and units; and which ranks and fits its data support."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.checks import message
from overt._utils.tensors import require_finite
from overt.completion.result import Completion
from overt.problems import CompletionProblem, Offsets, SensingProblem

Matrices = CompletionProblem | SensingProblem

ZERO_MESSAGE = "all observations are zero: completed by zero"
MATRICES = "a CompletionProblem or a SensingProblem, whose unknown is a matrix"
_ELSEWHERE = "for other measurements use irls or nuclear_norm_minimization"
_NO_MEASUREMENT = "problem.A: all measurement matrices are zero; they say nothing about the matrix"
_ZERO = 1e-12  # singular values below this share of the largest count as zero
_LARGEST = 100.0  # an entry above this many times the largest observed one is a blow-up
_BLOCK = 1 << 22  # entries of a completed matrix formed at a time


def check_problem(problem: Any, *, entries: bool = False) -> tuple[int, int]:
    """Refuse what is neither a completion nor a sensing problem, or holds NaN; the shape (m, n).

    Anything with their fields is accepted: ``y``, ``shape`` and either ``rows`` and ``cols`` or, unless
    ``entries`` are asked for, ``A``.

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


def largest_rank(shape: tuple[int, int], n_observed: int) -> int:
    """The largest rank whose exact fit the observations can confirm; at least 1.

    A matrix of rank r has r(m+n−r) degrees of freedom. It meets that many numbers exactly for an open set of
    data, so such a fit says nothing: a rank counts only if at least one observation is left over as a check,
    ``r(m+n−r) < n_observed``. Where all m·n entries are observed, the rank may be min(m, n).

    Examples
    --------
    >>> from overt.completion.problem import largest_rank
    >>> largest_rank((10, 10), 36), largest_rank((10, 10), 37), largest_rank((10, 10), 100)
    (1, 2, 10)
    """
    m, n = shape
    if n_observed >= m * n:
        return min(m, n)
    root = math.isqrt((m + n) ** 2 - 4 * (n_observed - 1) - 1) + 1  # of r(m+n−r) = n_observed − 1, rounded up
    return max(1, (m + n - root) // 2)


def widest_gap(s: Tensor, limit: int) -> tuple[int, float]:
    """The rank r ≤ ``limit`` after which a spectrum falls most, and the ratio ``σ_r / σ_{r+1}`` there.

    Singular values below 1e-12 of the largest count as zero.

    Examples
    --------
    >>> import torch
    >>> from overt.completion.problem import widest_gap
    >>> widest_gap(torch.tensor([4.0, 3.0, 0.1, 0.09]), 3)
    (2, 30.0)
    """
    floor = max(_ZERO * float(s[0]), torch.finfo(s.dtype).tiny)
    following = torch.cat([s, s.new_zeros(1)])[1 : min(limit, len(s)) + 1]
    ratios = s[:limit].clamp_min(floor) / following.clamp_min(floor)
    rank = int(ratios.argmax()) + 1
    return rank, float(ratios[rank - 1])


def split_observations(k: int, share: float, seed: int) -> tuple[Tensor, Tensor] | None:
    """Indices kept and held out; None where too few observations exist to hold one out."""
    n_out = min(max(1, round(share * k)), k - 1)
    if n_out < 1:
        return None
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    return order[n_out:], order[:n_out]


def is_exact(problem: Matrices, found: Completion, rounding: float = 1e-8) -> bool:
    """Whether all observations are met to rounding by fewer degrees of freedom than there are observations.

    Noise cannot be fitted so by chance: every surplus observation is a coincidence of probability zero.
    """
    return found.residual <= rounding and found.freedom < problem.n_observed and found.rank > 0


def within_bounds(problem: Matrices, found: Completion, offsets: Offsets | None = None) -> bool:
    """Whether the completed matrix is finite and has no entry above 100 times the largest observed one.

    Measurements bound no single entry: of a sensing problem only finiteness is asked.
    """
    bound = _LARGEST * getattr(problem, "max_abs_observed", math.inf)
    left, right = found.U * found.singular_values, found.Vt
    step = max(1, _BLOCK // found.shape[1])
    for start in range(0, found.shape[0], step):
        part = slice(start, start + step)
        block = left[part] @ right
        if offsets is not None:
            block = block + (offsets.mean + offsets.row[part])[:, None] + offsets.col
        largest = float(block.abs().max())
        if not (math.isfinite(largest) and largest <= bound):
            return False
    return True
