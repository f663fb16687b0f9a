"""The data's own spectrum: of its covariance, or its power in a basis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from overt._utils.checks import check_integer, optional
from overt.linalg import make_basis, svd
from overt.linalg.bases import is_eigen
from overt.linalg.row_stack import LARGEST_SQUARE
from overt.measures.comparison import data_moments, data_rows
from overt.measures.methods.moments import values_with_errors
from overt.measures.spectrum import Spectrum
from overt.networks.batches import Inputs


def data_spectrum(
    inputs: Inputs,
    basis: str | Tensor = "eigen",
    *,
    center: bool = True,
    dims: Sequence[int] | None = None,
    max_samples: int | None = None,
) -> Spectrum:
    """Spectrum √diag(U C U*) of the covariance C of inputs, held in memory.

    In the eigenbasis the values are the standard deviations along the principal components, in the Fourier
    basis the root of the power spectrum. It has all that a :class:`Spectrum` has: ``effective_rank``, and
    ``alignment`` with a basis, which tells how sparse the data is there.

    Parameters
    ----------
    inputs, basis, dims, max_samples
        As for :func:`overt.measure`.
    center : bool
        Subtract the mean; otherwise C is the matrix of second moments.

    Returns
    -------
    Spectrum

    Raises
    ------
    TypeError, ValueError
        As for :func:`overt.measure`. In the eigenbasis, more than 10 000 inputs of more than 10 000 entries.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import data_spectrum
    >>> data_spectrum(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).values
    tensor([1., 0.])
    """
    eigen = is_eigen(basis, dims)
    max_samples = optional(check_integer, max_samples, "max_samples", least=1)
    rows, dtype = data_rows(inputs, center=center, max_samples=max_samples)
    shape, (n, size) = tuple(rows.shape[1:]), rows.flatten(1).shape
    if eigen and min(n, size) > LARGEST_SQUARE:
        raise ValueError(
            f"inputs: the eigenvectors of {n} inputs of {size} entries would be a square matrix of more than "
            f"{LARGEST_SQUARE}; take fewer inputs with max_samples, or another basis"
        )
    if eigen:
        _, S, Vh = svd(rows.flatten(1) / n**0.5)
        factor = (S[:, None] * Vh).to(dtype)
        return Spectrum(S.to(dtype), factor=factor, n_samples=n, method="exact", input_shape=shape)
    chosen = make_basis(basis, shape, dims=dims)
    moments = data_moments(rows, chosen)
    values, stderr = values_with_errors(moments.mean, moments.variance_of_mean())
    return Spectrum(
        values.to(dtype),
        basis=basis,
        stderr=None if stderr is None else stderr.to(dtype),
        covers="" if stderr is None else "data",
        n_samples=n,
        method="exact",
        input_shape=shape,
        dims=chosen.dims,
    )
