"""The orthogonal polar factor by matrix multiplication alone."""

from __future__ import annotations

from itertools import chain, islice, repeat

import torch
from torch import Tensor

from overt.linalg.checks import check_matrix, require_finite

# Amsel, Persson, Musco & Gower (2025), arXiv 2505.16932: the minimax-optimal odd quintics p(x) = a x + b x³
# + c x⁵ for singular values in [1e-3, 1], one triple a step. The last one is the limit, and is repeated.
_POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_LIMIT = (1.875, -1.25, 0.375)
# Keeps singular values that rounding has pushed past the interval from growing (section 3.4 there).
_SAFETY = 1.01


def polar(W: Tensor, steps: int = 10) -> Tensor:
    """Orthogonal polar factor U Vᵀ of W = U diag(σ) Vᵀ by the Polar Express iteration.

    Each step replaces X by X p(XᵀX) for an odd polynomial of degree five, the optimal one for the singular
    values left by the steps before; three matrix products a step and no decomposition. It is the gradient
    of the nuclear norm, and ⟨U Vᵀ, W⟩ is the nuclear norm itself.

    Singular values of ``W/‖W‖_F`` above 1e-3 are within 1e-2 of one after eight steps, and the error is cubed
    with each further step (down to the precision of the dtype); each further step also lowers the smallest
    singular value that is reached by a factor of 1.875. Singular values that are zero stay zero, so the
    zero matrix gives the zero matrix.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        Computed in its own dtype, bfloat16 included; float16 is computed in float32 and cast back, because
        its range is too small for the iteration.
    steps : int
        Number of iterations, at least 1.

    Returns
    -------
    Tensor, shape (..., m, n)

    Raises
    ------
    TypeError
        If ``W`` is not a real floating-point matrix, or ``steps`` is not an integer.
    ValueError
        If ``W`` has fewer than two dimensions or non-finite entries, or ``steps`` is below 1.

    References
    ----------
    Amsel, N., Persson, D., Musco, C., Gower, R. M. (2025). The Polar Express: Optimal matrix sign methods
    and their application to the Muon algorithm. arXiv 2505.16932, Algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import polar
    >>> polar(torch.diag(torch.tensor([3.0, 0.5]))).round(decimals=4)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_matrix(W)
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps: expected an integer, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    require_finite(W)
    if W.numel() == 0:
        return torch.zeros_like(W)
    X = W.to(torch.float32) if W.dtype == torch.float16 else W
    wide = X.shape[-1] > X.shape[-2]
    X = X if wide else X.mT
    X = _normalize(X)
    for a, b, c in _coefficients(steps):
        gram = X @ X.mT
        X = a * X + (b * gram + c * (gram @ gram)) @ X
    return (X if wide else X.mT).to(W.dtype)


def _coefficients(steps: int) -> list[tuple[float, float, float]]:
    damped = ((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLYNOMIALS)
    return list(islice(chain(damped, repeat(_LIMIT)), steps))


def _normalize(X: Tensor) -> Tensor:
    """Scale each matrix to Frobenius norm just below one, without squaring very small or large entries."""
    peak = X.detach().abs().amax(dim=(-2, -1), keepdim=True)
    X = X / torch.where(peak > 0, peak, torch.ones_like(peak))
    norm = torch.linalg.matrix_norm(X.float() if X.dtype == torch.bfloat16 else X, keepdim=True).to(X.dtype)
    return X / torch.where(norm > 0, norm * _SAFETY, torch.ones_like(norm))
