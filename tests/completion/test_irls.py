"""Reweighted least squares: each step against the dense kernel, the whole against known matrices."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from overt.completion import irls
from overt.completion.irls import engine as irls_engine
from overt.completion.irls.engine import EntriesEngine, SensingEngine
from overt.completion.irls.proxy import PROXIES, rank_proxy
from overt.completion.irls.solver import _rules
from overt.completion.irls.step import harmonic_step
from overt.completion.refit.normal import ReducedSolver
from overt.completion.tangent import entries_of
from overt.problems import CompletionProblem, matrix_completion, matrix_sensing


def kernel_step(A: Tensor, y: Tensor, U: Tensor, s: Tensor, V: Tensor, eps: float, nugget: float) -> Tensor:
    """The step from the explicit k×k kernel ``A W⁻¹ Aᵀ + ν I`` with ``W⁻¹(Z) = ½ (L Z + Z R)``."""
    m, n = U.shape[0], V.shape[0]
    L = eps**2 * torch.eye(m, dtype=s.dtype) + (U * (s**2 - eps**2)) @ U.mT
    R = eps**2 * torch.eye(n, dtype=s.dtype) + (V * (s**2 - eps**2)) @ V.mT
    inverse = 0.5 * (torch.kron(L, torch.eye(n, dtype=s.dtype)) + torch.kron(torch.eye(m, dtype=s.dtype), R))
    kernel = A @ inverse @ A.mT + nugget * torch.eye(len(y), dtype=s.dtype)
    return (inverse @ A.mT @ torch.linalg.solve(kernel, y)).view(m, n)


def spectrum(shape: tuple[int, int], t: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    X = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    U, s, Vt = torch.linalg.svd(X, full_matrices=False)
    return U[:, :t], s[:t], Vt[:t]


@pytest.mark.parametrize("nugget", [0.0, 0.7])
@pytest.mark.parametrize("direct", [False, True])
def test_a_step_is_that_of_the_dense_kernel(nugget: float, direct: bool) -> None:
    problem = matrix_completion((9, 7), rank=2, n_observed=40, seed=0)
    entries, y = entries_of(problem)
    U, s, Vt = spectrum((9, 7), 3)
    eps = 0.5 * float(s[-1])
    solver = ReducedSolver()
    solver.direct = direct
    step = harmonic_step(entries, y, U, s, Vt.mT.contiguous(), eps, solver, nugget=nugget, tolerance=1e-13)
    X = step.A @ Vt + U @ step.B.mT
    X[entries.rows.long(), entries.cols.long()] += step.z
    A = torch.eye(63, dtype=torch.float64)[entries.rows.long() * 7 + entries.cols.long()]
    torch.testing.assert_close(X, kernel_step(A, y, U, s, Vt.mT, eps, nugget), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("nugget", [0.0, 0.7])
def test_a_sensing_step_is_that_of_the_dense_kernel(nugget: float) -> None:
    engine = SensingEngine(matrix_sensing((6, 5), rank=1, n_measurements=18, seed=0))
    trusted = spectrum((6, 5), 2)
    eps = 0.5 * float(trusted[1][-1])
    engine.step(trusted, eps, nugget, 5)
    expected = kernel_step(
        engine.A.reshape(18, -1), engine.y, trusted[0], trusted[1], trusted[2].mT, eps, nugget
    )
    torch.testing.assert_close(engine.previous, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "rank", "rho", "kappa"),
    [((50, 50), 3, 1.2, None), ((70, 40), 3, 1.5, 10.0), ((30, 60), 2, 1.5, 1.0), ((60, 60), 5, 2.5, 50.0)],
)
def test_recovers_exactly_without_the_rank(
    shape: tuple[int, int], rank: int, rho: float, kappa: float | None
) -> None:
    k = round(rho * rank * (sum(shape) - rank))
    problem = matrix_completion(
        shape, rank=rank, n_observed=k, seed=1, condition_number=kappa, min_per_line=rank
    )
    found = irls(problem)
    assert found.converged
    assert found.rank == rank
    assert problem.error(found.W) < 1e-9
    assert found.n_iter == len(found.history)


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [*PROXIES, 3])
def test_every_proxy_recovers_an_easy_matrix(proxy: str | int) -> None:
    problem = matrix_completion((40, 40), rank=3, n_observed=700, seed=0)
    found = irls(problem, rank_proxy=proxy)
    assert found.converged
    assert found.rank == 3
    assert problem.error(found.W) < 1e-10


def test_the_matrix_free_engine_recovers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = matrix_completion((60, 50), rank=3, n_observed=700, seed=0)
    monkeypatch.setattr(irls_engine, "_DENSE_CELLS", 0)
    assert not EntriesEngine(problem).dense
    found = irls(problem)
    assert found.converged
    assert found.rank == 3
    assert problem.error(found.W) < 1e-10


@pytest.mark.parametrize("k", [200, 320])
def test_recovers_from_dense_measurements(k: int) -> None:
    problem = matrix_sensing((20, 15), rank=3, n_measurements=k, seed=0)
    found = irls(problem)
    assert found.converged
    assert found.rank == 3
    assert problem.error(found.W) < 1e-10


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e150])
def test_units_do_not_matter(scale: float) -> None:
    problem = matrix_completion((30, 30), rank=2, n_observed=250, seed=0)
    scaled = SimpleNamespace(rows=problem.rows, cols=problem.cols, y=problem.y * scale, shape=(30, 30))
    found = irls(scaled)
    assert found.converged
    torch.testing.assert_close(found.W / scale, problem.truth, rtol=1e-8, atol=1e-8)


def test_single_precision() -> None:
    problem = matrix_completion((40, 40), rank=2, n_observed=500, seed=0, dtype=torch.float32)
    found = irls(problem)
    assert found.U.dtype == torch.float32
    assert found.rank == 2
    assert problem.error(found.W) < 1e-4


@pytest.mark.slow
def test_the_same_call_gives_the_same_answer() -> None:
    problem = matrix_completion((40, 40), rank=3, n_observed=320, seed=4, min_per_line=3)
    torch.testing.assert_close(irls(problem).W, irls(problem).W, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.03, 0.1, 0.3])
def test_noise_is_met_with_the_right_rank_near_the_floor(noise: float) -> None:
    problem = matrix_completion((80, 60), rank=3, n_observed=2400, seed=0, noise=noise)
    found = irls(problem, noise_std=noise)
    assert found.rank == 3
    floor = noise * math.sqrt(3 * (80 + 60 - 3) / 2400)
    assert problem.error(found.W) < 1.5 * floor


def test_noisy_measurements() -> None:
    problem = matrix_sensing((15, 12), rank=2, n_measurements=160, seed=0, noise=0.1)
    deviation = 0.1 * float(problem.y.square().mean().sqrt())
    found = irls(problem, noise_std=deviation)
    assert found.rank == 2
    assert problem.error(found.W) < 0.15


@pytest.mark.slow
def test_data_of_full_rank_is_not_called_converged_and_stays_bounded() -> None:
    problem = matrix_completion((30, 30), rank=25, n_observed=450, seed=0)
    found = irls(problem, attempts=2)
    assert not found.converged
    assert float(found.W.abs().max()) < 5 * problem.max_abs_observed
    assert "noise_std" in found.message


def _tiny(rows: list[int], cols: list[int], y: list[float], shape: tuple[int, int]) -> CompletionProblem:
    return CompletionProblem(
        rows=torch.tensor(rows), cols=torch.tensor(cols), y=torch.tensor(y).double(), shape=shape
    )


@pytest.mark.parametrize(
    "problem",
    [
        _tiny([0], [0], [2.0], (3, 3)),
        _tiny([0, 0, 0], [0, 1, 2], [1.0, 2.0, 3.0], (4, 3)),
        _tiny([0, 1, 2, 0, 1], [0, 1, 2, 1, 0], [7.0] * 5, (3, 3)),
        _tiny([0, 1], [0, 1], [0.0, 0.0], (2, 2)),
        _tiny([0], [0], [3.0], (1, 1)),
        _tiny([0, 0], [0, 2], [3.0, 4.0], (1, 4)),
        _tiny([0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 0, 0], [1e12, -1e12, 1e12, 1e12, -1e12, 1e12], (3, 3)),
    ],
)
@pytest.mark.parametrize("noise_std", [None, 0.1])
def test_degenerate_data_gives_finite_bounded_answers(
    problem: CompletionProblem, noise_std: float | None
) -> None:
    found = irls(problem, noise_std=noise_std, attempts=2)
    assert bool(found.W.isfinite().all())
    assert float(found.W.abs().max()) <= 10 * problem.max_abs_observed
    assert found.shape == problem.shape


def test_data_that_is_not_finite_is_refused() -> None:
    zero = torch.zeros(1).long()
    problem = SimpleNamespace(rows=zero, cols=zero, y=torch.tensor([math.nan]), shape=(2, 2))
    with pytest.raises(ValueError, match="finite"):
        irls(problem)


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_count_equal_singular_values(name: str) -> None:
    for scale in (1e-200, 1.0, 1e200):
        s = scale * torch.cat([torch.ones(4), torch.zeros(6)]).double()
        assert rank_proxy(s, name) == 4
    assert rank_proxy(torch.zeros(3), name) == 1


def test_attempts_go_through_different_rules() -> None:
    rules = [(rule, p) for rule, p, _ in _rules("participation_ratio", 8)]
    assert rules[:3] == [("participation_ratio", 0.5), ("schatten", 0.5), ("limit", 0.5)]
    assert len(set(rules)) == 8
    assert next(iter(_rules("schatten", 1)))[0] == "schatten"
    assert [rule for rule, _, _ in _rules("schatten", 3)] == ["schatten", "participation_ratio", "limit"]
    assert {rule for rule, _, _ in _rules(4, 8)} == {4}
    assert [start for _, _, start in _rules("log_det", 11)] == [0] * 9 + [1, 1]


@pytest.mark.slow
def test_the_second_rule_solves_what_the_first_misses() -> None:
    problem = matrix_completion(
        (100, 100), rank=5, n_observed=1072, seed=16, condition_number=10, min_per_line=5
    )
    found = irls(problem, attempts=2)
    assert found.history[-1]["rule"] == "schatten"
    assert found.rank == 5
    assert problem.error(found.W) < 1e-8
    assert not irls(problem, attempts=1).converged
