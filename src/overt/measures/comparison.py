"""Is a model sensitive where its data varies? A spectrum beside that of the data, in the same basis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.linalg import orthonormal_basis
from overt.measures.data import Inputs
from overt.measures.data_spectrum import data_spectrum
from overt.measures.spectrum import Spectrum

__all__ = ["Comparison", "compare"]


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
        Cosine of the angle between the two vectors of squares, in [0, 1]: 1 where the model is sensitive in
        proportion to the data's variance, 0 where it is sensitive only to what does not vary.
    rank_correlation : float
        Spearman's ρ between the two, in [−1, 1]: whether the order is the same, whatever the scale. NaN
        where one of them is constant.
    data_effective_rank : float
        Effective rank of the data's amplitudes in this basis: how sparse the data is in it.
    """

    model: Tensor
    data: Tensor
    cosine: float
    rank_correlation: float
    data_effective_rank: float


def compare(spectrum: Spectrum, inputs: Inputs, *, center: bool = True) -> Comparison:
    """Compare a spectrum with the covariance or the power spectrum of data, in the spectrum's basis.

    In the eigenbasis the data's amplitudes are its standard deviations along the eigenvectors of M.

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
    eigen = isinstance(spectrum.basis, str) and spectrum.basis == "eigen"
    basis = _eigenvectors(spectrum) if eigen else spectrum.basis
    data = data_spectrum(inputs, basis, center=center, dims=spectrum.dims or None)
    values = (spectrum.values[: len(data.values)] if eigen else spectrum.values).to(data.values)
    if len(values) != len(data.values):
        raise ValueError(
            f"inputs: of shape {data.input_shape}, which is {len(data.values)} coefficients; the spectrum "
            f"has {len(values)}"
        )
    return Comparison(
        model=values,
        data=data.values,
        cosine=_cosine(values.double().square(), data.values.double().square()),
        rank_correlation=_correlation(_ranks(values), _ranks(data.values)),
        data_effective_rank=data.effective_rank,
    )


def _eigenvectors(spectrum: Spectrum) -> Tensor:
    if spectrum.factor is None:
        raise ValueError(
            "spectrum: it holds no factor, and so no eigenvectors; measure the model with basis='eigen'"
        )
    norms = torch.linalg.vector_norm(spectrum.factor, dim=1, keepdim=True)
    floor = norms.max() * torch.finfo(norms.dtype).eps * max(spectrum.factor.shape)
    present = (norms[:, 0] > floor) if bool(norms.max() > 0) else torch.arange(len(norms)) < 1
    # Eigenvectors of small eigenvalues may come out slightly oblique; the leading ones are not moved by this.
    kept = min(int(present.sum()), len(spectrum.values))
    return orthonormal_basis((spectrum.factor / norms.clamp_min(torch.finfo(norms.dtype).tiny))[:kept].mT).mT


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a / a.max().clamp_min(1e-300), b / b.max().clamp_min(1e-300)
    norms = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    return float(a @ b / norms) if norms > 0 else 0.0


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
