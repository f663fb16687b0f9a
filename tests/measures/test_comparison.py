"""A spectrum beside that of the data, in its basis."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from measured_models import dense_measure, drawn, gaussian, mlp
from torch import nn

from overt import functional as F
from overt.measures import Spectrum, compare, data_spectrum, measure
from overt.models import DeepLinear


def test_comparison_with_the_data():
    n = 4000
    x = gaussian(n, 5) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    model = DeepLinear((5, 5), seed=0, dtype=torch.float64)
    for diagonal, rank, cosine in (([5, 4, 3, 2, 1], 1.0, 0.99), ([1, 2, 3, 4, 5], -1.0, 0.6)):
        with torch.no_grad():
            model.weights[0].copy_(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))
        for basis in ("identity", "eigen"):
            found = measure(model, x[:2], basis).compare(x)
            assert found.rank_correlation == pytest.approx(rank)
            assert (found.cosine > cosine) == (rank == 1.0)
    found = compare(measure(model, x[:2], "fourier"), list(x.split(1000)))
    centred = x - x.mean(0)
    expected = torch.fft.fft(centred, norm="ortho").abs().square().mean(0).sqrt()
    assert torch.allclose(found.data, expected)
    assert found.data_effective_rank == pytest.approx(F.effective_rank(singular_values=expected).item())
    assert not torch.allclose(
        compare(measure(model, x[:2], "identity"), x + 9, center=False).data, found.data
    )


def test_ties_share_their_rank():
    x = gaussian(50, 6)
    s = Spectrum(torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64), basis="identity")
    found = s.compare(x)
    assert found.rank_correlation == pytest.approx(scipy.stats.spearmanr(s.values, found.data).statistic)
    assert math.isnan(Spectrum(torch.ones(6), basis="identity").compare(x).rank_correlation)


def test_comparison_refuses_other_inputs_and_missing_eigenvectors():
    s = measure(mlp(), gaussian(4, 6), "identity")
    with pytest.raises(ValueError, match="5 coefficients, the spectrum has 6"):
        s.compare(gaussian(4, 5))
    with pytest.raises(ValueError, match="no eigenvectors"):
        Spectrum(torch.ones(6)).compare(gaussian(4, 6))


def test_the_spectrum_of_data_is_that_of_its_covariance():
    x = gaussian(200, 4, 4) + 3
    flat = x.flatten(1)
    C = torch.cov(flat.T, correction=0)
    assert torch.allclose(data_spectrum(x).values.square(), torch.linalg.eigvalsh(C).flip(0))
    assert torch.allclose(data_spectrum(x, "identity").values.square(), C.diagonal())
    moments = data_spectrum(x, center=False)
    assert torch.allclose(moments.values.square(), torch.linalg.eigvalsh(flat.T @ flat / 200).flip(0))
    assert data_spectrum(x, "fourier", max_samples=50).n_samples == 50
    # Stationary data is diagonal in the Fourier basis; noise in each pixel is nearly so in every basis.
    smooth = torch.fft.ifft2(
        torch.fft.fft2(gaussian(5000, 4, 4)) * torch.tensor([3.0, 1, 0.1, 1]).double()
    ).real
    assert data_spectrum(smooth).alignment("fourier") > 0.98 > data_spectrum(smooth).alignment("identity")


def matrix_cosine(M, C):
    return float((M * C).sum() / (M.norm() * C.norm()))


@pytest.mark.slow
@given(seed=st.integers(0, 1000), n=st.sampled_from([4, 40]), center=st.booleans())
def test_the_cosine_in_the_eigenbasis_is_that_of_the_matrices(seed, n, center):
    model, x = mlp(seed=seed), gaussian(n, 6, seed=seed) * torch.logspace(0, -1, 6).double() + 0.3
    M = dense_measure(model, x)
    C = torch.cov(x.T, correction=0) if center else x.T @ x / n
    expected = pytest.approx(matrix_cosine(M, C), rel=1e-9)
    assert compare(measure(model, x), x, center=center).cosine == expected
    assert compare(measure(model, x, method="lanczos", k=6), x, center=center).cosine == expected


@pytest.mark.slow
def test_what_varies_and_is_not_seen_counts_in_the_eigenbasis_too():
    x = gaussian(4000, 2) * torch.tensor([10.0, 0.01], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    for weight, cosine in (([0.0, 1.0], 0.0), ([1.0, 0.0], 1.0)):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([weight]))
        for options in ({}, {"method": "lanczos", "k": 1}, {"basis": "identity"}):
            assert measure(model, x[:5], **options).compare(x).cosine == pytest.approx(cosine, abs=1e-4)


def test_a_map_that_is_zero_has_cosine_zero():
    zero = nn.Linear(3, 2).double()
    torch.nn.init.zeros_(zero.weight)
    found = measure(zero, gaussian(4, 3)).compare(gaussian(9, 3))
    assert found.cosine == 0
    assert found.model.tolist() == [0]


def test_scale_makes_no_difference_to_the_cosine():
    model, x = mlp(), gaussian(20, 6)
    s = measure(model, x)
    scaled = Spectrum(1e-80 * s.values, factor=1e-80 * s.factor)
    assert scaled.compare(1e-80 * x).cosine == pytest.approx(s.compare(x).cosine)


def test_amplitudes_of_a_sketch_stand_beside_their_own_eigenvectors():
    model = drawn(nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 30)))
    x = gaussian(50, 12)
    s = measure(model, x[:4], method="sketch", probes=2)
    found = s.compare(x)
    _, S, Vh = torch.linalg.svd(s.factor, full_matrices=False)
    assert torch.allclose(found.model, S[: len(found.model)])
    expected = (x - x.mean(0)) @ Vh.T
    assert torch.allclose(found.data, expected.square().mean(0).sqrt()[: len(found.data)])


def test_blocks_of_products_are_summed(monkeypatch):
    monkeypatch.setattr("overt.measures.comparison._BLOCK", 3)
    model, x = mlp(), gaussian(20, 6)
    C = torch.cov(x.T, correction=0)
    assert measure(model, x).compare(x).cosine == pytest.approx(matrix_cosine(dense_measure(model, x), C))


def test_the_eigenvectors_of_too_much_data_are_refused(monkeypatch):
    monkeypatch.setattr("overt.measures.data.LARGEST_SQUARE", 5)
    with pytest.raises(
        ValueError, match=r"eigenvectors of 7 inputs of 6 entries .*max_samples, or another basis"
    ):
        data_spectrum(gaussian(7, 6))
    assert len(data_spectrum(gaussian(7, 6), max_samples=5).values) == 5
    assert len(data_spectrum(gaussian(7, 5)).values) == 5
