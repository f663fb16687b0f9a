"""Sketches: unbiased where they say so, their errors covered, and the bias of eigenvalues corrected."""

from __future__ import annotations

import pytest
import torch
from measured_models import DOUBLE, cnn, drawn, gaussian, mlp
from torch import nn

from overt.measures import measure

Z = 1.96
REPETITIONS = 200


def separated(n_in=8, n_out=24):
    """A network whose measure has eigenvalues apart from one another, and more outputs than probes."""
    model = drawn(nn.Sequential(nn.Linear(n_in, 20), nn.Tanh(), nn.Linear(20, n_out)))
    with torch.no_grad():
        model[0].weight.mul_(torch.logspace(0.5, -1.5, n_in, dtype=DOUBLE))
        model[0].bias.zero_()
    return model


MODEL = separated()
POPULATION = gaussian(4_000, 8, seed=7)


@pytest.fixture(scope="module")
def of_all_data():
    return {basis: measure(MODEL, POPULATION, basis).values for basis in ("fourier", "eigen")}


def sample(seed, n):
    return POPULATION[torch.randint(len(POPULATION), (n,), generator=torch.Generator().manual_seed(seed))]


def repeated(basis, errors_over, n=64, probes=4):
    for seed in range(REPETITIONS):
        x = sample(seed, n) if errors_over == "data" else POPULATION[:n]
        yield measure(MODEL, x, basis, "sketch", probes=probes, errors_over=errors_over, seed=seed)


def coverage(spectra, truth, k):
    hits = [(s.values[:k] - truth[:k]).abs() <= Z * s.stderr[:k] for s in spectra]
    return torch.stack(hits).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("errors_over", ["data", "probes"])
def test_errors_in_a_fixed_basis_cover(of_all_data, errors_over):
    truth = (
        of_all_data["fourier"] if errors_over == "data" else measure(MODEL, POPULATION[:64], "fourier").values
    )
    spectra = list(repeated("fourier", errors_over))
    assert {s.covers for s in spectra} == {"data and probes" if errors_over == "data" else "probes"}
    assert 0.90 <= coverage(spectra, truth, len(truth)) <= 0.98


@pytest.mark.slow
def test_errors_of_probes_alone_do_not_cover_the_data(of_all_data):
    """What an error speaks of matters: here it is too small by the spread of the data."""
    spectra = [
        measure(MODEL, sample(seed, 64), "fourier", "sketch", probes=64, outputs=lambda y: y.repeat(1, 3))
        for seed in range(40)
    ]
    assert coverage(spectra, 3**0.5 * of_all_data["fourier"], 8) > 0.8
    spectra = [
        measure(
            MODEL,
            sample(seed, 64),
            "fourier",
            "sketch",
            probes=64,
            outputs=lambda y: y.repeat(1, 3),
            errors_over="probes",
        )
        for seed in range(40)
    ]
    assert coverage(spectra, 3**0.5 * of_all_data["fourier"], 8) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("errors_over", ["data", "probes"])
def test_errors_of_leading_eigenvalues_cover(of_all_data, errors_over):
    truth = of_all_data["eigen"] if errors_over == "data" else measure(MODEL, POPULATION[:64]).values
    assert 0.90 <= coverage(list(repeated("eigen", errors_over)), truth, 3) <= 0.98


@pytest.mark.slow
def test_squares_in_a_fixed_basis_have_no_bias():
    x = POPULATION[:16]
    truth = measure(MODEL, x, "fourier").values.square()
    sketches = [measure(MODEL, x, "fourier", "sketch", probes=4, seed=seed) for seed in range(300)]
    squares = torch.stack([sketch.values.square() for sketch in sketches])
    error = squares.std(0) / 300**0.5
    assert ((squares.mean(0) - truth) / error).abs().max() < 4
    assert (error / truth).max() < 0.02  # so that the test sees a bias of 8 %


@pytest.mark.slow
def test_the_bias_of_eigenvalues_is_corrected_and_bounded():
    """Few draws in many dimensions: the raw spectrum is too spread, the cross-fitted one too flat.

    Compared with vᵀM̂v for the true eigenvectors v, which is unbiased and moves with the sample.
    """
    model = separated(32, 40)
    data = gaussian(4000, 32, seed=3)
    whole = measure(model, data)
    vectors = whole.factor[:4] / whole.values[:4, None]
    found = {"values": [], "lower": [], "upper": []}
    traces = []
    for seed in range(150):
        x = data[torch.randint(len(data), (16,), generator=torch.Generator().manual_seed(seed))]
        s = measure(model, x, method="sketch", probes=2, seed=seed)
        unbiased = (s.factor @ vectors.T).square().sum(0)
        for name, parts in found.items():
            parts.append((getattr(s, name)[:4].square() - unbiased) / whole.values[:4].square())
        traces.append(s.trace)
    bias = {name: torch.stack(parts).mean(0) for name, parts in found.items()}
    for k in range(1, 5):
        weights = whole.values[:k].square()
        assert bias["lower"][:k] @ weights < 0 < bias["upper"][:k] @ weights
    assert bias["upper"][0] > 0.05
    assert abs(bias["values"][0]) < 0.25 * bias["upper"][0]
    assert abs(bias["values"][0]) < 0.25 * abs(bias["lower"][0])
    assert sum(traces) / 150 == pytest.approx(whole.trace, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_bounds_hold_in_a_crowd_of_eigenvalues(k):
    """M = I: sums of the first k squares, in the order of the bounds themselves, not of the values."""
    W = torch.linalg.qr(gaussian(40, 20))[0]
    lower, upper, total = [], [], []
    for seed in range(150):
        s = measure(lambda z: z @ W.T, gaussian(8, 20), method="sketch", probes=4, seed=seed)
        lower.append(s.lower[:k].square().sum())
        upper.append(s.upper[:k].square().sum())
        total.append(s.values.square().sum())
        assert bool((s.upper.diff() <= 1e-12).all())
    error = torch.stack(lower).std() / 150**0.5
    assert torch.stack(lower).mean() < k + 2 * error
    assert error < 0.1 * k
    assert torch.stack(upper).mean() > 1.2 * k


def test_the_factor_of_a_half_precision_model_is_kept_in_float32():
    model, x = mlp(dtype=torch.bfloat16, n_out=30), gaussian(8, 6, dtype=torch.bfloat16)
    s = measure(model, x, method="sketch", probes=4)
    assert s.factor.dtype == torch.float32
    assert torch.allclose(s.factor.norm(dim=1), s.upper, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("errors_over", ["data", "probes"])
def test_the_trace_of_the_square_has_no_bias(errors_over):
    """On a map with orthonormal columns, M = I, where its spread is small."""
    W = torch.linalg.qr(gaussian(24, 8))[0]
    sketches = [
        measure(
            lambda z: z @ W.T, gaussian(3, 8), "eigen", "sketch", probes=2, errors_over=errors_over, seed=seed
        )
        for seed in range(REPETITIONS)
    ]
    found = torch.tensor([s.trace_squared for s in sketches], dtype=DOUBLE)
    error = found.std() / REPETITIONS**0.5
    assert abs(found.mean() - 8) < 4 * error
    assert error < 0.07 * 8  # so that the test sees the third that dependent pairs would add


@pytest.mark.slow
@pytest.mark.parametrize("basis", ["fourier", "eigen"])
def test_the_error_falls_with_the_root_of_the_number_of_probes(basis):
    x = POPULATION[:8]
    truth = measure(MODEL, x, basis).values
    errors = []
    for probes in (2, 18):
        runs = [
            measure(MODEL, x, basis, "sketch", probes=probes, seed=s, errors_over="probes").values[:3]
            - truth[:3]
            for s in range(60)
        ]
        errors.append(torch.stack(runs).square().mean().sqrt())
    assert 2.2 < errors[0] / errors[1] < 4.2  # 3 where it is the root


def test_no_more_outputs_than_probes_means_all_outputs():
    model, x = mlp(), gaussian(6, 6)
    for basis in ("fourier", "identity"):
        exact, sketch = measure(model, x, basis), measure(model, x, basis, "sketch", probes=3)
        assert torch.allclose(sketch.values, exact.values, rtol=1e-12)
        assert torch.allclose(sketch.stderr, exact.stderr, rtol=1e-9)
        assert (sketch.covers, sketch.n_probes) == ("data", 0)
    given = measure(model, x, method="sketch", errors_over="probes")
    assert torch.allclose(given.values, measure(model, x).values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("basis", ["fourier", "eigen"])
def test_one_input_has_errors_over_probes_only(basis):
    found = measure(MODEL, POPULATION[:1], basis, "sketch", probes=8)
    assert found.covers == "probes"
    assert found.stderr is not None
    single = measure(MODEL, POPULATION[:1], basis, "sketch", probes=1)
    assert single.stderr is None


@pytest.mark.parametrize("basis", ["fourier", "eigen"])
def test_a_seed_gives_the_same_sketch_again(basis):
    first, again, other = (
        measure(MODEL, POPULATION[:8], basis, "sketch", probes=3, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
    assert first.n_probes == 3


def test_few_and_many_draws_take_both_sides_of_the_cross_fit():
    """With fewer rows than columns the Gram matrix is used, with more the matrix of the columns."""
    from overt.measures.methods.cross_fit import cross_fit

    folds = [gaussian(6, 9, seed=s) for s in range(4)]
    wide = cross_fit(folds, [0.25] * 4)
    padded = cross_fit([torch.cat([f, f.new_zeros(6, 40)], 1) for f in folds], [0.25] * 4)
    assert torch.allclose(wide.upper, padded.upper, rtol=1e-10)
    assert torch.allclose(wide.lower[:9], padded.lower[:9], rtol=1e-8)
    M = sum(0.25 * f.T @ f for f in folds)
    assert torch.allclose(wide.upper, torch.linalg.eigvalsh(M).flip(0), rtol=1e-10)
    assert torch.allclose(wide.vectors.T @ (wide.upper[:, None] * wide.vectors), M, atol=1e-10)


def test_rows_beyond_the_budget_are_dropped_within_a_bound():
    model, x = cnn(classes=40), gaussian(30, 2, 8, 8)
    full = measure(model, x, method="sketch", probes=8)
    tight = measure(model, list(x.split(2)), method="sketch", probes=8, memory_budget=80_000)
    exact = measure(model, x)
    assert tight.trace == pytest.approx(full.trace, rel=0.2)
    assert tight.trace_squared is None
    assert tight.stderr is None
    assert tight.upper[0] >= 0.9 * exact.values[0]


def test_float32_is_returned_for_float32():
    model, x = mlp(dtype=torch.float32), gaussian(4, 6, dtype=torch.float32)
    for basis in ("eigen", "fourier"):
        for method in ("exact", "sketch"):
            found = measure(model, x, basis, method, probes=2)
            assert found.values.dtype == torch.float32
            assert found.stderr is None or found.stderr.dtype == torch.float32
