"""Where few directions matter the machine finds them; where all do it is kernel ridge regression."""

from __future__ import annotations

import numpy as np
import pytest

from overt import RFMRegressor
from overt.problems import additive, multi_index, parity, staircase


def fitted(problem, **settings):
    """The machine, and its error as a share of the variance."""
    X, y, new, targets = (part.numpy() for part in (problem.X, problem.y, problem.X_test, problem.y_test))
    est = RFMRegressor(**settings).fit(X, y)
    return est, float(np.mean((est.predict(new) - targets) ** 2) / targets.var())


def test_a_staircase_is_found():
    est, error = fitted(staircase(n_samples=500, seed=0))
    assert error < 0.01
    assert est.n_iter_ > 0
    assert sorted(np.argsort(-est.importances_)[:3]) == [0, 1, 2]
    assert est.importances_[:3].sum() > 0.95
    assert est.rank_ < 6


@pytest.mark.slow
@pytest.mark.parametrize(("make", "bar"), [(staircase, 0.003), (parity, 0.03)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_of_many_inputs(make, bar, seed):
    """Kernel ridge regression is at 0.66 and 0.96, see docs/features.md."""
    assert fitted(make(n_samples=500, seed=seed))[1] < bar


@pytest.mark.slow
def test_a_rotated_subspace_is_found():
    """Kernel ridge regression is at 0.83, see docs/features.md."""
    est, error = fitted(multi_index(n_samples=1000, seed=0))
    assert error < 0.37
    assert est.subspace_shares_[:3].sum() > 0.6
    assert {m.basis for m in est.path_ if m.weight > 0} == {"eigen"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_where_all_inputs_matter_it_is_kernel_ridge(seed):
    problem = additive(n_samples=500, seed=seed)
    plain, bar = fitted(problem, max_rounds=0)
    assert plain.n_iter_ == 0
    assert fitted(problem)[1] < 1.03 * bar
