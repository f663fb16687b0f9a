"""What a fitted completion estimator answers, whatever fitted it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from overt.completion.estimator.inputs import Observations, from_matrix
from overt.completion.estimator.model import CompletionModel


class CompletionAnswers(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """``transform`` and ``predict`` of an estimator that has set ``_model``, ``_bounds`` and ``_dtype``."""

    clip: tuple[float, float] | str | None
    keep_observed: bool
    _model: CompletionModel
    _dtype: Any

    # ---- answering -----------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Complete rows, new ones or those of the fit, from their observed entries.

        Each row is folded in by regularized least squares on the right singular vectors; the fitted rows'
        mean and covariance and the noise level set the regularization.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix, shape (rows, n)

        Returns
        -------
        ndarray or DataFrame, shape (rows, n)
        """
        check_is_fitted(self)
        observations = from_matrix(self._validated(X, reset=False))
        return self._filled(self._model.fold_in(observations), observations)

    def predict(self, rows: Any, cols: ArrayLike | None = None) -> NDArray[np.floating[Any]]:
        """Model values at positions of the fitted matrix, or of whole rows.

        Parameters
        ----------
        rows : array-like of int, shape (k,), or matrix, shape (rows, n)
            Row positions; without ``cols`` a matrix with missing entries as for :meth:`transform`.
        cols : array-like of int, shape (k,), optional
            Column positions.

        Returns
        -------
        ndarray
            The k values or, without ``cols``, the model's values of the given rows, at observed entries too.
        """
        check_is_fitted(self)
        if cols is None:
            if sparse.issparse(rows):
                raise ValueError(
                    "predict without cols takes a dense matrix; for a sparse one use transform(X)"
                )
            observations = from_matrix(self._validated(rows, reset=False))
            return self._clipped(self._array(self._model.fold_in(observations)))
        m, n = self._model.shape
        i, j = (np.atleast_1d(np.asarray(index)) for index in (rows, cols))
        if i.shape != j.shape:
            raise ValueError(f"rows and cols must have one shape; got {i.shape} and {j.shape}")
        for index, size, name in ((i, m, "rows"), (j, n, "cols")):
            if index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= size):
                raise ValueError(f"{name} must be whole numbers in 0 … {size - 1}")
        where = [torch.as_tensor(k.astype(np.int64)).to(self._model.U.device).reshape(-1) for k in (i, j)]
        return self._clipped(self._array(self._model.at(where[0], where[1])).reshape(i.shape))

    def _filled(self, values: torch.Tensor, observations: Observations) -> NDArray[np.floating[Any]]:
        out = self._clipped(self._array(values))
        if self.keep_observed:
            out[observations.rows, observations.cols] = observations.values
        return out

    def _clipped(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        bounds = self._bounds
        return values if bounds is None else np.clip(values, *bounds)

    def _array(self, values: torch.Tensor) -> NDArray[np.floating[Any]]:
        return values.cpu().numpy().astype(self._dtype, copy=True)

    # ---- boundaries ----------------------------------------------------------------------------------------

    def _validated(self, X: Any, *, reset: bool) -> Any:
        if isinstance(X, torch.Tensor):
            X = X.detach().cpu().numpy()
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=["csr", "csc", "coo"],
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
        )

    def _clip_bounds(self, observations: Observations) -> None:
        self._bounds: tuple[float, float] | None = None
        if self.clip == "observed":
            if observations.n_observed:
                self._bounds = float(observations.values.min()), float(observations.values.max())
        elif self.clip is not None:
            if not isinstance(self.clip, Sequence) or len(self.clip) != 2:
                raise ValueError(f"clip must be (low, high), 'observed' or None; got {self.clip!r}")
            low, high = (float(bound) for bound in self.clip)
            if not low < high:
                raise ValueError(f"clip must be (low, high) with low < high; got {self.clip!r}")
            self._bounds = low, high

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
