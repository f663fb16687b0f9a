"""Value and slopes of each functional, on a spectrum.

A rule takes a spectrum, shape (..., k), and returns the value, shape (...), and its slopes, shape (..., k).
The rules of homogeneous functionals see spectra scaled to largest value 1. They may return NaN where the
spectrum is all zero, and any slope at a zero: :mod:`overt._spectral` sets both to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor], tuple[Tensor, Tensor]]


def nuclear(t: Tensor) -> tuple[Tensor, Tensor]:
    return t.sum(-1), torch.ones_like(t)


def frobenius(t: Tensor) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.vector_norm(t, dim=-1, keepdim=True)
    return norm.squeeze(-1), t / norm


def _top(t: Tensor) -> tuple[Tensor, Tensor]:
    """Largest value, shape (..., 1), and its slope, shared evenly among the values that tie with it."""
    top = t.amax(-1, keepdim=True)
    tied = (t >= top * (1 - max(16, t.shape[-1]) * torch.finfo(t.dtype).eps)).to(t.dtype)
    return top, tied / tied.sum(-1, keepdim=True)


def spectral(t: Tensor) -> tuple[Tensor, Tensor]:
    top, share = _top(t)
    return top.squeeze(-1), share


def stable_rank(t: Tensor) -> tuple[Tensor, Tensor]:
    top, share = _top(t)
    relative = t / top
    value = relative.square().sum(-1, keepdim=True)
    return value.squeeze(-1), 2 * (relative - value * share) / top


def normalized_nuclear(t: Tensor) -> tuple[Tensor, Tensor]:
    inverse = torch.linalg.vector_norm(t, dim=-1, keepdim=True).reciprocal()
    unit = t * inverse
    value = unit.sum(-1, keepdim=True)
    return value.squeeze(-1), inverse * (1 - value * unit)


def participation_ratio(t: Tensor) -> tuple[Tensor, Tensor]:
    root, slope = normalized_nuclear(t)
    return root.square(), 2 * root.unsqueeze(-1) * slope


def effective_rank(t: Tensor) -> tuple[Tensor, Tensor]:
    total = t.sum(-1, keepdim=True)
    share = t / total
    entropy = torch.special.entr(share).sum(-1, keepdim=True)
    value = entropy.exp()
    return value.squeeze(-1), value / total * (-share.log() - entropy)


def schatten(p: float) -> Rule:
    if p == 1:
        return nuclear
    if p == 2:
        return frobenius
    if math.isinf(p):
        return spectral

    def rule(t: Tensor) -> tuple[Tensor, Tensor]:
        logarithm, slope = _log_schatten(t, p)
        value = logarithm.exp()
        largest = torch.finfo(t.dtype).max
        return value.squeeze(-1), (value * slope).clamp_max(largest)

    return rule


def schatten_ratio(p: float, q: float) -> Rule:
    def rule(t: Tensor) -> tuple[Tensor, Tensor]:
        (log_p, slope_p), (log_q, slope_q) = _log_schatten(t, p), _log_schatten(t, q)
        value = (log_p - log_q).exp()
        return value.squeeze(-1), value * (slope_p - slope_q)

    return rule


def _log_schatten(t: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Logarithm of S_p, shape (..., 1), and its slopes, shape (..., k)."""
    if math.isinf(p):
        top, share = _top(t)
        return top.log(), share / top
    total = t.pow(p).sum(-1, keepdim=True)
    return total.log() / p, t.pow(p - 1) / total


def log_det(root: float) -> Rule:
    """Σ log(σ² + root²) through hypot(σ, root), which neither under- nor overflows. Not homogeneous."""

    def rule(s: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.hypot(s, torch.full_like(s, root))
        return 2 * length.log().sum(-1), 2 * (s / length) / length

    return rule
