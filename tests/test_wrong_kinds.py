"""Every number and flag of every public function: of the wrong kind, a TypeError names the argument."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import nn

import overt
from overt import completion, features, measures, models, optim, penalties, problems, training

X = torch.zeros(4, 3)
TABLE = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).numpy()


def layer() -> nn.Module:
    return nn.Linear(3, 3)


def instance() -> problems.CompletionProblem:
    return problems.matrix_completion((6, 5), rank=1, n_observed=20, seed=0)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD(layer().parameters(), lr=0.1)


def decay(net: nn.Module, **more: object) -> torch.optim.Optimizer:
    return optim.SpectralDecay(torch.optim.SGD(net.parameters(), lr=0.1), net, **more)


IMAGES = problems.ImageSet(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long))
FIT = completion.irls(instance())

# What each public name needs to be called at all; its other arguments are those that have a default.
CALLS = {
    overt.measure: lambda **more: overt.measure(layer(), X, **more),
    overt.compress: lambda **more: overt.compress(layer(), **(more or {"energy": 0.9})),
    overt.infer_penalty: lambda **more: overt.infer_penalty(instance().truth, instance(), **more),
    overt.reweighted: lambda **more: overt.reweighted(lambda Z, y: layer(), X, X, **more),
    features.reweighting_exponent: lambda **more: features.reweighting_exponent(**({"depth": 2} | more)),
    features.reweighting_root: lambda **more: features.reweighting_root(
        torch.eye(3), **({"alpha": 0.5} | more)
    ),
    overt.train: lambda **more: overt.train(
        overt.DeepLinear((5, 6), seed=0, dtype=torch.float64), instance(), **({"max_steps": 1} | more)
    ),
    overt.DeepLinear: lambda **more: overt.DeepLinear((5, 6), **more),
    overt.DeepDiagonal: lambda **more: overt.DeepDiagonal(5, **({"depth": 2} | more)),
    overt.DeepCircularConvolution: lambda **more: overt.DeepCircularConvolution(5, **({"depth": 2} | more)),
    models.CPTensor: lambda **more: models.CPTensor((3, 4, 5), **({"components": 2} | more)),
    overt.SpectralPenalty: lambda **more: overt.SpectralPenalty(layer(), **more),
    overt.JacobianPenalty: lambda **more: overt.JacobianPenalty(layer(), **more),
    overt.VectorPenalty: lambda **more: overt.VectorPenalty(overt.DeepDiagonal(5, depth=2), **more),
    overt.CompositionPenalty: lambda **more: overt.CompositionPenalty([layer(), layer()], **more),
    penalties.truncate_adapters: lambda **more: penalties.truncate_adapters(layer(), **more),
    optim.SpectralDecay: lambda **more: decay(layer(), **more),
    overt.SpectrumTracker: lambda **more: overt.SpectrumTracker(layer(), **more),
    measures.activation_spectra: lambda **more: measures.activation_spectra(layer(), X, **more),
    measures.product_spectra: lambda **more: measures.product_spectra(layer(), **more),
    measures.data_spectrum: lambda **more: measures.data_spectrum(torch.randn(5, 3), **more),
    measures.PointwiseSpectrum: lambda **more: measures.PointwiseSpectrum(X + 1, **more),
    measures.effective_parameters: lambda **more: measures.effective_parameters(
        layer(), lambda model: 1.0, **more
    ),
    training.Stopping: lambda **more: training.Stopping(**more),
    training.Recording: lambda **more: training.Recording(**more),
    training.Warmup: lambda **more: training.Warmup(**more),
    training.HoldUntilCollapse: lambda **more: training.HoldUntilCollapse(**more),
    training.HoldReleaseRefit: lambda **more: training.HoldReleaseRefit(
        overt.SpectralPenalty(layer()), optimizer(), **more
    ),
    completion.irls: lambda **more: completion.irls(instance(), **more),
    completion.explicit: lambda **more: completion.explicit(instance(), **more),
    completion.refit: lambda **more: completion.refit(instance(), FIT, **more),
    completion.soft_impute: lambda **more: completion.soft_impute(instance(), **more),
    completion.nuclear_norm_minimization: lambda **more: completion.nuclear_norm_minimization(
        instance(), **more
    ),
    problems.matrix_completion: lambda **more: problems.matrix_completion(
        (6, 5), **({"rank": 1, "n_observed": 20, "seed": 0} | more)
    ),
    problems.matrix_sensing: lambda **more: problems.matrix_sensing(
        (4, 3), **({"rank": 1, "n_measurements": 9, "seed": 0} | more)
    ),
    problems.linear_regression: lambda **more: problems.linear_regression(
        8, **({"n_samples": 5, "seed": 0} | more)
    ),
    features.RFMRegressor: lambda **more: features.RFMRegressor(**more).fit(TABLE, TABLE[:, 0]),
    features.RFMClassifier: lambda **more: features.RFMClassifier(**more).fit(TABLE, TABLE[:, 0] > 0),
    problems.staircase: lambda **more: problems.staircase(**({"dim": 8, "n_samples": 5, "seed": 0} | more)),
    problems.parity: lambda **more: problems.parity(**({"dim": 8, "n_samples": 5, "seed": 0} | more)),
    problems.multi_index: lambda **more: problems.multi_index(
        **({"dim": 8, "n_samples": 5, "seed": 0} | more)
    ),
    problems.additive: lambda **more: problems.additive(**({"dim": 8, "n_samples": 5, "seed": 0} | more)),
    problems.noisy_digits: lambda **more: problems.noisy_digits(**({"n_samples": 5, "seed": 0} | more)),
    completion.certificate: lambda **more: completion.certificate(instance(), FIT, **more),
    completion.explicit_run: lambda **more: completion.explicit_run(instance(), **more),
    problems.tensor_completion: lambda **more: problems.tensor_completion(
        (3, 4, 5), **({"rank": 1, "n_observed": 20, "seed": 0} | more)
    ),
    problems.image_classification: lambda **more: problems.image_classification(
        "nowhere", **({"n_train": 5, "n_validation": 5, "seed": 0} | more)
    ),
    problems.permute_pixels: lambda **more: problems.permute_pixels(IMAGES, **more),
    problems.scramble_phases: lambda **more: problems.scramble_phases(IMAGES, **more),
    problems.movielens_100k: lambda **more: problems.movielens_100k("random", **({"seed": 0} | more)),
    problems.fit_offsets: lambda **more: problems.fit_offsets(instance(), **more),
    problems.psnr: lambda **more: problems.psnr(X, X + 1, **more),
    training.gradient_flow: lambda **more: training.gradient_flow(
        overt.DeepLinear((5, 6), seed=0, dtype=torch.float64), instance(), 0.1, **more
    ),
    training.singular_value_velocity: lambda **more: training.singular_value_velocity(
        torch.randn(3, 3), torch.randn(3, 3), **({"depth": 2} | more)
    ),
    training.log_spaced: lambda **more: training.log_spaced(**({"max_steps": 10} | more)),
    training.make_optimizer: lambda **more: training.make_optimizer("adam", [nn.Parameter(X)], **more),
    measures.compare: lambda **more: measures.compare(overt.measure(layer(), X, "identity"), X, **more),
    penalties.Penalty: lambda **more: penalties.Penalty(layer(), **({"weight": 1.0} | more)),
    problems.CompletionProblem: lambda **more: problems.CompletionProblem(
        torch.arange(3), torch.arange(3), torch.ones(3), (3, 3), **more
    ),
    problems.SensingProblem: lambda **more: problems.SensingProblem(X, torch.ones(4), (3, 1), **more),
    problems.RegressionProblem: lambda **more: problems.RegressionProblem(X, torch.ones(4), **more),
    problems.TensorCompletionProblem: lambda **more: problems.TensorCompletionProblem(
        torch.arange(3).repeat(3, 1).T, torch.ones(3), (3, 3, 3), **more
    ),
    training.Constant: lambda **more: training.Constant(**more),
    training.GroupRMSprop: lambda **more: training.GroupRMSprop([nn.Parameter(X)], **more),
    problems.photograph: lambda **more: problems.photograph(**({"kept": 0.5, "seed": 0} | more)),
}


PLAIN = {"int", "float", "bool", "None"}


def numbers_and_flags():
    """Pairs of a public callable and one of its arguments that is annotated as a number or a flag."""
    for call in CALLS:
        for name, parameter in inspect.signature(call).parameters.items():
            kinds = {part.strip() for part in str(parameter.annotation).split("|")}
            if kinds & {"int", "float", "bool"} and kinds <= PLAIN:
                yield pytest.param(call, name, "bool" in kinds, id=f"{call.__name__}-{name}")


@pytest.mark.parametrize(("call", "name", "flag"), list(numbers_and_flags()))
def test_the_wrong_kind_is_a_type_error_that_names_the_argument(call, name, flag):
    for value in ("no", [1.0], object(), *((0, 1.0) if flag else (True, 1j))):
        with pytest.raises(TypeError) as caught:
            CALLS[call](**{name: value})
        assert name in str(caught.value).splitlines()[0], caught.value


@pytest.mark.parametrize(("call", "name", "flag"), [p for p in numbers_and_flags() if not p.values[2]])
def test_no_number_is_a_value_error_that_names_the_argument(call, name, flag):
    with pytest.raises((TypeError, ValueError)) as caught:
        CALLS[call](**{name: math.nan})
    assert name in str(caught.value).splitlines()[0], caught.value


WITH_DTYPE = [call for call in CALLS if "dtype" in inspect.signature(call).parameters]


@pytest.mark.parametrize("call", WITH_DTYPE, ids=lambda call: call.__name__)
def test_what_is_no_floating_point_dtype_is_refused_by_name(call):
    for value in ("float64", float, 64, torch.int64, torch.bool, torch.complex64):
        with pytest.raises((TypeError, ValueError)) as caught:
            CALLS[call](dtype=value)
        assert "dtype" in str(caught.value).splitlines()[0], caught.value


# Results and records that users receive and do not make, and estimators, which check when they are fitted.
RECEIVED = (
    {"Certificate", "Completion", "ExplicitRun", "Comparison", "CompressionReport", "EffectiveParameters"}
    | {"InferredPenalty", "LayerParameters", "Stationarity", "Spectrum", "Flow", "State"}
    | {"LayerReport", "ParameterReport", "SpectralReport", "JacobianReport", "CompositionReport"}
    | {
        "MatrixCompletion",
        "MatrixSensing",
        "DataUnavailableError",
        "TrainResult",
        "Trace",
        "ImageSet",
        "ImageSplit",
        "Offsets",
        "Reweighted",
        "StructuredProblem",
        "Round",
    }
)


def test_every_public_name_with_numbers_is_tried():
    tried = {call.__name__ for call in CALLS} | RECEIVED
    missing = set()
    for room in (completion, features, measures, models, optim, penalties, problems, training):
        for name in room.__all__:
            public = getattr(room, name)
            if not callable(public) or name in tried:
                continue
            for parameter in inspect.signature(public).parameters.values():
                kinds = {part.strip() for part in str(parameter.annotation).split("|")}
                if kinds & {"int", "float", "bool"} and kinds <= PLAIN:
                    missing.add(f"{name}({parameter.name})")
    assert sorted(missing) == []
