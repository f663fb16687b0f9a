"""Arguments and models that are refused, in words."""

from __future__ import annotations

import pytest
import torch
from measured_models import drawn, gaussian, mlp
from torch import nn

from overt.measures import (
    PointwiseSpectrum,
    Spectrum,
    SpectrumTracker,
    activation_spectra,
    compress,
    data_spectrum,
    effective_parameters,
    infer_penalty,
    measure,
    weight_spectra,
)
from overt.problems import linear_regression

WRONG = {
    "tuple": ((gaussian(2, 3), torch.zeros(2)), {}, TypeError, "inputs must not be a tuple"),
    "empty dictionary": ({}, {}, TypeError, "a dict whose first entry is one"),
    "dictionary of numbers": ({"x": 1}, {}, TypeError, "a dict whose first entry is one"),
    "vector": (gaussian(3), {}, ValueError, r"a batch \(n, …\)"),
    "empty": (gaussian(0, 3), {}, ValueError, "not empty"),
    "no batch": ([], {}, ValueError, "there is no batch"),
    "NaN": (gaussian(2, 3) * torch.nan, {}, ValueError, "NaN or infinite"),
    "two shapes": ([gaussian(2, 3), gaussian(2, 4)], {}, ValueError, r"shape \(4,\), the first \(3,\)"),
    "complex": (gaussian(2, 3).to(torch.complex128), {}, TypeError, "complex inputs are not supported"),
    "batch of dictionaries": ([{"x": 1}], {}, TypeError, "a dict whose first entry is one"),
    "method": (
        gaussian(2, 3),
        {"method": "fast"},
        ValueError,
        "method must be 'exact', 'sketch' or 'lanczos', got 'fast'",
    ),
    "lanczos in Fourier": (
        gaussian(2, 3),
        {"method": "lanczos", "basis": "fourier"},
        ValueError,
        "finds eigenvalues",
    ),
    "basis": (
        gaussian(2, 3),
        {"basis": "wavelet"},
        ValueError,
        "basis must be 'identity', 'fourier', 'dct', 'haar' or, for measures and penalties, 'eigen'",
    ),
    "probes": (
        gaussian(2, 3),
        {"method": "sketch", "probes": 0},
        ValueError,
        "probes must be an integer ≥ 1, got 0",
    ),
    "errors": (gaussian(2, 3), {"errors_over": "both"}, ValueError, "errors_over must be 'data' or 'probes'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused_in_words(name):
    inputs, options, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        measure(mlp(n_in=3), inputs, **options)


def test_models_without_a_jacobian_are_refused_in_words():
    x = gaussian(3, 4)
    for model, error, message in (
        (3, TypeError, "model must be callable, got 3; give a torch.nn.Module or a function"),
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
        r"tolerance must be a number in \[0, 1\)",
    ),
    "tolerance in letters": (LANCZOS | {"tolerance": "a"}, TypeError, "tolerance must be a number"),
    "seed in letters": ({"seed": "a", "method": "sketch"}, TypeError, "seed must be an integer"),
    "seed that is no whole number": ({"seed": 1.5}, TypeError, "seed must be an integer"),
    "half a probe": ({"probes": 1.5}, TypeError, "probes must be an integer ≥ 1, got 1.5"),
    "no sample": ({"max_samples": 0}, ValueError, "max_samples must be an integer ≥ 1, got 0; None is fine"),
    "dims as a number": ({"dims": 1, "basis": "dct"}, TypeError, "dims must be a sequence"),
    "dims in letters": ({"dims": ["a"], "basis": "dct"}, TypeError, "dims must be a sequence"),
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
        with pytest.raises(TypeError, match="dims must be a sequence"):
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


REGRESSION = linear_regression(6, n_samples=3, seed=0)
WRONG_KINDS = {
    "max_samples": lambda: data_spectrum(gaussian(2, 3), max_samples=1.5),
    "memory_budget": lambda: measure(mlp(n_in=3), gaussian(2, 3), memory_budget="1 GB"),
    "rtol": lambda: PointwiseSpectrum(torch.ones(2, 2), rtol="small"),
    "layers": lambda: activation_spectra(mlp(n_in=3), gaussian(2, 3), layers=1),
    "forward": lambda: activation_spectra(mlp(n_in=3), gaussian(2, 3), forward=1),
    "stderr": lambda: Spectrum(torch.ones(2), stderr=[1.0, 1.0]),
    "energy": lambda: compress(mlp(), energy="all"),
    "ranks": lambda: compress(mlp(), ranks=1.5),
    "max_evaluations": lambda: compress(mlp(), tolerance=0.1, evaluate=len, max_evaluations=1.5),
    "tolerance": lambda: effective_parameters(mlp(), lambda _: 1.0, tolerance=True),
    "evaluate": lambda: effective_parameters(mlp(), "accuracy"),
    "the result of evaluate": lambda: effective_parameters(mlp(), lambda _: "good"),
    "exponents": lambda: infer_penalty(torch.ones(6), REGRESSION, exponents=1.0),
    "each of pairs": lambda: infer_penalty(torch.ones(6), REGRESSION, pairs=(1.0, 2.0)),
    "references": lambda: infer_penalty(torch.ones(6), REGRESSION, references=1.5),
    "seed": lambda: infer_penalty(torch.ones(6), REGRESSION, seed=None),
    "extra": lambda: infer_penalty(torch.ones(6), REGRESSION, extra=[len]),
    r"extra\['mine'\] must be call": lambda: infer_penalty(torch.ones(6), REGRESSION, extra={"mine": 2.0}),
    r"extra\['mine'\] must be a diff": lambda: infer_penalty(torch.ones(6), REGRESSION, extra={"mine": len}),
    "input_sizes": lambda: weight_spectra(mlp(), input_sizes=5),
    "per_decade": lambda: SpectrumTracker(per_decade=1.5),
    "leading": lambda: SpectrumTracker(leading=True),
    "budget": lambda: SpectrumTracker(budget="5 %"),
    "options": lambda: SpectrumTracker(options=["basis"]),
    "on_record": lambda: SpectrumTracker(on_record=1),
    "clock": lambda: SpectrumTracker(clock=0.0),
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_what_is_of_the_wrong_kind_is_a_type_error_that_names_the_argument(name):
    with pytest.raises(TypeError, match=f"^{name}"):
        WRONG_KINDS[name]()


OUT_OF_RANGE = {
    "inputs: there is no batch": lambda: data_spectrum([]),
    "inputs: there is no batch; give": lambda: measure(mlp(n_in=3), gaussian(2, 3)).compare([]),
    r"factor must be a matrix \(r, D\)": lambda: Spectrum(torch.ones(2), factor=torch.ones(3)),
    "boundary must be 'circular'": lambda: weight_spectra(mlp(), boundary="zero"),
    "ranks: 0 cannot be factored: there is no such layer": lambda: compress(mlp(), ranks={0: 1}),
    r"ranks\['0'\] must be an integer ≥ 1": lambda: compress(mlp(), ranks={"0": 0}),
}


@pytest.mark.parametrize("message", OUT_OF_RANGE)
def test_what_is_out_of_range_is_a_value_error_that_names_the_argument(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        OUT_OF_RANGE[message]()
