"""Continuous ranks that tell the reweighted solver how many singular values to trust."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ZERO = 1e-12  # singular values below this share of the largest count as zero
PROXIES = ("participation_ratio", "effective_rank", "stable_rank", "log_det", "schatten")


def rank_proxy(s: Tensor, name: str | int, tail: float = 0.0) -> int:
    """A whole number between 1 and ``len(s)`` from a spectrum.

    Parameters
    ----------
    s : Tensor, shape (p,)
        Singular values, descending.
    name : str or int
        ``"participation_ratio"`` ``⌈(Σσ)²/Σσ²⌉``, the squared normalized nuclear norm; ``"effective_rank"``,
        the rounded exponential of the entropy of σ/Σσ (Roy & Vetterli 2007); ``"stable_rank"``
        ``⌈Σσ²/σ_1²⌉``; ``"log_det"`` ``⌈Σ log(1 + σ²/δ²) / log(1 + σ_1²/δ²)⌉`` with δ = σ_1/100;
        ``"schatten"`` ``⌈(Σσ^½)²/Σσ⌉``, the participation ratio of the square roots; or a number, which is
        returned as it is.
    tail : float
        Sum of squares of the singular values that ``s`` leaves out (ignored by all but ``"stable_rank"``).

    Raises
    ------
    ValueError
        If the name is unknown or the number is not positive.

    Examples
    --------
    >>> import torch
    >>> from overt.completion.irls.proxy import rank_proxy
    >>> rank_proxy(torch.tensor([2.0, 2.0, 2.0, 0.0]), "participation_ratio")
    3
    """
    if isinstance(name, int) and not isinstance(name, bool):
        if name < 1:
            raise ValueError(f"a told rank must be at least 1; got {name}")
        return name
    if name not in PROXIES:
        raise ValueError(f"rank_proxy must be one of {', '.join(PROXIES)} or a whole number; got {name!r}")
    top = float(s[0]) if s.numel() else 0.0
    if not top > 0:
        return 1
    p = s / top
    if name == "participation_ratio":
        value = float(p.sum().square() / p.square().sum())
    elif name == "schatten":
        value = float(p.sqrt().sum().square() / p.sum())
    elif name == "stable_rank":
        value = float(p.square().sum()) + tail / top / top
    elif name == "log_det":
        value = float(torch.log1p(1e4 * p.square()).sum()) / math.log1p(1e4)
    else:
        weights = p / p.sum()
        return max(1, round(float(torch.exp(-torch.xlogy(weights, weights).sum()))))
    return max(1, math.ceil(value - 1e-9))


def largest_rank(shape: tuple[int, int], k: int) -> int:
    """The largest r whose r(m+n−r) degrees of freedom do not exceed k numbers; at least 1."""
    m, n = shape
    total = m + n
    root = total * total - 4 * k
    r = min(m, n) if root < 0 else math.floor((total - math.sqrt(root)) / 2 + 1e-9)
    return max(1, min(r, m, n))


def widest_gap(s: Tensor, limit: int) -> tuple[int, float]:
    """The rank r ≤ ``limit`` after which a spectrum falls most, and the ratio ``σ_r / σ_{r+1}`` there.

    Singular values below 1e-12 of the largest count as zero.

    Examples
    --------
    >>> import torch
    >>> from overt.completion.irls.proxy import widest_gap
    >>> widest_gap(torch.tensor([4.0, 3.0, 0.1, 0.09]), 3)
    (2, 30.0)
    """
    floor = max(_ZERO * float(s[0]), torch.finfo(s.dtype).tiny)
    following = torch.cat([s, s.new_zeros(1)])[1 : min(limit, len(s)) + 1]
    ratios = s[:limit].clamp_min(floor) / following.clamp_min(floor)
    rank = int(ratios.argmax()) + 1
    return rank, float(ratios[rank - 1])
