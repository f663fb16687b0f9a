"""Norms of a vector and their ratios as a penalty."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number, optional
from overt._utils.tensors import require_finite
from overt.linalg.spectrum import widen
from overt.networks.end_to_end import end_to_end, product_of
from overt.penalties.base import Penalty, check_norm_guard


class VectorPenalty(Penalty):
    """weight × ‖w‖_p / ‖w‖_q, or weight × ‖w‖_p^p, of a model's end-to-end vector w.

    The ratio is scale-invariant and lies between 1 (one nonzero) and d^{1/p − 1/q}; with p = 1, q = 2 it is
    to sparsity what the normalized nuclear norm is to rank.

    Parameters
    ----------
    model
        With a method ``product()``; its value is flattened to w (d,).
    p
        Positive. For p < 1 the penalty is not differentiable at zero entries; they get the subgradient 0.
    q
        Positive and larger than p; None for ‖w‖_p^p instead of the ratio.
    weight
        Finite number ≥ 0. May be changed at any time.
    norm_cap
        Guard against growth of one coordinate that no data determine: the denominator is min(‖w‖_q,
        norm_cap). None for no guard.

    Raises
    ------
    TypeError, ValueError
        A bad p, q, weight or cap; a model without an end-to-end map or with parameters that are not
        initialized yet; a cap without a ratio.

    Notes
    -----
    At w = 0 the ratio is 0/0; its value is taken as 0 and its gradient as 0. Autocast does not reach the
    penalty, and half-precision parameters are computed in float32.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import VectorPenalty
    >>> class Vector(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    ...     def product(self):
    ...         return self.w
    >>> VectorPenalty(Vector()).value().detach()
    tensor(1.4000)
    """

    def __init__(
        self,
        model: nn.Module,
        p: float = 1.0,
        q: float | None = 2.0,
        weight: float = 1e-2,
        *,
        norm_cap: float | None = None,
    ) -> None:
        super().__init__(model, weight)
        self.p = check_number(p, "p", above=0)
        self.q = optional(check_number, q, "q", above=0)
        if self.q is not None and self.q <= self.p:
            raise ValueError(f"q must be larger than p for the ratio to favour sparsity, got p={p}, q={q}")
        self.norm_cap = check_norm_guard(norm_cap, "norm_cap")
        if norm_cap is not None and q is None:
            raise ValueError(
                "norm_cap is for the ratio; with q=None the penalty grows with w by itself, leave it out"
            )
        product_of(model)  # refuses a model without an end-to-end map

    def value(self, product: Tensor | None = None) -> Tensor:
        """The ratio or the power of the norm without the weight, a 0-d tensor.

        Raises
        ------
        ValueError
            The vector holds NaN or infinite entries.
        """
        w = widen(end_to_end(self.model) if product is None else product).reshape(-1)
        require_finite(w, "w")
        if self.q is None:
            return _sum_of_powers(w, self.p)
        w, scale = _unit(w)
        numerator, denominator = _norm(w, self.p), _norm(w, self.q)
        if self.norm_cap is not None:
            denominator = denominator.clamp(max=self.norm_cap / scale)
        # The numerator is 0 with gradient 0 at w = 0, so any positive denominator gives the documented value
        # there.
        return numerator / torch.where(denominator > 0, denominator, torch.ones_like(denominator))

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {**super().describe(), "p": self.p, "q": self.q, "norm_cap": self.norm_cap}


def _unit(w: Tensor) -> tuple[Tensor, Tensor]:
    """w divided by its largest magnitude, and that as a constant, which a ratio of norms does not depend on.

    No power of the result under- or overflows. Its gradient is of the order 1/scale; the floor keeps that
    finite where the scale is subnormal.
    """
    constant = w.detach()
    peak = torch.linalg.vector_norm(constant, math.inf)
    scale = torch.where(peak > 0, peak, torch.ones_like(peak))
    floor = torch.finfo(w.dtype).tiny * 4
    return constant / scale + (w - constant) / scale.clamp_min(floor), scale


def _sum_of_powers(w: Tensor, p: float) -> Tensor:
    """Σ |w_i|^p with the subgradient 0 at zero entries."""
    if p == 1.0:
        return w.abs().sum()
    # Zeros are replaced before the power: its derivative there is infinite for p < 1, and 0 · inf is NaN.
    zero = w == 0
    return torch.where(zero, torch.zeros_like(w), torch.where(zero, torch.ones_like(w), w).abs().pow(p)).sum()


def _norm(w: Tensor, p: float) -> Tensor:
    """‖w‖_p, a quasi-norm for p < 1, with gradient 0 at w = 0."""
    if p == 1.0:
        return w.abs().sum()
    if p == 2.0:
        norm: Tensor = torch.linalg.vector_norm(w)
        return norm
    total = _sum_of_powers(w, p)
    positive = total > 0
    root = torch.where(positive, total, torch.ones_like(total)).pow(1.0 / p)
    return torch.where(positive, root, torch.zeros_like(root))
