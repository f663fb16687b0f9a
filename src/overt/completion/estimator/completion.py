"""MatrixCompletion: the scikit-learn estimator that completes a matrix of unknown rank."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions

from overt.completion.estimator.answers import Answers
from overt.completion.estimator.base import LowRankEstimator
from overt.completion.estimator.features import side_features
from overt.completion.estimator.inputs import Observations, clip_bounds, from_matrix, from_triplets, validated
from overt.completion.estimator.model import expand
from overt.completion.estimator.noisy import NoisyOptions
from overt.completion.estimator.selected import Incumbent, Selected, determined, warn_empty
from overt.completion.estimator.selection import select_model
from overt.completion.estimator.solvers import DEFAULT_PENALTY, SOLVERS
from overt.completion.estimator.threads import few_threads
from overt.completion.estimator.units import Compressed, compress

_EXACT = 1e-8  # relative misfit below which a trained network fits exactly


class MatrixCompletion(Answers):
    """Fill in the missing entries of a matrix: exactly where the data determine it, well where they do not.

    No rank, penalty weight or stopping rule need be given. The data decide between an exact low-rank matrix,
    a Bayesian low-rank model with biases and noise levels, and the column means. Columns may have different
    units: with another unit for a column, only that column's predictions change, in proportion.

    Parameters
    ----------
    solver : {"auto", "irls", "bayes", "explicit", "nuclear", "soft_impute"}, default="auto"
        ``"auto"`` tries exact recovery by rank-blind reweighted least squares (``"irls"``). Where the data
        turns out not to be exactly of low rank, or leaves some rows or columns open, it takes the Bayesian
        model (``"bayes"``). ``"explicit"`` trains a full matrix with an explicit penalty; ``"nuclear"``
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
        takes the offsets only if they lower the held-out error. The Bayesian model has biases of its own.
    noise : {"auto"} or float, default="auto"
        Standard deviation of the noise in units of X; 0 says that the data is exact.
    clip : tuple (low, high), "observed" or None, default=None
        Bounds of the filled-in values, None for an end without bound, as in ``(0, None)``; ``"observed"``
        takes the smallest and largest observed value.
    keep_observed : bool, default=True
        Whether ``transform`` returns observed entries unchanged, rather than the model's values.
    implicit : bool or "auto", default=False
        Whether the Bayesian model of sparse data takes which entries are there as side information, as in
        SVD++ (Koren 2008): who rates a film says something about its rating. ``"auto"`` decides by held-out
        error. It takes about eight times as long.
    inference : {"sampling", "variational"}, default="sampling"
        How the Bayesian model is fitted. ``"variational"`` approximates the posterior by independent
        Gaussians of rows and columns, and finds the rank by a bound on the evidence. It takes no side
        information, and its errors are larger on most tables.
    quality : {"standard", "best"}, default="standard"
        ``"best"`` adds up several members of the Bayesian family, with non-negative weights chosen on
        held-out entries. It takes several times as long.
    effort : {"normal", "high"}, default="normal"
        How hard to look for an exact matrix; ``"high"`` adds basin hopping, for exact data near the
        information limit.
    heldout : float, default=0.1
        Share of the observations held out to choose and to judge the model.
    max_rank, max_iter, tolerance : optional
        Limits for the solver; None takes its own defaults.
    certify : bool, default=True
        Whether to compute ``identifiable_`` for matrices of moderate size.
    random_state : int, RandomState, Generator or None, default=0
        Seed of the held-out split and of random starts. None and NumPy's generators give another seed for
        each fit, None from NumPy's global state.
    device : str, torch.device or None, default=None
        Where to compute, such as ``"cuda"``; the CPU by default. It must know double precision.

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
        False, too, if some lines of an exact matrix are not determined; the Bayesian model fills these. None
        where it was not computed (``certify=False``, very large matrices, networks) and for the Bayesian
        model alone, whose prior leaves nothing open.
    underdetermined_rows_, underdetermined_columns_ : list of int
        Where to observe more if not.
    solver_, message_, fit_seconds_ : str, str, float
        What produced the model (``"column_mean"`` after a fallback), how the fit ended, and its wall time.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    The Bayesian model is ``X_ij = μ + b_i + c_j + p_i·q_j + ε``, ``ε ~ N(0, 1/(τ γ_i δ_j))``. Sparse
    matrices in one unit, such as ratings, have Gaussian rows and columns with unknown mean and covariance
    (Salakhutdinov & Mnih 2008). Tables are factor analysis on standardized columns: ``p_i ~ N(0, I)``, no
    ``b_i``, ``γ_i = 1``. The posterior is averaged over draws. Predictions leave a column's observed range by
    at most a quarter of it, by more where the column has little noise, and where its values are of few kinds,
    such as 0 and 1, not at all.

    An **empty row** gets the mean of the fitted rows, that is the completed column means; an **empty column**
    the mean of the fitted columns; both are warned about. The column means replace a model, with a
    :class:`~sklearn.exceptions.ConvergenceWarning`, that is clearly worse on held-out entries. Ctrl-C keeps
    the best model so far.

    Exact recovery computes in double precision, the model of large noisy data in single precision; results
    have the dtype of the input (float64 for integers).

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
        "implicit": ["boolean", StrOptions({"auto"})],
        "inference": [StrOptions({"sampling", "variational"})],
        "quality": [StrOptions({"standard", "best"})],
        "effort": [StrOptions({"normal", "high"})],
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
        clip: tuple[float | None, float | None] | str | None = None,
        keep_observed: bool = True,
        implicit: bool | str = False,
        inference: str = "sampling",
        quality: str = "standard",
        effort: str = "normal",
        heldout: float = 0.1,
        max_rank: int | None = None,
        max_iter: int | None = None,
        tolerance: float | None = None,
        certify: bool = True,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
        device: str | torch.device | None = None,
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
        self.implicit = implicit
        self.inference = inference
        self.quality = quality
        self.effort = effort
        self.certify = certify

    def fit(
        self,
        X: Any,
        y: Any = None,  # noqa: ARG002  (scikit-learn's signature)
        *,
        row_features: Any = None,
        column_features: Any = None,
    ) -> MatrixCompletion:
        """Fit to a matrix with missing entries.

        Parameters
        ----------
        X : array-like, masked array, tensor, data frame or sparse matrix, shape (m, n)
            Missing are NaN, None, ``pandas.NA``, null and what a mask covers. In a sparse matrix or tensor
            exactly the stored entries are observed, zeros among them; so in a pandas frame of sparse columns
            with fill value NaN. One that leaves out zeros is refused, for they may be values or missing.
        y : None
            Ignored.
        row_features, column_features : array-like or sparse matrix, shapes (m, features) and (n, features)
            Complete side information that the noisy model may use.

        Returns
        -------
        MatrixCompletion
            The estimator itself.

        Raises
        ------
        TypeError
            If X holds something else than numbers.
        ValueError
            If a parameter is invalid, or X holds no entry, complex numbers, infinity, values so large that
            singular values overflow, is no matrix or a tuple of triplets.
        """
        self._validate_params()
        observations = from_matrix(validated(self, X, reset=True), fitting=True)
        return self._fit(observations, row_features, column_features)

    def fit_triplets(
        self,
        rows: ArrayLike,
        cols: ArrayLike,
        values: ArrayLike,
        shape: tuple[int, int] | None = None,
        *,
        row_features: Any = None,
        column_features: Any = None,
    ) -> MatrixCompletion:
        """Fit to observed entries given as triplets.

        Parameters
        ----------
        rows, cols : array-like of int, shape (k,)
            Positions from 0, each at most once. Memory grows with the largest one, so raw ids are numbered
            first: ``np.unique(ids, return_inverse=True)[1]``.
        values : array-like of float, shape (k,)
            An entry is left out where it is missing, or where a mask covers it or its position.
        shape : (int, int), optional
            By default one more than the largest row and column.
        row_features, column_features
            As for :meth:`fit`.

        Returns
        -------
        MatrixCompletion
            The estimator itself.

        Raises
        ------
        TypeError
            If positions or the shape are not whole numbers, or values no numbers.
        ValueError
            If lengths differ, a position is out of range or repeated, or a value infinite or so large that
            singular values overflow; if none is given, or the shape is too large for so few.
        """
        self._validate_params()
        observations = from_triplets(rows, cols, values, shape)
        self.n_features_in_ = observations.shape[1]
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self._fit(observations, row_features, column_features)

    def _fit(self, observations: Observations, row_features: Any, column_features: Any) -> MatrixCompletion:
        started = time.perf_counter()
        self._dtype = np.float32 if observations.dtype == np.float32 else np.float64
        compressed = compress(observations, self.device)
        features = side_features(compressed, row_features, column_features)
        self._bounds, self._seen = clip_bounds(self.clip, observations), observations
        warn_empty(compressed, stacklevel=3)
        problem, incumbent = compressed.problem, Incumbent(compressed.problem)
        rounding = 1e-6 if self._dtype == np.float32 else 1e-8
        options, interrupted = self._options(compressed.scale, 3, rounding), False
        options = replace(options, effort=self.effort)
        noisy = NoisyOptions(self.implicit, self.quality, *features, self.inference)
        try:
            with few_threads(problem.n_observed):
                chosen = select_model(
                    problem,
                    options,
                    offsets=self.offsets,
                    heldout=self.heldout,
                    incumbent=incumbent,
                    noisy=noisy,
                )
        except KeyboardInterrupt:
            chosen, interrupted = incumbent.answer(), True
        self._keep(chosen, compressed, interrupted)
        trained = self.depth > 1 and chosen.solver == "explicit" and chosen.completion.residual > _EXACT
        asked = self.certify and not (interrupted or trained)
        self.identifiable_, self.underdetermined_rows_, self.underdetermined_columns_ = determined(
            compressed, chosen, asked, stacklevel=3
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
        self._model = model = expand(chosen, compressed)
        self._record(found, model.low_rank.triplet, chosen.solver, chosen.heldout_error * scale, interrupted)
        self.offset_ = float(model.offsets.mean)
        self.row_offsets_ = self._array(model.offsets.row)
        self.column_offsets_ = self._array(model.offsets.col)
        self.noise_std_ = chosen.noise_std * scale
        half = 1.96 * chosen.heldout_stderr * scale
        self.heldout_interval_ = (max(self.heldout_error_ - half, 0.0), self.heldout_error_ + half)
        self.baseline_error_ = chosen.baseline_error * scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
