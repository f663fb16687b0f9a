"""The recursive feature machine for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from overt._utils.checks import check_flag
from overt.features.base import FeatureMachine
from overt.features.inputs import table, targets, units_of
from overt.features.uncertainty import standard_deviations

__all__ = ["RFMRegressor"]


class RFMRegressor(RegressorMixin, FeatureMachine):  # type: ignore[misc]
    """Kernel regression that learns which directions of its inputs matter. Nothing needs to be set.

    A recursive feature machine: kernel ridge regression is fitted, its average gradient outer product
    M = (1/n) Σ ∇f(x) ∇f(x)ᵀ is measured, inputs are multiplied by M^{α/2}, and so on. This is iterative
    reweighting for P_p(M), α = 1 − p/2. Two kernels (Laplace, Gaussian) and two bases (eigen with α = ½,
    identity with α = 1) make four paths of rounds. All rounds of all paths, kernel ridge, linear ridge, and
    kernels of inputs scaled by a ridge regression's coefficients are stacked: non-negative weights that sum
    to one, by predictions of rows that a whole path has not seen.

    It gains much where few directions of the input matter or many columns are irrelevant, and where the
    target is smooth and nearly free of noise. Elsewhere it is kernel ridge: a stack with reweighted members
    is taken only if it beats the one without by a standard error.

    Parameters
    ----------
    max_rounds : int, default=4
        The most rounds of a path; 0 leaves kernel ridge. The best path goes on, to twice as many, while a
        round lowers its error.
    max_centers : int, default=2000
        With more than 10 000 rows, how many of them are centres of the kernels (Nyström approximation); all
        rows are fitted. Seconds grow with its square times the rows, and memory with its square.
    random_state : int, RandomState, Generator or None, default=0
        Seed of folds and centres.
    device : str, torch.device or None, default=None
        Where to compute, such as ``"cuda"``; the CPU by default.

    Attributes
    ----------
    n_iter_ : int
        The most rounds of a member with weight; 0 says that no structure was found.
    path_ : tuple of Member
        Kernel, basis, round, bandwidth, ridge, out-of-fold error, weight of each member; prints as a table.
    M_ : ndarray, shape (d, d)
        M of the predictor at the training inputs, in the units of the data: that of ``overt.measure``.
    M_factor_ : ndarray, shape (q, d)
        M = M_factor_ᵀ M_factor_. With more than 2000 columns M_ is formed from it when it is asked for; with
        more than 2000 gradients besides, it is a random mixture of 2000 rows.
    rank_ : float
        Effective rank of the square root of M, as of standardized inputs.
    subspace_ : ndarray, shape (r, d)
        The leading ⌈rank_⌉ directions of standardized inputs, orthonormal.
    subspace_shares_ : ndarray, shape (r,)
        Their shares of the gradient's mean square.
    importances_ : ndarray, shape (d,)
        Share of each standardized column in it; they sum to one, or to zero for a constant predictor.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    Bandwidths and ridges of round 0 are chosen by closed-form leave-one-out, on 500 rows. Later rounds choose
    them by rows of another fold: leave-one-out errors are too low once M has seen the labels. Paths are
    followed in three folds of up to 3000 rows, the final models are fitted to all rows: exactly up to 10 000,
    and with ``max_centers`` centres beyond. With more than 2000 rows paths compute in single precision,
    with more than 10 000 the models do, too.

    Inputs and targets are standardized. Several targets share kernels and weights. Missing entries are
    refused; :class:`overt.MatrixCompletion` fills them. There are no sample weights.

    References
    ----------
    Radhakrishnan, A., Beaglehole, D., Pandit, P., Belkin, M. (2024). Mechanism for feature learning in neural
    networks and backpropagation-free machine learning models. Science 383.

    Beaglehole, D., Holzmüller, D., Radhakrishnan, A., Belkin, M. (2025). xRFM: accurate, scalable, and
    interpretable feature learning models for tabular data. arXiv 2508.10053.

    Breiman, L. (1996). Stacked regressions. Machine Learning 24.

    Examples
    --------
    >>> import numpy as np
    >>> from overt.features import RFMRegressor
    >>> X = np.random.default_rng(0).normal(size=(120, 8))
    >>> est = RFMRegressor().fit(X, X[:, 0] * X[:, 1])
    >>> est.n_iter_ > 0, np.argsort(-est.importances_)[:2].tolist() in ([0, 1], [1, 0])
    (True, True)
    """

    def fit(self, X: Any, y: Any) -> RFMRegressor:
        """Fit to a table and its targets.

        Parameters
        ----------
        X : array-like or data frame, shape (n, d)
            Numbers, none missing.
        y : array-like, shape (n,) or (n, k)

        Returns
        -------
        RFMRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter is invalid, X or y holds something else than finite numbers, or shapes do not fit.
        """
        self._validate_params()
        if y is None:
            raise ValueError("y must be given, got None; requires y to be passed, but the target y is None")
        X = table(self, X, reset=True)
        y = targets(y, len(X))
        self._single = y.ndim == 1
        Y = y.reshape(len(X), -1)
        self._fit_stack(X, Y, units_of(Y))
        return self

    def predict(
        self, X: Any, *, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions for new rows.

        Parameters
        ----------
        X : array-like or data frame, shape (m, d)
        return_std : bool
            Whether to return standard deviations of new observations, too: from the posterior of the member
            with most weight, its scale set by the out-of-fold errors of the stack. It costs n³/3 operations
            at each call.

        Returns
        -------
        ndarray, shape (m,) or (m, k)
        ndarray, the same shape
            Only with ``return_std``.
        """
        check_is_fitted(self, "M_factor_")
        with_std = check_flag(return_std, "return_std")
        Z = self._table(X)
        with torch.no_grad():
            found = self._shaped(self._outputs.restored(self._stack.predict(Z).double().cpu().numpy()))
            if not with_std:
                return found
            std = standard_deviations(self._stack, Z, self._residuals).double().cpu().numpy()
        return found, self._shaped(std * self._outputs.spread)

    def _shaped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
