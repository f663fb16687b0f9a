"""Value and slopes of each functional, on a spectrum.

A rule takes a spectrum, shape (..., k) with k > 0, and returns the value, shape (...), and its slopes, shape
(..., k). Squares of the largest value neither under- nor overflow. Where the spectrum is all zero, the value
is 0; a slope at a zero may be anything, NaN included, because :mod:`overt._spectral` sets it to 0. The rule
of ``log_det``, which is not homogeneous, also takes a scale, shape (..., 1), to multiply the spectrum by.

A rule runs right after a decomposition, when each call into torch finds cold caches. The rules that training
uses are therefore written with few operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[..., tuple[Tensor, Tensor]]


def nuclear(s: Tensor) -> tuple[Tensor, Tensor]:
    return s.sum(-1), torch.ones_like(s)


def frobenius(s: Tensor) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.vector_norm(s, dim=-1, keepdim=True)
    return norm.squeeze(-1), s / norm


def spectral(s: Tensor) -> tuple[Tensor, Tensor]:
    top, share = _top(s)
    return top.squeeze(-1), share


def _top(s: Tensor) -> tuple[Tensor, Tensor]:
    """Largest value, shape (..., 1), and its slope, shared evenly among the values that tie with it."""
    top = s.amax(-1, keepdim=True)
    tied = (s >= top * (1 - max(16, s.shape[-1]) * torch.finfo(s.dtype).eps)).to(s.dtype)
    return top, tied / tied.sum(-1, keepdim=True)


def stable_rank(s: Tensor) -> tuple[Tensor, Tensor]:
    top, share = _top(s)
    relative = s / _above_zero(top)
    value = relative.square().sum(-1, keepdim=True)
    return value.squeeze(-1), 2 * (relative - value * share) / top


def normalized_nuclear(s: Tensor) -> tuple[Tensor, Tensor]:
    inverse = _above_zero(torch.linalg.vector_norm(s, dim=-1, keepdim=True)).reciprocal()
    unit = s * inverse
    value = unit.sum(-1, keepdim=True)
    return value.squeeze(-1), torch.addcmul(inverse, value * inverse, unit, value=-1)


def participation_ratio(s: Tensor) -> tuple[Tensor, Tensor]:
    root, slope = normalized_nuclear(s)
    return root.square(), 2 * root.unsqueeze(-1) * slope


def effective_rank(s: Tensor) -> tuple[Tensor, Tensor]:
    total = s.sum(-1, keepdim=True)
    share = s / _above_zero(total)
    entropy = torch.special.entr(share).sum(-1, keepdim=True)
    value = entropy.exp() * (total > 0)
    return value.squeeze(-1), value / total * (-share.log() - entropy)


def schatten(p: float) -> Rule:
    """The rule of (Σ σ^p)^{1/p}."""
    if p == 1:
        return nuclear
    if p == 2:
        return frobenius
    if math.isinf(p):
        return spectral

    def rule(s: Tensor) -> tuple[Tensor, Tensor]:
        top, logarithm, slope = _log_schatten(s, p)
        value = top * logarithm.exp()
        return value.squeeze(-1), (value * slope).clamp_max(torch.finfo(s.dtype).max)

    return rule


def schatten_ratio(p: float, q: float) -> Rule:
    """The rule of S_p/S_q, from the difference of logarithms."""

    def rule(s: Tensor) -> tuple[Tensor, Tensor]:
        top, log_p, slope_p = _log_schatten(s, p)
        _, log_q, slope_q = _log_schatten(s, q)
        value = torch.where(top > 0, (log_p - log_q).exp(), 0)
        return value.squeeze(-1), value * (slope_p - slope_q)

    return rule


def _log_schatten(s: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """σ₁ and log(S_p/σ₁), shape (..., 1), and the slopes of log S_p, shape (..., k)."""
    if math.isinf(p):
        top, share = _top(s)
        return top, torch.zeros_like(top), share / top
    top = s.amax(-1, keepdim=True)
    scale = _above_zero(top)
    relative = s / scale
    total = relative.pow(p).sum(-1, keepdim=True)
    return top, total.log() / p, relative.pow(p - 1) / total / scale


def _above_zero(x: Tensor) -> Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny)


def log_det(root: float) -> Rule:
    """The rule of Σ log(σ² + root²), through hypot(σ, root), which neither under- nor overflows."""

    def rule(s: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        sigma = s if scale is None else s * scale
        length = torch.hypot(sigma, torch.full_like(s, root))
        logarithm, slope = length.log(), 2 * (sigma / length) / length
        if scale is not None:
            # Beyond the range of the dtype, σ² is all that counts, and its logarithm is within the range.
            beyond = torch.isinf(sigma)
            logarithm = torch.where(beyond, s.log() + scale.log(), logarithm)
            slope = torch.where(beyond, 2 / s / scale, slope)
        return 2 * logarithm.sum(-1), slope

    return rule
