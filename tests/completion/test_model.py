"""The fitted model: its entries, and new rows against a dense posterior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from overt.completion import Completion
from overt.completion.estimator.inputs import Observations, from_matrix
from overt.completion.estimator.model import CompletionModel, expand
from overt.completion.estimator.selected import Selected
from overt.completion.estimator.units import compress
from overt.problems import Offsets


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(m: int = 9, n: int = 7, r: int = 2, noise: float = 0.0, offsets: bool = True) -> CompletionModel:
    U, s, Vt = torch.linalg.svd(gaussian(m, r) @ gaussian(r, n, seed=1), full_matrices=False)
    size = 1.0 if offsets else 0.0
    parts = Offsets(torch.tensor(3.0).double() * size, gaussian(m, seed=2) * size, gaussian(n, seed=3) * size)
    return CompletionModel(Completion(U[:, :r], s[:r], Vt[:r]), parts, noise)


def observed(X: torch.Tensor, mask: torch.Tensor) -> Observations:
    values = torch.where(mask, X, torch.full_like(X, torch.nan))
    return from_matrix(values.numpy())


def test_entries_rows_and_dense_agree() -> None:
    found = model()
    rows, cols = torch.arange(9).repeat_interleave(7), torch.arange(7).repeat(9)
    torch.testing.assert_close(found.at(rows, cols).view(9, 7), found.dense())


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_new_rows_of_an_exact_model_are_completed_exactly(scale: float) -> None:
    found = model(noise=0.0)
    parts = Offsets(found.offsets.mean * scale, found.offsets.row * scale, found.offsets.col * scale)
    found = CompletionModel(found.low_rank.scaled(scale), parts)
    coordinates = gaussian(4, 2, seed=5)
    new = (coordinates @ found.low_rank.Vt) * scale + found.offsets.mean + found.offsets.col + 0.5 * scale
    mask = torch.ones(4, 7, dtype=torch.bool)
    mask[0, :4] = mask[1, ::2] = False
    completed = found.fold_in(observed(new, mask))
    assert float((completed - new).abs().max()) <= 1e-8 * scale


def test_fold_in_equals_the_dense_posterior_mean() -> None:
    found = model(noise=0.7)
    new = gaussian(5, 7, seed=8)
    mask = gaussian(5, 7, seed=9) > -0.3
    completed = found.fold_in(observed(new, mask))
    rows = torch.cat([found.low_rank.U * found.low_rank.singular_values, found.offsets.row[:, None]], 1)
    mean = rows.mean(0)
    covariance = torch.cov(rows.mT) + torch.outer(mean, mean) / rows.shape[0]
    loadings = torch.cat([found.low_rank.Vt.mT, torch.ones(7, 1, dtype=torch.float64)], 1)
    shift = found.offsets.mean + found.offsets.col
    for i in range(5):
        seen = mask[i]
        L = loadings[seen]
        gain = covariance @ L.mT @ torch.linalg.inv(L @ covariance @ L.mT + 0.49 * torch.eye(len(L)))
        expected = mean + gain @ (new[i] - shift)[seen] - gain @ (L @ mean)
        torch.testing.assert_close(completed[i], loadings @ expected + shift)


def test_a_row_without_entries_gets_the_mean_of_the_fitted_rows() -> None:
    found = model()
    empty = Observations(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), (2, 7))
    torch.testing.assert_close(found.fold_in(empty), found.dense().mean(0).expand(2, 7))


def test_rank_zero_model_folds_in_by_offsets() -> None:
    base = model()
    zero = CompletionModel(base.low_rank.cut(0), base.offsets, 0.0)
    new = (base.offsets.mean + base.offsets.col + 0.3).expand(1, 7)
    mask = torch.tensor([[True, False, True, False, False, False, False]])
    torch.testing.assert_close(zero.fold_in(observed(new, mask)), new.clone(), rtol=1e-6, atol=1e-6)


def test_expansion_gives_empty_lines_the_mean_of_the_others() -> None:
    found = model(m=4, n=3, r=2, offsets=False)
    X = np.full((6, 5), np.nan)
    X[np.ix_([0, 1, 3, 5], [0, 2, 4])] = found.dense().numpy()
    compressed = compress(from_matrix(X))
    inner = Completion(found.low_rank.U, found.low_rank.singular_values / compressed.scale, found.low_rank.Vt)
    whole = expand(Selected(inner, found.offsets, "irls"), compressed).dense()
    dense = found.dense()
    torch.testing.assert_close(whole[[0, 1, 3, 5]][:, [0, 2, 4]], dense)
    torch.testing.assert_close(whole[2, [0, 2, 4]], dense.mean(0))
    torch.testing.assert_close(whole[[0, 1, 3, 5]][:, 1], dense.mean(1))
