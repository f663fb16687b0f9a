"""MatrixCompletion: the scikit-learn estimator that completes a matrix without being told its rank."""

from __future__ import annotations

import numbers
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from overt.completion.certificate import certificate
from overt.completion.estimator.answering import CompletionAnswers
from overt.completion.estimator.inputs import Compressed, Observations, compress, from_matrix, from_triplets
from overt.completion.estimator.model import expand
from overt.completion.estimator.selected import Incumbent, Selected
from overt.completion.estimator.selection import select_model
from overt.completion.estimator.solvers import PENALTIES, SOLVERS, SolverOptions, resolved_solver
from overt.completion.irls.proxy import PROXIES

_CERTIFIED_UNKNOWNS = 200_000  # r (m + n) above which no certificate is computed
_EXACT = 1e-8  # relative misfit below which a trained network fits exactly

__all__ = ["MatrixCompletion"]


class MatrixCompletion(CompletionAnswers):
    """Fill in the missing entries of a matrix that is, up to noise and offsets, of low rank.

    No rank, no penalty weight and no stopping rule have to be given. The data decide between an exact
    low-rank matrix, a low-rank matrix with noise, one with row and column offsets, and the column means.

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
        Functional for ``"explicit"``: one of :mod:`overt.functional` that needs no further argument. With
        None and ``depth`` ≥ 2 a deep linear network is trained without any penalty: the implicit reference.
        With ``solver="auto"`` another value than the default asks for ``"explicit"``; with other solvers
        it has no effect, which is warned about.
    depth : int, default=1
        Number of factors that ``"explicit"`` trains; only 1 has the explicit penalty on a full matrix. A
        greater depth has an effect under the same solvers as ``penalty``. A network is trained to a misfit of
        0.1 %, for ``max_iter`` steps at most (10 000 by default), and never certified, since it fits no
        matrix exactly.
    offsets : {"auto", "biases", "mean"} or None, default="auto"
        Subtract nothing (None), the mean, or regularized global, row and column offsets first. ``"auto"``
        takes the offsets only if they lower the held-out error.
    noise : {"auto"} or float, default="auto"
        Standard deviation of the noise in units of X; 0 says that the data is exact.
    clip : tuple (low, high), "observed" or None, default=None
        Bounds of what is filled in; ``"observed"`` takes the smallest and largest observed value.
    keep_observed : bool, default=True
        Whether ``transform`` returns observed entries as they are; otherwise the model's value.
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
    rank_ : int
        Number of singular values.
    effective_rank_ : float
        ``exp`` of the entropy of the normalized singular values.
    converged_ : bool
        Whether the solver's stopping rule was met; False after an interruption.
    n_iter_ : int
        Iterations of the solver.
    history_ : list of dict
        What the solver recorded.
    heldout_error_, heldout_interval_ : float, (float, float)
        Root mean square error on held-out entries and its 95 % interval; nan where nothing could be held out:
        a single observation, or an exact fit that needs every one, as of a tiny matrix.
    baseline_error_ : float
        The same for the column means.
    noise_std_ : float
        Estimated standard deviation of the observations around the model.
    identifiable_ : bool or None
        Whether the observed positions determine the matrix among its neighbours of the same rank: a property
        of the positions and the fitted matrix, not of the noise. True does not say that the error is small.
        On noisy data such as ratings it is usually False, since some row or column holds fewer entries than
        the rank; those lines then rest on the ridge, that is on the other lines, and the rest of the matrix
        may well be determined. None where this was not computed (``certify=False``, very large matrices,
        networks).
    underdetermined_rows_, underdetermined_columns_ : list of int
        Where to observe more if not.
    solver_ : str
        What produced the model; ``"column_mean"`` after a fall back.
    message_ : str
        How the fit ended.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    An **empty row** is given the mean of the fitted rows, that is the completed column means; an **empty
    column** the mean of the fitted columns; both are warned about. A model that does not beat the column
    means on held-out entries, that is left with neither a low-rank part nor row and column offsets (as where
    one huge outlier hides everything else), or that puts an entry above 100 times the largest observed one,
    is replaced by the column means with a :class:`~sklearn.exceptions.ConvergenceWarning`. Ctrl-C during
    ``fit`` keeps the best model so far.

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
        "solver": [StrOptions(set(SOLVERS))],
        "rank_proxy": [StrOptions(set(PROXIES))],
        "penalty": [StrOptions(set(PENALTIES)), None],
        "depth": [Interval(numbers.Integral, 1, None, closed="left")],
        "offsets": [StrOptions({"auto", "biases", "mean"}), None],
        "noise": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "clip": [StrOptions({"observed"}), tuple, list, None],
        "keep_observed": ["boolean"],
        "heldout": [Interval(numbers.Real, 0, 1, closed="neither")],
        "max_rank": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "tolerance": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "certify": ["boolean"],
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
        self.solver = solver
        self.rank_proxy = rank_proxy
        self.penalty = penalty
        self.depth = depth
        self.offsets = offsets
        self.noise = noise
        self.clip = clip
        self.keep_observed = keep_observed
        self.heldout = heldout
        self.max_rank = max_rank
        self.max_iter = max_iter
        self.tolerance = tolerance
        self.certify = certify
        self.random_state = random_state
        self.device = device

    # ---- fitting -------------------------------------------------------------------------------------------

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
        """
        self._validate_params()
        _refuse_triplets(X)
        X = self._validated(X, reset=True)
        return self._fit(from_matrix(X), np.float32 if X.dtype == np.float32 else np.float64)

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
        """
        self._validate_params()
        observations = from_triplets(rows, cols, values, shape)
        self.n_features_in_ = observations.shape[1]
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        dtype = np.float32 if np.asarray(values).dtype == np.float32 else np.float64
        return self._fit(observations, dtype)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to X and return it completed, by the fitted rows themselves rather than by folding them in.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix, shape (m, n)
        y : None
            Ignored.
        **fit_params
            None are accepted.

        Returns
        -------
        ndarray or DataFrame, shape (m, n)
        """
        return self._fit_transform(X, y, **fit_params)

    def _fit_transform(self, X: Any, y: Any = None) -> Any:
        self.fit(X, y)
        checked = self._validated(X, reset=False)
        return self._filled(self._model.dense(), from_matrix(checked))

    def _fit(self, observations: Observations, dtype: Any) -> MatrixCompletion:
        started = time.perf_counter()
        self._dtype = dtype
        self._clip_bounds(observations)
        compressed = compress(observations, self.device)
        self._warn_empty(compressed)
        incumbent = Incumbent(compressed.problem)
        interrupted = False
        try:
            chosen = select_model(
                compressed.problem,
                self._options(compressed.scale),
                offsets=self.offsets,
                heldout=self.heldout,
                incumbent=incumbent,
            )
        except KeyboardInterrupt:
            chosen, interrupted = incumbent.answer(), True
        self._keep(chosen, compressed, interrupted)
        self._certify(chosen, compressed, interrupted)
        self.fit_seconds_ = time.perf_counter() - started
        self._warn_outcome(chosen, interrupted)
        return self

    def _options(self, scale: float) -> SolverOptions:
        return SolverOptions(
            solver=resolved_solver(self.solver, self.penalty, self.depth, stacklevel=4),
            rank_proxy=self.rank_proxy,
            penalty=self.penalty,
            depth=self.depth,
            noise_std=None if isinstance(self.noise, str) else float(self.noise) / scale,
            max_rank=self.max_rank,
            max_iter=self.max_iter,
            tolerance=self.tolerance,
            seed=self.random_state,
            rounding=1e-6 if self._dtype == np.float32 else 1e-8,
        )

    def _keep(self, chosen: Selected, compressed: Compressed, interrupted: bool) -> None:
        """Set the attributes, in the caller's units."""
        found, scale = chosen.completion, compressed.scale
        point = (found.U, found.singular_values, found.Vt)
        self._model = model = expand(point, chosen.offsets, compressed, chosen.noise_std)
        self.U_ = self._array(model.U)
        self.singular_values_ = self._array(model.singular_values)
        self.Vt_ = self._array(model.Vt)
        self.offset_ = float(model.offsets.mean)
        self.row_offsets_ = self._array(model.offsets.row)
        self.column_offsets_ = self._array(model.offsets.col)
        self.rank_ = found.rank
        self.effective_rank_ = found.effective_rank
        self.converged_ = bool(found.converged and not interrupted and not chosen.fallback)
        self.n_iter_ = max(1, int(found.n_iter))
        self.history_ = chosen.history
        self.solver_ = chosen.solver
        self.noise_std_ = chosen.noise_std * scale
        self.heldout_error_ = chosen.heldout_error * scale
        half = 1.96 * chosen.heldout_stderr * scale
        self.heldout_interval_ = (max(self.heldout_error_ - half, 0.0), self.heldout_error_ + half)
        self.baseline_error_ = chosen.baseline_error * scale
        self.message_ = "interrupted; this is the best model so far" if interrupted else chosen.message

    def _certify(self, chosen: Selected, compressed: Compressed, interrupted: bool) -> None:
        """Ask whether the observed positions determine the matrix, and where not."""
        self.identifiable_: bool | None = None
        self.underdetermined_rows_: list[int] = compressed.empty_rows.tolist()
        self.underdetermined_columns_: list[int] = compressed.empty_cols.tolist()
        found = chosen.completion
        trained = self.depth > 1 and chosen.solver == "explicit" and found.residual > _EXACT
        large = found.rank * sum(found.shape) > _CERTIFIED_UNKNOWNS
        if interrupted or large or trained or not self.certify or found.rank == 0:
            return
        answer = certificate(compressed.problem, found)
        empty = bool(self.underdetermined_rows_ or self.underdetermined_columns_)
        self.identifiable_ = False if empty else answer.identifiable
        self.underdetermined_rows_ += [int(compressed.kept_rows[i]) for i in answer.rows]
        self.underdetermined_columns_ += [int(compressed.kept_cols[j]) for j in answer.cols]
        if answer.identifiable is False:
            parts = (
                "" if answer.components < 2 else f" (the observations fall into {answer.components} parts)"
            )
            warnings.warn(
                f"the observed entries do not determine the completion at rank {found.rank}{parts}: "
                f"observe more in row(s) {_some(self.underdetermined_rows_)} "
                f"and column(s) {_some(self.underdetermined_columns_)}",
                UserWarning,
                stacklevel=4,
            )

    def _warn_empty(self, compressed: Compressed) -> None:
        for name, empty, answer in (
            ("row", compressed.empty_rows, "the mean of the fitted rows"),
            ("column", compressed.empty_cols, "the mean of the fitted columns"),
        ):
            if empty.numel():
                which = _some(empty.tolist())
                warnings.warn(
                    f"{empty.numel()} {name}(s) hold no observation ({which}); they are given {answer}",
                    UserWarning,
                    stacklevel=4,
                )

    def _warn_outcome(self, chosen: Selected, interrupted: bool) -> None:
        if self.converged_:
            return
        remedy = (
            "" if interrupted or chosen.fallback else "; try another solver, raise max_iter or observe more"
        )
        warnings.warn(f"{self.message_}{remedy}", ConvergenceWarning, stacklevel=4)


def _refuse_triplets(X: Any) -> None:
    """Three vectors in a tuple are triplets, though they could be read as a matrix of three rows."""
    if isinstance(X, tuple) and len(X) == 3 and all(np.ndim(part) == 1 for part in X):
        raise ValueError(
            "X is a tuple of three vectors; for triplets call fit_triplets(rows, cols, values, shape=(m, n)) "
            "and for a matrix of three rows pass np.stack(X)"
        )


def _some(indices: list[int], most: int = 10) -> str:
    """``0, 4, 7, …``"""
    shown = ", ".join(str(index) for index in indices[:most])
    return (shown + (", …" if len(indices) > most else "")) or "none"
