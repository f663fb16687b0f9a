"""The functionals that a solution is tried against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import message

OfSpectrum = Callable[[Tensor], Tensor]

EXPONENTS = (*(tenths / 10 for tenths in range(1, 17)), 1.8, 2.0, 2.5, 3.0)
_PARTNERS = {
    1 / 3: (1 / 2, 2 / 3, 1.0, 2.0),
    1 / 2: (2 / 3, 1.0, 2.0),
    2 / 3: (1.0, 2.0),
    1.0: (1.5, 2.0, 4.0),
    1.5: (2.0, 4.0),
    2.0: (4.0,),
}
RATIOS = tuple((p, q) for p, partners in _PARTNERS.items() for q in partners)


@dataclass(frozen=True)
class Member:
    """One functional.

    Attributes
    ----------
    name
        As in ``overt.functional``.
    functional
        Takes ``singular_values=``, a spectrum (k,), and returns a 0-d tensor, differentiable where the
        spectrum is positive.
    p, q
        Its exponents, None where it has none.
    unbounded
        Whether its slope grows without bound as a value goes to zero, like the slope of σ^p for p < 1.
    """

    name: str
    functional: Callable[..., Tensor]
    p: float | None = None
    q: float | None = None
    unbounded: bool = False

    def slopes(self, spectrum: Tensor, zero: float) -> tuple[Tensor, float]:
        """Slopes at the values (r,), and the largest slope that a value between 0 and ``zero`` may have."""
        with_zero = torch.cat([spectrum, spectrum.new_tensor([zero])])
        slopes, largest = self._gradient(spectrum), float(self._gradient(with_zero)[-1])
        return slopes, float("inf") if self.unbounded else max(0.0, largest)

    def _gradient(self, spectrum: Tensor) -> Tensor:
        with torch.enable_grad():
            s = spectrum.clone().requires_grad_()
            (slopes,) = torch.autograd.grad(self.functional(singular_values=s), s)
        return slopes


def members(
    exponents: Sequence[float],
    pairs: Sequence[tuple[float, float]],
    extra: Mapping[str, OfSpectrum],
    *,
    zero: float,
    scale: float,
) -> list[Member]:
    """All functionals that a solution is tried against.

    S_p for each exponent (p = 1 is the nuclear norm, p = 2 the Frobenius norm) and S_p/S_q for each pair
    ((1, 2) is the normalized nuclear norm); effective rank, stable rank, and log-det smoothed at the size
    that counts as zero; and the caller's functions ``extra``, of the spectrum times ``scale``.
    """
    ratio = F.normalized_schatten_norm
    return [
        *(Member("schatten_norm", partial(F.schatten_norm, p=p), p, unbounded=p < 1) for p in exponents),
        *(
            Member("normalized_schatten_norm", partial(ratio, p=p, q=q), p, q, unbounded=min(p, q) < 1)
            for p, q in pairs
        ),
        Member("effective_rank", F.effective_rank, unbounded=True),
        Member("stable_rank", F.stable_rank),
        Member("log_det", partial(F.log_det, eps=zero**2)),
        *(Member(name, partial(_scaled, name, function, scale)) for name, function in extra.items()),
    ]


def _scaled(name: str, function: OfSpectrum, scale: float, *, singular_values: Tensor) -> Tensor:
    value = function(singular_values * scale)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise TypeError(message(f"extra[{name!r}]", "a differentiable function to a 0-d tensor", value))
    return value
