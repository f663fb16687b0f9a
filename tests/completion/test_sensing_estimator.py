"""MatrixSensing: exact and noisy measurements, units, interruption, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from overt import MatrixSensing
from overt.completion.estimator import sensing as sensing_estimator
from overt.problems import matrix_sensing


def instance(noise: float = 0.0, seed: int = 1) -> Any:
    return matrix_sensing((14, 10), rank=2, n_measurements=100, seed=seed, noise=noise)


def error(est: MatrixSensing, problem: Any) -> float:
    truth = problem.truth.numpy()
    return float(np.linalg.norm(est.matrix_ - truth) / np.linalg.norm(truth))


def test_exact_measurements_are_met_exactly() -> None:
    problem = instance()
    est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(14, 10))
    assert (est.rank_, est.converged_, est.solver_) == (2, True, "irls")
    assert error(est, problem) < 1e-8
    np.testing.assert_allclose(est.U_ * est.singular_values_ @ est.Vt_, est.matrix_, atol=1e-12)


def test_three_dimensional_measurements_need_no_shape() -> None:
    problem = instance()
    A = problem.A.numpy().reshape(100, 14, 10)
    est = MatrixSensing().fit(A, problem.y.numpy())
    assert est.matrix_.shape == (14, 10)
    np.testing.assert_allclose(est.predict(A), problem.y.numpy(), atol=1e-8)
    assert est.score(A, problem.y.numpy()) > 1 - 1e-12


@pytest.mark.slow
def test_noisy_measurements_choose_the_rank_on_held_out_ones() -> None:
    problem = matrix_sensing((14, 10), rank=1, n_measurements=100, seed=1, noise=0.1)
    est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(14, 10))
    assert (est.rank_, est.converged_) == (1, True)
    assert error(est, problem) < 0.12
    assert 0.05 < est.heldout_error_ < 0.3


def test_nuclear_norm_with_a_known_noise_level() -> None:
    problem = instance(noise=0.05)
    est = MatrixSensing("nuclear", noise=0.05).fit(problem.A.numpy(), problem.y.numpy(), shape=(14, 10))
    misfit = np.linalg.norm(est.predict(problem.A.numpy()) - problem.y.numpy())
    assert misfit == pytest.approx(0.05 * 10, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(scale: float) -> None:
    problem = instance()
    est = MatrixSensing().fit(problem.A.numpy() / scale, problem.y.numpy(), shape=(14, 10))
    np.testing.assert_allclose(est.matrix_ / scale, problem.truth.numpy(), atol=1e-7)


@pytest.mark.slow
def test_float32_and_tensors() -> None:
    problem = instance()
    est = MatrixSensing().fit(problem.A.float(), problem.y.float().numpy(), shape=(14, 10))
    assert est.matrix_.dtype == np.float32


def test_zero_measurements_give_zero() -> None:
    est = MatrixSensing().fit(instance().A.numpy(), np.zeros(100), shape=(14, 10))
    assert est.converged_
    assert not est.matrix_.any()


@pytest.mark.parametrize("solver", ["auto", "irls", "explicit", "nuclear"])
def test_zero_measurement_matrices_are_refused(solver: str) -> None:
    with pytest.raises(ValueError, match="A: all measurement matrices are zero"):
        MatrixSensing(solver).fit(np.zeros((60, 6, 5)), np.ones(60), shape=(6, 5))


def test_penalty_is_checked_and_its_idleness_told() -> None:
    problem = instance()
    A, y = problem.A.numpy(), problem.y.numpy()
    with pytest.raises(ValueError, match="'penalty' parameter"):
        MatrixSensing(penalty="foo").fit(A, y, shape=(14, 10))
    with pytest.warns(UserWarning, match="no effect with solver='irls'"):
        MatrixSensing("irls", penalty="stable_rank").fit(A, y, shape=(14, 10))


def test_interruption_leaves_a_usable_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(sensing_estimator, "solve", interrupt)
    problem = instance()
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(14, 10))
    assert est.converged_ is False
    assert est.predict(problem.A.numpy()).shape == (100,)


def test_clone_and_refusals() -> None:
    problem = instance()
    A, y = problem.A.numpy(), problem.y.numpy()
    assert clone(MatrixSensing(depth=3)).depth == 3
    with pytest.raises(ValueError, match="shape=\\(m, n\\) is needed"):
        MatrixSensing().fit(A, y)
    with pytest.raises(ValueError, match="must have 100"):
        MatrixSensing().fit(A, y, shape=(10, 10))
    with pytest.raises(ValueError, match="shape must be a tuple of 2 integers ≥ 1"):
        MatrixSensing().fit(A, y, shape=(-14, -10))
    with pytest.raises(ValueError, match="'solver' parameter"):
        MatrixSensing("factored").fit(A, y, shape=(14, 10))
    with pytest.raises(ValueError, match="depth ≥ 2"):
        MatrixSensing(penalty=None).fit(A, y, shape=(14, 10))


def test_needs_no_gradient_and_leaves_its_input_alone() -> None:
    problem = instance()
    A = problem.A.clone().requires_grad_()
    kept = A.detach().clone()
    MatrixSensing().fit(A, problem.y.numpy(), shape=(14, 10))
    assert torch.equal(A.detach(), kept)


def test_matrices_of_another_shape_are_refused() -> None:
    A = np.random.default_rng(0).normal(size=(40, 5, 4))
    with pytest.raises(ValueError, match=r"A must hold matrices of the given shape \(4, 5\), got \(5, 4\)"):
        MatrixSensing().fit(A, A.sum((1, 2)), shape=(4, 5))
    est = MatrixSensing().fit(A, A.sum((1, 2)), shape=(5, 4))
    with pytest.raises(ValueError, match="A must hold matrices of the given shape"):
        est.predict(A.transpose(0, 2, 1))


def test_measurements_that_determine_the_matrix_are_told_from_those_that_do_not() -> None:
    problem = instance()
    est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(14, 10))
    assert est.identifiable_ is True
    A = problem.A.reshape(100, 14, 10).clone()
    A[:, 3] = 0.0  # nobody looks at row 3
    with pytest.warns(UserWarning, match="do not determine"):
        est = MatrixSensing().fit(A.numpy(), torch.einsum("kij,ij->k", A, problem.truth).numpy())
    assert est.identifiable_ is False


@pytest.mark.parametrize("seed", range(3))
def test_too_few_measurements_are_not_called_converged(seed: int) -> None:
    problem = matrix_sensing((10, 10), rank=2, n_measurements=20, seed=seed)
    with pytest.warns(UserWarning, match="observe more|do not determine|no exact fit"):
        est = MatrixSensing().fit(problem.A.numpy(), problem.y.numpy(), shape=(10, 10))
    assert error(est, problem) > 0.1
    assert not est.converged_


@pytest.mark.parametrize("kind", ["bfloat16", "list", "frame", "tensor y"])
def test_other_kinds_of_input(kind: str) -> None:
    problem = matrix_sensing((4, 3), rank=1, n_measurements=30, seed=0)
    A: Any = problem.A.numpy()
    y: Any = problem.y.numpy()
    if kind == "bfloat16":
        A = torch.tensor(A).bfloat16()
        y = (A.double() @ problem.truth.reshape(-1)).numpy()
    elif kind == "list":
        A, y = A.reshape(30, 4, 3).tolist(), y.tolist()
    elif kind == "frame":
        A, y = pytest.importorskip("pandas").DataFrame(A), pytest.importorskip("pandas").Series(y)
    else:
        y = problem.y
    est = MatrixSensing().fit(A, y, shape=(4, 3))
    assert error(est, problem) < 0.02
