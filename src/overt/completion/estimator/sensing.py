"""MatrixSensing: the scikit-learn estimator of a low-rank matrix from its inner products with known ones."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from overt._utils.checks import check_sizes
from overt.completion.certificate import certificate
from overt.completion.estimator.base import LowRankEstimator
from overt.completion.estimator.sensing_path import sensing_path
from overt.completion.estimator.solvers import SolverOptions, solve
from overt.completion.problem import is_exact
from overt.completion.result import Completion
from overt.problems import SensingProblem

_CERTIFIED_NUMBERS = 20_000_000  # entries of the tangent map up to which it is decomposed


class MatrixSensing(RegressorMixin, LowRankEstimator):  # type: ignore[misc]
    """Recover a low-rank matrix W from measurements ``y_i = ⟨A_i, W⟩``; its rank is unknown.

    Parameters
    ----------
    solver : {"auto", "irls", "explicit", "nuclear"}, default="auto"
        ``"auto"`` tries exact recovery by rank-blind reweighted least squares; where the measurements turn
        out to be noisy, rank and ridge are chosen on held-out measurements.
    rank_proxy, penalty, depth, max_rank, max_iter, tolerance, random_state, device
        As for :class:`MatrixCompletion`.
    noise : {"auto"} or float, default="auto"
        Standard deviation of the noise on y; 0 says that the measurements are exact.
    heldout : float, default=0.15
        Share of the measurements held out where the data is noisy.

    Attributes
    ----------
    matrix_ : ndarray, shape (m, n)
    U_, singular_values_, Vt_ : ndarray
        Thin SVD of ``matrix_``.
    rank_, effective_rank_, n_iter_, history_, solver_, message_
        As for :class:`MatrixCompletion`.
    converged_ : bool
        Whether the solver's stopping rule was met and, for noisy data, held-out measurements bear the fit
        out.
    identifiable_ : bool or None
        Whether the measurements determine the matrix among its neighbours of the same rank; None where that
        was not computed: for the zero matrix, or very many numbers.
    heldout_error_ : float
        Root mean square error on held-out measurements; nan where the fit is exact or none could be spared.
    n_features_in_ : int
        m·n.

    Examples
    --------
    >>> import numpy as np
    >>> from overt.completion.estimator.sensing import MatrixSensing
    >>> rng = np.random.default_rng(0)
    >>> W = np.outer(rng.normal(size=6), rng.normal(size=5))
    >>> A = rng.normal(size=(25, 6, 5))
    >>> est = MatrixSensing().fit(A, np.einsum("kij,ij->k", A, W), shape=(6, 5))
    >>> est.rank_, bool(np.abs(est.matrix_ - W).max() < 1e-8)
    (1, True)
    """

    def fit(self, A: Any, y: Any, shape: tuple[int, int] | None = None) -> MatrixSensing:
        """Fit to measurements.

        Parameters
        ----------
        A : array-like, shape (k, m, n) or (k, m·n)
            One measurement matrix per row, read row by row.
        y : array-like, shape (k,)
        shape : (int, int), optional
            (m, n); needed where A has two dimensions.

        Returns
        -------
        MatrixSensing
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter is invalid, the sizes of A, y and the shape do not agree, or A is zero.
        """
        self._validate_params()
        A, shape = _flattened(A, shape)
        y = _array(y)
        A, y = validate_data(self, A, y, dtype=[np.float64, np.float32], y_numeric=True)
        m, n = check_sizes(shape, "shape", length=2)
        if A.shape[1] != m * n:
            raise ValueError(
                f"A must have {m * n} numbers a measurement for shape {(m, n)}, got {A.shape[1]}"
            )
        self._dtype, self._shape = A.dtype, (m, n)
        unit, scale = float(np.abs(A).max()), float(np.abs(y).max()) or 1.0
        if unit == 0.0:
            raise ValueError("A: all measurement matrices are zero; they say nothing about the matrix")
        tensors = [torch.as_tensor(part.astype(np.float64)).to(self.device) for part in (A / unit, y / scale)]
        problem = SensingProblem(tensors[0], tensors[1], (m, n), name="estimator input")
        search = _Search(problem, Completion.zero(problem.y, (m, n), converged=False, residual=1.0))
        rounding = 1e-6 if A.dtype == np.float32 else 1e-8
        options, interrupted = self._options(scale, 2, rounding), False
        try:
            search.run(options, self.heldout)
        except KeyboardInterrupt:
            interrupted = True
            search.solver = search.solver if search.best.rank else "zero"
        found = search.best.scaled(scale / unit)
        self._record(found, found.triplet, search.solver, search.heldout_error * scale, interrupted)
        self.matrix_ = self._array(found.W)
        self.identifiable_ = None if interrupted else _identifiable(problem, search.best)
        if self.identifiable_ is False:
            warnings.warn(
                f"{problem.n_observed} measurements do not determine a {m}×{n} matrix of rank {found.rank} "
                "among its neighbours: take more of them",
                UserWarning,
                stacklevel=2,
            )
        if not self.converged_:
            warnings.warn(self.message_, ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, A: Any) -> NDArray[np.floating[Any]]:
        """Measurements ``⟨A_i, matrix_⟩`` of new matrices.

        Parameters
        ----------
        A : array-like, shape (k, m, n) or (k, m·n)

        Returns
        -------
        ndarray, shape (k,)
        """
        check_is_fitted(self)
        A, _ = _flattened(A, self._shape)
        A = validate_data(self, A, reset=False, dtype=[np.float64, np.float32])
        values: NDArray[np.floating[Any]] = A @ self.matrix_.reshape(-1).astype(A.dtype)
        return values


def _array(values: Any) -> Any:
    """Tensors and nested lists as arrays; all else as it is."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return np.asarray(values) if isinstance(values, (list, tuple)) else values


def _flattened(A: Any, shape: Any) -> tuple[Any, Any]:
    """Measurement matrices as rows, and their shape."""
    A = _array(A)
    if getattr(A, "ndim", 0) == 3:
        A = np.asarray(A)
        if shape is not None and tuple(check_sizes(shape, "shape", length=2)) != A.shape[1:]:
            raise ValueError(
                f"A must hold matrices of the given shape {tuple(shape)}, got {A.shape[1:]}; transpose them "
                "or leave the shape out"
            )
        shape = A.shape[1:]
        A = A.reshape(A.shape[0], -1)
    if shape is None:
        raise ValueError("shape=(m, n) is needed where A has two dimensions")
    return A, shape


def _identifiable(problem: SensingProblem, found: Completion) -> bool | None:
    """Whether the measurements determine a fit, where that can be computed."""
    unknowns = found.rank * sum(found.shape)
    if not 0 < unknowns * problem.n_observed <= _CERTIFIED_NUMBERS:
        return None
    return certificate(problem, found).identifiable


@dataclass
class _Search:
    """The search for a matrix, and the best one so far, for a search that is interrupted."""

    problem: SensingProblem
    best: Completion
    solver: str = "zero"
    heldout_error: float = math.nan
    least: float = math.inf

    def run(self, options: SolverOptions, heldout: float) -> None:
        """Try exact recovery; where the measurements are noisy, choose rank and ridge on held-out ones."""
        problem = self.problem
        if not bool(problem.y.any()):
            self.best = replace(self.best, converged=True, message="every measurement is zero")
            return
        if options.solver != "auto" or not options.noise_std:
            exactly = replace(options, solver="irls", noise_std=0.0)
            asked = exactly if options.solver == "auto" else options
            self.solver = asked.solver
            found = solve(problem, asked, self._offer)
            if (
                options.solver != "auto"
                or is_exact(problem, found, options.rounding)
                or options.noise_std == 0
            ):
                self.best = found
                return
        found, self.heldout_error = sensing_path(
            problem, heldout=heldout, max_rank=options.max_rank, seed=options.seed, on_better=self._take
        )
        self._take(found)

    def _take(self, found: Completion) -> None:
        """Take a point of the path over the ranks, each better than the one before."""
        self.best, self.solver = found, "factored"

    def _offer(self, found: Completion) -> None:
        """Take an iterate whose misfit, corrected for its degrees of freedom, is smaller."""
        k = self.problem.n_observed
        square = float((self.problem.measure(found.W) - self.problem.y).square().sum())
        misfit = square / max(k - found.freedom, 0.1 * k)
        if misfit < self.least:
            self.least, self.best = misfit, found
