"""MatrixSensing: the scikit-learn estimator of a low-rank matrix from its inner products with known ones."""

from __future__ import annotations

import math
import numbers
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from overt.completion.estimator.sensing_path import sensing_path
from overt.completion.estimator.solvers import PENALTIES, SolverOptions, is_exact, resolved_solver, solve
from overt.completion.irls.proxy import PROXIES
from overt.completion.result import Completion
from overt.problems import SensingProblem

__all__ = ["MatrixSensing"]


class MatrixSensing(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Recover a low-rank matrix W from measurements ``y_i = ⟨A_i, W⟩``, without being told its rank.

    Parameters
    ----------
    solver : {"auto", "irls", "explicit", "nuclear"}, default="auto"
        ``"auto"`` tries exact recovery by rank-blind reweighted least squares; where the measurements turn
        out to be noisy, rank and ridge are chosen on held-out measurements.
    rank_proxy : str, default="participation_ratio"
        Continuous rank that drives ``"irls"``.
    penalty : str or None, default="normalized_nuclear_norm"
        Functional for ``"explicit"``: one of :mod:`overt.functional` that needs no further argument; None
        with ``depth`` ≥ 2 trains a deep linear network without any. With ``solver="auto"`` another value
        than the default asks for ``"explicit"``; with other solvers it has no effect, which is warned about.
    depth : int, default=1
        Number of factors that ``"explicit"`` trains; has an effect under the same solvers as ``penalty``.
    noise : {"auto"} or float, default="auto"
        Standard deviation of the noise on y; 0 says that the measurements are exact.
    heldout : float, default=0.15
        Share of the measurements held out where the data is noisy.
    max_rank, max_iter, tolerance : optional
        Limits for the solver.
    random_state : int, default=0
        Seed of the held-out split and of random starts.
    device : str or None, default=None
        Where to compute.

    Attributes
    ----------
    matrix_ : ndarray, shape (m, n)
    U_, singular_values_, Vt_ : ndarray
        Thin SVD of ``matrix_``.
    rank_, effective_rank_ : int, float
    converged_ : bool
    n_iter_ : int
    history_ : list of dict
    heldout_error_ : float
        Root mean square error on held-out measurements; nan where the fit is exact or none could be spared.
    solver_, message_ : str
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

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "solver": [StrOptions({"auto", "irls", "explicit", "nuclear"})],
        "rank_proxy": [StrOptions(set(PROXIES))],
        "penalty": [StrOptions(set(PENALTIES)), None],
        "depth": [Interval(numbers.Integral, 1, None, closed="left")],
        "noise": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "heldout": [Interval(numbers.Real, 0, 1, closed="neither")],
        "max_rank": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "tolerance": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "random_state": [Interval(numbers.Integral, 0, None, closed="left")],
        "device": [str, None],
    }

    def __init__(
        self,
        solver: str = "auto",
        *,
        rank_proxy: str = "participation_ratio",
        penalty: str | None = "normalized_nuclear_norm",
        depth: int = 1,
        noise: str | float = "auto",
        heldout: float = 0.15,
        max_rank: int | None = None,
        max_iter: int | None = None,
        tolerance: float | None = None,
        random_state: int = 0,
        device: str | None = None,
    ) -> None:
        self.solver = solver
        self.rank_proxy = rank_proxy
        self.penalty = penalty
        self.depth = depth
        self.noise = noise
        self.heldout = heldout
        self.max_rank = max_rank
        self.max_iter = max_iter
        self.tolerance = tolerance
        self.random_state = random_state
        self.device = device

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
        """
        self._validate_params()
        solver = resolved_solver(self.solver, self.penalty, self.depth, stacklevel=2)
        A, m, n = self._flattened(A, shape)
        A, y = validate_data(self, A, y, dtype=[np.float64, np.float32], y_numeric=True)
        if m < 1 or n < 1:
            raise ValueError(f"shape must be positive; got {(m, n)}")
        if A.shape[1] != m * n:
            raise ValueError(f"A has {A.shape[1]} numbers a measurement; shape {(m, n)} needs {m * n}")
        self._dtype, self._shape = A.dtype, (m, n)
        unit, scale = float(np.abs(A).max()), float(np.abs(y).max()) or 1.0
        if unit == 0.0:
            raise ValueError("A: all measurement matrices are zero; they say nothing about the matrix")
        tensors = [torch.as_tensor(part.astype(np.float64)).to(self.device) for part in (A / unit, y / scale)]
        problem = SensingProblem(tensors[0], tensors[1], (m, n), name="estimator input")
        incumbent = [_zero(problem)]
        self.heldout_error_, self.solver_, interrupted = math.nan, "zero", False
        try:
            found = self._solve(problem, scale, solver, incumbent)
        except KeyboardInterrupt:
            found, interrupted = incumbent[0], True
            self.solver_ = self.solver_ if found.rank else "zero"
        self._keep(found, scale / unit, interrupted)
        if not self.converged_:
            warnings.warn(self.message_, ConvergenceWarning, stacklevel=3)
        return self

    def _flattened(self, A: Any, shape: tuple[int, int] | None) -> tuple[Any, int, int]:
        if isinstance(A, torch.Tensor):
            A = A.detach().cpu().numpy()
        if getattr(A, "ndim", 0) == 3:
            A = np.asarray(A)
            shape = (A.shape[1], A.shape[2]) if shape is None else shape
            A = A.reshape(A.shape[0], -1)
        if shape is None:
            raise ValueError("shape=(m, n) is needed where A has two dimensions")
        m, n = (int(size) for size in shape)
        return A, m, n

    def _solve(
        self, problem: SensingProblem, scale: float, solver: str, incumbent: list[Completion]
    ) -> Completion:
        options = SolverOptions(
            solver=solver,
            rank_proxy=self.rank_proxy,
            penalty=self.penalty,
            depth=self.depth,
            noise_std=None if isinstance(self.noise, str) else float(self.noise) / scale,
            max_rank=self.max_rank,
            max_iter=self.max_iter,
            tolerance=self.tolerance,
            seed=self.random_state,
        )
        if not bool(problem.y.any()):
            return replace(_zero(problem), converged=True, message="every measurement is zero")
        least = math.inf

        def on_iterate(found: Completion) -> None:
            nonlocal least
            misfit = _misfit(problem, found)
            if misfit < least:
                least, incumbent[0] = misfit, found

        if options.solver != "auto":
            self.solver_ = options.solver
            return solve(problem, options, on_iterate)
        if not options.noise_std:
            self.solver_ = "irls"
            found = solve(problem, replace(options, solver="irls", noise_std=0.0), on_iterate)
            if is_exact(problem, found) or self.noise == 0:
                return found

        def on_better(found: Completion) -> None:
            incumbent[0] = found

        found, error = sensing_path(
            problem, heldout=self.heldout, max_rank=self.max_rank, seed=self.random_state, on_better=on_better
        )
        self.solver_, self.heldout_error_ = "factored", error * scale
        return found

    def _keep(self, found: Completion, unit: float, interrupted: bool) -> None:
        self.U_ = self._array(found.U)
        self.singular_values_ = self._array(found.singular_values * unit)
        self.Vt_ = self._array(found.Vt)
        self.matrix_ = self._array(found.W * unit)
        self.rank_ = found.rank
        self.effective_rank_ = found.effective_rank
        self.converged_ = found.converged and not interrupted
        self.n_iter_ = max(1, found.n_iter)
        self.history_ = found.history
        self.message_ = "interrupted; this is the best matrix so far" if interrupted else found.message

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
        A, _, _ = self._flattened(A, self._shape)
        A = validate_data(self, A, reset=False, dtype=[np.float64, np.float32])
        values: NDArray[np.floating[Any]] = A @ self.matrix_.reshape(-1).astype(A.dtype)
        return values

    def _array(self, values: torch.Tensor) -> NDArray[np.floating[Any]]:
        return values.cpu().numpy().astype(self._dtype, copy=True)


def _misfit(problem: SensingProblem, found: Completion) -> float:
    """Square misfit of an iterate, corrected for its degrees of freedom."""
    k, (m, n) = problem.n_observed, problem.shape
    left = max(k - found.rank * (m + n - found.rank), 0.1 * k)
    return float((problem.measure(found.W) - problem.y).square().sum()) / left


def _zero(problem: SensingProblem) -> Completion:
    m, n = problem.shape
    empty = problem.y.new_zeros
    return Completion(empty(m, 0), empty(0), empty(0, n), False, 0, 1.0, message="the zero matrix")
