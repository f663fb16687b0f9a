"""Conjugate gradients against dense solves, and what they say about convergence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from overt.linalg import LinearSolution, conjugate_gradients


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def positive(n: int, rank: int, dtype: torch.dtype = torch.float64) -> Tensor:
    factor = gaussian(n, rank, seed=n, dtype=dtype)
    return factor @ factor.mT / n


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize(("n", "rank"), [(1, 1), (12, 30), (12, 5)])
def test_solves_what_lies_in_the_range(n: int, rank: int, scale: float) -> None:
    A = positive(n, rank)
    b = A @ gaussian(n) * scale
    found = conjugate_gradients(lambda v: A @ v, b)
    assert found.converged
    assert found.residual <= 1e-12
    assert found.n_iter == len(found.steps) == len(found.ratios) <= 3 * n
    torch.testing.assert_close(A @ found.x / scale, b / scale, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 2, 3)])
def test_unknowns_may_have_any_shape(shape: tuple[int, ...]) -> None:
    A = positive(math.prod(shape), 40)
    b = gaussian(*shape, seed=3)
    found = conjugate_gradients(lambda v: (A @ v.reshape(-1)).view_as(v), b)
    assert found.x.shape == shape
    torch.testing.assert_close(found.x.reshape(-1), torch.linalg.solve(A, b.reshape(-1)))


def test_a_good_preconditioner_saves_iterations() -> None:
    scales = torch.logspace(-3, 3, 20, dtype=torch.float64)
    A = torch.diag(scales) + 1e-3 * positive(20, 40)
    b = gaussian(20)
    plain = conjugate_gradients(lambda v: A @ v, b, tolerance=1e-10, max_iter=1000)
    helped = conjugate_gradients(lambda v: A @ v, b, precondition=lambda r: r / scales, tolerance=1e-10)
    assert plain.converged
    assert helped.converged
    assert helped.n_iter < plain.n_iter / 2
    torch.testing.assert_close(helped.x, torch.linalg.solve(A, b), rtol=1e-7, atol=1e-7)


def test_the_residual_is_that_of_the_answer() -> None:
    A, b = positive(15, 30), gaussian(15)
    found = conjugate_gradients(lambda v: A @ v, b, max_iter=4)
    assert not found.converged
    assert found.n_iter == 4
    assert found.residual == pytest.approx(float((b - A @ found.x).norm() / b.norm()), rel=1e-6)


def test_the_limits_are_those_of_the_docstring() -> None:
    """Two products for each unknown, but a thousand at most; and twelve digits of the residual."""
    for size, most in ((3, 6), (499, 998), (600, 1000)):
        generator = torch.Generator().manual_seed(0)
        noise = lambda v, g=generator: v * (0.5 + torch.rand(v.shape, generator=g))  # noqa: E731
        assert conjugate_gradients(noise, torch.ones(size), tolerance=1e-30).n_iter == most
    values = torch.logspace(0, 2, 40, dtype=torch.float64)
    reached: list[float] = []
    found = conjugate_gradients(
        lambda v: values * v, torch.ones_like(values), callback=lambda state: reached.append(state.residual)
    )
    assert found.converged
    assert reached[-1] <= 1e-12 < reached[-2]


def test_a_right_hand_side_of_zero_needs_no_iteration() -> None:
    found = conjugate_gradients(lambda v: v, torch.zeros(4))
    assert (found.converged, found.n_iter, found.residual) == (True, 0, 0.0)
    assert not found.x.any()
    assert math.isnan(found.spread())


def test_a_direction_without_curvature_ends_the_solve_and_is_told() -> None:
    A = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = conjugate_gradients(lambda v: A @ v, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert found.breakdown
    assert not found.converged
    assert found.residual == 1.0
    assert bool(found.x.isfinite().all())
    assert conjugate_gradients(lambda v: torch.nan * v, torch.ones(2)).breakdown


def test_ritz_values_span_the_spectrum() -> None:
    A = torch.diag(torch.linspace(1.0, 50.0, 30, dtype=torch.float64))
    found = conjugate_gradients(lambda v: A @ v, torch.ones(30, dtype=torch.float64), tolerance=1e-14)
    assert found.spread() == pytest.approx(1 / 50, rel=1e-6)
    short = conjugate_gradients(lambda v: A @ v, torch.ones(30, dtype=torch.float64), max_iter=5)
    assert short.spread() >= 1 / 50


def test_a_callback_sees_each_state_and_may_stop() -> None:
    A, seen = positive(15, 30), []

    def stop(state: LinearSolution) -> bool:
        seen.append(state.n_iter)
        return state.n_iter == 3

    found = conjugate_gradients(lambda v: A @ v, gaussian(15), callback=stop)
    assert seen == [1, 2, 3]
    assert (found.n_iter, found.converged) == (3, False)


def test_single_precision_stays_single() -> None:
    A = positive(10, 30, torch.float32)
    found = conjugate_gradients(lambda v: A @ v, gaussian(10, dtype=torch.float32), tolerance=1e-5)
    assert found.converged
    assert found.x.dtype == torch.float32


def test_a_matrix_in_place_of_a_map_is_refused():
    with pytest.raises(TypeError, match="matrix must be callable"):
        conjugate_gradients(torch.eye(3), torch.ones(3))
