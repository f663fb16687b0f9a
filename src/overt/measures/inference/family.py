"""The functionals that a solution is tried against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from overt import functional as F

OfSpectrum = Callable[[Tensor], Tensor]

EXPONENTS = (
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
    1.1,
    1.2,
    1.3,
    1.4,
    1.5,
    1.6,
    1.8,
    2.0,
    2.5,
    3.0,
)
RATIOS = (
    (1 / 3, 1 / 2), (1 / 3, 2 / 3), (1 / 3, 1.0), (1 / 3, 2.0), (1 / 2, 2 / 3), (1 / 2, 1.0), (1 / 2, 2.0),
    (2 / 3, 1.0), (2 / 3, 2.0), (1.0, 1.5), (1.0, 2.0), (1.0, 4.0), (1.5, 2.0), (1.5, 4.0), (2.0, 4.0),
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One functional.

    Attributes
    ----------
    name
        As in ``overt.functional``.
    function
        From a spectrum (k,) to a 0-d tensor, differentiable where the spectrum is positive.
    p, q
        Its exponents, None where it has none.
    unbounded
        Whether its slope grows without bound as a value goes to zero, as that of σ^p does for p < 1.
    """

    name: str
    function: OfSpectrum
    p: float | None = None
    q: float | None = None
    unbounded: bool = False

    def slopes(self, spectrum: Tensor, zero: float) -> tuple[Tensor, float]:
        """Slopes at the values (r,), and the largest slope that a value between 0 and ``zero`` may have."""
        s = torch.cat([spectrum, spectrum.new_tensor([zero])]).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.function(s), s)
        with torch.enable_grad():
            own = spectrum.clone().requires_grad_()
            (slopes,) = torch.autograd.grad(self.function(own), own)
        return slopes, float("inf") if self.unbounded else max(0.0, float(slope[-1]))


def schatten_members(exponents: Sequence[float]) -> list[Member]:
    """S_p for each exponent; p = 1 is the nuclear and p = 2 the Frobenius norm."""

    def function(s: Tensor, p: float) -> Tensor:
        return F.schatten_norm(p=p, singular_values=s)

    return [Member("schatten_norm", partial(function, p=p), p, None, p < 1) for p in exponents]


def ratio_members(pairs: Sequence[tuple[float, float]]) -> list[Member]:
    """S_p/S_q for each pair; (1, 2) is the normalized nuclear norm."""

    def function(s: Tensor, p: float, q: float) -> Tensor:
        return F.normalized_schatten_norm(p=p, q=q, singular_values=s)

    return [
        Member("normalized_schatten_norm", partial(function, p=p, q=q), p, q, min(p, q) < 1) for p, q in pairs
    ]


def named_members(zero: float) -> list[Member]:
    """Effective rank, stable rank, and log-det smoothed at the size of what counts as zero."""
    return [
        Member("effective_rank", lambda s: F.effective_rank(singular_values=s), unbounded=True),
        Member("stable_rank", lambda s: F.stable_rank(singular_values=s)),
        Member("log_det", lambda s: F.log_det(eps=zero**2, singular_values=s)),
    ]


def extra_members(extra: Mapping[str, OfSpectrum], scale: float) -> list[Member]:
    """Functions that the caller gives; they see the spectrum in its own units."""

    def function(s: Tensor, given: OfSpectrum) -> Tensor:
        return given(s * scale)

    return [Member(name, partial(function, given=given)) for name, given in extra.items()]
