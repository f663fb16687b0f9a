"""MatrixCompletion: the scikit-learn estimator that completes a matrix of unknown rank."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from overt.completion.estimator.base import LowRankEstimator
from overt.completion.estimator.inputs import (
    Compressed,
    Observations,
    clip_bounds,
    compress,
    from_matrix,
    from_triplets,
    positions,
    validated,
)
from overt.completion.estimator.model import expand
from overt.completion.estimator.selected import Incumbent, Selected, determined, warn_empty
from overt.completion.estimator.selection import select_model
from overt.completion.estimator.solvers import DEFAULT_PENALTY, SOLVERS

_EXACT = 1e-8  # relative misfit below which a trained network fits exactly


class MatrixCompletion(OneToOneFeatureMixin, TransformerMixin, LowRankEstimator):  # type: ignore[misc]
    """Fill in the missing entries of a matrix that is, up to noise and offsets, of low rank.

    No rank, penalty weight or stopping rule need be given. The data decide between an exact low-rank matrix,
    a low-rank matrix with noise, one with row and column offsets, and the column means.

    Parameters
    ----------
    solver : {"auto", "irls", "explicit", "factored", "nuclear", "soft_impute"}, default="auto"
        ``"auto"`` tries exact recovery by rank-blind reweighted least squares (``"irls"``) and, where the
        data turns out not to be exactly of low rank, chooses rank and weight on held-out entries
        (``"factored"``). ``"explicit"`` trains a full matrix with an explicit penalty; ``"nuclear"``
        minimizes the nuclear norm; ``"soft_impute"`` shrinks singular values.
    rank_proxy : str, default="participation_ratio"
        Continuous rank that drives ``"irls"``: ``"participation_ratio"`` (the squared normalized nuclear
        norm), ``"effective_rank"``, ``"stable_rank"``, ``"log_det"`` or ``"schatten"``.
    penalty : str or None, default="normalized_nuclear_norm"
        Functional for ``"explicit"``: one of :mod:`overt.functional` that needs no further argument. None
        with ``depth`` ≥ 2 trains a deep linear network without any penalty: the implicit reference. With
        ``solver="auto"`` another value than the default asks for ``"explicit"``; with other solvers it has
        no effect, and a warning says so.
    depth : int, default=1
        Number of factors that ``"explicit"`` trains; only 1 has the explicit penalty on a full matrix. A
        greater depth has an effect under the same solvers as ``penalty``. A network is trained to a misfit of
        0.1 %, for at most ``max_iter`` steps (10 000 by default). It fits no matrix exactly, so it is never
        certified.
    offsets : {"auto", "biases", "mean"} or None, default="auto"
        Subtract nothing (None), the mean, or regularized global, row and column offsets first. ``"auto"``
        takes the offsets only if they lower the held-out error.
    noise : {"auto"} or float, default="auto"
        Standard deviation of the noise in units of X; 0 says that the data is exact.
    clip : tuple (low, high), "observed" or None, default=None
        Bounds of the filled-in values; ``"observed"`` takes the smallest and largest observed value.
    keep_observed : bool, default=True
        Whether ``transform`` returns observed entries unchanged, rather than the model's values.
    heldout : float, default=0.1
        Share of the observations held out to choose and to judge the model.
    max_rank, max_iter, tolerance : optional
        Limits for the solver; None takes its own defaults.
    certify : bool, default=True
        Whether to compute ``identifiable_`` for matrices of moderate size.
    random_state : int, default=0
        Seed of the held-out split and of random starts.
    device : str or None, default=None
        Where to compute, such as ``"cuda"``; the CPU by default.

    Attributes
    ----------
    U_, singular_values_, Vt_ : ndarray, shapes (m, r), (r,), (r, n)
        Thin SVD of the low-rank part.
    offset_, row_offsets_, column_offsets_ : float, ndarray (m,), ndarray (n,)
        Added to the low-rank part.
    rank_, effective_rank_ : int, float
        Number of singular values, and ``exp`` of the entropy of the normalized ones.
    converged_ : bool
        Whether the solver's stopping rule was met; False after an interruption.
    n_iter_, history_ : int, list of dict
        Iterations of the solver, and what it recorded.
    heldout_error_, heldout_interval_ : float, (float, float)
        Root mean square error on held-out entries and its 95 % interval; nan where nothing could be held out:
        a single observation, or an exact fit that needs all of them, as in a tiny matrix.
    baseline_error_ : float
        The same for the column means.
    noise_std_ : float
        Estimated standard deviation of the observations around the model.
    identifiable_ : bool or None
        Whether the observed positions determine the matrix among its neighbours of the same rank: a property
        of the positions and the fitted matrix, not of the noise. True does not say that the error is small.
        On noisy data such as ratings it is usually False, since some row or column holds fewer entries than
        the rank; the ridge then sets those lines from the other ones, and the rest of the matrix may well be
        determined. None where it was not computed (``certify=False``, very large matrices, networks).
    underdetermined_rows_, underdetermined_columns_ : list of int
        Where to observe more if not.
    solver_, message_, fit_seconds_ : str, str, float
        What produced the model (``"column_mean"`` after a fallback), how the fit ended, and its wall time.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    An **empty row** gets the mean of the fitted rows, that is the completed column means; an **empty column**
    the mean of the fitted columns; both are warned about. The column means replace a model, with a
    :class:`~sklearn.exceptions.ConvergenceWarning`, that does not beat them on held-out entries, that has
    neither a low-rank part nor row and column offsets (as where one huge outlier hides everything else), or
    that puts an entry above 100 times the largest observed one. Ctrl-C keeps the best model so far.

    Computation is in double precision; results have the dtype of the input (float64 for integers).

    Examples
    --------
    >>> import numpy as np
    >>> from overt.completion.estimator import MatrixCompletion
    >>> X = np.outer(np.arange(1.0, 7.0), [1.0, -2.0, 0.5, 3.0])
    >>> X[[0, 2, 5], [1, 3, 0]] = np.nan
    >>> est = MatrixCompletion().fit(X)
    >>> est.rank_, est.converged_
    (1, True)
    >>> est.predict([0, 2, 5], [1, 3, 0]).round(6).tolist()
    [-2.0, 9.0, 6.0]
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **LowRankEstimator._parameter_constraints,
        "solver": [StrOptions(set(SOLVERS))],
        "offsets": [StrOptions({"auto", "biases", "mean"}), None],
        "clip": [StrOptions({"observed"}), tuple, list, None],
        "keep_observed": ["boolean"],
        "certify": ["boolean"],
    }

    def __init__(
        self,
        solver: str = "auto",
        *,
        rank_proxy: str = "participation_ratio",
        penalty: str | None = DEFAULT_PENALTY,
        depth: int = 1,
        offsets: str | None = "auto",
        noise: str | float = "auto",
        clip: tuple[float, float] | str | None = None,
        keep_observed: bool = True,
        heldout: float = 0.1,
        max_rank: int | None = None,
        max_iter: int | None = None,
        tolerance: float | None = None,
        certify: bool = True,
        random_state: int = 0,
        device: str | None = None,
    ) -> None:
        super().__init__(
            solver,
            rank_proxy=rank_proxy,
            penalty=penalty,
            depth=depth,
            noise=noise,
            heldout=heldout,
            max_rank=max_rank,
            max_iter=max_iter,
            tolerance=tolerance,
            random_state=random_state,
            device=device,
        )
        self.offsets = offsets
        self.clip = clip
        self.keep_observed = keep_observed
        self.certify = certify

    def fit(self, X: Any, y: Any = None) -> MatrixCompletion:  # noqa: ARG002  (scikit-learn's signature)
        """Fit to a matrix with missing entries.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix, shape (m, n)
            NaN marks a missing entry of a dense X; in a sparse X exactly the stored entries are
            observed, zeros among them.
        y : None
            Ignored.

        Returns
        -------
        MatrixCompletion
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter is invalid, or X holds no entry, is a tuple of triplets or refused by scikit-learn.
        """
        self._validate_params()
        X = validated(self, X, reset=True)
        return self._fit(from_matrix(X), X.dtype)

    def fit_triplets(
        self, rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: tuple[int, int] | None = None
    ) -> MatrixCompletion:
        """Fit to observed entries given as triplets.

        Parameters
        ----------
        rows, cols : array-like of int, shape (k,)
            Positions from 0, each at most once.
        values : array-like of float, shape (k,)
        shape : (int, int), optional
            By default one more than the largest row and column.

        Returns
        -------
        MatrixCompletion
            The estimator itself.

        Raises
        ------
        TypeError
            If positions or the shape are not whole numbers, or values not real.
        ValueError
            If lengths differ, a position is out of range or repeated, or a value infinite; or none is given.
        """
        self._validate_params()
        observations = from_triplets(rows, cols, values, shape)
        self.n_features_in_ = observations.shape[1]
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self._fit(observations, np.asarray(values).dtype)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to X and return it completed, by the fitted rows themselves rather than by folding them in.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        **fit_params
            None are accepted.

        Returns
        -------
        ndarray or DataFrame, shape (m, n)
        """
        self.fit(X, y, **fit_params)
        return self._filled(self._model.dense(), from_matrix(validated(self, X, reset=False)))

    def _fit(self, observations: Observations, dtype: Any) -> MatrixCompletion:
        started = time.perf_counter()
        self._dtype = np.float32 if dtype == np.float32 else np.float64
        compressed = compress(observations, self.device)
        self._bounds = clip_bounds(self.clip, observations)
        warn_empty(compressed, stacklevel=3)
        problem, incumbent = compressed.problem, Incumbent(compressed.problem)
        rounding = 1e-6 if self._dtype == np.float32 else 1e-8
        options, interrupted = self._options(compressed.scale, 3, rounding), False
        try:
            offsets, heldout = self.offsets, self.heldout
            chosen = select_model(problem, options, offsets=offsets, heldout=heldout, incumbent=incumbent)
        except KeyboardInterrupt:
            chosen, interrupted = incumbent.answer(), True
        self._keep(chosen, compressed, interrupted)
        trained = self.depth > 1 and chosen.solver == "explicit" and chosen.completion.residual > _EXACT
        asked = self.certify and not (interrupted or trained)
        self.identifiable_, self.underdetermined_rows_, self.underdetermined_columns_ = determined(
            compressed, chosen.completion if asked else None, stacklevel=3
        )
        self.fit_seconds_ = time.perf_counter() - started
        if not self.converged_:
            final = interrupted or self.solver_ == "column_mean"
            remedy = "" if final else "; try another solver, raise max_iter or observe more"
            warnings.warn(f"{self.message_}{remedy}", ConvergenceWarning, stacklevel=3)
        return self

    def _keep(self, chosen: Selected, compressed: Compressed, interrupted: bool) -> None:
        """Set the attributes, in the caller's units."""
        found, scale = chosen.completion, compressed.scale
        self._model = model = expand(found.triplet, chosen.offsets, compressed, chosen.noise_std)
        point = model.U, model.singular_values, model.Vt
        self._record(found, point, chosen.solver, chosen.heldout_error * scale, interrupted)
        self.offset_ = float(model.offsets.mean)
        self.row_offsets_ = self._array(model.offsets.row)
        self.column_offsets_ = self._array(model.offsets.col)
        self.noise_std_ = chosen.noise_std * scale
        half = 1.96 * chosen.heldout_stderr * scale
        self.heldout_interval_ = (max(self.heldout_error_ - half, 0.0), self.heldout_error_ + half)
        self.baseline_error_ = chosen.baseline_error * scale

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
        observations = from_matrix(validated(self, X, reset=False))
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

        Raises
        ------
        TypeError
            If positions are not whole numbers.
        ValueError
            If they lie outside the fitted matrix or differ in shape.
        """
        check_is_fitted(self)
        if cols is None:
            if sparse.issparse(rows):
                raise ValueError(
                    "rows: predict without cols takes a dense matrix; for a sparse one use transform"
                )
            observations = from_matrix(validated(self, rows, reset=False))
            return self._clipped(self._model.fold_in(observations))
        m, n = self._model.shape
        i, j = positions(rows, "rows", m), positions(cols, "cols", n)
        if i.shape != j.shape:
            raise ValueError(f"rows and cols must have one shape, got {i.shape} and {j.shape}")
        where = [torch.as_tensor(index).to(self._model.U.device).reshape(-1) for index in (i, j)]
        return self._clipped(self._model.at(*where)).reshape(i.shape)

    def _filled(self, values: torch.Tensor, observations: Observations) -> NDArray[np.floating[Any]]:
        out = self._clipped(values)
        if self.keep_observed:
            out[observations.rows, observations.cols] = observations.values
        return out

    def _clipped(self, values: torch.Tensor) -> NDArray[np.floating[Any]]:
        array = self._array(values)
        return array if self._bounds is None else np.clip(array, *self._bounds)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
