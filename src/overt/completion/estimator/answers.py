"""What a fitted completion answers: values, their uncertainty, and whole rows, also new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from overt._utils.checks import check_flag, check_integer, check_number
from overt.completion.estimator.base import LowRankEstimator
from overt.completion.estimator.inputs import Observations, from_matrix, positions, validated
from overt.completion.estimator.model import CompletionModel

Values = NDArray[np.floating[Any]]


class Answers(OneToOneFeatureMixin, TransformerMixin, LowRankEstimator):  # type: ignore[misc]
    """Base class of :class:`MatrixCompletion`: everything but the fit."""

    keep_observed: bool
    _model: CompletionModel
    _bounds: tuple[float, float] | None

    def transform(self, X: Any) -> Any:
        """Complete rows, new ones or those of the fit, from their observed entries.

        Each row is folded in by regularized least squares on the right singular vectors; the fitted rows'
        mean and covariance and the noise level of each column set the regularization.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix, shape (rows, n)

        Returns
        -------
        ndarray or DataFrame, shape (rows, n)
        """
        observations, values = self._folded(X, "X")
        return self._filled(values, observations)

    def predict(
        self, rows: Any, cols: ArrayLike | None = None, *, return_std: bool = False
    ) -> Values | tuple[Values, Values]:
        """Model values at positions of the fitted matrix, or of whole rows.

        Parameters
        ----------
        rows : array-like of int, shape (k,), or matrix, shape (rows, n)
            Row positions; without ``cols`` a matrix with missing entries as for :meth:`transform`.
        cols : array-like of int, shape (k,), optional
            Column positions.
        return_std : bool, default=False
            Whether to return standard deviations of new observations at the positions, too.

        Returns
        -------
        values : ndarray
            The k values or, without ``cols``, the model's values of the given rows, at observed entries too.
        std : ndarray, shape (k,)
            With ``return_std``. In units of X, noise included; 0 where the observations determine the value.

        Raises
        ------
        TypeError
            If positions are not whole numbers.
        ValueError
            If they lie outside the fitted matrix or differ in shape, or ``return_std`` comes without
            ``cols``.
        """
        check_is_fitted(self, "_model")
        check_flag(return_std, "return_std")
        if cols is None:
            if return_std:
                raise ValueError("return_std needs positions; give cols")
            if sparse.issparse(rows):
                raise ValueError(
                    "rows: predict without cols takes a dense matrix; for a sparse one use transform"
                )
            return self._clipped(self._folded(rows, "rows")[1])
        i, j = self._positions(rows, cols)
        values = self._values(i, j)
        if not return_std:
            return values
        return values, self._model.std(i.ravel(), j.ravel()).reshape(i.shape).astype(self._dtype)

    def predict_interval(self, rows: ArrayLike, cols: ArrayLike, level: float = 0.9) -> tuple[Values, Values]:
        """Central intervals that hold new observations with probability ``level``.

        The quantiles of the posterior predictive distribution: a mixture over draws of the factors and of the
        noise of each row and column. For solvers without a posterior, normal distributions with the held-out
        error.

        Parameters
        ----------
        rows, cols : array-like of int, shape (k,)
            Positions of the fitted matrix.
        level : float, default=0.9
            Between 0 and 1.

        Returns
        -------
        low, high : ndarray, shape (k,)
            In units of X, limited as predictions are.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`predict`, or if ``level`` is no number between 0 and 1.
        """
        check_is_fitted(self, "_model")
        level = check_number(level, "level", above=0, below=1)
        i, j = self._positions(rows, cols)
        low, high = self._model.interval(i.ravel(), j.ravel(), level)
        return self._bounded(low).reshape(i.shape), self._bounded(high).reshape(i.shape)

    def sample(
        self,
        n_samples: int = 1,
        rows: ArrayLike | None = None,
        cols: ArrayLike | None = None,
        *,
        random_state: Any = None,
    ) -> Values:
        """Draws from the posterior predictive distribution, for multiple imputation (Rubin 1987).

        Parameters
        ----------
        n_samples : int, default=1
        rows, cols : array-like of int, shape (k,), optional
            Positions; by default all of the fitted matrix, whose observed entries are then kept if
            ``keep_observed``.
        random_state : int, RandomState, Generator or None, default=None

        Returns
        -------
        ndarray, shape (n_samples, m, n) or (n_samples, k)

        Raises
        ------
        TypeError, ValueError
            As for :meth:`predict`, or if only one of ``rows`` and ``cols`` is given.
        """
        check_is_fitted(self, "_model")
        n_samples = check_integer(n_samples, "n_samples", least=1)
        if (rows is None) != (cols is None):
            raise ValueError("rows and cols must come together, got one of them; give both or neither")
        random = random_state
        if not isinstance(random, np.random.Generator):
            random = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        m, n = self._model.shape
        whole = rows is None or cols is None
        i, j = (index.ravel() for index in np.indices((m, n))) if whole else self._positions(rows, cols)
        drawn = self._bounded(self._model.sample(i.ravel(), j.ravel(), n_samples, random))
        if not whole:
            return drawn.reshape(n_samples, *i.shape)
        drawn = drawn.reshape(n_samples, m, n)
        if self.keep_observed:
            drawn[:, self._seen.rows, self._seen.cols] = self._seen.values
        return drawn

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to X and return it completed, by the fitted rows themselves rather than by folding them in.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        **fit_params
            As for :meth:`fit`.

        Returns
        -------
        ndarray or DataFrame, shape (m, n)
        """
        self.fit(X, y, **fit_params)
        return self._filled(self._model.dense(), self._seen)

    def _positions(self, rows: Any, cols: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        m, n = self._model.shape
        i, j = positions(rows, "rows", m), positions(cols, "cols", n)
        if i.shape != j.shape:
            raise ValueError(f"rows and cols must have one shape, got {i.shape} and {j.shape}")
        return i, j

    def _values(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Values:
        where = [torch.as_tensor(index).to(self._model.device).reshape(-1) for index in (i, j)]
        return self._clipped(self._model.at(*where)).reshape(i.shape)

    def _folded(self, X: Any, name: str) -> tuple[Observations, torch.Tensor]:
        """The observations of new rows, and the model's values of these rows."""
        check_is_fitted(self, "_model")
        observations = from_matrix(validated(self, X, reset=False, name=name))
        values = self._model.fold_in(observations)
        top = np.abs(observations.values).max(initial=0.0)
        if top > np.finfo(self._dtype).max or not bool(values.isfinite().all()):
            raise ValueError(f"{name}: values up to {top:.3g} are too large for the fitted model; scale both")
        return observations, values

    def _filled(self, values: torch.Tensor, observations: Observations) -> Values:
        out = self._clipped(values)
        if self.keep_observed:
            out[observations.rows, observations.cols] = observations.values
        return out

    def _clipped(self, values: torch.Tensor) -> Values:
        return self._bounded(values.cpu().numpy())

    def _bounded(self, values: NDArray[Any]) -> Values:
        low, high = self._bounds or (-np.inf, np.inf)
        most = float(np.finfo(self._dtype).max)
        within: Values = np.clip(values, max(low, -most), min(high, most)).astype(self._dtype)
        return within
