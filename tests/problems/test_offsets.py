"""Offsets of partly observed matrices."""

from __future__ import annotations

import math

import pytest
import torch

from overt.linalg import Factored
from overt.problems import CompletionProblem, fit_offsets


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(m=6, n=5, k=20, seed=2):
    flat = torch.randperm(m * n, generator=torch.Generator().manual_seed(seed))[:k]
    return CompletionProblem(flat // n, flat % n, gaussian(k, seed=seed + 1), (m, n))


@pytest.mark.parametrize("ridge", [0.0, 2.0])
def test_biases_solve_the_normal_equations(ridge):
    problem = make()
    offsets = fit_offsets(problem, "biases", ridge=ridge)
    residual = problem.y - offsets.at(problem.rows, problem.cols)
    per_row = torch.zeros(6, dtype=torch.float64).index_add(0, problem.rows, residual)
    per_col = torch.zeros(5, dtype=torch.float64).index_add(0, problem.cols, residual)
    torch.testing.assert_close(per_row, ridge * offsets.row, rtol=0, atol=1e-9)
    torch.testing.assert_close(per_col, ridge * offsets.col, rtol=0, atol=1e-9)
    assert float(offsets.mean) == pytest.approx(float(problem.y.mean()))


def test_lines_without_entries_get_no_offset():
    X = torch.full((3, 3), math.nan, dtype=torch.float64)
    X[0, 0], X[0, 1] = 1.0, 5.0
    for ridge in (0.0, 1.0):
        offsets = fit_offsets(CompletionProblem.from_dense(X), ridge=ridge)
        assert offsets.row[1:].tolist() == [0, 0]
        assert offsets.col[2].item() == 0


def test_center_reduces_everything_and_can_be_undone():
    truth = Factored(gaussian(6, 2), gaussian(5, 2, seed=1))
    dense = truth.dense()
    heldout = (torch.tensor([0]), torch.tensor([0]), dense[:1, 0])
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    problem = CompletionProblem.from_dense(dense, mask, truth=dense, truth_factors=truth, heldout=heldout)
    for how in ("mean", "biases"):
        centered, offsets = problem.center(how)
        torch.testing.assert_close(offsets.add(centered.truth), dense)
        torch.testing.assert_close(offsets.add(centered.truth_factors).dense(), dense)
        torch.testing.assert_close(offsets.factored().dense(), offsets.dense())
        torch.testing.assert_close(centered.truth_factors.dense(), centered.truth)
        torch.testing.assert_close(centered.measure(centered.truth), centered.y)
        torch.testing.assert_close(centered.heldout[2] + offsets.at(*heldout[:2]), heldout[2])
        assert offsets.shape == (6, 5)
        assert how in centered.name
    mean, _ = problem.center("mean")
    assert float(mean.y.mean()) == pytest.approx(0, abs=1e-14)


def test_exactly_additive_data_is_explained_by_biases():
    b, c = gaussian(6), gaussian(5, seed=1)
    problem = CompletionProblem.from_dense(1.5 + b[:, None] + c)
    centered, _ = problem.center("biases", ridge=0.0)
    assert float(centered.y.abs().max()) < 1e-10


def test_offset_refusals():
    with pytest.raises(ValueError, match="how must be"):
        make().center("median")
    for ridge in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="ridge"):
            make().center(ridge=ridge)
