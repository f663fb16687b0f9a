"""OptSpace: trimming, a scaled projection to the known rank, and gradient descent on the Grassmannian."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from overt._utils.checks import check_integer
from overt.completion.result import Completion
from overt.linalg import qr, svd
from overt.problems import CompletionProblem

__all__ = ["optspace"]

_SHRINK, _GROW, _ARMIJO = 0.5, 2.0, 0.25


def optspace(
    problem: CompletionProblem, *, rank: int, max_iter: int = 2000, tolerance: float = 1e-8
) -> Completion:
    """Complete a matrix whose rank is told.

    Minimizes f(X, Y) = min_S ½ Σ_Ω ((X S Yᵀ)_ij − y_ij)² over orthonormal X (m, r) and Y (n, r), from the
    rank-r projection of the trimmed observations. The step length is found by backtracking.

    Parameters
    ----------
    problem : CompletionProblem
    rank : int
        r, at most min(m, n).
    max_iter : int
    tolerance : float
        Converged at this relative residual on the observations.

    Returns
    -------
    Completion

    Raises
    ------
    ValueError
        If the rank is out of its range.

    References
    ----------
    Keshavan, R., Montanari, A., Oh, S. (2010). Matrix completion from a few entries. IEEE Transactions on
    Information Theory 56(6).

    Examples
    --------
    >>> from overt.problems import matrix_completion
    >>> problem = matrix_completion((30, 30), rank=1, n_observed=300, seed=0)
    >>> problem.error(optspace(problem, rank=1).W) < 1e-6
    True
    """
    check_integer(rank, "rank", least=1, most=min(problem.shape))
    start = time.perf_counter()
    target = float(problem.y.norm()) * tolerance
    U, _, Vt = svd(_trimmed(problem))
    X, Y = U[:, :rank], Vt[:rank].mT
    S, residual = _fit(problem, X, Y)
    step, steps = 1.0 / max(problem.shape), 0
    while steps < max_iter:
        value = float(residual.square().sum()) / 2
        if (2 * value) ** 0.5 <= target:
            break
        steps += 1
        R = _dense(problem, residual)
        along_x, along_y = _tangent(X, R @ Y @ S.mT), _tangent(Y, R.mT @ X @ S)
        slope = float(along_x.square().sum() + along_y.square().sum())
        step *= _GROW
        while True:
            new_x, new_y = qr(X - step * along_x)[0], qr(Y - step * along_y)[0]
            new_s, new = _fit(problem, new_x, new_y)
            if float(new.square().sum()) / 2 <= value - _ARMIJO * step * slope or step < 1e-16:
                break
            step *= _SHRINK
        X, Y, S, residual = new_x, new_y, new_s, new
        if step < 1e-16:
            break
    relative = float(residual.norm()) / float(problem.y.norm())
    return Completion.from_dense(
        X @ S @ Y.mT,
        converged=relative <= tolerance,
        n_iter=steps,
        residual=relative,
        seconds=time.perf_counter() - start,
        message=f"relative residual {relative:.2g} after {steps} steps",
    )


def _trimmed(problem: CompletionProblem) -> Tensor:
    """The observations scaled by mn/k, without the lines that hold more than twice their share of them."""
    m, n = problem.shape
    W = _dense(problem, problem.y) * (m * n / problem.n_observed)
    rows = torch.bincount(problem.rows, minlength=m) > 2 * problem.n_observed / m
    cols = torch.bincount(problem.cols, minlength=n) > 2 * problem.n_observed / n
    return W.masked_fill(rows[:, None] | cols[None, :], 0.0)


def _dense(problem: CompletionProblem, values: Tensor) -> Tensor:
    return values.new_zeros(problem.shape).index_put((problem.rows, problem.cols), values)


def _fit(problem: CompletionProblem, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """The best S for X and Y, and the residual on the observations."""
    r = X.shape[1]
    design = (X[problem.rows][:, :, None] * Y[problem.cols][:, None, :]).reshape(-1, r * r)
    gram = design.mT @ design
    ridge = 1e-14 * float(gram.diagonal().sum())
    S = torch.linalg.solve(gram + ridge * torch.eye(r * r, dtype=X.dtype), design.mT @ problem.y)
    return S.reshape(r, r), design @ S - problem.y


def _tangent(X: Tensor, gradient: Tensor) -> Tensor:
    return gradient - X @ (X.mT @ gradient)
