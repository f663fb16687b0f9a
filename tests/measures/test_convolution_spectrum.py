"""The spectrum of a convolution against the matrix that it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from overt.measures import convolution_spectrum


def matrix_of(conv, size):
    """The layer, without its bias, on every unit vector."""
    n = conv.in_channels * math.prod(size)
    units = torch.eye(n, dtype=conv.weight.dtype).reshape(n, conv.in_channels, *size)
    with torch.no_grad():
        return (conv(units) - conv(torch.zeros_like(units[:1]))).flatten(1)


CIRCULAR = [
    (nn.Conv1d, (8,), {"kernel_size": 3, "padding": 1}),
    (nn.Conv1d, (7,), {"kernel_size": 3, "padding": 2, "dilation": 2}),
    (nn.Conv1d, (9,), {"kernel_size": 3, "padding": 1, "stride": 3}),
    (nn.Conv2d, (6, 5), {"kernel_size": 3, "padding": 1}),
    (nn.Conv2d, (6, 8), {"kernel_size": 3, "padding": 1, "stride": 2}),
    (nn.Conv2d, (6, 8), {"kernel_size": (3, 5), "padding": (1, 2), "stride": (1, 2), "groups": 2}),
    (nn.Conv2d, (5, 5), {"kernel_size": 5, "padding": 2}),
    (nn.Conv3d, (4, 3, 2), {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)}),
]


@pytest.mark.parametrize(("kind", "size", "options"), CIRCULAR)
def test_circular_layers_have_the_spectrum_of_their_matrix(kind, size, options):
    torch.manual_seed(0)
    conv = kind(4, 6, padding_mode="circular", dtype=torch.float64, **options)
    expected = torch.linalg.svdvals(matrix_of(conv, size))
    found = convolution_spectrum(conv, size)
    assert found.values.shape == expected.shape
    assert torch.allclose(found.values, expected, rtol=0, atol=1e-13 * expected[0])
    own = convolution_spectrum(conv, size, boundary="own")
    assert torch.allclose(own.values, expected, rtol=0, atol=1e-13 * expected[0])


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_zero_padding_is_below_the_circular_operator_on_a_larger_grid(padding, dilation):
    torch.manual_seed(1)
    conv = nn.Conv2d(2, 3, 3, padding=padding, dilation=dilation, dtype=torch.float64)
    own = convolution_spectrum(conv, (6, 5), boundary="own").values
    bound = convolution_spectrum(conv, (6, 5), boundary="bound").values
    assert (own <= bound[: len(own)] * (1 + 1e-12)).all()
    larger = (6 + 2 * dilation, 5 + 2 * dilation)
    assert torch.equal(bound, convolution_spectrum(conv, larger).values)
    if padding > 0 and dilation == 1:  # and it is a bound that is worth something
        assert bound[0] < 1.5 * own[0]


def test_zero_padding_comes_close_to_circular_on_large_grids():
    torch.manual_seed(2)
    conv = nn.Conv1d(1, 1, 3, padding=1, dtype=torch.float64)

    def distance(n):
        own = convolution_spectrum(conv, n, boundary="own").values
        return (own - convolution_spectrum(conv, n).values).abs().mean() / own[0]

    assert distance(128) < distance(8) / 4


def test_a_transposed_convolution_has_the_spectrum_of_the_one_it_transposes():
    torch.manual_seed(3)
    conv = nn.Conv1d(4, 6, 4, stride=2, padding=1, bias=False, dtype=torch.float64)
    back = nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1, bias=False, dtype=torch.float64)
    back.weight = conv.weight
    # conv maps 8 positions to 4, and back maps 4 to 8
    own = convolution_spectrum(conv, 8, boundary="own").values
    assert torch.allclose(convolution_spectrum(back, 4, boundary="own").values, own, atol=1e-13)
    assert torch.allclose(
        convolution_spectrum(back, 4).values, convolution_spectrum(conv, 8).values, atol=1e-13
    )


def test_kernels_larger_than_the_grid_wrap_around():
    conv = nn.Conv1d(1, 1, 5, dtype=torch.float64)
    conv.weight.data = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]], dtype=torch.float64)
    folded = torch.tensor([1.0 + 4.0, 2.0 + 5.0, 3.0], dtype=torch.float64)
    expected = torch.fft.fft(folded).abs().sort(descending=True).values
    assert torch.allclose(convolution_spectrum(conv, 3).values, expected)


def test_single_and_half_precision():
    torch.manual_seed(4)
    conv = nn.Conv2d(3, 4, 3)
    exact = convolution_spectrum(nn.Conv2d(3, 4, 3).double().requires_grad_(False), 6)
    assert exact.values.dtype == torch.float64
    assert convolution_spectrum(conv, 6).values.dtype == torch.float32
    assert convolution_spectrum(conv.to(torch.bfloat16), 6).values.dtype == torch.float32


@pytest.mark.parametrize(
    ("conv", "size", "options", "message"),
    [
        (nn.Conv2d(1, 1, 3), (5,), {}, "input_size must be a tuple of 2 integers ≥ 1"),
        (nn.Conv2d(1, 1, 3), 0, {}, "input_size must be a tuple of 2 integers ≥ 1"),
        (nn.Conv1d(1, 1, 3), 4, {"boundary": "zero"}, "boundary must be 'circular', 'bound' or 'own'"),
        (nn.Conv1d(1, 1, 3, stride=2), 5, {}, "must be a multiple of the stride"),
        (nn.Conv1d(1, 1, 3, stride=2), 6, {"boundary": "bound"}, "needs stride 1"),
        (nn.Conv1d(1, 1, 7), 4, {"boundary": "own"}, "does not fit the layer"),
        (nn.Conv2d(64, 64, 3), 64, {"boundary": "own"}, "dense operator"),
    ],
)
def test_refusals(conv, size, options, message):
    with pytest.raises(ValueError, match=message):
        convolution_spectrum(conv, size, **options)


def test_other_layers_and_broken_kernels_are_refused():
    with pytest.raises(TypeError, match="got Linear"):
        convolution_spectrum(nn.Linear(2, 2), 4)
    conv = nn.Conv1d(1, 1, 3)
    conv.weight.data[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"conv\.weight"):
        convolution_spectrum(conv, 4)
