"""The exact refit: machine precision on exact data, a quick refusal elsewhere, dense oracles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from overt.completion import Completion, refit
from overt.completion.refit import normal as refit_normal
from overt.completion.refit.normal import (
    ReducedSolver,
    ReducedSystem,
    factor_grams,
    solve_rows,
)
from overt.completion.tangent import Entries
from overt.problems import matrix_completion, matrix_sensing


def near(truth: Tensor, distance: float, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """SVD of the truth moved by ``distance`` relative to its norm."""
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved = truth.double() + distance * truth.double().norm() / noise.norm() * noise
    U, s, Vt = torch.linalg.svd(moved, full_matrices=False)
    return U.to(truth), s.to(truth), Vt.to(truth)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(40, 40), (60, 25), (25, 60)])
@pytest.mark.parametrize("condition_number", [None, 100.0])
def test_reaches_machine_precision(shape: tuple[int, int], condition_number: float | None) -> None:
    k = round(1.6 * 3 * (sum(shape) - 3))
    problem = matrix_completion(
        shape, rank=3, n_observed=k, seed=2, condition_number=condition_number, min_per_line=3
    )
    fit = refit(problem, *near(problem.truth, 1e-2), rank=3)
    assert fit.converged
    assert fit.residual < (2e-14 if condition_number is None else 1e-13)  # rounding, which κ makes larger
    assert problem.error(fit.W) < 1e-11
    assert fit.n_iter <= 12
    assert "residual" in fit.message


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1e12, 1e150])
def test_does_not_depend_on_the_scale_of_the_data(scale: float) -> None:
    problem = matrix_completion((30, 20), rank=2, n_observed=200, seed=0)
    U, s, Vt = near(problem.truth, 0.05)
    scaled = SimpleNamespace(rows=problem.rows, cols=problem.cols, y=problem.y * scale, shape=problem.shape)
    fit = refit(scaled, U, s * scale, Vt, rank=2)
    assert fit.converged
    torch.testing.assert_close(fit.W / scale, problem.truth, rtol=1e-9, atol=1e-9)


def test_iterative_and_direct_solves_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = matrix_completion((30, 30), rank=2, n_observed=300, seed=0)
    start = near(problem.truth, 0.1)
    direct = refit(problem, *start, rank=2)
    monkeypatch.setattr(refit_normal, "DENSE_UNKNOWNS", 0)
    iterative = refit(problem, *start, rank=2)
    assert direct.converged
    assert iterative.converged
    torch.testing.assert_close(direct.W, iterative.W, rtol=1e-10, atol=1e-10)


def test_a_wrong_rank_is_given_up_early() -> None:
    problem = matrix_completion((50, 50), rank=4, n_observed=1200, seed=0)
    fit = refit(problem, *near(problem.truth, 0.01), rank=3)
    assert not fit.converged
    assert fit.n_iter <= 12
    assert fit.residual > 1e-3
    assert "rank 3" in fit.message


def test_a_start_of_too_small_a_rank_is_padded() -> None:
    problem = matrix_completion((40, 30), rank=3, n_observed=600, seed=0)
    U, s, Vt = near(problem.truth, 0.0)
    fit = refit(problem, U[:, :2], s[:2], Vt[:2], rank=3)
    assert fit.converged
    assert problem.error(fit.W) < 1e-10


def test_starts_from_a_completion_and_keeps_the_dtype() -> None:
    problem = matrix_completion((30, 20), rank=2, n_observed=300, seed=0, dtype=torch.float32)
    U, s, Vt = near(problem.truth, 0.05)
    fit = refit(problem, Completion(U[:, :2], s[:2], Vt[:2]))
    assert fit.converged
    assert fit.U.dtype == torch.float32
    assert problem.error(fit.W) < 1e-4


@pytest.mark.parametrize("k", [150, 400])
def test_sensing_reaches_machine_precision(k: int) -> None:
    problem = matrix_sensing((15, 10), rank=2, n_measurements=k, seed=0)
    fit = refit(problem, *near(problem.truth, 0.1), rank=2)
    assert fit.converged
    assert problem.error(fit.W) < 1e-11
    wrong = refit(problem, *near(problem.truth, 0.1), rank=1)
    assert not wrong.converged


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_with_a_ridge_the_fit_is_stationary(kind: str) -> None:
    problem: Any = matrix_completion((20, 15), rank=2, n_observed=150, seed=0, noise=0.3)
    if kind == "sensing":
        problem = matrix_sensing((10, 8), rank=2, n_measurements=70, seed=0, noise=0.3)
    ridge = 0.5
    fit = refit(problem, *near(problem.truth, 0.1), rank=2, ridge=ridge, max_iter=200)
    assert fit.converged
    root = fit.singular_values.sqrt()
    U, V = (fit.U * root).requires_grad_(), (fit.Vt.mT * root).requires_grad_()
    misfit = problem.measure(U @ V.mT) - problem.y
    value = misfit.square().sum() + ridge * (U.square().sum() + V.square().sum())
    value.backward()
    assert U.grad is not None
    assert float(U.grad.norm()) < 0.02 * float(value.detach())


def test_rows_that_the_start_leaves_idle_are_fitted() -> None:
    """The leading triplet has no share in the last row and column: a saddle for plain Gauss–Newton."""
    rows, cols = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 0, 1, 2])
    problem = SimpleNamespace(rows=rows, cols=cols, y=torch.full((5,), 7.0).double(), shape=(3, 3))
    X = torch.zeros(3, 3, dtype=torch.float64)
    X[rows, cols] = 7.0
    fit = refit(problem, *torch.linalg.svd(X), rank=1)
    assert fit.converged
    assert float(fit.W.abs().max()) < 70


def test_a_start_of_another_shape_is_refused() -> None:
    problem = matrix_completion((10, 12), rank=2, n_observed=90, seed=0)
    with pytest.raises(ValueError, match="shape"):
        refit(problem, *near(problem.truth.mT, 0.1), rank=2)
    with pytest.raises(ValueError, match="all of U"):
        refit(problem, problem.truth, torch.ones(2))


def _pieces(seed: int = 0) -> tuple[Entries, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(12 * 9, generator=generator)[:70]
    entries = Entries(kept // 9, kept % 9, (12, 9), torch.float64)
    U = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    V = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    return entries, U, V, torch.randn(70, generator=generator, dtype=torch.float64)


def _jacobians(entries: Entries, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    rows, cols = entries.rows.long(), entries.cols.long()
    JU = torch.zeros(entries.k, *U.shape, dtype=torch.float64)
    JV = torch.zeros(entries.k, *V.shape, dtype=torch.float64)
    each = torch.arange(entries.k)
    JU[each, rows] = V[cols]
    JV[each, cols] = U[rows]
    return JU.reshape(entries.k, -1), JV.reshape(entries.k, -1)


def _system(entries: Entries, U: Tensor, V: Tensor, metric: float) -> ReducedSystem:
    rows = factor_grams(entries.row_grams(V), 0.3)
    return ReducedSystem(entries, U, V, rows, metric * torch.eye(3, dtype=torch.float64))


def test_the_reduced_matrix_is_the_schur_complement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit_normal, "_BLOCK_NUMBERS", 400)  # several chunks
    entries, U, V, _ = _pieces()
    JU, JV = _jacobians(entries, U, V)
    ridge = 0.3 * torch.eye(JU.shape[1], dtype=torch.float64)
    expected = JV.mT @ JV - JV.mT @ JU @ torch.linalg.solve(JU.mT @ JU + ridge, JU.mT @ JV)
    system = _system(entries, U, V, 0.0)
    torch.testing.assert_close(system.dense(), expected, rtol=1e-9, atol=1e-9)
    each = torch.eye(V.numel(), dtype=torch.float64)
    applied = torch.stack([system.apply(row.view_as(V)).reshape(-1) for row in each])
    torch.testing.assert_close(applied, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("direct", [False, True])
def test_reduced_systems_are_solved(direct: bool) -> None:
    entries, U, V, z = _pieces()
    system, right = _system(entries, U, V, 0.2), entries.times_t(z, U)
    solver = ReducedSolver()
    solver.direct = direct
    X = solver(system, right, 1e-12)
    found = (system.dense() @ X.reshape(-1)).view_as(right)
    torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-8)
    assert (solver.iterations == 0) is direct


def test_conjugate_gradients_say_when_they_run_out() -> None:
    entries, U, V, z = _pieces()
    system, right = _system(entries, U, V, 1e-3), entries.times_t(z, U)
    assert not system.solve(right, 1e-12, max_iter=2).converged
    found = system.solve(right, 1e-12)
    assert found.converged
    assert found.n_iter > 2


def test_row_solves_are_least_squares() -> None:
    entries, U, V, z = _pieces()
    JU, _ = _jacobians(entries, U, V)
    expected = torch.linalg.lstsq(JU, z[:, None]).solution.view_as(U)
    torch.testing.assert_close(solve_rows(entries, z, V, 0.0), expected, rtol=1e-7, atol=1e-7)
