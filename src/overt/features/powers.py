"""Powers of the measure M, the step of iterative reweighting, and its depth dial α = 1 − p/2 = 1 − 1/L.

Inputs are multiplied by M^{α/2}. A ridge penalty on the multiplied inputs is the quadratic form
βᵀ M^{−α} β = βᵀ M^{p/2−1} β, which majorizes P_p(M) at the present M: the step of iteratively reweighted
least squares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_number
from overt._utils.tensors import check_matrix, compute_dtype, require_finite
from overt.linalg.decompositions import eigh

__all__ = [
    "factor_root",
    "gram_root",
    "reweighting_exponent",
    "reweighting_root",
    "root_of_values",
    "smoothed_root",
]

BASES = ("eigen", "identity")


def reweighting_exponent(depth: float) -> float:
    """The power α = 1 − 1/L of M that stands for a network of depth L.

    A linear network of depth L has the representation cost P_p(M) with p = 2/L, and iterative reweighting
    for P_p uses M^α with α = 1 − p/2.

    Parameters
    ----------
    depth : float
        L ≥ 1; infinity gives 1, the limit p → 0. Depth 1 gives 0: no reweighting.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    TypeError, ValueError
        If ``depth`` is no number, or below 1.

    References
    ----------
    Radhakrishnan, A., Belkin, M., Drusvyatskiy, D. (2025). Linear recursive feature machines provably recover
    low-rank matrices. PNAS 122(13).

    Examples
    --------
    >>> from overt.features import reweighting_exponent
    >>> reweighting_exponent(2)
    0.5
    """
    depth = check_number(depth, "depth", least=1, finite=False, remedy="depth 2 is p = 1, the nuclear norm")
    return 1.0 - 1.0 / depth


def reweighting_root(M: Tensor, alpha: float, basis: str = "eigen") -> Tensor:
    """Symmetric root M^{α/2} of a power of the measure, scaled so that tr M^α = d.

    Parameters
    ----------
    M : Tensor, shape (d, d)
        Symmetric and positive semidefinite. Eigenvalues up to ε d λ₁, ε the precision of the dtype and λ₁ the
        largest, are rounding and count as zero.
    alpha : float
        In [0, 1]; 0 gives the identity.
    basis : {"eigen", "identity"}
        ``"identity"`` takes the diagonal of M and forgets the rest.

    Returns
    -------
    Tensor, shape (d, d)
        Multiply inputs by it, ``X @ root``. It maps the null space of M to zero; where M itself is zero it is
        the identity: no direction is preferred.

    Raises
    ------
    TypeError, ValueError
        If M is no finite square matrix, or ``alpha`` or ``basis`` is none of these.

    Examples
    --------
    >>> import torch
    >>> from overt.features import reweighting_root
    >>> reweighting_root(torch.diag(torch.tensor([9.0, 1.0])), 0.5).diagonal()
    tensor([1.2247, 0.7071])
    """
    check_matrix(M, "M")
    if M.ndim != 2 or M.shape[0] != M.shape[1]:
        raise ValueError(f"M must be a square matrix (d, d), got shape {tuple(M.shape)}")
    require_finite(M, "M")
    alpha = check_number(alpha, "alpha", least=0, most=1)
    check_choice(basis, "basis", BASES)
    wide = M.detach().to(compute_dtype(M.dtype))
    if basis == "identity":
        return torch.diag(root_of_values(wide.diagonal(), alpha, len(wide))).to(M.dtype)
    return smoothed_root((wide + wide.mT) / 2, alpha, 0.0).to(M.dtype)


def smoothed_root(M: Tensor, alpha: float, smoothing: float) -> Tensor:
    """Symmetric root of (M + s² λ₁ I)^α, shape (d, d), s being the smoothing and λ₁ the largest eigenvalue.

    Beside λ₁ a small s² is rounding, in the entries of M: it is added to the eigenvalues.
    """
    values, vectors = _eigen(M, len(M))
    root = root_of_values(values + smoothing**2 * values[0], alpha, len(M))
    return (vectors * root) @ vectors.mT


def factor_root(G: Tensor, alpha: float, basis: str) -> Tensor:
    """M^{α/2} of M = GᵀG up to a rotation; M is not formed where G has fewer rows than columns.

    Parameters
    ----------
    G : Tensor, shape (rows, d)
        A factor of M, such as gradients.
    alpha, basis
        As for :func:`reweighting_root`.

    Returns
    -------
    Tensor, shape (d,) or (d, r)
        The diagonal in the identity basis. In the eigenbasis T with T Tᵀ = M^α, tr M^α = d, without the
        directions in which M is zero to rounding.
    """
    d = G.shape[1]
    if basis == "identity":
        return root_of_values(G.square().sum(0), alpha, d)
    if G.shape[0] > d:
        return gram_root(G.mT @ G, alpha, basis)
    values, left = _eigen(G @ G.mT, d)
    kept = values > 0
    if alpha == 0 or not bool(kept.any()):
        return values.new_ones(d)
    vectors = G.mT @ (left[:, kept] / values[kept].sqrt())
    return vectors * root_of_values(values[kept], alpha, d)


def gram_root(M: Tensor, alpha: float, basis: str) -> Tensor:
    """As :func:`factor_root`, of M itself, shape (d, d)."""
    if basis == "identity":
        return root_of_values(M.diagonal(), alpha, len(M))
    values, vectors = _eigen(M, len(M))
    kept = values > 0
    if alpha == 0 or not bool(kept.any()):
        return values.new_ones(len(M))
    return vectors[:, kept] * root_of_values(values[kept], alpha, len(M))


def _eigen(A: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, exactly zero where they are rounding for d inputs, and eigenvectors."""
    values, vectors = eigh(A)
    known = values > values[:1].clamp_min(0) * (torch.finfo(A.dtype).eps * d)
    return torch.where(known, values, 0.0), vectors


def root_of_values(values: Tensor, alpha: float, d: int) -> Tensor:
    """values^{α/2}, of any shape, scaled so that their squares sum to d; ones where all values are zero."""
    values = values.clamp_min(0)
    top = values.max() if values.numel() else values.sum()
    if not bool(top > 0):
        return torch.ones_like(values)
    powers = (values / top) ** alpha if alpha > 0 else torch.ones_like(values)
    return (powers * (d / powers.sum())).sqrt()
