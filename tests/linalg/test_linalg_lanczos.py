"""Block Lanczos iteration against the dense decomposition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.linalg import block_lanczos


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operator(values, seed=0):
    Q = torch.linalg.qr(gaussian(len(values), len(values), seed=seed))[0]
    A = (Q * torch.tensor(values, dtype=torch.float64)) @ Q.T
    return A, lambda rows: rows @ A


SPECTRA = {
    "decaying": [2.0**-i for i in range(40)],
    "ties": [3.0, 3.0, 2.0, 2.0, 2.0] + [1.0 / i for i in range(2, 37)],
    "low rank": [5.0, 4.0, 1.0] + [0.0] * 37,
    "identity": [1.0] * 40,
    "zero": [0.0] * 40,
}


@pytest.mark.parametrize(
    ("name", "block"), [(name, block) for name in SPECTRA for block in (1, 4) if (name, block) != ("ties", 1)]
)
def test_leading_values_are_those_of_the_dense_matrix(name, block):
    values = SPECTRA[name]
    A, apply = operator(values)
    found = block_lanczos(apply, gaussian(block, 40, seed=1), 6, tolerance=1e-10, max_applications=40)
    expected = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)[:6]
    assert found.converged
    assert torch.allclose(found.values, expected, atol=1e-9)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(6, dtype=torch.float64), atol=1e-10)
    residuals = torch.linalg.vector_norm(found.vectors @ A - found.values[:, None] * found.vectors, dim=1)
    assert torch.allclose(found.residuals, residuals, atol=1e-12)


@pytest.mark.slow
@given(n=st.integers(1, 12), k=st.integers(1, 12), block=st.integers(1, 12), seed=st.integers(0, 99))
def test_small_operators(n, k, block, seed):
    k, block = min(k, n), min(block, n)
    A, apply = operator(gaussian(n, seed=seed).square().tolist(), seed)
    found = block_lanczos(apply, gaussian(block, n, seed=seed + 1), k, tolerance=1e-12, max_applications=n)
    assert torch.allclose(found.values, torch.linalg.eigvalsh(A).flip(0)[:k], atol=1e-9)


def test_values_are_lower_bounds_and_a_short_run_says_so():
    values = [1.0 - 0.01 * i for i in range(60)]
    _, apply = operator(values)
    found = block_lanczos(apply, gaussian(2, 60), 4, tolerance=1e-12, max_applications=8)
    assert not found.converged
    assert found.applications == 8
    expected = torch.tensor(values[:4], dtype=torch.float64)
    assert (found.values <= expected + 1e-12).all()
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert (torch.tensor(values, dtype=torch.float64) - value).abs().min() <= residual


def test_a_wrong_number_is_refused():
    with pytest.raises(ValueError, match="k must be an integer from 1 to 5, got 6"):
        block_lanczos(lambda rows: rows, gaussian(1, 5), 6)
