"""Conjugate gradients for a symmetric positive semidefinite map that is given as a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from overt._utils.checks import check_callable
from overt._utils.tensors import check_float_tensor
from overt.linalg.decompositions import eigh


@dataclass(eq=False)
class LinearSolution:
    """What :func:`conjugate_gradients` found, or its state so far for a callback.

    Attributes
    ----------
    x : Tensor
        The solution, shaped like the right-hand side.
    converged : bool
        Whether the residual has fallen by the tolerance.
    n_iter : int
        Products with the map.
    residual : float
        Residual relative to the one of ``x = 0``, in the norm of the preconditioner: √(rᵀP r / bᵀP b).
    breakdown : bool
        Whether the map had no positive curvature in a direction: it is singular there, or not positive.
    steps, ratios : list of float
        The coefficients α and β of each iteration, see :meth:`spread`.
    """

    x: Tensor
    converged: bool = False
    n_iter: int = 0
    residual: float = 1.0
    breakdown: bool = False
    steps: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def spread(self) -> float:
        """Smallest over largest Ritz value of the preconditioned map; NaN before the first iteration.

        The coefficients hold the tridiagonal matrix of Lanczos (Golub & Van Loan 2013, §11.3.5). Ritz values
        lie within the spectrum, so this is never below the ratio of its ends.
        """
        if not self.steps:
            return math.nan
        alpha = torch.tensor(self.steps, dtype=torch.float64)
        beta = torch.tensor(self.ratios[: len(self.steps)], dtype=torch.float64)
        diagonal = 1 / alpha
        diagonal[1:] += beta[:-1] / alpha[:-1]
        T = torch.diag(diagonal)
        beside = beta[:-1].sqrt() / alpha[:-1]
        values, _ = eigh(T + torch.diag(beside, 1) + torch.diag(beside, -1))
        return max(0.0, float(values[-1] / values[0]))


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-12,
    max_iter: int | None = None,
    callback: Callable[[LinearSolution], bool] | None = None,
) -> LinearSolution:
    """Solve ``matrix(x) = b`` from x = 0 (Hestenes & Stiefel 1952).

    Parameters
    ----------
    matrix : callable
        A symmetric positive semidefinite linear map of tensors shaped like ``b``; ``b`` lies in its range.
    b : Tensor, any shape
    precondition : callable, optional
        A symmetric positive definite map close to the inverse of ``matrix``.
    tolerance : float
        Converged once the residual is at most this share of the residual of x = 0, both in the norm of the
        preconditioner.
    max_iter : int, optional
        By default min(2 · size of ``b``, 1000).
    callback : callable, optional
        Receives the state after each iteration; True ends the solve.

    Returns
    -------
    LinearSolution

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import conjugate_gradients
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    >>> found = conjugate_gradients(lambda v: A @ v, torch.tensor([3.0, 4.0], dtype=torch.float64))
    >>> found.converged, found.n_iter, found.x.round(decimals=6).tolist()
    (True, 2, [1.0, 1.0])
    """
    check_callable(matrix, "matrix", remedy="give v ↦ A v, for a matrix A as lambda v: A @ v")
    check_float_tensor(b, "b")
    most = min(2 * b.numel(), 1000) if max_iter is None else max_iter
    found = LinearSolution(torch.zeros_like(b))
    r = b
    z = r if precondition is None else precondition(r)
    d, rz = z, float((r * z).sum())
    first, goal = rz, tolerance**2 * rz
    while rz > goal and found.n_iter < most:
        found.n_iter += 1
        image = matrix(d)
        curvature = float((d * image).sum())
        if not curvature > 0:
            found.breakdown = True
            break
        step = rz / curvature
        found.x = found.x + step * d
        r = r - step * image
        z = r if precondition is None else precondition(r)
        before, rz = rz, float((r * z).sum())
        found.steps.append(step)
        found.ratios.append(rz / before)
        found.residual = math.sqrt(max(rz, 0.0) / first)
        if callback is not None and callback(found):
            break
        d = z + (rz / before) * d
    found.converged = rz <= goal
    if first == 0:
        found.residual = 0.0
    return found
