"""Matrices and plain definitions that the functional tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from overt import functional as F


def gaussian(m: int, n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def orthogonal(n: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(n, n, seed))[0]


def with_spectrum(values: list[float], m: int, n: int, seed: int = 0) -> Tensor:
    """An m×n matrix with the given singular values and random singular vectors."""
    k = len(values)
    left, right = orthogonal(m, seed)[:, :k], orthogonal(n, seed + 1)[:, :k]
    return (left * torch.tensor(values, dtype=torch.float64)) @ right.T


# Distinct, well separated singular values: everything is differentiable there.
REGULAR: dict[str, Tensor] = {
    "square": gaussian(5, 5),
    "slightly tall": gaussian(6, 4),
    "tall": gaussian(11, 3),
    "wide": gaussian(3, 12),
    "row": gaussian(1, 5),
    "column": gaussian(7, 1),
    "scalar": gaussian(1, 1),
    "ill-conditioned": with_spectrum([1.0, 1e-2, 1e-4, 1e-6], 6, 4),
    "ill-conditioned and tall": with_spectrum([1.0, 1e-2, 1e-4, 1e-6], 20, 4),
    "large": 1e30 * gaussian(5, 4),
    "small": 1e-30 * gaussian(4, 5),
    "small and tall": 1e-30 * gaussian(9, 2),
}

SINGULAR: dict[str, Tensor] = {
    "zero": torch.zeros(4, 3, dtype=torch.float64),
    "zero and tall": torch.zeros(9, 3, dtype=torch.float64),
    "identity": torch.eye(4, dtype=torch.float64),
    "ties": with_spectrum([2.0, 2.0, 1.0, 1.0], 4, 6),
    "ties and tall": with_spectrum([2.0, 2.0, 1.0], 12, 3),
    "rank one": with_spectrum([3.0], 5, 4),
    "rank deficient": with_spectrum([3.0, 1.0], 6, 6),
    "rank deficient and tall": with_spectrum([3.0, 1.0], 20, 4),
    "rank deficient and wide": with_spectrum([3.0, 1.0], 4, 20),
    "zero column": torch.diag(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)),
    "one entry": torch.zeros(3, 3, dtype=torch.float64).index_put(
        (torch.tensor([1]), torch.tensor([2])), torch.tensor(5.0, dtype=torch.float64)
    ),
}

CORPUS = {**REGULAR, **SINGULAR}


@dataclass(frozen=True)
class Case:
    """A functional beside its definition, written down as plainly as possible."""

    call: Callable[..., Tensor]
    definition: Callable[[Tensor], Tensor]
    degree: int | None

    def __call__(self, W: object = None, **keywords: Tensor) -> Tensor:
        return self.call(W, **keywords)


def _schatten(s: Tensor, p: float) -> Tensor:
    return s.max() if p == float("inf") else s.pow(p).sum().pow(1 / p)


def _effective_rank(s: Tensor) -> Tensor:
    share = s / s.sum()
    share = share[share > 0]
    return torch.exp(-(share * share.log()).sum())


FUNCTIONALS: dict[str, Case] = {
    "nuclear_norm": Case(F.nuclear_norm, lambda s: s.sum(), 1),
    "frobenius_norm": Case(F.frobenius_norm, lambda s: s.square().sum().sqrt(), 1),
    "spectral_norm": Case(F.spectral_norm, lambda s: s.max(), 1),
    "normalized_nuclear_norm": Case(
        F.normalized_nuclear_norm, lambda s: s.sum() / s.square().sum().sqrt(), 0
    ),
    "participation_ratio": Case(F.participation_ratio, lambda s: s.sum().square() / s.square().sum(), 0),
    "stable_rank": Case(F.stable_rank, lambda s: s.square().sum() / s.max().square(), 0),
    "effective_rank": Case(F.effective_rank, _effective_rank, 0),
    "log_det": Case(
        lambda W=None, **k: F.log_det(W, 0.5, **k), lambda s: torch.log(s.square() + 0.5).sum(), None
    ),
}
for _p in (1 / 3, 0.5, 1.0, 2.0, 3.5, float("inf")):
    FUNCTIONALS[f"schatten_norm p={_p:.3g}"] = Case(
        lambda W=None, p=_p, **k: F.schatten_norm(W, p, **k), lambda s, p=_p: _schatten(s, p), 1
    )
for _p, _q in ((1.0, 2.0), (0.5, 2 / 3), (1 / 3, 0.5), (1.0, float("inf")), (2.0, 1.0)):
    FUNCTIONALS[f"normalized_schatten_norm p={_p:.3g} q={_q:.3g}"] = Case(
        lambda W=None, p=_p, q=_q, **k: F.normalized_schatten_norm(W, p, q, **k),
        lambda s, p=_p, q=_q: _schatten(s, p) / _schatten(s, q),
        0,
    )


def quasi_norm(name: str) -> bool:
    """Whether the functional has an exponent below 1, which magnifies rounding of zero singular values."""
    return "p=0." in name


def dense_value(case: Case, W: Tensor) -> Tensor:
    """The functional by its definition, after scaling the matrix to largest entry 1 where it may be."""
    s = torch.linalg.svdvals(W)
    if case.degree is None or s.max() == 0:
        return case.definition(s)
    return s.max() ** case.degree * case.definition(s / s.max())


def dense_gradient(case: Case, W: Tensor) -> Tensor:
    """U diag(f′(σ)) Vᵀ with f′ from automatic differentiation of the definition."""
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    top = s.max() if case.degree is not None else torch.ones((), dtype=s.dtype)
    scaled = (s / top).requires_grad_()
    (slope,) = torch.autograd.grad(case.definition(scaled), scaled)
    return (U * slope * top ** ((case.degree or 0) - 1 if case.degree is not None else 0)) @ Vh
