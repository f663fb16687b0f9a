"""scikit-learn's own checks of the estimators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

from overt import MatrixCompletion, MatrixSensing, RFMClassifier, RFMRegressor


class RowSensing(MatrixSensing):
    """MatrixSensing of 1 × n matrices, so that the checks, which know no shape, can call ``fit(X, y)``."""

    def fit(self, A: Any, y: Any = None) -> RowSensing:
        """Fit with shape (1, number of columns)."""
        shape = np.shape(A if sparse.issparse(A) else np.asarray(A))
        super().fit(A, y, shape=(1, shape[-1] if len(shape) > 1 else 1))
        return self


# They fit nothing, or next to nothing; the others are slow.
QUICK = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
}


def checks(estimator: BaseEstimator) -> Iterator[Any]:
    for one, check in estimator_checks_generator(estimator, mark="skip"):
        name = check.func.__name__ if isinstance(check, partial) else check.__name__
        marks = [] if name in QUICK else [pytest.mark.slow]
        yield pytest.param(one, check, id=f"{type(one).__name__} {name}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        one
        for estimator in (MatrixCompletion(), RowSensing(), RFMRegressor(), RFMClassifier())
        for one in checks(estimator)
    ],
)
def test_estimators(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check(estimator)


@pytest.mark.parametrize("estimator", [MatrixCompletion(), RFMRegressor()])
def test_the_quick_checks_are_there(estimator: BaseEstimator) -> None:
    names = {parameter.id.split()[1] for parameter in checks(estimator)}
    assert names >= QUICK
