"""The recursive feature machine of linear models: iterative reweighting of one side of a matrix."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_number, message
from overt.features.powers import reweighting_exponent, smoothed_root
from overt.linalg.decompositions import least_squares
from overt.problems import CompletionProblem, SensingProblem

__all__ = ["LinearFeatureMachine", "linear_feature_machine", "minimum_norm"]

_FLOOR = 1e-8  # of the spectral norm: smaller smoothing is beyond what double precision tells apart


@dataclass(frozen=True)
class LinearFeatureMachine:
    """What a linear feature machine found.

    Attributes
    ----------
    W : Tensor, shape (m, n)
        The matrix, of the model x ↦ W x.
    M : Tensor, shape (n, n)
        WᵀW, the average gradient outer product of that model.
    converged : bool
        Whether W no longer moved when the smoothing had fallen to its floor.
    n_iter : int
        Fits made.
    seconds : float
    """

    W: Tensor
    M: Tensor
    converged: bool
    n_iter: int
    seconds: float


def linear_feature_machine(
    problem: CompletionProblem | SensingProblem,
    depth: float = 3,
    *,
    decay: float = 0.9,
    max_iter: int = 300,
    tolerance: float = 1e-9,
) -> LinearFeatureMachine:
    """Fit x ↦ W x, take M = WᵀW, feed the inputs through M^{α/2}, fit again.

    Each fit is the one of least Frobenius norm in the reweighted coordinates (`minimum_norm`). It minimizes
    tr(W M^{−α} Wᵀ) subject to the data, the step of iteratively reweighted least squares for P_p(M),
    p = 2 (1 − α), with weights from one side. α = 1 − 1/L is the depth dial; depth 1 is the minimum norm.
    M is smoothed by ε² I, and ε falls by ``decay`` a round, beginning at the spectral norm of W. All is
    computed in double precision, and W and M are returned in the problem's.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
    depth : float
        L ≥ 1; infinity is α = 1, the log-determinant.
    decay : float
        In (0, 1).
    max_iter : int
        Fits, at most.
    tolerance : float
        Relative change of W at which it has settled.

    Returns
    -------
    LinearFeatureMachine

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the problem is neither.

    References
    ----------
    Radhakrishnan, A., Belkin, M., Drusvyatskiy, D. (2025). Linear recursive feature machines provably recover
    low-rank matrices. PNAS 122(13).

    Examples
    --------
    >>> from overt.features.linear import linear_feature_machine
    >>> from overt.problems import matrix_sensing
    >>> problem = matrix_sensing((8, 8), rank=1, n_measurements=45, seed=0)
    >>> problem.error(linear_feature_machine(problem).W) < 1e-6
    True
    """
    began = time.perf_counter()
    if not isinstance(problem, CompletionProblem | SensingProblem):
        raise TypeError(message("problem", "a CompletionProblem or SensingProblem", problem))
    alpha = reweighting_exponent(depth)
    decay = check_number(decay, "decay", above=0, below=1)
    max_iter = check_integer(max_iter, "max_iter", least=1)
    tolerance = check_number(tolerance, "tolerance", least=0)
    dtype, problem = problem.dtype, problem.to(dtype=torch.float64)
    root = torch.eye(problem.shape[1], dtype=problem.dtype, device=problem.device)
    before, smoothing, settled, count = None, 1.0, False, 0
    while not settled and count < max_iter:
        W = minimum_norm(problem, root)
        M = W.mT @ W
        moved = math.inf if before is None else float((W - before).norm())
        settled = alpha == 0 or (smoothing <= _FLOOR and moved <= tolerance * float(W.norm()))
        before, count, smoothing = W, count + 1, max(_FLOOR, smoothing * decay)
        root = smoothed_root(M, alpha, smoothing)
    return LinearFeatureMachine(W.to(dtype), M.to(dtype), settled, count, time.perf_counter() - began)


def minimum_norm(problem: CompletionProblem | SensingProblem, root: Tensor) -> Tensor:
    """W = Z T of the Z of least Frobenius norm for which Z T meets the data, T the symmetric root.

    Entries tell the rows of Z apart: each is a fit of its own.
    """
    m, n = problem.shape
    if isinstance(problem, SensingProblem):
        features = (problem.A.view(-1, m, n) @ root).flatten(1)
        return least_squares(features, problem.y).view(m, n) @ root
    W = problem.y.new_zeros(m, n)
    for row in sorted(set(problem.rows.tolist())):
        seen = problem.rows == row
        W[row] = root @ least_squares(root[problem.cols[seen]], problem.y[seen])
    return W
