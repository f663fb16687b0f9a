"""The proxies of rank that are compared, plain and normalized."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from overt import functional as F

__all__ = ["PAIRS", "PROXIES", "Proxy", "gradient_norm"]

_EPS = 1e-2  # smoothing of log-det, in the units of the data: entries of the truth have mean square 1
_RELATIVE_EPS = 1e-5  # the same for ‖W‖_F = 1: a thousandth of the mean square singular value at n = 100


@dataclass(frozen=True)
class Proxy:
    """A functional of one matrix.

    Attributes
    ----------
    functional : str or callable
        A name in ``overt.functional``, or for the few that are not there a function of the matrix and, where
        ``told_rank``, of ``rank``.
    scale_invariant : bool
    told_rank : bool
        Whether the true rank is part of it, which none of the others gets to know.
    """

    functional: str | Callable[..., Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    scale_invariant: bool = False
    told_rank: bool = False

    def bound(self, rank: int) -> tuple[str | Callable[[Tensor], Tensor], dict[str, Any]]:
        """The functional and its options for a matrix of this rank."""
        if isinstance(self.functional, str):
            return self.functional, self.options
        options = {**self.options, **({"rank": rank} if self.told_rank else {})}
        return partial(self.functional, **options), {}

    def value(self, W: Tensor, rank: int) -> Tensor:
        """The functional at W, a 0-d tensor."""
        function, options = self.bound(rank)
        if isinstance(function, str):
            found: Tensor = getattr(F, function)(W, **options)
            return found
        return function(W)


def truncated_nuclear_norm(W: Tensor, rank: int) -> Tensor:
    """Σ_{i>r} σ_i: the nuclear norm less the leading r singular values (Hu et al. 2013)."""
    return F.singular_values(W)[..., rank:].sum(-1)


def normalized_truncated_nuclear_norm(W: Tensor, rank: int) -> Tensor:
    """The truncated nuclear norm over ‖W‖_F."""
    s = F.singular_values(W)
    return s[..., rank:].sum(-1) / F.frobenius_norm(singular_values=s)


def log_det(W: Tensor, eps: float) -> Tensor:
    """log det(WᵀW/eps + I) of a square W: log-det less its least value, so that guards may multiply it."""
    return F.log_det(W, eps) - W.shape[-1] * math.log(eps)


def normalized_log_det(W: Tensor, eps: float) -> Tensor:
    """The same of W/‖W‖_F."""
    return log_det(W / F.frobenius_norm(W), eps)


_SCHATTEN = {"Schatten 1/2": 0.5, "Schatten 2/3": 2 / 3}

PROXIES: dict[str, Proxy] = {
    "nuclear": Proxy("nuclear_norm"),
    "nuclear / F": Proxy("normalized_nuclear_norm", scale_invariant=True),
    **{name: Proxy("schatten_norm", {"p": p}) for name, p in _SCHATTEN.items()},
    **{
        f"{name} / F": Proxy("normalized_schatten_norm", {"p": p, "q": 2.0}, scale_invariant=True)
        for name, p in _SCHATTEN.items()
    },
    "log-det": Proxy(log_det, {"eps": _EPS}),
    "log-det / F": Proxy(normalized_log_det, {"eps": _RELATIVE_EPS}, scale_invariant=True),
    "effective rank": Proxy("effective_rank", scale_invariant=True),
    "stable rank": Proxy("stable_rank", scale_invariant=True),
    "truncated nuclear": Proxy(truncated_nuclear_norm, told_rank=True),
    "truncated nuclear / F": Proxy(normalized_truncated_nuclear_norm, scale_invariant=True, told_rank=True),
}
"""By the name that figures and verdicts use."""

PAIRS: dict[str, str] = {name: f"{name} / F" for name in PROXIES if f"{name} / F" in PROXIES}
"""Each plain proxy with its normalized form."""


def gradient_norm(proxy: Proxy, W: Tensor, rank: int) -> float:
    """‖∇f(W)‖_F, the size of the proxy's pull at W."""
    point = W.detach().clone().requires_grad_()
    proxy.value(point, rank).backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    return float(point.grad.norm())
