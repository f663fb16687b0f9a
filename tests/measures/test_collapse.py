"""For linear networks the measure is what it generalizes, to ten digits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measured_models import DOUBLE, gaussian

from overt.linalg import rank_tolerance
from overt.measures import measure
from overt.models import DeepCircularConvolution, DeepDiagonal, DeepLinear

TOLERANCE = 1e-10
SEEDS = st.integers(0, 2**31)
INITS = st.sampled_from(["gaussian", "orthogonal", "balanced"])
SCALES = st.sampled_from([1e-6, 1.0, 1e6])


@pytest.mark.slow
@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=6), init=INITS, scale=SCALES, seed=SEEDS)
def test_deep_linear_networks_give_the_singular_values_of_the_product(sizes, init, scale, seed):
    model = DeepLinear(sizes, init=init, scale=scale, seed=seed, dtype=DOUBLE)
    found = measure(model, gaussian(2, sizes[0], seed=seed % 1000)).values
    expected = torch.linalg.svdvals(model.product().detach())
    k = min(len(found), len(expected))
    assert (found[:k] - expected[:k]).abs().max() <= TOLERANCE * expected[0]
    assert (found[k:] <= TOLERANCE * expected[0]).all()
    assert (expected[k:] <= TOLERANCE * expected[0]).all()


@pytest.mark.slow
@given(
    shape=st.one_of(st.tuples(st.integers(1, 17)), st.tuples(st.integers(1, 9), st.integers(1, 9))),
    depth=st.integers(1, 4),
    init=INITS,
    seed=SEEDS,
)
def test_circular_convolutions_give_the_spectrum_of_the_filter(shape, depth, init, seed):
    model = DeepCircularConvolution(shape, depth, init=init, scale=1.0, seed=seed, dtype=DOUBLE)
    x = gaussian(2, *shape, seed=seed % 1000)
    expected = torch.fft.fftn(model.product().detach(), dim=tuple(range(len(shape)))).abs()
    found = measure(model, x, "fourier").values.reshape(shape)
    assert (found - expected).abs().max() <= TOLERANCE * expected.max()
    eigen = measure(model, x)
    assert (
        eigen.values - expected.flatten().sort(descending=True).values
    ).abs().max() <= 1e-10 * expected.max()
    assert eigen.alignment("fourier") >= 1 - 1e-8


@given(dim=st.integers(1, 12), depth=st.integers(1, 4), seed=SEEDS, signed=st.booleans())
def test_diagonal_networks_give_their_coordinates(dim, depth, seed, signed):
    model = DeepDiagonal(dim, depth, scale=1.0, signed=signed, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(dim, generator=generator, dtype=DOUBLE))
    found = measure(model, gaussian(2, dim), "identity").values
    expected = model.product().detach().abs()
    assert (found - expected).abs().max() <= TOLERANCE * expected.max()


@pytest.mark.slow
@given(sizes=st.lists(st.integers(2, 9), min_size=2, max_size=5), seed=SEEDS)
def test_the_first_layer_of_a_balanced_network_is_a_root_of_the_measure(sizes, seed):
    """W₁ᵀW₁ = M^{1/L}, with L layers."""
    model = DeepLinear(sizes, init="balanced", scale=1.0, seed=seed, dtype=DOUBLE)
    spectrum = measure(model, gaussian(1, sizes[0]))
    sigma = spectrum.values
    present = sigma > rank_tolerance(sigma, max(sizes), max(sizes))
    vectors = spectrum.factor[present] / sigma[present, None]
    root = vectors.T @ (sigma[present, None] ** (2 / model.depth) * vectors)
    first = model.weights[0].detach()
    # Rounding of σ by ε moves σ^{2/L} by up to ε^{2/L − 1} where σ is small.
    gram = first.T @ first
    smallest = (sigma[present].min() / sigma[0]).item()
    assert (root - gram).abs().max() <= TOLERANCE * gram.abs().max() * max(1.0, 1e-4 / smallest)


def test_full_width_convolutional_cost_is_the_sum_over_frequencies():
    model = DeepCircularConvolution(8, 3, init="balanced", scale=1.0, seed=0, dtype=DOUBLE)
    spectrum = measure(model, gaussian(1, 8), "fourier")
    layers = sum(torch.fft.fft(w.detach()).abs().square().sum() for w in model.weights)
    # At balanced layers Σ_j ‖ŵ_j‖² = L Σ_f |ĥ_f|^{2/L}.
    assert abs(spectrum.cost(2 / 3) - layers.item() / 3) <= 1e-10 * layers.item()
