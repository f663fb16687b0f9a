"""Supervised problems whose target depends on few directions of the input, or on all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overt._utils.checks import check_flag, check_integer, check_number
from overt._utils.seeds import normal, seeded
from overt._utils.tensors import check_dtype
from overt.linalg.decompositions import random_orthonormal

_SINE = (1 - math.exp(-8)) / 2  # the variance of sin(2z) for a standard normal z
_DIGITS, _PIXELS = 1797, 64  # what scikit-learn carries


@dataclass(frozen=True)
class StructuredProblem:
    """Inputs and targets for training and for testing, and the directions that matter.

    Attributes
    ----------
    X, X_test : Tensor
        (n, d) and (n_test, d).
    y, y_test : Tensor
        (n,) and (n_test,). Numbers have variance 1 over the distribution of the inputs; those for testing are
        without noise. Classes are int64.
    subspace : Tensor
        (d, r) with orthonormal columns: the target is a function of X @ subspace.
    noise_std : float
        Standard deviation of the Gaussian noise on ``y``.
    classes : int
        Number of classes; 0 for a regression.
    name : str
    """

    X: Tensor
    y: Tensor
    X_test: Tensor
    y_test: Tensor
    subspace: Tensor
    noise_std: float = 0.0
    classes: int = 0
    name: str = ""

    @property
    def rank(self) -> int:
        """Number r of directions on which the target depends."""
        return self.subspace.shape[1]

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"StructuredProblem({self.name!r}, {n}×{d}, {self.rank} directions matter, {self.X.dtype})"


def staircase(
    dim: int = 50,
    *,
    n_samples: int,
    seed: int,
    order: int = 3,
    noise: float = 0.1,
    n_test: int = 2000,
    rotated: bool = False,
    dtype: torch.dtype = torch.float64,
) -> StructuredProblem:
    """y = (x₁ + x₁x₂ + … + x₁⋯x_k) / √k with inputs of ±1, a function that networks learn step by step.

    Parameters
    ----------
    dim
        Number d of inputs; ``dim - order`` of them do not matter.
    n_samples, n_test
        Numbers of rows for training and for testing.
    seed
        Of everything random. More rows for testing change nothing else, and neither does `noise`.
    order
        Number k of steps.
    noise
        Standard deviation of the Gaussian noise on the training targets, whose variance without it is 1.
    rotated
        Whether the inputs are multiplied by a random orthogonal matrix, so that the directions that matter
        are no axes.
    dtype
        Of the result.

    Returns
    -------
    StructuredProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    References
    ----------
    Abbe, Boix-Adsera, Brennan, Bresler & Nagaraj (2021), The staircase property, section 1.

    Examples
    --------
    >>> from overt.problems import staircase
    >>> problem = staircase(50, n_samples=500, seed=0)
    >>> problem
    StructuredProblem('staircase 3 of 50', 500×50, 3 directions matter, torch.float64)
    """
    order = check_integer(order, "order", least=1, most=check_integer(dim, "dim", least=1))

    def target(z: Tensor) -> Tensor:
        return z.cumprod(1).sum(1) / math.sqrt(order)

    return _problem(
        f"staircase {order} of {dim}",
        target,
        _signs,
        dim,
        order,
        n_samples,
        n_test,
        noise,
        seed,
        rotated,
        dtype,
    )


def parity(
    dim: int = 20,
    *,
    n_samples: int,
    seed: int,
    order: int = 3,
    noise: float = 0.1,
    n_test: int = 2000,
    rotated: bool = False,
    dtype: torch.dtype = torch.float64,
) -> StructuredProblem:
    """y = x₁⋯x_k with inputs of ±1: no input, and no fewer than k together, tells anything of the target.

    Parameters
    ----------
    dim, n_samples, n_test, seed, noise, rotated, dtype
        As for `staircase`.
    order
        Number k of factors.

    Returns
    -------
    StructuredProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import parity
    >>> problem = parity(20, n_samples=500, seed=0, noise=0)
    >>> bool((problem.y == problem.X[:, 0] * problem.X[:, 1] * problem.X[:, 2]).all())
    True
    """
    order = check_integer(order, "order", least=1, most=check_integer(dim, "dim", least=1))

    def target(z: Tensor) -> Tensor:
        return z.prod(1)

    return _problem(
        f"parity {order} of {dim}", target, _signs, dim, order, n_samples, n_test, noise, seed, rotated, dtype
    )


def multi_index(
    dim: int = 60,
    *,
    n_samples: int,
    seed: int,
    rank: int = 3,
    noise: float = 0.1,
    n_test: int = 2000,
    rotated: bool = True,
    dtype: torch.dtype = torch.float64,
) -> StructuredProblem:
    """A smooth function of r projections z = Uᵀx of standard normal inputs, scaled to variance 1.

    Of each three projections it adds z₁z₂ + sin(2z₃); of two that are left their product, of a single one its
    sine. So rank 1 is a ridge function, rank 3 is z₁z₂ + sin(2z₃), and rank d lets all directions matter.

    Parameters
    ----------
    dim, n_samples, n_test, seed, noise, dtype
        As for `staircase`.
    rank
        Number r of projections.
    rotated
        Whether U is a random orthonormal matrix. Without it, U has the first r axes.

    Returns
    -------
    StructuredProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import multi_index
    >>> multi_index(60, n_samples=1000, seed=0)
    StructuredProblem('multi-index 3 of 60', 1000×60, 3 directions matter, torch.float64)
    """
    rank = check_integer(rank, "rank", least=1, most=check_integer(dim, "dim", least=1))
    products = [(i, i + 1) for i in range(0, rank - 1, 3)]
    sines = [i for i in range(rank) if i % 3 == 2 or (i % 3 == 0 and i == rank - 1)]
    scale = math.sqrt(len(products) + len(sines) * _SINE)

    def target(z: Tensor) -> Tensor:
        parts = [z[:, i] * z[:, j] for i, j in products] + [torch.sin(2 * z[:, i]) for i in sines]
        return torch.stack(parts).sum(0) / scale

    return _problem(
        f"multi-index {rank} of {dim}",
        target,
        normal,
        dim,
        rank,
        n_samples,
        n_test,
        noise,
        seed,
        rotated,
        dtype,
    )


def additive(
    dim: int = 50,
    *,
    n_samples: int,
    seed: int,
    noise: float = 0.1,
    n_test: int = 2000,
    rotated: bool = False,
    dtype: torch.dtype = torch.float64,
) -> StructuredProblem:
    """y ∝ Σ_j sin(2x_j) with standard normal inputs, all of which matter alike: a control.

    Parameters
    ----------
    dim, n_samples, n_test, seed, noise, rotated, dtype
        As for `staircase`.

    Returns
    -------
    StructuredProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import additive
    >>> additive(50, n_samples=500, seed=0).rank
    50
    """
    dim = check_integer(dim, "dim", least=1)

    def target(z: Tensor) -> Tensor:
        return torch.sin(2 * z).sum(1) / math.sqrt(dim * _SINE)

    return _problem(
        f"additive {dim}", target, normal, dim, dim, n_samples, n_test, noise, seed, rotated, dtype
    )


def noisy_digits(
    irrelevant: int = 200,
    *,
    n_samples: int,
    seed: int,
    rotated: bool = False,
    dtype: torch.dtype = torch.float64,
) -> StructuredProblem:
    """scikit-learn's 1797 digits of 8×8 pixels beside columns of noise.

    Pixels have mean 0 and standard deviation 1 over all digits, those that never change are 0; the other
    columns are standard normal.

    Parameters
    ----------
    irrelevant
        Number of columns of noise.
    n_samples
        Number of digits for training, drawn at random; all others are for testing.
    seed, dtype
        As for `staircase`.
    rotated
        Whether all columns together are multiplied by a random orthogonal matrix.

    Returns
    -------
    StructuredProblem
        With ten classes; the subspace is that of the pixels.

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import noisy_digits
    >>> noisy_digits(200, n_samples=100, seed=0)
    StructuredProblem('digits and 200 columns of noise', 100×264, 64 directions matter, torch.float64)
    """
    from sklearn.datasets import load_digits

    irrelevant = check_integer(irrelevant, "irrelevant", least=0)
    n_samples = check_integer(n_samples, "n_samples", least=1, most=_DIGITS - 1)
    rotated, dtype = check_flag(rotated, "rotated"), check_dtype(dtype)
    generator = seeded(seed)
    rows = torch.randperm(_DIGITS, generator=generator)
    loaded = load_digits()
    pixels = torch.from_numpy(np.asarray(loaded.data, dtype=np.float64))[rows]
    labels = torch.from_numpy(np.asarray(loaded.target, dtype=np.int64))[rows]
    std = pixels.std(0, correction=0)
    pixels = (pixels - pixels.mean(0)) / torch.where(std > 0, std, torch.inf)
    X = torch.cat([pixels, normal(_DIGITS, irrelevant, generator=generator)], 1)
    basis = _basis(_PIXELS + irrelevant, rotated, generator)
    X = (X @ basis.mT if rotated else X).to(dtype)
    return StructuredProblem(
        X[:n_samples],
        labels[:n_samples],
        X[n_samples:],
        labels[n_samples:],
        basis[:, :_PIXELS].to(dtype),
        classes=10,
        name=f"digits and {irrelevant} columns of noise",
    )


def _signs(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator).to(torch.float64) * 2 - 1


def _basis(dim: int, rotated: bool, generator: torch.Generator) -> Tensor:
    """Orthonormal columns (d, d): random ones, or the axes."""
    if rotated:
        return random_orthonormal(dim, dim, generator=generator)
    return torch.eye(dim, dtype=torch.float64)


def _problem(
    name: str,
    target: Callable[[Tensor], Tensor],
    draw: Callable[..., Tensor],
    dim: int,
    rank: int,
    n_samples: int,
    n_test: int,
    noise: float,
    seed: int,
    rotated: bool,
    dtype: torch.dtype,
) -> StructuredProblem:
    """Inputs x = Q z with an orthogonal Q; the target is a function of the first `rank` entries of z."""
    n_samples = check_integer(n_samples, "n_samples", least=1)
    n_test = check_integer(n_test, "n_test", least=0)
    noise = check_number(noise, "noise", least=0)
    rotated, dtype = check_flag(rotated, "rotated"), check_dtype(dtype)
    generator = seeded(seed)
    basis = _basis(dim, rotated, generator)
    train = draw(n_samples, dim, generator=generator)
    errors = normal(n_samples, generator=generator)
    test = draw(n_test, dim, generator=generator)
    X, X_test = ((Z @ basis.mT if rotated else Z).to(dtype) for Z in (train, test))
    y, y_test = target(train[:, :rank]) + noise * errors, target(test[:, :rank])
    subspace = basis[:, :rank].to(dtype)
    return StructuredProblem(X, y.to(dtype), X_test, y_test.to(dtype), subspace, noise, name=name)
