"""Leading eigenvalues of a symmetric operator that is given as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.checks import check_integer
from overt.linalg.decompositions import eigh, full_precision


@dataclass(frozen=True, eq=False)
class LeadingEigenpairs:
    """What :func:`block_lanczos` found.

    Attributes
    ----------
    values : Tensor, shape (k,)
        Ritz values, descending. Never above the eigenvalues of the same order (Cauchy interlacing).
    vectors : Tensor, shape (k, n)
        Ritz vectors, orthonormal, in rows.
    residuals : Tensor, shape (k,)
        ‖A v − θ v‖: there is an eigenvalue within this distance of each Ritz value.
    applications : int
        Vectors that the operator was applied to.
    converged : bool
        Whether each residual is at most the tolerance.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    applications: int
    converged: bool


def block_lanczos(
    apply: Callable[[Tensor], Tensor],
    start: Tensor,
    k: int,
    *,
    tolerance: float = 1e-6,
    max_applications: int | None = None,
) -> LeadingEigenpairs:
    """The k largest eigenvalues of a symmetric operator, by Rayleigh–Ritz on a block Krylov space.

    The basis is orthogonalized in full, twice, so that rounding does not find an eigenvalue again. Copies of
    a multiple eigenvalue may be missed if there are more of them than rows in the block. Directions that the
    operator no longer extends are replaced by directions of the start.

    Parameters
    ----------
    apply : callable
        Takes rows (b, n) and returns the operator's image of each.
    start : Tensor, shape (b, n)
        Random start; float32 or float64, in which all is computed.
    k : int
        Eigenvalues wanted, at most n.
    tolerance : float
        Largest accepted residual, relative to the largest Ritz value.
    max_applications : int, optional
        Vectors that the operator may be applied to, by default 8 k + 8 b, and never more than n.

    Returns
    -------
    LeadingEigenpairs

    Raises
    ------
    TypeError, ValueError
        If ``k`` is not an integer in 1 … n.

    References
    ----------
    Golub, G. H., Underwood, R. (1977). The block Lanczos method for computing eigenvalues. Mathematical
    Software III, 361–377.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import block_lanczos
    >>> d = torch.tensor([5.0, 4.0, 1.0, 1.0, 0.0])
    >>> start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    >>> block_lanczos(lambda rows: rows * d, start, 2).values.round(decimals=4)
    tensor([5., 4.])
    """
    b, n = start.shape
    k = check_integer(k, "k", least=1, most=n)
    limit = min(n, 8 * (k + b) if max_applications is None else max(max_applications, k))
    Q = start.new_empty(0, n)
    images = start.new_empty(0, n)
    block = _orthonormal(start, Q, start)
    with full_precision(start.device):
        while True:
            block = block[: limit - len(Q)]
            new = apply(block)
            Q, images = torch.cat([Q, block]), torch.cat([images, new])
            if len(Q) >= k:
                found = _ritz(Q, images, k, tolerance)
                if found.converged or len(Q) >= limit:
                    return found
            block = _orthonormal(new, Q, start)


def _ritz(Q: Tensor, images: Tensor, k: int, tolerance: float) -> LeadingEigenpairs:
    H = Q @ images.mT
    values, W = eigh((H + H.mT) / 2)
    values, W = values[:k], W[:, :k]
    vectors = W.mT @ Q
    residuals = torch.linalg.vector_norm(W.mT @ images - values[:, None] * vectors, dim=1)
    # No residual falls below the rounding of the operator itself.
    bound = max(tolerance, 16 * torch.finfo(values.dtype).eps) * values.abs().max()
    return LeadingEigenpairs(values, vectors, residuals, len(Q), bool((residuals <= bound).all()))


def _orthonormal(rows: Tensor, Q: Tensor, start: Tensor) -> Tensor:
    """Orthonormal rows that span what is new in ``rows``, filled up with directions of the start."""
    eps = torch.finfo(rows.dtype).eps
    largest = torch.linalg.vector_norm(rows, dim=1).max().clamp_min(torch.finfo(rows.dtype).tiny)
    for _ in range(2):
        rows = rows - (rows @ Q.mT) @ Q
    basis, R = torch.linalg.qr(rows.mT)
    weak = R.diagonal().abs() <= 1e3 * eps * largest
    if bool(weak.any()):
        # Shifted copies of the start: cheap, seeded by it, and as good as random.
        fresh = start[: int(weak.sum())].roll(len(Q) + 1, -1)
        basis = torch.cat([basis[:, ~weak], fresh.mT], 1)
    for _ in range(2):
        basis = basis - Q.mT @ (Q @ basis)
        basis = torch.linalg.qr(basis)[0]
    block: Tensor = basis.mT
    return block
