"""Singular value, QR and symmetric eigenvalue decompositions that are accurate at extreme scales.

Nothing else in the library calls ``torch.linalg`` for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from overt._utils.seeds import normal
from overt._utils.tensors import check_matrix, compute_dtype, require_finite
from overt.linalg.factored import Factored


class _Refusal(torch.autograd.Function):
    """Identity on the first tensor; its backward pass raises a RuntimeError."""

    @staticmethod
    def forward(reason: str, X: Tensor, *_: Tensor) -> Tensor:  # noqa: ARG004
        return X.view_as(X)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.reason = inputs[0]

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(ctx.reason)


def refuse_gradient(reason: str, X: Tensor, *sources: Tensor) -> Tensor:
    """X; its gradient with respect to the sources raises a RuntimeError."""
    if not torch.is_grad_enabled():
        return X
    return cast(Tensor, _Refusal.apply(reason, X, *sources))  # type: ignore[no-untyped-call]


_SVD_REFUSAL = (
    "overt.linalg.svd is not differentiable: singular vectors have no derivative at ties and rank "
    "deficiency. Differentiate overt.functional.singular_values, or a functional of it"
)


def svd(W: Tensor | Factored) -> tuple[Tensor, Tensor, Tensor]:
    """Thin singular value decomposition W = U diag(S) Vh.

    Matrices whose squared entries would under- or overflow are first rescaled by a power of two. Where
    LAPACK's divide-and-conquer routine fails to converge, its QR iteration (``gesvd``) is used. Half
    precision is decomposed in float32 and cast back.

    Parameters
    ----------
    W : Tensor or Factored, shape (..., m, n)
        A :class:`Factored` matrix of inner dimension r costs two thin QR decompositions and an SVD of size r;
        W itself is not formed.

    Returns
    -------
    U : Tensor, shape (..., m, k)
    S : Tensor, shape (..., k)
        Descending. k = min(m, n), and min(m, n, r) for a :class:`Factored` matrix.
    Vh : Tensor, shape (..., k, n)

    Raises
    ------
    TypeError
        If ``W`` is not a real floating-point matrix.
    ValueError
        If ``W`` has fewer than two dimensions, or holds NaN or infinite entries.
    RuntimeError
        In the backward pass: differentiate :func:`overt.linalg.singular_values` instead.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import svd
    >>> U, S, Vh = svd(torch.diag(torch.tensor([1.0, 2.0])))
    >>> S
    tensor([2., 1.])
    """
    if isinstance(W, Factored):
        sources: tuple[Tensor, ...] = (W.U, W.V)
        require_finite(W.U, "U")
        require_finite(W.V, "V")
        parts = factored_svd(W.U.detach(), W.V.detach())
    else:
        sources = (check_matrix(W),)
        parts = dense_svd(W.detach())
    U, S, Vh = (part.to(W.dtype) for part in parts)
    if any(source.requires_grad for source in sources):
        U, S, Vh = (refuse_gradient(_SVD_REFUSAL, part, *sources) for part in (U, S, Vh))
    return U, S, Vh


def thin_svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of a real or complex matrix without checks and remedies, which compiled code cannot have."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return U, S, Vh


def dense_svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of a detached matrix; half precision comes back in float32."""
    scaled, scale = rescale(W.to(compute_dtype(W.dtype)))
    U, S, Vh = robust_svd(scaled)
    return U, S if scale is None else S * scale, Vh


def robust_svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of a matrix of moderate scale, by QR iteration where divide and conquer fails."""
    try:
        return thin_svd(W)
    except LinAlgError:
        return _gesvd(W)


def scaled_singular_values(W: Tensor) -> tuple[Tensor, Tensor | None]:
    """Singular values of a detached matrix, and the scale, or None, by which to multiply them.

    Without the vectors, this is less than half of the work of the SVD.
    """
    scaled, scale = rescale(W.to(compute_dtype(W.dtype)))
    try:
        S: Tensor = torch.linalg.svdvals(scaled)
    except LinAlgError:
        S = _gesvd(scaled)[1]
    return S, scale


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch automatic mixed precision off, which would multiply matrices in half precision."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def rescale(W: Tensor) -> tuple[Tensor, Tensor | None]:
    """Divide each matrix by a power of two near its largest entry where squares would under- or overflow.

    Returns the matrix and the scale, shape (..., 1), to multiply singular values by; None if nothing was
    divided. Division by a power of two is exact. NaN and infinite entries are refused: the pass over the
    entries that finds the largest finds them too.
    """
    if W.numel() == 0:
        return W, None
    info = torch.finfo(W.dtype)
    safe = math.sqrt(info.tiny) / info.eps
    if W.ndim == 2:  # the hot path: no copy of W
        low, high = W.aminmax()
        largest = max(-low.item(), high.item())
        if largest == 0 or safe < largest < 1 / safe:
            return W, None
    peak = W.abs().amax(dim=(-2, -1), keepdim=True)
    if bool((((peak > safe) & (peak < 1 / safe)) | (peak == 0)).all()):
        return W, None
    require_finite(W)
    scale: Tensor = torch.where(peak > 0, peak / (2 * torch.frexp(peak).mantissa), 1.0)
    return W / scale, scale.squeeze(-1)


def least_squares(A: Tensor, b: Tensor) -> Tensor:
    """The shortest x, shape (n,), of those that minimize ‖A x − b‖, for A (m, n) and b (m,).

    ``torch.linalg.lstsq`` is not used: on the CPU its default driver (``gelsy``) gives LAPACK pivots that it
    has not set, so that the last bits of its result depend on what was in memory before.
    """
    U, S, Vh = dense_svd(A)
    known = S[:1] * (torch.finfo(S.dtype).eps * max(A.shape)) < S
    return Vh.mT @ torch.where(known, (U.mT @ b) / S, 0)


def _gesvd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SVD by QR iteration: slower than divide and conquer, and converges where that fails."""
    if W.device.type == "cuda":
        U, S, Vh = torch.linalg.svd(W, full_matrices=False, driver="gesvd")
        return U, S, Vh
    from scipy.linalg import svd as scipy_svd

    flat = W.reshape(-1, *W.shape[-2:]).cpu().numpy()
    results = [scipy_svd(matrix, full_matrices=False, lapack_driver="gesvd") for matrix in flat]
    U, S, Vh = (torch.stack([torch.as_tensor(r[i]) for r in results]).to(W) for i in range(3))
    batch = W.shape[:-2]
    return U.reshape(*batch, *U.shape[1:]), S.reshape(*batch, *S.shape[1:]), Vh.reshape(*batch, *Vh.shape[1:])


def factored_decomposition(
    U: Tensor, V: Tensor, svd: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = thin_svd
) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of U Vᵀ from the QR decompositions of its factors, and the given SVD of a small matrix."""
    Qu, Ru = torch.linalg.qr(U)
    Qv, Rv = torch.linalg.qr(V)
    A, S, Bh = svd(Ru @ Rv.mT)
    return Qu @ A, S, Bh @ Qv.mT


def factored_svd(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of U Vᵀ from detached, finite factors; ValueError if a value is beyond the dtype's range."""
    dtype = compute_dtype(U.dtype)
    U, u_scale = rescale(U.to(dtype))
    V, v_scale = rescale(V.to(dtype))
    with full_precision(U.device):
        left, S, right = factored_decomposition(U, V, dense_svd)
    for scale in (u_scale, v_scale):
        S = S if scale is None else S * scale
    if (u_scale is not None or v_scale is not None) and not bool(torch.isfinite(S).all()):
        raise ValueError(
            f"singular values of U Vᵀ are beyond what {dtype} can hold; divide U and V by their largest "
            "entries, and take the product of these as a factor of the result"
        )
    return left, S, right


def qr(W: Tensor) -> tuple[Tensor, Tensor]:
    """Thin QR decomposition W = Q R with a non-negative diagonal of R, which makes it unique at full rank.

    With Gaussian ``W`` the factor Q is then uniform (Haar) over matrices with orthonormal columns
    (Mezzadri 2007). Differentiable where ``torch.linalg.qr`` is.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)

    Returns
    -------
    Q : Tensor, shape (..., m, min(m, n))
    R : Tensor, shape (..., min(m, n), n)

    Raises
    ------
    TypeError, ValueError
        As for :func:`svd`.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import qr
    >>> Q, R = qr(torch.tensor([[-3.0], [4.0]]))
    >>> R
    tensor([[5.]])
    """
    check_matrix(W)
    require_finite(W)
    Q, R = torch.linalg.qr(W.to(compute_dtype(W.dtype)))
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(R.dtype)
    return (Q * signs.unsqueeze(-2)).to(W.dtype), (signs.unsqueeze(-1) * R).to(W.dtype)


def orthonormal_basis(W: Tensor) -> Tensor:
    """Orthonormal columns that span the columns of ``W``: the Q of :func:`qr`, shape (..., m, min(m, n))."""
    return qr(W)[0]


def random_orthonormal(rows: int, columns: int, generator: torch.Generator | None) -> Tensor:
    """Haar-distributed (rows, columns) matrix with orthonormal columns, rows >= columns; CPU, float64.

    The Q factor of a Gaussian matrix, R having a positive diagonal (Mezzadri 2007, section 5).
    """
    return orthonormal_basis(normal(rows, columns, generator=generator))


def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors of a symmetric matrix; only its lower triangle is read.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)

    Returns
    -------
    values : Tensor, shape (..., n)
    vectors : Tensor, shape (..., n, n)
        In columns, in the order of the values.

    Raises
    ------
    TypeError, ValueError
        As for :func:`svd`, and if ``A`` is not square.
    """
    check_matrix(A, "A")
    if A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A must hold square matrices (..., n, n), got shape {tuple(A.shape)}")
    require_finite(A, "A")
    values, vectors = torch.linalg.eigh(A.to(compute_dtype(A.dtype)))
    return values.flip(-1).to(A.dtype), vectors.flip(-1).to(A.dtype)
