"""DeepCircularConvolution: against direct sums and numpy's FFT."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from overt.models import DeepCircularConvolution

SHAPES = [1, 2, 7, 8, (1, 1), (3, 4), (5, 2), (4, 4)]
INITS = ["gaussian", "orthogonal", "identity", "balanced"]


def build(shape, depth, init, scale=0.3, seed=0):
    return DeepCircularConvolution(shape, depth, init, scale, seed=seed, dtype=torch.float64)


def convolve(first, second):
    """Circular convolution by its definition."""
    out = np.zeros_like(first)
    for i in itertools.product(*map(range, first.shape)):
        for k in itertools.product(*map(range, first.shape)):
            out[i] += first[k] * second[tuple((a - b) % n for a, b, n in zip(i, k, first.shape, strict=True))]
    return out


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_product_and_forward_against_direct_sums(shape, depth, init):
    model = build(shape, depth, init)
    filters = [w.detach().numpy() for w in model.weights]
    oracle = filters[0]
    for taps in filters[1:]:
        oracle = convolve(oracle, taps)
    np.testing.assert_allclose(model.product().detach().numpy(), oracle, rtol=1e-10, atol=1e-13)
    x = torch.randn(2, *model.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = model(x).detach().numpy()
    for signal, result in zip(x.numpy(), out, strict=True):
        np.testing.assert_allclose(result, convolve(oracle, signal), rtol=1e-10, atol=1e-13)
    functional = model.functional(x).detach().numpy()
    np.testing.assert_allclose(functional, [(oracle * s).sum() for s in x.numpy()], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [6, 7, (4, 6), (5, 3)])
def test_fourier_transform_of_the_product_is_the_product_of_transforms(shape):
    model = build(shape, 3, "gaussian", 1.0)
    spectra = [np.fft.fftn(w.detach().numpy()) for w in model.weights]
    np.testing.assert_allclose(
        np.fft.fftn(model.product().detach().numpy()), spectra[0] * spectra[1] * spectra[2], rtol=1e-10
    )


@pytest.mark.slow
@pytest.mark.parametrize("init", ["gaussian", "balanced"])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-5, 2.0])
def test_taps_have_the_promised_standard_deviation(init, depth, scale):
    taps = (
        torch.stack([build((9, 10), depth, init, scale, seed).product().detach() for seed in range(60)])
        / scale
    )
    second_moment = taps.square().mean((1, 2))
    stderr = float(second_moment.std()) / math.sqrt(len(second_moment))
    assert float(second_moment.mean()) == pytest.approx(1, abs=4 * stderr)
    assert stderr < 0.2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, 3])
def test_orthogonal_is_all_pass_and_identity_a_delta(shape, depth):
    for weight in build(shape, depth, "orthogonal", 1e-3).weights:
        modulus = torch.fft.fftn(weight.detach()).abs()
        torch.testing.assert_close(modulus, torch.full_like(modulus, 1e-3 ** (1 / depth)))
    delta = build(shape, depth, "identity", 1e-3).product().detach()
    expected = torch.zeros_like(delta)
    expected.view(-1)[0] = 1e-3
    torch.testing.assert_close(delta, expected, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("shape", [8, (4, 5)])
def test_balanced_filters_have_equal_moduli_at_each_frequency(shape):
    moduli = [torch.fft.fftn(w.detach()).abs() for w in build(shape, 3, "balanced").weights]
    torch.testing.assert_close(moduli[0], moduli[1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(moduli[0], moduli[2], rtol=1e-10, atol=1e-12)
    assert float(moduli[0].std()) > 1e-3


@pytest.mark.parametrize("init", INITS)
def test_seed_fixes_everything_and_dtype_changes_nothing(init):
    one, two = build(6, 2, init, seed=4), build(6, 2, init, seed=4)
    single = DeepCircularConvolution(6, 2, init, 0.3, seed=4, dtype=torch.float32)
    for a, b, c in zip(one.weights, two.weights, single.weights, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.float(), c)


def test_gradient():
    model = build((3, 4), 3, "gaussian", 1.0)

    def product(*weights):
        spectra = torch.stack([torch.fft.fftn(w) for w in weights])
        return torch.fft.ifftn(spectra.prod(0)).real

    leaves = [w.detach().clone().requires_grad_() for w in model.weights]
    upstream = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad((product(*leaves) * upstream).sum(), leaves)
    actual = torch.autograd.grad((model.product() * upstream).sum(), list(model.weights))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": 0}, ValueError, "shape"),
        ({"shape": (3, 0)}, ValueError, "shape"),
        ({"shape": (3, 3, 3)}, ValueError, "shape"),
        ({"shape": ()}, ValueError, "shape"),
        ({"shape": "8"}, TypeError, "shape"),
        ({"shape": 8.0}, TypeError, "shape"),
        ({"shape": True}, TypeError, "shape"),
        ({"depth": 0}, ValueError, "depth"),
        ({"init": "delta"}, ValueError, "init must be 'gaussian'"),
        ({"scale": -1}, ValueError, "scale"),
    ],
)
def test_refusals_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        DeepCircularConvolution(**{"shape": 8, **arguments})


def test_signals_of_another_size_are_refused_not_stretched():
    model = build(8, 2, "gaussian")
    for call in (model, model.functional):
        with pytest.raises(ValueError, match="x must end in the dimensions"):
            call(torch.ones(8, 1, dtype=torch.float64))


def test_numbers_of_numpy_and_a_scale_beyond_the_dtype():
    assert DeepCircularConvolution(np.int64(4), depth=np.int64(2), scale=np.float64(0.1)).shape == (4,)
    with pytest.raises(ValueError, match=r"beyond what torch\.float32 can hold"):
        DeepCircularConvolution(4, depth=2, scale=1e50, dtype=torch.float32)
