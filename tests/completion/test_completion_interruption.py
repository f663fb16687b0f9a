"""Ctrl-C at any iteration leaves the best model so far, marked as unconverged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from overt import MatrixCompletion, MatrixSensing
from overt.completion import Completion, irls
from overt.completion.estimator.selected import Incumbent, Selected, column_mean, no_offsets
from overt.completion.irls import engine as irls_engine
from overt.problems import CompletionProblem, matrix_completion, matrix_sensing
from overt.training import run

Array = NDArray[np.float64]


def interrupting(original: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """The function, whose call number ``calls + 1`` is a Ctrl-C."""
    count = 0

    def function(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    return function


def problem_of(ratio: float = 2.0, n: int = 40, r: int = 2, **options: Any) -> CompletionProblem:
    k = round(ratio * r * (2 * n - r))
    return matrix_completion((n, n), rank=r, n_observed=k, seed=0, min_per_line=r, **options)


def holes(problem: CompletionProblem) -> Array:
    X = np.full(problem.shape, np.nan)
    X[problem.rows, problem.cols] = problem.y
    return X


def interrupted(est: MatrixCompletion, problem: CompletionProblem) -> float:
    """Relative error after a fit that ends by Ctrl-C."""
    with pytest.warns(ConvergenceWarning, match="interrupted; this is the best model so far"):
        est.fit(holes(problem))
    assert est.converged_ is False
    assert est.identifiable_ is None
    assert np.isfinite(est.transform(holes(problem))).all()
    assert problem.truth is not None
    W = torch.as_tensor(est.U_ * est.singular_values_ @ est.Vt_)
    return float((W - problem.truth).norm() / problem.truth.norm())


@pytest.mark.parametrize("solver", ["auto", "irls"])
def test_the_reweighted_solver_leaves_its_best_iterate(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(1.6, n=60, condition_number=5.0)
    errors = {}
    for steps in (2, 10):
        with monkeypatch.context() as patch:
            patch.setattr(irls_engine, "harmonic_step", interrupting(irls_engine.harmonic_step, steps))
            est = MatrixCompletion(solver)
            errors[steps] = interrupted(est, problem)
            assert est.n_iter_ <= steps
    assert est.solver_ == "irls"
    assert errors[10] < 0.5 < errors[2]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"solver": "explicit"}, {"penalty": None, "depth": 3}])
def test_training_leaves_its_last_matrix(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(6.0, r=1, noise=0.05)
    monkeypatch.setattr(run, "State", interrupting(run.State, 14))
    est = MatrixCompletion(offsets=None, certify=False, **options)
    assert interrupted(est, problem) < 0.9
    assert est.solver_ == "explicit"
    assert est.rank_ == 1
    assert est.n_iter_ >= 100
    assert est.n_iter_ % 100 == 0


@pytest.mark.parametrize("solver", ["soft_impute", "nuclear"])
def test_convex_solvers_leave_a_point_of_their_path(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(3.0, noise=0.1)
    module = __import__("sys").modules["overt.completion.convex.soft_impute"]
    search = module._Search
    monkeypatch.setattr(search, "solve", interrupting_method(search.solve, 8))
    est = MatrixCompletion(solver, offsets=None)
    assert interrupted(est, problem) < 0.7
    assert est.solver_ == solver


def test_sensing_leaves_its_best_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = matrix_sensing((12, 10), rank=1, n_measurements=40, seed=0)
    assert problem.truth is not None

    room = irls_engine.SensingEngine
    monkeypatch.setattr(room, "step", interrupting_method(room.step, 4))
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(12, 10))
    assert est.converged_ is False
    assert est.rank_ >= 1
    assert np.linalg.norm(est.matrix_ - problem.truth.numpy()) < float(problem.truth.norm())


def interrupting_method(original: Callable[..., Any], calls: int) -> Callable[..., Any]:
    function = interrupting(original, calls)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return method


@pytest.mark.slow
def test_the_callback_sees_iterates_in_the_units_of_the_data() -> None:
    problem = problem_of(1.3)
    seen: list[Completion] = []
    found = irls(problem, callback=seen.append)
    assert found.converged
    assert not any(each.converged for each in seen)
    assert [each.n_iter for each in seen] == sorted(each.n_iter for each in seen)
    assert problem.error(seen[-1].W) < problem.error(seen[0].W)
    noisy = problem_of(3.0, noise=0.1)
    seen.clear()
    assert irls(noisy, noise_std=0.1, callback=seen.append).n_iter == len(seen)


def test_the_incumbent_is_replaced_by_better_models_only() -> None:
    problem = problem_of(3.0)
    assert problem.truth is not None
    incumbent = Incumbent(problem)
    assert incumbent.answer().solver == "column_mean"
    true = Completion.from_dense(problem.truth, rank_tolerance=1e-9)
    worse = Completion.from_dense(0.3 * problem.truth, rank_tolerance=1e-9)
    wild = Completion.from_dense(torch.full(problem.shape, 1e3, dtype=torch.float64))
    for found, winner in ((worse, worse), (wild, worse), (true, true), (worse, true)):
        incumbent.offer(found, "irls")
        assert incumbent.answer().completion is winner
    incumbent(Selected(worse, no_offsets(problem), "bayes", heldout_error=1.0))
    assert incumbent.answer().completion is true


def test_an_iterate_that_blew_up_gives_way_to_the_column_means() -> None:
    problem = problem_of(1.5)
    spike = torch.zeros(problem.shape, dtype=torch.float64)
    seen = set(zip(problem.rows.tolist(), problem.cols.tolist(), strict=True))
    free = next((i, j) for i in range(40) for j in range(40) if (i, j) not in seen)
    assert problem.truth is not None
    spike[free] = 1e6
    incumbent = Incumbent(problem)
    incumbent.offer(Completion.from_dense(problem.truth + spike, rank_tolerance=1e-12), "irls")
    assert incumbent.answer().solver == column_mean(problem).solver
