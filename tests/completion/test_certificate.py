"""The certificate of local identifiability against the rank of the explicit tangent map."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from overt.completion import Completion, certificate
from overt.completion.null_space import Tangent, krylov_null_space
from overt.completion.tangent import Entries
from overt.problems import CompletionProblem, matrix_completion, matrix_sensing

room = importlib.import_module("overt.completion.null_space")


def free_directions(rows: Tensor, cols: Tensor, U: Tensor, V: Tensor) -> int:
    """Null dimension of the tangent map from its explicit Jacobian."""
    (m, r), n, k = U.shape, V.shape[0], len(rows)
    J = torch.zeros(k, m + n, r, dtype=torch.float64)
    each = torch.arange(k)
    J[each, rows] = V[cols]
    J[each, m + cols] = U[rows]
    values = torch.linalg.svdvals(J.reshape(k, -1))
    return r * (m + n - r) - int((values > 1e-9 * values[0]).sum())


def truth(problem: CompletionProblem) -> Completion:
    assert problem.truth is not None
    return Completion.from_dense(problem.truth, rank_tolerance=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(24, 24), (30, 18), (18, 30)])
@pytest.mark.parametrize("seed", range(8))
def test_counts_the_free_directions(shape: tuple[int, int], seed: int) -> None:
    k = 2 * (sum(shape) - 2) + (seed % 4) * 8
    problem = matrix_completion(shape, rank=2, n_observed=k, seed=seed, min_per_line=1)
    point = truth(problem)
    found = certificate(problem, point)
    expected = free_directions(problem.rows, problem.cols, point.U, point.Vt.mT)
    assert found.null_dimension == expected
    assert found.identifiable is (expected == 0)
    assert (found.rows + found.cols == ()) is (expected == 0)


def test_the_corpus_above_has_both_kinds() -> None:
    kinds = set()
    for seed in range(8):
        problem = matrix_completion(
            (24, 24), rank=2, n_observed=92 + (seed % 4) * 8, seed=seed, min_per_line=1
        )
        kinds.add(certificate(problem, truth(problem)).identifiable)
    assert kinds == {True, False}


def test_names_a_row_with_too_few_entries() -> None:
    problem = matrix_completion((20, 20), rank=3, n_observed=300, seed=0)
    kept = (problem.rows != 7) | (torch.cumsum((problem.rows == 7).int(), 0) <= 2)
    cut = SimpleNamespace(
        rows=problem.rows[kept], cols=problem.cols[kept], y=problem.y[kept], shape=problem.shape
    )
    found = certificate(cut, truth(problem))
    assert found.identifiable is False
    assert found.null_dimension == 1
    assert found.rows == (7,)
    assert "rows 7" in found.message
    assert "fewer than 3" in found.message


def test_names_components_of_the_graph() -> None:
    rows = torch.arange(6).repeat_interleave(3)
    cols = torch.where(rows < 3, 0, 3) + torch.arange(3).repeat(6)
    problem = SimpleNamespace(rows=rows, cols=cols, y=torch.ones(18).double(), shape=(6, 6))
    found = certificate(problem, Completion.from_dense(torch.ones(6, 6).double()))
    assert found.identifiable is False
    assert found.null_dimension == 1
    assert found.components == 2
    assert "2 components" in found.message


def test_everything_observed_determines_any_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    rows, cols = torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6)
    problem = SimpleNamespace(rows=rows, cols=cols, y=W[rows, cols], shape=(6, 4))
    for rank in range(5):
        U, s, Vt = torch.linalg.svd(W, full_matrices=False)
        assert certificate(problem, Completion(U[:, :rank], s[:rank], Vt[:rank])).identifiable is True


@pytest.mark.parametrize("seed", [2, 5])
def test_the_matrix_free_verdict_is_the_dense_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DENSE_UNKNOWNS", 0)
    problem = matrix_completion((24, 24), rank=2, n_observed=140, seed=seed, min_per_line=2)
    point = truth(problem)
    found = certificate(problem, point)
    assert found.identifiable is True
    assert free_directions(problem.rows, problem.cols, point.U, point.Vt.mT) == 0


def test_the_matrix_free_check_sees_a_free_direction() -> None:
    for seed in range(20):
        problem = matrix_completion((24, 24), rank=2, n_observed=95, seed=seed, min_per_line=2)
        point = truth(problem)
        if free_directions(problem.rows, problem.cols, point.U, point.Vt.mT):
            break
    entries = Entries(problem.rows, problem.cols, problem.shape, torch.float64)
    tangent = Tangent(entries, point.U, point.Vt.mT.contiguous(), 1e-11)
    null = krylov_null_space(tangent, 400)
    assert null.dimension != 0


def test_an_undecided_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DENSE_UNKNOWNS", 0)
    problem = matrix_completion((24, 24), rank=2, n_observed=140, seed=2, min_per_line=2)
    found = certificate(problem, truth(problem), max_inner=3)
    assert found.identifiable is None
    assert "not decided" in found.message


@pytest.mark.parametrize(("k", "free"), [(40, 0), (33, 3), (36, 0)])
def test_dense_measurements(k: int, free: int) -> None:
    problem = matrix_sensing((11, 9), rank=2, n_measurements=k, seed=0)
    found = certificate(problem, Completion.from_dense(problem.truth, rank_tolerance=1e-9))
    assert found.null_dimension == free
    assert found.identifiable is (free == 0)


def test_another_shape_is_refused() -> None:
    problem = matrix_completion((6, 5), rank=1, n_observed=20, seed=0)
    with pytest.raises(ValueError, match="shape"):
        certificate(problem, Completion.from_dense(torch.ones(5, 6).double()))
