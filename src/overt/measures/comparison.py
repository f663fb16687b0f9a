"""Is a model sensitive where its data varies? A spectrum beside that of the data, in the same basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import check_flag
from overt.linalg import Basis, make_basis, rank_tolerance, svd
from overt.linalg.bases import is_eigen
from overt.measures.methods.moments import Moments
from overt.networks.batches import Inputs, differentiable_batches
from overt.networks.passes import wide_dtype

_BLOCK = 1024


class Measured(Protocol):
    """The fields of a :class:`overt.Spectrum` that comparisons and pictures read."""

    @property
    def values(self) -> Tensor: ...
    @property
    def basis(self) -> str | Tensor: ...
    @property
    def stderr(self) -> Tensor | None: ...
    @property
    def input_shape(self) -> tuple[int, ...] | None: ...
    @property
    def dims(self) -> tuple[int, ...] | None: ...
    @property
    def factor(self) -> Tensor | None: ...


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model's sensitivities and the data's amplitudes, coefficient by coefficient.

    Attributes
    ----------
    model : Tensor, shape (k,)
        √diag(U M U*).
    data : Tensor, shape (k,)
        √diag(U C U*) with C the covariance of the data, in the same basis and order.
    cosine : float
        In [0, 1]: 1 if the model is sensitive in proportion to the data's variance, 0 if it is sensitive only
        to directions without variance. In a fixed basis, the cosine between the two vectors of squares; in
        the eigenbasis, tr(MC)/(‖M‖_F ‖C‖_F), which also counts variance that the model does not see.
    rank_correlation : float
        Spearman's ρ between the two, in [−1, 1]; NaN if one of them is constant, or there is a single
        coefficient.
    data_effective_rank : float
        Effective rank of the data's amplitudes in this basis: how sparse the data is in it. In the
        eigenbasis, of its amplitudes within the span of M.
    """

    model: Tensor
    data: Tensor
    cosine: float
    rank_correlation: float
    data_effective_rank: float


def compare(spectrum: Measured, inputs: Inputs, *, center: bool = True) -> Comparison:
    """Compare a spectrum with the covariance or the power spectrum of data, in the spectrum's basis.

    In the eigenbasis the data's amplitudes are its standard deviations along the eigenvectors of M that were
    found, so the coefficients, unlike the cosine, cover only the span of M.

    Parameters
    ----------
    spectrum : Spectrum
        In the eigenbasis it must hold its ``factor``.
    inputs
        As for :func:`overt.measure`; held in memory.
    center : bool
        Subtract the data's mean.

    Raises
    ------
    TypeError, ValueError
        Inputs of another shape; an eigen-spectrum without ``factor``.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import measure
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 1.0, 0.5])
    >>> model = torch.nn.Linear(3, 3, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.diag(torch.tensor([4.0, 2.0, 1.0])))
    >>> round(measure(model, x).compare(x).rank_correlation, 6)
    1.0
    """
    rows, dtype = data_rows(inputs, center=center)
    shape = tuple(rows.shape[1:])
    values, basis, factor = spectrum.values, spectrum.basis, None
    if is_eigen(basis):
        factor = spectrum.factor
        if factor is None:
            raise ValueError(
                "spectrum: it holds no factor, so no eigenvectors; measure the model with basis='eigen'"
            )
        values, basis = _eigenpairs(factor)
    chosen = make_basis(basis, shape, dims=spectrum.dims or None)
    if len(values) != chosen.size:
        raise ValueError(
            f"inputs of shape {shape} have {chosen.size} coefficients, the spectrum has {len(values)}; give "
            "inputs of the shape that was measured"
        )
    data = data_moments(rows, chosen).mean.sqrt().to(dtype)
    values = values.to(data)
    if factor is None:
        cosine = _cosine(values.double().square(), data.double().square())
    else:
        cosine = _matrix_cosine(factor, rows)
    return Comparison(
        model=values,
        data=data,
        cosine=cosine,
        rank_correlation=_correlation(_ranks(values), _ranks(data)),
        data_effective_rank=F.effective_rank(singular_values=data).item(),
    )


def data_rows(inputs: Inputs, *, center: bool, max_samples: int | None = None) -> tuple[Tensor, torch.dtype]:
    """All inputs in the dtype in which sums are kept, less their mean if ``center``; and their own dtype."""
    check_flag(center, "center")
    batches = [batch.x for batch in differentiable_batches(inputs, max_samples=max_samples)]
    if not batches:
        raise ValueError("inputs: there is no batch; give at least one")
    x = torch.cat(batches)
    rows = x.to(wide_dtype(x.device))
    return rows - rows.mean(0) if center else rows, x.dtype


def data_moments(rows: Tensor, basis: Basis) -> Moments:
    """Mean squared coefficients of the data in a basis."""
    moments = Moments()
    for part in torch.split(rows, _BLOCK):
        moments.add(basis.power(part))
    return moments


def _eigenpairs(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values above rounding, and eigenvectors in rows; the ``values`` of a sketch are corrected."""
    _, S, Vh = svd(factor)
    kept = max(1, int((rank_tolerance(S, *factor.shape) < S).sum()))
    return S[:kept], Vh[:kept]


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a / a.max().clamp_min(1e-300), b / b.max().clamp_min(1e-300)
    norms = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    return float(a @ b / norms) if norms > 0 else 0.0


def _matrix_cosine(factor: Tensor, rows: Tensor) -> float:
    """tr(MC)/(‖M‖_F ‖C‖_F) of M = factorᵀ factor and C = rowsᵀ rows, from products of their rows."""
    rows = rows.flatten(1)
    A, B = (part.to(rows) / part.abs().max().clamp_min(1e-300) for part in (factor, rows))
    norms = (_squared_products(A, A) * _squared_products(B, B)) ** 0.5
    return min(1.0, _squared_products(A, B) / norms) if norms > 0 else 0.0


def _squared_products(A: Tensor, B: Tensor) -> float:
    """‖A Bᵀ‖_F² = tr(AᵀA BᵀB), by blocks: neither product is ever whole."""
    if A is B and len(A) > A.shape[1]:
        A = B = A.mT  # the same number, with fewer products
    return sum(float((block @ B.mT).square().sum()) for block in torch.split(A, _BLOCK))


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, tied values sharing their mean rank."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks: Tensor = (last - (counts.double() + 1) / 2)[inverse]
    return ranks


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    norms = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    return float(a @ b / norms) if norms > 0 else float("nan")
