"""The parts of the inverse question against dense linear algebra and a convex solver."""

from __future__ import annotations

import math

import pytest
import torch

from overt.measures.inference.frames import MatrixFrame, VectorFrame
from overt.measures.inference.null_space import interpolate, null_part, smallest_null_part
from overt.problems import linear_regression, matrix_completion, matrix_sensing


def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


def rows_of(problem):
    eye = torch.eye(problem.n_observed, dtype=torch.float64)
    return torch.stack([problem.adjoint(row).reshape(-1) for row in eye])


PROBLEMS = [
    matrix_completion((8, 7), rank=2, n_observed=25, seed=0),
    matrix_sensing((8, 7), rank=2, n_measurements=25, seed=0),
    linear_regression(30, n_samples=12, seed=0),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_null_part_is_the_dense_projection(problem):
    A = rows_of(problem)
    x = normal(*problem.shape)
    dense = x.reshape(-1) - torch.linalg.pinv(A) @ (A @ x.reshape(-1))
    torch.testing.assert_close(null_part(problem, x).reshape(-1), dense, rtol=1e-9, atol=1e-10)


def frames(problem):
    if len(problem.shape) == 1:
        x = normal(30) * (torch.arange(30) % 2 == 0)
        return VectorFrame.of(x / x.abs().max(), 1e-3)
    W = normal(8, 3) @ normal(7, 3).mT
    return MatrixFrame.of(W / torch.linalg.matrix_norm(W, 2), 1e-3)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_frames_split_the_space(problem):
    frame, X = frames(problem), normal(*problem.shape)
    T = frame.tangent(X)
    N = frame.normal(X, math.inf)
    torch.testing.assert_close(T + N, X)
    torch.testing.assert_close(frame.tangent(T), T)
    assert abs(float((T * N).sum())) < 1e-12
    basis = torch.eye(X.numel(), dtype=torch.float64).reshape(-1, *X.shape)
    trace = sum(float((frame.tangent(e) * e).sum()) for e in basis)
    assert trace == pytest.approx(frame.dim)
    assert frame.normal_size(frame.normal(X, 0.1)) == pytest.approx(0.1)
    other = frame.random(generator())
    torch.testing.assert_close(other.spectrum, frame.spectrum)
    assert other.dim == frame.dim


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_without_a_bound_it_is_the_projection_onto_both_spaces(problem):
    frame = frames(problem)
    G = frame.compose(torch.linspace(1, 2, frame.spectrum.numel(), dtype=torch.float64))
    basis = torch.eye(G.numel(), dtype=torch.float64).reshape(-1, *G.shape)
    off = torch.stack([(e - frame.tangent(e)).reshape(-1) for e in basis])
    conditions = torch.cat([rows_of(problem), off])
    expected = G.reshape(-1) - torch.linalg.pinv(conditions, rtol=1e-9) @ (conditions @ G.reshape(-1))
    found = smallest_null_part(problem, frame, G, math.inf).reshape(-1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_with_a_bound_it_is_what_a_convex_solver_finds(problem, radius):
    cvxpy = pytest.importorskip("cvxpy")
    frame = frames(problem)
    G = frame.compose(torch.ones_like(frame.spectrum))
    A = rows_of(problem)
    P = (torch.eye(A.shape[1], dtype=torch.float64) - torch.linalg.pinv(A) @ A).numpy()
    if G.ndim == 2:
        left, right = (torch.linalg.svd(B)[0][:, 3:].numpy() for B in (frame.U, frame.V))
        core = cvxpy.Variable((left.shape[1], right.shape[1]))
        Z = cvxpy.reshape(left @ core @ right.T, (G.numel(), 1), order="C")
        bound = cvxpy.sigma_max(core) <= radius
    else:
        free = (~frame.support).numpy().astype(float)
        core = cvxpy.Variable(G.numel())
        Z, bound = cvxpy.multiply(free, core), cvxpy.abs(core) <= radius
        Z = cvxpy.reshape(Z, (G.numel(), 1), order="C")
    value = cvxpy.norm(P @ (G.reshape(-1, 1).numpy() + Z), 2)
    cvxpy.Problem(cvxpy.Minimize(value), [bound]).solve(solver="CLARABEL")
    found = float(torch.linalg.vector_norm(smallest_null_part(problem, frame, G, radius)))
    assert found == pytest.approx(float(value.value), rel=5e-3, abs=1e-6)
    assert found >= float(value.value) - 1e-6


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_random_solutions_meet_the_data_with_the_same_number_of_non_zeros(problem):
    frame = frames(problem)
    y = problem.measure(frame.point())
    other = interpolate(problem, frame.random(generator()), y)
    assert other is not None
    torch.testing.assert_close(problem.measure(other.point()), y, rtol=1e-6, atol=1e-7)
    assert other.dim == frame.dim
    assert float((other.point() - frame.point()).norm()) > 0.1


def test_where_no_other_solution_is_found_none_is_given():
    problem = matrix_completion((8, 7), rank=1, n_observed=50, seed=0)
    W = normal(8, 1) @ normal(7, 1).mT
    frame = MatrixFrame.of(W, 1e-3)
    y = problem.measure(frame.point()) + normal(50)
    assert interpolate(problem, frame.random(generator()), y) is None
