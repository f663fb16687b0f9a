"""What the number of observations says about a rank, and which fits are to be believed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt.completion.problem import Matrices
from overt.completion.result import Completion
from overt.problems import Offsets

_ZERO = 1e-12  # singular values below this share of the largest count as zero
_LARGEST = 100.0  # an entry above this many times the largest observed one is a blow-up
_BLOCK = 1 << 22  # entries of a completed matrix formed at a time


def largest_rank(shape: tuple[int, int], n_observed: int) -> int:
    """The largest rank whose exact fit the observations can confirm; at least 1.

    A matrix of rank r has r(m+n−r) degrees of freedom. As many numbers can be met exactly whatever they are
    (for an open set of data), so such a fit says nothing: a rank counts only if at least one observation is
    left over as a check, ``r(m+n−r) < n_observed``. Where all m·n entries are observed nothing is left to be
    guessed, and the rank may be min(m, n).

    Examples
    --------
    >>> from overt.completion.judging import largest_rank
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
    >>> from overt.completion.judging import widest_gap
    >>> widest_gap(torch.tensor([4.0, 3.0, 0.1, 0.09]), 3)
    (2, 30.0)
    """
    floor = max(_ZERO * float(s[0]), torch.finfo(s.dtype).tiny)
    following = torch.cat([s, s.new_zeros(1)])[1 : min(limit, len(s)) + 1]
    ratios = s[:limit].clamp_min(floor) / following.clamp_min(floor)
    rank = int(ratios.argmax()) + 1
    return rank, float(ratios[rank - 1])


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
