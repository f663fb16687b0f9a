"""Arguments and models that are refused, in words."""

from __future__ import annotations

import pytest
import torch
from measured_models import drawn, gaussian, mlp
from torch import nn

from overt.measures import data_spectrum, measure

WRONG = {
    "tuple": ((gaussian(2, 3), torch.zeros(2)), {}, TypeError, "got a tuple"),
    "dictionary": ({"x": gaussian(2, 3)}, {}, TypeError, "got dict"),
    "vector": (gaussian(3), {}, ValueError, r"a batch \(n, \*shape\)"),
    "empty": (gaussian(0, 3), {}, ValueError, "not empty"),
    "no batch": ([], {}, ValueError, "there is no batch"),
    "NaN": (gaussian(2, 3) * torch.nan, {}, ValueError, "NaN or infinite"),
    "two shapes": ([gaussian(2, 3), gaussian(2, 4)], {}, ValueError, r"shape \(4,\), the first \(3,\)"),
    "complex": (gaussian(2, 3).to(torch.complex128), {}, TypeError, "complex inputs are not supported"),
    "batch of dictionaries": ([{"x": 1}], {}, TypeError, "picks the inputs"),
    "method": (
        gaussian(2, 3),
        {"method": "fast"},
        ValueError,
        "method: expected one of exact, sketch, lanczos",
    ),
    "lanczos in Fourier": (
        gaussian(2, 3),
        {"method": "lanczos", "basis": "fourier"},
        ValueError,
        "finds eigenvalues",
    ),
    "basis": (gaussian(2, 3), {"basis": "wavelet"}, ValueError, "basis: expected one of identity"),
    "probes": (
        gaussian(2, 3),
        {"method": "sketch", "probes": 0},
        ValueError,
        "probes: expected a whole number",
    ),
    "errors": (gaussian(2, 3), {"errors_over": "both"}, ValueError, "'data' or 'probes'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused_in_words(name):
    inputs, options, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        measure(mlp(n_in=3), inputs, **options)


def test_models_without_a_jacobian_are_refused_in_words():
    x = gaussian(3, 4)
    for model, error, message in (
        (3, TypeError, "model: expected a torch.nn.Module or a function"),
        (lambda z: z.detach(), ValueError, "do not depend on the inputs"),
        (lambda z: z.argmax(1), TypeError, "real floating-point outputs"),
        (lambda z: z.sum(), ValueError, "one output for each of the 2 inputs"),
        (lambda z: (z, z), TypeError, "pick the tensor"),
    ):
        with pytest.raises(error, match=message):
            measure(model, x)


LANCZOS = {"method": "lanczos", "k": 1}
WRONG_NUMBERS = {
    "negative tolerance": (
        LANCZOS | {"tolerance": -1},
        ValueError,
        r"tolerance: expected a number in \[0, 1\)",
    ),
    "tolerance in letters": (LANCZOS | {"tolerance": "a"}, ValueError, "tolerance: expected a number"),
    "seed in letters": ({"seed": "a", "method": "sketch"}, ValueError, "seed: expected a whole number"),
    "seed that is no whole number": ({"seed": 1.5}, ValueError, "seed: expected a whole number"),
    "dims as a number": ({"dims": 1, "basis": "dct"}, TypeError, "dims: expected a sequence"),
    "dims in letters": ({"dims": ["a"], "basis": "dct"}, TypeError, "dims: expected a sequence"),
    "dims of the eigenbasis": ({"dims": [0]}, ValueError, "dims: the eigenbasis has no dimensions"),
    "dims for Lanczos": (LANCZOS | {"dims": [0]}, ValueError, "dims: the eigenbasis has no dimensions"),
}


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_wrong_numbers_are_refused_in_words(name):
    options, error, message = WRONG_NUMBERS[name]
    with pytest.raises(error, match=message):
        measure(mlp(n_in=3), gaussian(2, 3), **options)


def test_the_spectrum_of_data_and_other_bases_check_their_dimensions():
    x = gaussian(3, 4, 4)
    spectrum = data_spectrum(x)
    for call in (data_spectrum, lambda _, basis, dims: spectrum.in_basis(basis, dims=dims)):
        with pytest.raises(ValueError, match="dims: the eigenbasis has no dimensions"):
            call(x, "eigen", dims=[0])
        with pytest.raises(TypeError, match="dims: expected a sequence"):
            call(x, "dct", dims=0)


def test_a_forward_pass_that_fails_is_told_with_its_inputs():
    embedding = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)).double()
    for model, x, message in (
        (
            mlp(n_in=3),
            gaussian(2, 3).float(),
            r"shape \(n, 3\) and torch\.float32 .*its parameters are of torch\.float64: convert the inputs",
        ),
        (mlp(n_in=3, dtype=torch.bfloat16), gaussian(2, 3).float(), r"are of torch\.bfloat16: convert"),
        (mlp(n_in=3), gaussian(2, 4), r"shape \(n, 4\) and torch\.float64 \(RuntimeError: mat1 and mat2"),
        (embedding, gaussian(2, 3), r"forward=lambda model, e: model\(inputs_embeds=e\)"),
        (lambda z: z[:, [7]], gaussian(2, 3), r"shape \(n, 3\) .*IndexError"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            measure(model, x)
        assert caught.value.__cause__ is not None


def test_inputs_that_depend_on_one_another_are_found_in_a_later_batch():
    class Centring(nn.Module):
        def forward(self, x):
            return x - x.mean(0) if len(x) > 1 else 2 * x

    x = gaussian(5, 3)
    for options in ({}, {"basis": "fourier"}, {"method": "sketch", "probes": 2}, {"method": "lanczos"}):
        with pytest.raises(ValueError, match="depends on the other inputs of its batch"):
            measure(Centring(), [x[:1], x[1:2], x[2:]], **options)
    alone = measure(drawn(nn.Linear(3, 2)), [x[:1], x[1:]]).values
    assert torch.allclose(alone, measure(drawn(nn.Linear(3, 2)), x).values)
