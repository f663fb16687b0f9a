"""Singular value shrinkage: the proximal map of the nuclear norm."""

from __future__ import annotations

from torch import Tensor

from overt._utils.checks import check_number
from overt.completion.result import Completion, Triplet
from overt.linalg import eigh, svd


def shrink_singular_values(M: Tensor, threshold: float) -> Triplet:
    r"""Thin SVD of the proximal map of ``threshold · ‖·‖_*`` at a matrix.

    .. math:: \operatorname{prox}(M) = U \operatorname{diag}((σ - τ)_+) V^\top

    (Cai, Candès & Shen 2010, Theorem 2.1). Only the singular triplets above the threshold are formed, from
    the eigenvectors of the smaller Gram matrix in double precision. This is several times faster than an SVD
    and accurate to ``sqrt(eps)·σ_1`` = 1.5e-8·σ_1; for a threshold near that accuracy the SVD is used.

    Parameters
    ----------
    M : Tensor, shape (m, n)
        A finite matrix.
    threshold : float
        The amount τ ≥ 0 by which singular values shrink.

    Returns
    -------
    U, singular_values, Vt : Tensor, shapes (m, r), (r,), (r, n)
        Singular values are positive and descend.

    Examples
    --------
    >>> import torch
    >>> U, s, Vt = shrink_singular_values(torch.diag(torch.tensor([3.0, 1.0, 0.5])), 0.75)
    >>> s
    tensor([2.2500, 0.2500])
    """
    threshold = check_number(threshold, "threshold", least=0, finite=False)
    if min(M.shape) == 0:
        return Completion.zero(M, (M.shape[0], M.shape[1])).triplet
    if M.shape[0] < M.shape[1]:
        V, s, Ut = shrink_singular_values(M.mT, threshold)
        return Ut.mT, s, V.mT
    D = M.double()
    values, vectors = eigh(D.mT @ D)
    sigma = values.clamp_min(0).sqrt()
    if threshold <= 1e-6 * float(sigma[0]):
        U, sigma, Vt = svd(D)
        keep = sigma > threshold
        return U[:, keep].to(M.dtype), (sigma[keep] - threshold).to(M.dtype), Vt[keep].to(M.dtype)
    keep = sigma > threshold
    sigma, V = sigma[keep], vectors[:, keep]
    U = D @ V / sigma
    return U.to(M.dtype), (sigma - threshold).to(M.dtype), V.mT.to(M.dtype)


def spectral_norm_of(M: Tensor) -> float:
    """Largest singular value, through the smaller Gram matrix."""
    if M.numel() == 0:
        return 0.0
    scale = float(M.abs().max())
    if scale == 0:
        return 0.0
    D = M.double() / scale
    gram = D.mT @ D if D.shape[0] >= D.shape[1] else D @ D.mT
    return scale * float(eigh(gram)[0][0].clamp_min(0).sqrt())


def dual_value_on_ray(y: Tensor, misfit: Tensor, weight: float, norm: float) -> float:
    """Best dual value of ``½‖A(X) − y‖² + λ‖X‖_*`` among the multiples of the misfit ``y − A(X)``.

    The dual is ``max ⟨y, ν⟩ − ½‖ν‖²`` over ``‖A*(ν)‖₂ ≤ λ``; ``norm`` is ``‖A*(misfit)‖₂``.
    """
    square = float(misfit @ misfit)
    if square == 0:
        return 0.0
    along = float(y @ misfit)
    longest = weight / max(norm, 1e-300)
    length = min(max(along / square, -longest), longest)
    return length * along - 0.5 * length**2 * square
