"""The recursive feature machine for classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from overt._utils.readers import as_array
from overt.features.base import FeatureMachine
from overt.features.calibration import calibrate
from overt.features.inputs import table, units_of

__all__ = ["RFMClassifier"]


class RFMClassifier(ClassifierMixin, FeatureMachine):  # type: ignore[misc]
    """:class:`RFMRegressor` of the classes' indicators, with calibrated probabilities; nothing to set.

    Two classes are one output, ±1; more have one each. All share kernels, weights and factorizations.
    Probabilities are softmax(a s + b) of the scores s, with one slope a and a bias for each class, fitted to
    out-of-fold scores (temperature scaling with bias correction, Alexandari, Kundaje & Shrikumar 2020).

    There are no sample weights.

    Parameters
    ----------
    max_rounds, max_centers, random_state, device
        As for :class:`RFMRegressor`.

    Attributes
    ----------
    classes_ : ndarray
    n_iter_, path_, M_, M_factor_, rank_, subspace_, subspace_shares_, importances_
        As for :class:`RFMRegressor`; M is that of the scores before calibration.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    References
    ----------
    Alexandari, A., Kundaje, A., Shrikumar, A. (2020). Maximum likelihood with bias-corrected calibration is
    hard-to-beat at label shift adaptation. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from overt.features import RFMClassifier
    >>> X = np.random.default_rng(0).normal(size=(150, 5))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")
    >>> est = RFMClassifier().fit(X[:120], y[:120])
    >>> est.classes_.tolist(), bool(est.score(X[120:], y[120:]) > 0.8)
    (['other', 'same'], True)
    """

    def fit(self, X: Any, y: Any) -> RFMClassifier:
        """Fit to a table and the class of each row.

        Parameters
        ----------
        X : array-like or data frame, shape (n, d)
            Numbers, none missing.
        y : array-like, shape (n,)
            Numbers or words.

        Returns
        -------
        RFMClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter is invalid, X holds something else than finite numbers, y is continuous, or their
            lengths differ.
        """
        self._validate_params()
        if y is None:
            raise ValueError("y must be given, got None; requires y to be passed, but the target y is None")
        X = table(self, X, reset=True)
        _check_kind(as_array(y, "y"))
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        if len(y) != len(X):
            raise ValueError(
                f"y must have {len(X)} rows as X has, got inconsistent numbers of samples: {len(y)}"
            )
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        Y = np.eye(len(self.classes_))[labels]
        if len(self.classes_) <= 2:
            Y = Y[:, 1:] * 2 - 1 if len(self.classes_) == 2 else Y
        self._fit_stack(X, Y, units_of(Y, together=True))
        self._calibration = calibrate(self._scores(self._left_out), labels[self._rows])
        return self

    def _scores(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """One column for each class."""
        return np.hstack([-outputs, outputs]) if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of the classes, shape (m, classes), in the order of ``classes_``."""
        check_is_fitted(self, "M_factor_")
        Z = self._table(X)
        with torch.no_grad():
            outputs = self._stack.predict(Z).double().cpu().numpy()
        return self._calibration.probabilities(self._scores(outputs))

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, shape (m,)."""
        probabilities = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return found


def _check_kind(y: NDArray[Any]) -> None:
    """Refuse words beside something else, which cannot be put in order, or is missing.

    Raises
    ------
    TypeError
        ``y`` holds both.
    """
    words = [isinstance(one, str) for one in y.flat] if y.dtype.kind == "O" else []
    if any(words) and not all(words):
        raise TypeError(
            f"y must hold labels of one kind, got {words.count(True)} words and {words.count(False)} other "
            "labels or gaps; give each row a word, or each a number"
        )
