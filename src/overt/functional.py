"""Functions of a spectrum.

Every function takes a matrix or a batch of matrices, shape (..., m, n), an :class:`overt.Factored` matrix,
whose product is not formed, or a spectrum through ``singular_values=``, shape (..., k), and returns a
tensor of shape (...).

**Gradients** are U diag(f′(σ)) Vᵀ, from the one decomposition that gave the value. They are finite
everywhere:

==================  ======================================================================================
where               what
==================  ======================================================================================
zero matrix         value 0 (``log_det``: k·log eps) and gradient 0, also for the ratios, which have no
                    limit there
rank deficiency     directions of singular values at or below eps·max(m, n)·σ₁ get 0: the subgradient of
                    smallest norm of the norms (p ≥ 1); a convention for ``effective_rank`` and p < 1, whose
                    slope is infinite there
ties                tied values share their slope; ``spectral_norm`` and ``stable_rank`` divide the slope of
                    the largest evenly among those tied with it: the subgradient of smallest norm
given spectrum      has no rank tolerance: the slope is 0 at an exact 0 only
scale               σ is divided by σ₁ first, so no power of σ under- or overflows
==================  ======================================================================================

Second derivatives are refused with a RuntimeError. Half precision is computed in float32 and cast back; a
gradient beyond its range becomes the largest finite value, so compute in float32 where entries are tiny.
``torch.func.grad`` works; ``torch.func.vmap`` does not, use a batch of matrices instead. NaN and infinite
entries, complex, integer and sparse matrices, and vectors given as ``W`` are refused with a ValueError or
TypeError. So is an :class:`overt.Factored` matrix with singular values beyond the range of the dtype, except
by the scale-invariant functionals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt import _rules
from overt._spectral import frobenius_of_matrix, of_matrix, of_spectrum
from overt._utils.checks import check_number
from overt._utils.tensors import check_matrix, check_spectrum, compute_dtype
from overt.linalg.factored import Factored
from overt.linalg.spectrum import singular_values, spectrum, widen

__all__ = [
    "effective_rank",
    "frobenius_norm",
    "log_det",
    "normalized_nuclear_norm",
    "normalized_schatten_norm",
    "nuclear_norm",
    "participation_ratio",
    "schatten_norm",
    "singular_values",
    "spectral_norm",
    "stable_rank",
]

Matrix = Tensor | Factored


def nuclear_norm(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Nuclear norm ‖W‖_* = Σ σ_i.

    Parameters
    ----------
    W : Tensor or Factored, shape (..., m, n), optional
        Either this or ``singular_values``.
    singular_values : Tensor, shape (..., k), optional
        A spectrum in any order.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        See the module's page.

    References
    ----------
    Fazel, M. (2002). Matrix rank minimization with applications. PhD thesis, Stanford.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.nuclear_norm(torch.diag(torch.tensor([3.0, 4.0])))
    tensor(7.)
    """
    return _function(_rules.nuclear, 1, W, singular_values)


def frobenius_norm(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Frobenius norm ‖W‖_F = (Σ σ_i²)^½, computed from the entries where W is given dense.

    Parameters, Returns and Raises as for :func:`nuclear_norm`.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.frobenius_norm(torch.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    if isinstance(W, Tensor) and singular_values is None:
        return frobenius_of_matrix(check_matrix(W)).to(W.dtype)
    return _function(_rules.frobenius, 1, W, singular_values)


def spectral_norm(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Spectral norm σ₁, the largest singular value.

    Where several singular values tie for the largest, the gradient is the mean of their u vᵀ, the
    subgradient of smallest norm. Parameters, Returns and Raises as for :func:`nuclear_norm`.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.spectral_norm(torch.diag(torch.tensor([3.0, 4.0])))
    tensor(4.)
    """
    return _function(_rules.spectral, 1, W, singular_values)


def schatten_norm(
    W: Matrix | None = None, p: float | None = None, *, singular_values: Tensor | None = None
) -> Tensor:
    """Schatten norm (Σ σ_i^p)^{1/p}: nuclear at p = 1, Frobenius at 2, spectral at ∞; a quasi-norm for p < 1.

    For p < 1 the slope σ^{p−1} grows without bound as σ → 0; at or below the rank tolerance it is set to 0.
    A zero singular value comes out of the decomposition as some 1e-17 σ₁, which p = 1/3 turns into 2e-6, so
    for small p the value at rank deficiency is only as exact as that. The value is inf where it exceeds the
    range of the dtype (k^{1/p} for k equal values).

    Parameters
    ----------
    W, singular_values
        As for :func:`nuclear_norm`.
    p : float
        Exponent, above 0; ``math.inf`` is allowed.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If ``p`` is missing, not a number or not above 0; otherwise as for :func:`nuclear_norm`.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.schatten_norm(torch.diag(torch.tensor([1.0, 4.0])), 0.5)
    tensor(9.)
    """
    return _function(_rules.schatten(check_number(p, "p", above=0, finite=False)), 1, W, singular_values)


def normalized_nuclear_norm(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Normalized nuclear norm ‖W‖_*/‖W‖_F, between 1 and √rank, whatever the scale of W.

    Its square is :func:`participation_ratio`. At the zero matrix, where it has no limit, it is 0 with
    gradient 0. Parameters, Returns and Raises as for :func:`nuclear_norm`.

    References
    ----------
    Zhao, D. (2022). Combining explicit and implicit regularization for efficient learning in deep networks.
    NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.normalized_nuclear_norm(torch.eye(4))
    tensor(2.)
    """
    return _function(_rules.normalized_nuclear, 0, W, singular_values)


def normalized_schatten_norm(
    W: Matrix | None = None,
    p: float | None = None,
    q: float | None = None,
    *,
    singular_values: Tensor | None = None,
) -> Tensor:
    """Ratio of Schatten norms S_p/S_q, whatever the scale of W; p = 1, q = 2 is the normalized nuclear norm.

    With p < q it is between 1 and rank^{1/p − 1/q}. At the zero matrix it is 0 with gradient 0. It is
    computed from the difference of logarithms, so that small exponents overflow only where the ratio does.

    Parameters
    ----------
    W, singular_values
        As for :func:`nuclear_norm`.
    p, q : float
        Exponents of the numerator and the denominator, above 0; ``math.inf`` is allowed.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If ``p`` or ``q`` is missing, not a number or not above 0; otherwise as for :func:`nuclear_norm`.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.normalized_schatten_norm(torch.eye(4, dtype=torch.float64), 0.5, 1).round(decimals=12)
    tensor(4., dtype=torch.float64)
    """
    p, q = check_number(p, "p", above=0, finite=False), check_number(q, "q", above=0, finite=False)
    rule = _rules.normalized_nuclear if (p, q) == (1.0, 2.0) else _rules.schatten_ratio(p, q)
    return _function(rule, 0, W, singular_values)


def effective_rank(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Effective rank exp(−Σ p_i log p_i) with p_i = σ_i/Σσ, between 1 and the rank.

    At the zero matrix it is 0 with gradient 0. Its slope is infinite at σ = 0, where 0 is used.
    Parameters, Returns and Raises as for :func:`nuclear_norm`.

    References
    ----------
    Roy, O., Vetterli, M. (2007). The effective rank: a measure of effective dimensionality. EUSIPCO.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.effective_rank(singular_values=torch.tensor([2.0, 2.0, 0.0]))
    tensor(2.)
    """
    return _function(_rules.effective_rank, 0, W, singular_values)


def stable_rank(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Stable rank ‖W‖_F²/σ₁², between 1 and the rank; 0 with gradient 0 at the zero matrix.

    Ties for the largest singular value share its slope, as in :func:`spectral_norm`.
    Parameters, Returns and Raises as for :func:`nuclear_norm`.

    References
    ----------
    Rudelson, M., Vershynin, R. (2007). Sampling from large matrices. Journal of the ACM 54(4).

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.stable_rank(torch.diag(torch.tensor([2.0, 1.0])))
    tensor(1.2500)
    """
    return _function(_rules.stable_rank, 0, W, singular_values)


def participation_ratio(W: Matrix | None = None, *, singular_values: Tensor | None = None) -> Tensor:
    """Participation ratio (Σ σ_i)²/Σ σ_i² of the singular values: the square of the normalized nuclear norm.

    Between 1 and the rank; 0 with gradient 0 at the zero matrix.
    Parameters, Returns and Raises as for :func:`nuclear_norm`.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.participation_ratio(torch.eye(4))
    tensor(4.)
    """
    return _function(_rules.participation_ratio, 0, W, singular_values)


def log_det(
    W: Matrix | None = None, eps: float | None = None, *, singular_values: Tensor | None = None
) -> Tensor:
    """Log-determinant log det(WᵀW + eps·I) = Σ log(σ_i² + eps) over the smaller dimension of W.

    Parameters
    ----------
    W, singular_values
        As for :func:`nuclear_norm`. The zeros of a :class:`overt.Factored` matrix count, so a spectrum needs
        all min(m, n) values.
    eps : float
        Smoothing, above 0, in the units of σ².

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If ``eps`` is missing, not a number, not above 0 and finite, or below what the dtype can hold;
        otherwise as for :func:`nuclear_norm`.

    References
    ----------
    Fazel, M., Hindi, H., Boyd, S. (2003). Log-det heuristic for matrix rank minimization. ACC.

    Examples
    --------
    >>> import torch
    >>> from overt import functional as F
    >>> F.log_det(torch.eye(2), eps=1.0)
    tensor(1.3863)
    """
    number = check_number(eps, "eps", above=0)
    source = W if singular_values is None else singular_values
    if isinstance(source, Tensor | Factored) and source.dtype.is_floating_point:
        dtype = compute_dtype(source.dtype)
        if number < torch.finfo(dtype).tiny:
            raise ValueError(f"eps: {number:g} is below what {dtype} can hold; take a larger eps or float64")
    value = _function(_rules.log_det(math.sqrt(number)), None, W, singular_values)
    if isinstance(W, Factored):
        value = value + max(0, min(W.shape[-2:]) - W.U.shape[-1]) * math.log(number)
    return value


def _function(rule: _rules.Rule, degree: int | None, W: Matrix | None, given: Tensor | None) -> Tensor:
    """Evaluate a rule on the spectrum of W, or on the one given, in the dtype of the input."""
    if given is None:
        if W is None:
            raise TypeError("W is missing; give a matrix W, or its spectrum as singular_values=")
        if isinstance(W, Factored):
            return of_spectrum(spectrum(W, up_to_scale=degree == 0), rule, degree).to(W.dtype)
        return of_matrix(check_matrix(W), rule, degree).to(W.dtype)
    if W is not None:
        raise TypeError("W and singular_values are both given; give one of them")
    s = check_spectrum(given)
    return of_spectrum(widen(s), rule, degree).to(s.dtype)
