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


def test_the_budget_is_eight_for_each_vector_and_value_and_never_beyond_the_dimension():
    """On a spectrum that no budget suffices for; at least the wanted number is always made."""
    _, apply = operator([1.0 - 1e-3 * i for i in range(90)])
    asked = []

    def counting(rows):
        asked.append(len(rows))
        return apply(rows)

    found = block_lanczos(counting, gaussian(2, 90), 3, tolerance=1e-14)
    assert (found.applications, sum(asked), found.converged) == (8 * 3 + 8 * 2, 40, False)
    assert block_lanczos(apply, gaussian(3, 90), 4, tolerance=1e-14, max_applications=1).applications == 4
    _, small = operator([1.0 - 1e-3 * i for i in range(9)])
    assert block_lanczos(small, gaussian(2, 9), 3, tolerance=0).applications == 9


@pytest.mark.parametrize(
    ("angle", "dtype", "options", "converged"),
    [
        (0.95e-6, torch.float64, {}, True),
        (1.05e-6, torch.float64, {}, False),
        (0.95e-3, torch.float64, {"tolerance": 1e-3}, True),
        (1.05e-3, torch.float64, {"tolerance": 1e-3}, False),
        (1.7e-6, torch.float32, {}, True),  # sixteen units of rounding are 1.9e-6
        (2.2e-6, torch.float32, {}, False),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_converged_means_a_residual_within_the_tolerance_of_the_largest_value(
    angle, dtype, options, converged, scale
):
    """Of diag(1, 0) and one vector at an angle t to the first axis the residual is sin t cos t."""
    t = torch.tensor(angle, dtype=dtype)
    start = torch.stack([t.cos(), t.sin()])[None]
    diagonal = torch.tensor([scale, 0.0], dtype=dtype)
    found = block_lanczos(lambda rows: rows * diagonal, start, 1, max_applications=1, **options)
    assert found.residuals[0].item() == pytest.approx(scale * angle, rel=0.05)
    assert found.converged is converged


def test_directions_that_are_used_up_are_replaced():
    """An operator of rank one on equal start vectors: the rest comes from elsewhere, and counts once."""
    A = torch.zeros(6, 6, dtype=torch.float64)
    A[0, 0] = 2.0
    start = gaussian(1, 6, seed=4) * torch.tensor([[1.0], [-1e-3], [1.0]], dtype=torch.float64)
    found = block_lanczos(lambda rows: rows @ A, start, 4, tolerance=1e-12, max_applications=6)
    assert torch.allclose(found.values, torch.tensor([2.0, 0, 0, 0], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert found.converged


def test_a_wrong_number_is_refused():
    with pytest.raises(ValueError, match="k must be an integer from 1 to 5, got 6"):
        block_lanczos(lambda rows: rows, gaussian(1, 5), 6)
