"""Continuous ranks that tell the reweighted solver how many singular values to trust."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
    >>> from overt.completion.irls_proxy import rank_proxy
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
