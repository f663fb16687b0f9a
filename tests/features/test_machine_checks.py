"""scikit-learn's own checks of the feature machines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

from overt import RFMClassifier, RFMRegressor

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
@pytest.mark.parametrize(("estimator", "check"), [*checks(RFMRegressor()), *checks(RFMClassifier())])
def test_estimators(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check(estimator)


def test_the_quick_checks_are_there() -> None:
    names = {parameter.id.split()[1] for parameter in checks(RFMRegressor())}
    assert names >= QUICK
