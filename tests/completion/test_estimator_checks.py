"""scikit-learn's own checks of the estimators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from overt.completion.estimator import MatrixCompletion, selection
from overt.completion.estimator.sensing import MatrixSensing


class RowSensing(MatrixSensing):
    """MatrixSensing of 1 × n matrices, so that the checks, which know no shape, can call ``fit(X, y)``."""

    def fit(self, A: Any, y: Any = None) -> RowSensing:
        """Fit with shape (1, number of columns)."""
        shape = np.shape(A if sparse.issparse(A) else np.asarray(A))
        super().fit(A, y, shape=(1, shape[-1] if len(shape) > 1 else 1))
        return self


@pytest.fixture(autouse=True)
def shorter_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt at exact recovery: the checks' data are noise, on which further ones only take time."""
    monkeypatch.setattr(selection, "_ATTEMPTS", ())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MatrixCompletion()])
def test_matrix_completion(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([RowSensing()])
def test_matrix_sensing(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)
