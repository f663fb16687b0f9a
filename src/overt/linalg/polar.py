"""The orthogonal polar factor by matrix multiplication alone."""

from __future__ import annotations

import torch
from torch import Tensor

from overt._utils.checks import check_integer
from overt._utils.tensors import check_matrix, require_finite
from overt.linalg.polar_coefficients import SAFETY, Quintic, polar_coefficients

# With four panels 5/8 of the products are made; for small matrices the copies cost more than that saves.
_PANELS = 4
MIRROR_FROM = 768

# Looked up once: compiled code cannot ask.
_CPU_BFLOAT16 = any(
    bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
)


def polar(W: Tensor, steps: int = 10) -> Tensor:
    """Orthogonal polar factor U Vᵀ of W = U diag(σ) Vᵀ by the Polar Express iteration.

    Each step applies an odd polynomial of degree five to the singular values, the optimal one for what the
    steps before have left of them: three matrix products a step and no decomposition. U Vᵀ is the gradient of
    the nuclear norm, and ⟨U Vᵀ, W⟩ is the nuclear norm itself. W is divided by a bound on σ₁ that is tighter
    than ‖W‖_F and comes from the products of the first step. An earlier factor is no use as a start, because
    a step sees singular values only, and a rotation does not change them.

    Singular values of ``W/‖W‖_F`` above 1e-3 are within 1e-2 of one after eight steps. Each further step
    cubes the error (down to the precision of the dtype) and reaches singular values smaller by a factor of
    1.875. Singular values that are zero stay zero, so the zero matrix gives the zero matrix.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        Computed in its own dtype, bfloat16 included; float16, whose range is too small, in float32.
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
    steps = check_integer(steps, "steps", least=1)
    require_finite(W)
    if W.numel() == 0:
        return torch.zeros_like(W)
    X = W.to(torch.float32) if W.dtype == torch.float16 else W
    return polar_iteration(X, polar_coefficients(steps)).to(W.dtype)


def polar_iteration(W: Tensor, coefficients: tuple[Quintic, ...], dtype: torch.dtype | None = None) -> Tensor:
    """The iteration alone: it checks nothing and reads no number on the host, so it can be compiled.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        Real or complex, not empty. For complex matrices the factor is U Vᴴ.
    coefficients
        See ``polar_coefficients``.
    dtype
        Of the computation and the result, by default as W.
    """
    wide = W.shape[-1] > W.shape[-2]
    X = _normalize(W if wide else W.mH).to(dtype or W.dtype)
    for step, (a, b, c) in enumerate(coefficients):
        gram = _gram(X)
        square = _gram(gram)
        if step == 0:
            X, gram, square = _tighten(X, gram, square)
        X = _combine(X, torch.add(gram * b, square, alpha=c), a)
    return X if wide else X.mH


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware, faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _CPU_BFLOAT16


def _gram(X: Tensor) -> Tensor:
    """X Xᴴ; for large matrices on the CPU only its upper half is computed, and mirrored."""
    n = X.shape[-2]
    grad = torch.is_grad_enabled() and X.requires_grad
    if X.ndim != 2 or n < MIRROR_FROM or X.device.type != "cpu" or grad or torch.compiler.is_compiling():
        return X @ X.mH
    found = X.new_empty(n, n)
    size = -(-n // _PANELS)
    for start in range(0, n, size):
        here, rest = slice(start, min(start + size, n)), slice(min(start + size, n), n)
        found[here, start:] = X[here] @ X[start:].mH
        found[rest, here] = found[here, rest].mH
    return found


def _combine(X: Tensor, M: Tensor, a: float) -> Tensor:
    """a X + M X in one pass."""
    if X.ndim == 2:
        return torch.addmm(X, M, X, beta=a)
    if X.ndim == 3:
        return torch.baddbmm(X, M, X, beta=a)
    return torch.add(M @ X, X, alpha=a)


def _tighten(X: Tensor, gram: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale by a tighter bound on the spectral norm than ‖X‖_F: ‖(XXᴴ)²‖_F^¼ = (Σ σ⁸)^⅛, which costs nothing.

    Of a large Gaussian matrix it is 1.4 n^{⅝} to σ₁ = 2 n^{½}, where ‖X‖_F = n.
    """
    wider = torch.float32 if X.dtype == torch.bfloat16 else None
    norm = torch.linalg.vector_norm(square, dim=(-2, -1), keepdim=True, dtype=wider)
    scale = norm.sqrt().sqrt() * SAFETY
    inverse = torch.where(scale > 0, scale, torch.ones_like(scale)).reciprocal()
    return (
        X * inverse.to(X.dtype),
        gram * inverse.square().to(X.dtype),
        square * inverse.square().square().to(X.dtype),
    )


def _normalize(X: Tensor) -> Tensor:
    """Scale each matrix to Frobenius norm just below one, without squaring very small or large entries."""
    peak = X.detach().abs().amax(dim=(-2, -1), keepdim=True)
    X = X / torch.where(peak > 0, peak, torch.ones_like(peak))
    norm = torch.linalg.matrix_norm(X.float() if X.dtype == torch.bfloat16 else X, keepdim=True)
    norm = norm.to(peak.dtype)
    return X / torch.where(norm > 0, norm * SAFETY, torch.ones_like(norm))
