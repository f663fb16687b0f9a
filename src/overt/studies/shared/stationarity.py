"""How far a run is from standing still, for the whole objective: loss and penalty.

A nuclear norm or an ℓp quasi-norm has a kink where singular values or coordinates are zero. There its
gradient never vanishes; what must vanish is the distance of zero from the objective's subdifferential: along
what is not at zero the gradient itself, and across it what the loss asks for beyond the penalty's slope at
zero. So a network at a saddle of too low a rank does not pass for one that has ended.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["relative_gradient"]

Function = Callable[[Tensor], Tensor]


def relative_gradient(
    W: Tensor, loss: Function, penalty: Function | None, *, unit: float, negligible: float = 1e-3
) -> float:
    """(‖P ∇f(W)‖_F + max(0, ‖Q ∇loss(W)‖ − s)) ‖W‖_F / u, f the loss with its penalty.

    P projects onto what is not at zero: the tangent space at W's numerical rank, or the coordinates that are
    not negligible. Q is the rest, in the operator norm (for vectors the largest entry), and s the slope of
    the penalty there, taken at the border of what is negligible.

    Parameters
    ----------
    W : Tensor, shape (d,) or (m, n)
        What was trained: a vector or the end-to-end matrix.
    loss, penalty : callable
        Of W; the penalty includes its weight, and is None for weight zero.
    unit : float
        The loss of W = 0.
    negligible : float
        Coordinates and singular values up to this part of the largest one are taken for zero.

    Returns
    -------
    float
        u is the penalty's value where there is one, else the unit: a penalty is felt only where the gradient
        is small beside its own.
    """
    W = W.detach()
    pull = _gradient(loss, W)
    if W.ndim == 1:
        kept = W.abs() > negligible * W.abs().max()
        border = torch.where(kept, W, negligible * W.abs().max() * torch.where(W < 0, -1.0, 1.0))
        push = _gradient(penalty, border)
        along = (pull + push)[kept].norm()
        across = torch.where(kept, torch.zeros_like(W), pull.abs() - push.abs()).max()
    else:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        rank = int((negligible * S[0] < S).sum())
        border = U @ (S.clamp_min(negligible * float(S[0]))[:, None] * Vh)
        push = _gradient(penalty, border)
        rest, slope = (_across(one, U[:, :rank], Vh[:rank]) for one in (pull, push))
        whole = pull + push
        along = (whole - _across(whole, U[:, :rank], Vh[:rank])).norm()
        across = torch.linalg.matrix_norm(rest, 2) - torch.linalg.matrix_norm(slope, 2)
    size = unit if penalty is None else float(penalty(W))
    left = float(along) + max(0.0, float(across))
    return left * float(W.norm()) / max(size, torch.finfo(W.dtype).tiny)


def _gradient(function: Function | None, W: Tensor) -> Tensor:
    if function is None:
        return torch.zeros_like(W)
    W = W.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(W), W)
    return gradient


def _across(gradient: Tensor, U: Tensor, Vh: Tensor) -> Tensor:
    """What is left after the column space U and the row space V."""
    rest = gradient - U @ (U.mT @ gradient)
    return rest - (rest @ Vh.mT) @ Vh
