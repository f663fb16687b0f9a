"""Supervised problems with structure: targets, the directions that matter, scales, seeds, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from overt.problems import (
    StructuredProblem,
    additive,
    multi_index,
    noisy_digits,
    parity,
    staircase,
)

# Each with the rank that it has at 12 inputs.
MAKERS = {
    "staircase": (staircase, 3),
    "parity": (parity, 3),
    "multi-index": (multi_index, 3),
    "additive": (additive, 12),
}
LOOP = {
    "staircase": lambda z: (z[0] + z[0] * z[1] + z[0] * z[1] * z[2]) / math.sqrt(3),
    "parity": lambda z: z[0] * z[1] * z[2],
    "multi-index": lambda z: (z[0] * z[1] + math.sin(2 * z[2])) / math.sqrt(1 + (1 - math.exp(-8)) / 2),
    "additive": lambda z: sum(math.sin(2 * t) for t in z) / math.sqrt(len(z) * (1 - math.exp(-8)) / 2),
}


def make(name, n=40, **options):
    maker, _ = MAKERS[name]
    return maker(12, **{"n_samples": n, "n_test": 30, "seed": 0, **options})


def tensors(problem):
    return {key: value for key, value in vars(problem).items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_targets_are_the_formula_of_the_projections(name, rotated):
    problem = make(name, noise=0.0, rotated=rotated)
    for X, y in ((problem.X, problem.y), (problem.X_test, problem.y_test)):
        expected = [LOOP[name](row) for row in (X @ problem.subspace).tolist()]
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert problem.rank == MAKERS[name][1]
    identity = torch.eye(problem.rank, dtype=torch.float64)
    torch.testing.assert_close(problem.subspace.mT @ problem.subspace, identity)
    axes = torch.eye(12, problem.rank, dtype=torch.float64)
    assert torch.equal(problem.subspace, axes) is not rotated


@pytest.mark.parametrize("name", MAKERS)
def test_rotation_keeps_the_length_of_the_inputs(name):
    problem = make(name, rotated=True)
    squares = problem.X.square().sum(1)
    if name in ("staircase", "parity"):
        torch.testing.assert_close(squares, torch.full_like(squares, 12.0))
        assert problem.X.unique().numel() > 2
    else:
        assert float(squares.mean()) == pytest.approx(12, rel=0.3)


@pytest.mark.parametrize("name", MAKERS)
def test_clean_targets_have_variance_one_and_noise_its_own(name):
    clean, noisy = make(name, n=20000, noise=0.0), make(name, n=20000, noise=0.5)
    assert float(clean.y.var()) == pytest.approx(1, abs=0.05)
    assert torch.equal(clean.X, noisy.X)
    assert torch.equal(clean.y_test, noisy.y_test)  # without noise in both
    assert float((noisy.y - clean.y).std()) == pytest.approx(0.5, abs=0.02)
    assert (clean.noise_std, noisy.noise_std) == (0.0, 0.5)


@pytest.mark.parametrize("rank", range(1, 11))
def test_every_rank_uses_each_of_its_projections_and_no_other(rank):
    problem = multi_index(11, n_samples=20000, rank=rank, noise=0.0, rotated=False, seed=1)
    assert problem.rank == rank
    assert float(problem.y.var()) == pytest.approx(1, abs=0.07)
    for j in range(11):
        assert (correlation(problem, j) > 0.05) == (j < rank)


def correlation(problem, j):
    """Largest squared correlation of the target with what input j can add to it: a sine or a product."""
    Z, y = problem.X.numpy(), problem.y.numpy()
    partner = {0: j + 1, 1: j - 1}.get(j % 3, 11)
    terms = [np.sin(2 * Z[:, j])] + ([Z[:, j] * Z[:, partner]] if partner < 11 else [])
    return max(np.corrcoef(term, y)[0, 1] ** 2 for term in terms)


@pytest.mark.parametrize("name", MAKERS)
def test_one_seed_one_instance_in_any_dtype(name):
    before = torch.get_rng_state()
    one, two, other = make(name), make(name), make(name, seed=1)
    single = make(name, dtype=torch.float32)
    assert torch.equal(before, torch.get_rng_state())
    for key, value in tensors(one).items():
        assert torch.equal(value, tensors(two)[key])
        assert torch.equal(value.float(), tensors(single)[key])
    assert not torch.equal(one.X, other.X)
    assert one.X.dtype == torch.float64


@pytest.mark.parametrize("name", MAKERS)
def test_more_rows_for_testing_change_nothing_else(name):
    few, many = make(name), make(name, n_test=50)
    assert torch.equal(few.X, many.X)
    assert torch.equal(few.y, many.y)
    assert many.X_test.shape == (50, 12)


def test_parity_hides_in_any_two_inputs():
    problem = parity(5, n_samples=40000, noise=0.0, seed=0)
    for i in range(5):
        for j in range(i + 1):
            seen = problem.X[:, i] * (problem.X[:, j] if j < i else 1)
            assert abs(float((seen * problem.y).mean())) < 0.03


@pytest.mark.parametrize("rotated", [False, True])
def test_digits_beside_noise(rotated):
    problem = noisy_digits(30, n_samples=100, seed=0, rotated=rotated)
    assert problem.X.shape == (100, 94)
    assert problem.X_test.shape == (1697, 94)
    assert (problem.classes, problem.rank) == (10, 64)
    assert problem.y.dtype == torch.int64
    everything = torch.cat([problem.X, problem.X_test])
    pixels = everything @ problem.subspace
    variances = pixels.var(0, correction=0)
    varying = variances > 1e-12
    assert int(varying.sum()) == 61  # three pixels are blank in all digits
    torch.testing.assert_close(variances[varying], torch.ones(61, dtype=torch.float64))
    if not rotated:
        assert float(everything[:, 64:].std()) == pytest.approx(1, abs=0.01)
    first, second = (noisy_digits(n, n_samples=100, seed=0) for n in (0, 30))
    assert torch.equal(first.X, second.X[:, :64])  # columns of noise do not change which digits are drawn


def test_repr_tells_the_size():
    assert repr(parity(7, n_samples=5, seed=0)) == (
        "StructuredProblem('parity 3 of 7', 5×7, 3 directions matter, torch.float64)"
    )
    assert isinstance(parity(7, n_samples=5, seed=0), StructuredProblem)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: staircase(2, n_samples=5, seed=0), ValueError, "order must be an integer from 1 to 2"),
        (lambda: parity(0, n_samples=5, seed=0), ValueError, "dim"),
        (lambda: parity(5, n_samples=5, order=0, seed=0), ValueError, "order"),
        (
            lambda: multi_index(5, n_samples=5, rank=6, seed=0),
            ValueError,
            "rank must be an integer from 1 to 5",
        ),
        (lambda: additive(5, n_samples=0, seed=0), ValueError, "n_samples"),
        (lambda: additive(5, n_samples=5, noise=-1.0, seed=0), ValueError, "noise"),
        (lambda: additive(5, n_samples=5, n_test=-1, seed=0), ValueError, "n_test"),
        (lambda: additive(5, n_samples=5, rotated="yes", seed=0), TypeError, "rotated"),
        (lambda: noisy_digits(n_samples=1797, seed=0), ValueError, "n_samples"),
        (lambda: noisy_digits(-1, n_samples=5, seed=0), ValueError, "irrelevant"),
        (lambda: staircase(n_samples=5, seed=-1), ValueError, "seed"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
