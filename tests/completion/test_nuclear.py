"""Nuclear norm minimization against an independent convex solver and its own optimality conditions."""

from __future__ import annotations

from typing import Any

import cvxpy
import numpy as np
import pytest
import torch

from overt.completion import Completion, nuclear_norm_minimization
from overt.problems import CompletionProblem, SensingProblem, matrix_completion, matrix_sensing

FORMS: list[dict[str, float]] = [{}, {"noise_level": 0.4}, {"weight": 0.3}]


def instance(kind: str, shape: tuple[int, int] = (8, 6), seed: int = 3) -> CompletionProblem | SensingProblem:
    if kind == "completion":
        return matrix_completion(shape, rank=2, n_observed=26, seed=seed, noise=0.1)
    return matrix_sensing(shape, rank=1, n_measurements=25, seed=seed, noise=0.1)


def solved_by_cvxpy(problem: Any, noise_level: float = 0.0, weight: float | None = None) -> Any:
    X = cvxpy.Variable(problem.shape)
    flat = cvxpy.vec(X, order="C")
    if isinstance(problem, SensingProblem):
        misfit = problem.A.numpy() @ flat - problem.y.numpy()
    else:
        misfit = flat[problem.flat.numpy()] - problem.y.numpy()
    if weight is not None:
        ask = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(misfit) / 2 + weight * cvxpy.normNuc(X)))
    elif noise_level:
        ask = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(X)), [cvxpy.norm(misfit) <= noise_level])
    else:
        ask = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(X)), [misfit == 0])
    ask.solve(solver="CLARABEL")
    return ask.value, X.value


def objective(problem: Any, found: Completion, weight: float | None = None) -> float:
    nuclear = float(found.singular_values.sum())
    if weight is None:
        return nuclear
    return 0.5 * float((problem.measure(found.W) - problem.y).square().sum()) + weight * nuclear


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=["equality", "ball", "regularized"])
@pytest.mark.parametrize("shape", [(8, 6), (6, 8)])
@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_agrees_with_cvxpy(kind: str, shape: tuple[int, int], form: dict[str, float]) -> None:
    problem = instance(kind, shape)
    value, X = solved_by_cvxpy(problem, **form)
    found = nuclear_norm_minimization(problem, tolerance=1e-8, **form)
    assert found.converged
    assert objective(problem, found, form.get("weight")) == pytest.approx(value, rel=1e-6)
    assert np.abs(found.W.numpy() - X).max() < 1e-3


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_regularized_form_meets_its_optimality_conditions(kind: str) -> None:
    problem, weight = instance(kind), 0.3
    found = nuclear_norm_minimization(problem, weight=weight, tolerance=1e-10)
    gradient = problem.adjoint(problem.y - problem.measure(found.W)) / weight
    assert float(torch.linalg.matrix_norm(gradient, 2)) < 1 + 1e-4
    torch.testing.assert_close(gradient @ found.Vt.mT, found.U, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_the_ball_is_active(kind: str) -> None:
    problem = instance(kind)
    found = nuclear_norm_minimization(problem, noise_level=0.4)
    misfit = torch.linalg.vector_norm(problem.measure(found.W) - problem.y)
    assert float(misfit) == pytest.approx(0.4, rel=1e-4)


def test_recovers_a_low_rank_matrix_exactly() -> None:
    problem = matrix_completion((60, 50), rank=3, n_observed=1500, seed=0)
    found = nuclear_norm_minimization(problem)
    assert found.converged
    assert found.rank == 3
    assert problem.error(found.W) < 1e-5
    assert found.residual < 1e-5


def test_recovers_from_gaussian_measurements() -> None:
    problem = matrix_sensing((20, 15), rank=1, n_measurements=200, seed=0)
    found = nuclear_norm_minimization(problem)
    assert (found.converged, found.rank) == (True, 1)
    assert problem.error(found.W) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e12, 1e100])
@pytest.mark.parametrize("form", FORMS, ids=["equality", "ball", "regularized"])
def test_scales_with_the_data(scale: float, form: dict[str, float]) -> None:
    problem = instance("completion")
    scaled = CompletionProblem(problem.rows, problem.cols, problem.y * scale, problem.shape)  # type: ignore[union-attr]
    found = nuclear_norm_minimization(problem, **form)
    again = nuclear_norm_minimization(scaled, **{key: value * scale for key, value in form.items()})
    torch.testing.assert_close(again.W / scale, found.W, rtol=1e-6, atol=1e-6)


def test_float32_stays_float32() -> None:
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=1, dtype=torch.float32)
    found = nuclear_norm_minimization(problem, tolerance=1e-4)
    assert found.converged
    assert found.W.dtype == torch.float32
    assert problem.error(found.W) < 1e-3


def test_zero_is_the_answer_when_the_ball_holds_it() -> None:
    problem = instance("completion")
    found = nuclear_norm_minimization(problem, noise_level=1e3)
    assert (found.rank, found.converged, found.n_iter) == (0, True, 0)
    zeros = CompletionProblem(problem.rows, problem.cols, torch.zeros_like(problem.y), problem.shape)  # type: ignore[union-attr]
    assert nuclear_norm_minimization(zeros).rank == 0


def test_says_when_it_has_not_converged() -> None:
    found = nuclear_norm_minimization(instance("completion"), max_iter=3, tolerance=1e-9)
    assert not found.converged
    assert found.n_iter == 3
    assert "raise max_iter" in found.message
    assert found.history[-1]["gap"] > 1e-9


def test_the_reported_gap_bounds_the_suboptimality() -> None:
    problem = instance("completion")
    best, _ = solved_by_cvxpy(problem, weight=0.3)
    for max_iter in (2, 5, 10, 20):
        rough = nuclear_norm_minimization(problem, weight=0.3, max_iter=max_iter, tolerance=1e-12)
        excess = objective(problem, rough, 0.3) - best
        assert excess <= rough.history[-1]["gap"] * 0.5 * float(problem.y.square().sum()) + 1e-6


@pytest.mark.slow
def test_callback_sees_usable_iterates() -> None:
    seen: list[Completion] = []
    found = nuclear_norm_minimization(instance("completion"), callback=seen.append)
    assert len(seen) == len(found.history) > 1
    assert not any(state.converged for state in seen)
    assert seen[-1].shape == (8, 6)


def test_repeated_measurements_are_allowed_only_when_they_agree() -> None:
    problem = matrix_sensing((5, 4), rank=1, n_measurements=10, seed=0)
    A = torch.cat([problem.A, problem.A[:1]])
    agreeing = SensingProblem(A, torch.cat([problem.y, problem.y[:1]]), (5, 4))
    assert nuclear_norm_minimization(agreeing).converged
    contrary = SensingProblem(A, torch.cat([problem.y, problem.y[:1] + 1]), (5, 4))
    with pytest.raises(ValueError, match="contradict"):
        nuclear_norm_minimization(contrary)
    with pytest.raises(ValueError, match="raise noise_level"):
        nuclear_norm_minimization(contrary, noise_level=0.1)
    apart = torch.linalg.vector_norm(
        contrary.measure(nuclear_norm_minimization(contrary, noise_level=1.0).W) - contrary.y
    )
    assert float(apart) == pytest.approx(1.0, rel=1e-4)
