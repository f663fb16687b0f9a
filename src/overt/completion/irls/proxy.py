"""Continuous ranks that tell the reweighted solver how many singular values to trust."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_integer, is_integer

PROXIES = ("participation_ratio", "effective_rank", "stable_rank", "log_det", "schatten")


def check_proxy(rank_proxy: str | int) -> str | int:
    """The name of a continuous rank, or a given rank; TypeError or ValueError otherwise."""
    if is_integer(rank_proxy):
        return check_integer(rank_proxy, "rank_proxy", least=1)
    name: str = check_choice(rank_proxy, "rank_proxy", PROXIES)
    return name


def rank_proxy(s: Tensor, name: str | int) -> int:
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

    Examples
    --------
    >>> import torch
    >>> from overt.completion.irls.proxy import rank_proxy
    >>> rank_proxy(torch.tensor([2.0, 2.0, 2.0, 0.0]), "participation_ratio")
    3
    """
    if isinstance(check_proxy(name), int):
        return int(name)
    top = float(s[0]) if s.numel() else 0.0
    if not top > 0:
        return 1
    p = s / top
    if name == "participation_ratio":
        value = float(p.sum().square() / p.square().sum())
    elif name == "schatten":
        value = float(p.sqrt().sum().square() / p.sum())
    elif name == "stable_rank":
        value = float(p.square().sum())
    elif name == "log_det":
        value = float(torch.log1p(1e4 * p.square()).sum()) / math.log1p(1e4)
    else:
        weights = p / p.sum()
        return max(1, round(float(torch.exp(-torch.xlogy(weights, weights).sum()))))
    return max(1, math.ceil(value - 1e-9))
