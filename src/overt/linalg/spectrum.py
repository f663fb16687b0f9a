"""Singular values with a gradient that is finite everywhere.

For a symmetric function f of the singular values, df/dW = U diag(∂f/∂σ) Vᵀ (Lewis 1995). Unlike the
derivative of the singular vectors, it has no differences or inverses of singular values, so ties are
harmless. It is formed from the decomposition that gave the values. A Gram matrix would be faster, but loses
singular values below √eps·σ₁, and a matrix under a rank penalty has many of them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.tensors import check_matrix, compute_dtype, require_finite
from overt.linalg.decompositions import (
    factored_svd,
    full_precision,
    refuse_gradient,
    rescale,
    robust_svd,
    scaled_singular_values,
)
from overt.linalg.factored import Factored

_SECOND_ORDER_REFUSAL = (
    "overt: second derivatives of functions of singular values are not implemented (they do not exist at "
    "ties and rank deficiency). Take first derivatives only, or use finite differences of them"
)


def rank_tolerance(S: Tensor, m: int, n: int) -> Tensor:
    """eps·max(m, n)·σ₁, up to which a singular value of an m×n matrix is rounding error.

    Parameters
    ----------
    S : Tensor, shape (..., k)
        Singular values, descending.
    m, n : int

    Returns
    -------
    Tensor, shape (..., 1)
    """
    if S.shape[-1] == 0:
        return S.new_zeros((*S.shape[:-1], 1))
    return S[..., :1] * (torch.finfo(S.dtype).eps * max(m, n))


def spectral_parts(W: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Singular values of a float32 or float64 matrix, and what a gradient U diag(g) Vᵀ needs.

    Returns Q, U, S, Vh for :func:`spectral_gradient` and the scale, or None, by which to multiply S. An
    elongated matrix is first reduced by a QR decomposition, which costs less than its SVD; its longer factor
    is then Q times the one returned. To spare Q, as U = W V diag(1/σ), would cost still less, but near the
    rank tolerance it divides rounding errors as large as σ by σ.
    """
    scaled, scale = rescale(W)
    m, n = W.shape[-2:]
    if not _elongated(m, n):
        return W.new_empty(0), *robust_svd(scaled), scale
    Q, R = torch.linalg.qr(scaled if m > n else scaled.mT)
    return Q, *robust_svd(R if m > n else R.mT), scale


def spectral_weights(S: Tensor, slope: Tensor, shape: torch.Size) -> Tensor:
    """Slopes ∂f/∂σ with those at or below the rank tolerance set to 0, whatever they are."""
    m, n = shape[-2:]
    if _full_rank(S, m, n):
        return slope
    return slope.masked_fill(rank_tolerance(S, m, n) >= S, 0)


def spectral_gradient(Q: Tensor, U: Tensor, weights: Tensor, Vh: Tensor, shape: torch.Size) -> Tensor:
    """U diag(weights) Vᵀ for a matrix of the given shape, from its :func:`spectral_parts`."""
    if torch.is_autocast_enabled(U.device.type):
        with full_precision(U.device):
            return spectral_gradient(Q, U, weights, Vh, shape)
    core = U @ (weights.unsqueeze(-1) * Vh)
    m, n = shape[-2:]
    if not _elongated(m, n):
        return core
    return Q @ core if m > n else core @ Q.mT


def _full_rank(S: Tensor, m: int, n: int) -> bool:
    """Whether one matrix is known to have no singular value at or below the rank tolerance.

    To read two numbers on the host is cheaper than the four operations of masking; not on a GPU, which waits.
    """
    if S.ndim > 1 or S.shape[0] == 0 or S.is_cuda:
        return False
    return S[-1].item() > S[0].item() * torch.finfo(S.dtype).eps * max(m, n)


def _elongated(m: int, n: int) -> bool:
    return max(m, n) >= 2 * min(m, n)


class _Widen(torch.autograd.Function):
    """Half precision as float32; the gradient is cast back within the range of the half precision."""

    @staticmethod
    def forward(W: Tensor) -> Tensor:
        return W.to(compute_dtype(W.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.dtype = inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        largest = torch.finfo(ctx.dtype).max
        return grads[0].clamp(-largest, largest).to(ctx.dtype)


def widen(W: Tensor) -> Tensor:
    """``W`` in the dtype to compute in, with a gradient that saturates at the range of half precision."""
    if compute_dtype(W.dtype) == W.dtype:
        return W
    return cast(Tensor, _Widen.apply(W))  # type: ignore[no-untyped-call]


def first_order_only(gradient: Tensor, *sources: Tensor) -> Tensor:
    """``gradient``, whose derivative with respect to ``sources`` is refused."""
    return refuse_gradient(_SECOND_ORDER_REFUSAL, gradient, *sources)


class _SingularValues(torch.autograd.Function):
    """σ(W), with what the gradient needs kept from the same decomposition."""

    @staticmethod
    def forward(W: Tensor) -> tuple[Tensor, ...]:
        Q, U, S, Vh, scale = spectral_parts(W)
        return S.clone() if scale is None else S * scale, Q, U, S, Vh

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if grads[0] is None:
            return None
        W, Q, U, S, Vh = ctx.saved_tensors
        with torch.no_grad():
            gradient = spectral_gradient(Q, U, spectral_weights(S, grads[0], W.shape), Vh, W.shape)
        return first_order_only(gradient, W, grads[0])


class _FactoredSingularValues(torch.autograd.Function):
    """σ(U Vᵀ) from the factors. With G = ∂f/∂W, ∂f/∂U = G V and ∂f/∂V = Gᵀ U, both formed thin."""

    @staticmethod
    def forward(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, S, right = factored_svd(U, V)
        return S, left, right

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if grads[0] is None:
            return None, None
        U, V, S, left, right = ctx.saved_tensors
        with torch.no_grad():
            slope = grads[0].masked_fill(rank_tolerance(S, U.shape[-2], V.shape[-2]) >= S, 0)
            with full_precision(U.device):
                dU = (left * slope.unsqueeze(-2)) @ (right @ V)
                dV = (right.mT * slope.unsqueeze(-2)) @ (left.mT @ U)
        return first_order_only(dU, U, V, grads[0]), first_order_only(dV, U, V, grads[0])


def singular_values(W: Tensor | Factored) -> Tensor:
    """Singular values, descending, with the gradient U diag(g) Vᵀ.

    Here g is the incoming gradient, set to 0 for singular values at or below the rank tolerance eps·max(m,
    n)·σ₁. There the singular values are not differentiable, U and V are arbitrary, and 0 is the subgradient
    of smallest norm for every function that does not decrease in them; so the gradient at the zero matrix is
    0. At ties, a function that treats tied values alike gets its true gradient; one that picks one of them
    (such as ``S[0]``) gets the gradient for the singular vectors that LAPACK chose.

    Half precision is computed in float32 and cast back.

    Parameters
    ----------
    W : Tensor or Factored, shape (..., m, n)
        A :class:`Factored` matrix of inner dimension r costs two thin QR decompositions and an SVD of size r;
        neither W nor its gradient is formed.

    Returns
    -------
    Tensor, shape (..., k)
        k = min(m, n); for a :class:`Factored` matrix k = min(m, n, r), the rest being zero.

    Raises
    ------
    TypeError
        If ``W`` is not a real floating-point matrix.
    ValueError
        If ``W`` has fewer than two dimensions, or holds NaN or infinite entries.
    RuntimeError
        When a second derivative is taken.

    References
    ----------
    Lewis, A. S. (1995). The convex analysis of unitarily invariant matrix functions. Journal of Convex
    Analysis 2, 173–183.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import singular_values
    >>> W = torch.diag(torch.tensor([3.0, 0.0])).requires_grad_()
    >>> singular_values(W).sum().backward()
    >>> W.grad
    tensor([[1., 0.],
            [0., 0.]])
    """
    return spectrum(W).to(W.dtype)


def spectrum(W: Tensor | Factored, *, up_to_scale: bool = False) -> Tensor:
    """Singular values in the dtype that they were computed in (float32 for half precision).

    With ``up_to_scale`` they are divided by a constant if a :class:`Factored` matrix has factors of extreme
    scale, so that none under- or overflows.
    """
    if isinstance(W, Factored):
        require_finite(W.U, "U")
        require_finite(W.V, "V")
        factors = [widen(W.U), widen(W.V)]
        if up_to_scale:
            factors = [_moderate(factor) for factor in factors]
        return cast(Tensor, _FactoredSingularValues.apply(*factors)[0])  # type: ignore[no-untyped-call]
    W = widen(check_matrix(W))
    if torch.is_grad_enabled() and W.requires_grad:
        return cast(Tensor, _SingularValues.apply(W)[0])  # type: ignore[no-untyped-call]
    S, scale = scaled_singular_values(W)
    return S if scale is None else S * scale


def _moderate(factor: Tensor) -> Tensor:
    scale = rescale(factor.detach())[1]
    if scale is None:
        return factor
    constant, scale = factor.detach(), scale.unsqueeze(-1)
    # The gradient is of the order 1/scale; the floor keeps it finite where the scale is subnormal.
    floor = torch.finfo(factor.dtype).tiny * 2**20
    return constant / scale + (factor - constant) / scale.clamp_min(floor)
