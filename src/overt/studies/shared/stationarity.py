"""How far a run is from standing still, for the whole objective: loss and penalty.

A nuclear norm or an ℓp quasi-norm has a kink where singular values or coordinates are zero. There its
gradient never vanishes; what must vanish is the distance of zero from the objective's subdifferential: along
what is not at zero the gradient itself, and across it what the loss asks for beyond the penalty's slope at
zero. So a network at a saddle of too low a rank does not pass for one that has ended. Another kink is where a
guard on the norm of W begins to act: a run may rest there between the two slopes along W.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from overt import functional as F
from overt.linalg.decompositions import thin_svd

__all__ = ["relative_gradient"]

Function = Callable[[Tensor], Tensor]
NEAR = 1e-3  # of the norm: how close to W a kink along W is looked for


def relative_gradient(
    W: Tensor,
    loss: Function,
    penalty: Function | None,
    *,
    unit: float,
    negligible: float = 1e-3,
    grouped: bool = False,
) -> float:
    """(‖P ∇f(W)‖_F + max(0, ‖Q ∇loss(W)‖ − s)) ‖W‖_F / u, f the loss with its penalty.

    P projects onto what is not at zero: the tangent space at W's numerical rank, or the coordinates that are
    not negligible; there what is negligible counts as zero. Where f has a kink along W itself, and falls
    towards W from both sides, the part of ∇f along W counts as zero, too. Q is the rest, in the operator
    norm (for vectors the largest entry), and s the slope of the penalty there, taken at the border of what
    is negligible.

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
    grouped : bool
        The rows of W are coordinates of several numbers, such as complex ones, with a kink at zero for each.

    Returns
    -------
    float
        u is the penalty's value where there is one, else the unit: a penalty is felt only where the gradient
        is small beside its own.
    """
    W = W.detach()
    pull = _gradient(loss, W)
    if W.ndim == 1 or grouped:
        sizes = _sizes(W)
        kept = sizes > negligible * sizes.max()
        somewhere = torch.where(_rows(sizes > 0, W), W, torch.ones_like(W))
        direction = somewhere / _rows(_sizes(somewhere), W)
        border = torch.where(_rows(kept, W), W, negligible * sizes.max() * direction)
        push = _gradient(penalty, border)
        along = (pull + _gradient(penalty, torch.where(_rows(kept, W), W, 0.0)))[kept].norm()
        across = torch.where(kept, torch.zeros_like(sizes), _sizes(pull) - _sizes(push)).max()
    else:
        U, S, Vh = thin_svd(W)
        rank = int((negligible * S[0] < S).sum())
        border = U @ (S.clamp_min(negligible * float(S[0]))[:, None] * Vh)
        push = _gradient(penalty, border)
        rest, slope = (_across(one, U[:, :rank], Vh[:rank]) for one in (pull, push))
        whole = pull + _gradient(penalty, U[:, :rank] @ (S[:rank, None] * Vh[:rank]))
        if _rests_between_slopes(loss, penalty, W):
            whole = whole - (whole * W).sum() / W.square().sum() * W
        along = (whole - _across(whole, U[:, :rank], Vh[:rank])).norm()
        across = F.spectral_norm(rest) - F.spectral_norm(slope)
    size = unit if penalty is None else float(penalty(W))
    left = float(along) + max(0.0, float(across))
    return left * float(W.norm()) / max(size, torch.finfo(W.dtype).tiny)


def _gradient(function: Function | None, W: Tensor) -> Tensor:
    if function is None:
        return torch.zeros_like(W)
    W = W.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(W), W)
    return gradient


def _rests_between_slopes(loss: Function, penalty: Function | None, W: Tensor) -> bool:
    """Whether the objective falls towards W along W from both sides, its slope jumping between them.

    A smooth function's slopes come ten times as close over a tenth of the distance.
    """
    jumps = []
    for step in (NEAR, NEAR / 10):
        below, above = (
            float(((_gradient(loss, scale * W) + _gradient(penalty, scale * W)) * W).sum())
            for scale in (1 - step, 1 + step)
        )
        if not below < 0 < above:
            return False
        jumps.append(above - below)
    return jumps[1] > jumps[0] / 2


def _sizes(W: Tensor) -> Tensor:
    """The size of each coordinate."""
    return W.abs() if W.ndim == 1 else torch.linalg.vector_norm(W, dim=1)


def _rows(values: Tensor, W: Tensor) -> Tensor:
    """One value for each coordinate, in W's shape."""
    return values if W.ndim == 1 else values[:, None]


def _across(gradient: Tensor, U: Tensor, Vh: Tensor) -> Tensor:
    """What is left after the column space U and the row space V."""
    rest = gradient - U @ (U.mT @ gradient)
    return rest - (rest @ Vh.mT) @ Vh
