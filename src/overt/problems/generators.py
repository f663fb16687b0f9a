"""Seeded random instances, drawn in double precision and then cast: dtype never changes an instance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_number, check_sizes
from overt._utils.seeds import normal, seeded
from overt.linalg import Factored
from overt.linalg.decompositions import random_orthonormal
from overt.problems.base import rms
from overt.problems.completion import CompletionProblem, entries_of, frobenius
from overt.problems.dense import RegressionProblem, SensingProblem
from overt.problems.sampling import Sampling, sample_entries

_DENSE_TRUTH = 2**25  # entries; a larger truth is kept as factors only


def low_rank_factors(
    shape: tuple[int, int],
    rank: int,
    *,
    condition_number: float | None = None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """U (m, r) and V (n, r), float64, with ‖U Vᵀ‖_F = √(m n), that is with entries of root mean square 1.

    Without a `condition_number`, two Gaussian factors. With κ, U and V come from the QR factors of Gaussian
    matrices and the singular values are proportional to ``geomspace(κ, 1, r)``.

    Raises
    ------
    TypeError, ValueError
        `rank` not an int in 1 … min(m, n); `condition_number` below 1, not finite, or not 1 at rank 1.
    """
    m, n = check_sizes(shape, "shape", length=2)
    rank = check_integer(rank, "rank", least=1, most=min(m, n))
    if condition_number is None:
        U, V = normal(m, rank, generator=generator), normal(n, rank, generator=generator)
    else:
        condition_number = check_number(condition_number, "condition_number", least=1)
        if rank == 1 and condition_number != 1:
            raise ValueError(f"condition_number must be 1 for a matrix of rank 1, got {condition_number}")
        U, V = (random_orthonormal(size, rank, generator=generator) for size in (m, n))
        U = U * torch.logspace(math.log10(condition_number), 0.0, rank, dtype=torch.float64)
    scale = math.sqrt(math.sqrt(m * n) / frobenius(Factored(U, V)))
    return U * scale, V * scale


def matrix_completion(
    shape: tuple[int, int],
    *,
    rank: int,
    n_observed: int,
    seed: int,
    condition_number: float | None = None,
    noise: float = 0.0,
    sampling: Sampling = "uniform",
    min_per_line: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> CompletionProblem:
    """A random low-rank matrix of which some entries are observed.

    Parameters
    ----------
    shape
        (m, n).
    rank, condition_number
        Of the truth, which is scaled to ‖W‖_F = √(m n); see `low_rank_factors`.
    n_observed
        Number of entries, drawn without replacement.
    seed
        Of everything random.
    noise
        Standard deviation of the Gaussian noise, relative to the root mean square entry of the truth.
    sampling
        ``"uniform"``; ``"nonuniform"``: row and column weights exp(N(0, 1)); ``"blocks"``: every second of
        four row blocks a quarter as dense.
    min_per_line
        The places are redrawn until each row and column holds at least this many entries.
    dtype, device
        Of the result.

    Returns
    -------
    CompletionProblem
        With `true_rank`, `noise_std` and `truth_factors`; `truth` too where the matrix has at most 2²⁵
        entries.

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range, or `min_per_line` not met in 20 000 draws.

    Examples
    --------
    >>> from overt.problems import matrix_completion
    >>> problem = matrix_completion((100, 80), rank=5, n_observed=2000, seed=0)
    >>> problem
    CompletionProblem('completion 100×80 rank 5', 100×80, 2000 observed, torch.float64, cpu)
    >>> round(problem.oversampling(5), 2), problem.error(problem.truth)
    (2.29, 0.0)
    """
    noise = check_number(noise, "noise", least=0)
    m, n = check_sizes(shape, "shape", length=2)
    rank = check_integer(rank, "rank")
    n_observed = check_integer(
        n_observed, "n_observed", least=1, most=m * n, remedy="it is the number of observed entries"
    )
    min_per_line = check_integer(min_per_line, "min_per_line", least=0)
    generator = seeded(seed)
    U, V = low_rank_factors((m, n), rank, condition_number=condition_number, generator=generator)
    rows, cols = sample_entries(
        (m, n), n_observed, generator=generator, sampling=sampling, min_per_line=min_per_line
    )
    truth = U @ V.mT if m * n <= _DENSE_TRUTH else None
    factors = Factored(U, V)
    clean = truth[rows, cols] if truth is not None else entries_of(factors, rows, cols)
    problem = CompletionProblem(
        rows,
        cols,
        clean + noise * normal(n_observed, generator=generator) if noise else clean,
        (m, n),
        truth=truth,
        truth_factors=factors,
        true_rank=rank,
        noise_std=noise,
        name=f"completion {m}×{n} rank {rank}",
    )
    return problem.to(dtype=dtype, device=device)


def matrix_sensing(
    shape: tuple[int, int],
    *,
    rank: int,
    n_measurements: int,
    seed: int,
    condition_number: float | None = None,
    noise: float = 0.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> SensingProblem:
    """Gaussian measurements y_i = ⟨A_i, W⟩ of a random low-rank matrix.

    The entries of A_i are normal with standard deviation 1/√(m n) and ‖W‖_F = √(m n), so that y has standard
    deviation 1.

    Parameters
    ----------
    shape, rank, condition_number, seed, dtype, device
        As for `matrix_completion`.
    n_measurements
        Number k of measurements; A has k·m·n entries.
    noise
        Standard deviation of the Gaussian noise relative to the root mean square of the clean measurements.

    Returns
    -------
    SensingProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import matrix_sensing
    >>> problem = matrix_sensing((10, 8), rank=2, n_measurements=50, seed=0)
    >>> problem.A.shape, problem.error(problem.truth)
    (torch.Size([50, 80]), 0.0)
    """
    noise = check_number(noise, "noise", least=0)
    n_measurements = check_integer(n_measurements, "n_measurements", least=1)
    m, n = check_sizes(shape, "shape", length=2)
    rank = check_integer(rank, "rank")
    generator = seeded(seed)
    U, V = low_rank_factors((m, n), rank, condition_number=condition_number, generator=generator)
    truth = U @ V.mT
    A = normal(n_measurements, m * n, generator=generator) / math.sqrt(m * n)
    y, noise_std = _add_noise(A @ truth.view(-1), noise, generator)
    problem = SensingProblem(
        A, y, (m, n), truth, true_rank=rank, noise_std=noise_std, name=f"sensing {m}×{n} rank {rank}"
    )
    return problem.to(dtype=dtype, device=device)


def linear_regression(
    dim: int,
    *,
    n_samples: int,
    seed: int,
    nonzeros: int | None = None,
    noise: float = 0.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> RegressionProblem:
    """y = X w with a standard Gaussian design and a random dense or sparse truth of norm 1.

    Parameters
    ----------
    dim
        Number d of unknowns.
    n_samples
        Number k of rows of X, whose entries are standard normal.
    seed, dtype, device
        As for `matrix_completion`.
    nonzeros
        None: w is a Gaussian vector scaled to ‖w‖ = 1. A number s: s random entries are ±1/√s, the others 0
        (Woodworth et al. 2020, there without the signs).
    noise
        Standard deviation of the Gaussian noise relative to the root mean square of the clean targets.

    Returns
    -------
    RegressionProblem

    Raises
    ------
    TypeError, ValueError
        Any argument out of its range.

    Examples
    --------
    >>> from overt.problems import linear_regression
    >>> problem = linear_regression(50, n_samples=20, nonzeros=3, seed=0)
    >>> problem.shape, int((problem.truth != 0).sum())
    ((50,), 3)
    """
    noise = check_number(noise, "noise", least=0)
    dim = check_integer(dim, "dim", least=1)
    n_samples = check_integer(n_samples, "n_samples", least=1)
    generator = seeded(seed)
    if nonzeros is None:
        truth = normal(dim, generator=generator)
        truth = truth / torch.linalg.vector_norm(truth)
    else:
        nonzeros = check_integer(nonzeros, "nonzeros", least=1, most=dim)
        places = torch.randperm(dim, generator=generator)[:nonzeros]
        signs = torch.randint(2, (nonzeros,), generator=generator).to(torch.float64) * 2 - 1
        truth = torch.zeros(dim, dtype=torch.float64).index_put((places,), signs / math.sqrt(nonzeros))
    X = normal(n_samples, dim, generator=generator)
    y, noise_std = _add_noise(X @ truth, noise, generator)
    kind = "dense" if nonzeros is None else f"{nonzeros}-sparse"
    problem = RegressionProblem(
        X, y, truth, n_nonzero=nonzeros, noise_std=noise_std, name=f"regression {dim} {kind}"
    )
    return problem.to(dtype=dtype, device=device)


def _add_noise(clean: Tensor, noise: float, generator: torch.Generator) -> tuple[Tensor, float]:
    std = noise * rms(clean)
    if std == 0:
        return clean, 0.0
    return clean + std * normal(clean.numel(), generator=generator), std
