"""Seeded generators: rank, condition number, scale, noise, reproducibility, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from overt.problems import (
    Problem,
    RegressionProblem,
    SensingProblem,
    linear_regression,
    matrix_completion,
    matrix_sensing,
)

KINDS = {
    "completion": lambda **o: matrix_completion((20, 15), **{"rank": 3, "n_observed": 150, "seed": 0, **o}),
    "sensing": lambda **o: matrix_sensing((20, 15), **{"rank": 3, "n_measurements": 150, "seed": 0, **o}),
    "regression": lambda **o: linear_regression(20, **{"n_samples": 15, "seed": 0, **o}),
}


def tensors(problem):
    found = {k: v for k, v in vars(problem).items() if isinstance(v, torch.Tensor)}
    assert found
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_one_seed_one_instance_in_any_dtype(kind, noise):
    before = torch.get_rng_state()
    one, two = KINDS[kind](noise=noise), KINDS[kind](noise=noise)
    other, single = KINDS[kind](noise=noise, seed=1), KINDS[kind](noise=noise, dtype=torch.float32)
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(one, Problem)
    for name, value in tensors(one).items():
        assert torch.equal(value, tensors(two)[name])
        cast = value.float() if value.is_floating_point() else value
        assert torch.equal(cast, tensors(single)[name])
        assert tensors(single)[name].dtype in (torch.float32, torch.int64)
    assert not torch.equal(one.y, other.y)
    assert not torch.equal(one.truth, other.truth)


@pytest.mark.parametrize("kind", KINDS)
def test_noiseless_truth_fits_exactly(kind):
    problem = KINDS[kind]()
    assert problem.error(problem.truth) == 0
    assert float(problem.loss(problem.truth)) < 1e-28
    assert problem.noise_std == 0


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_an_instance_apart_from_nothing_else(kind):
    clean, noisy = KINDS[kind](), KINDS[kind](noise=0.1)
    assert torch.equal(clean.truth, noisy.truth)
    assert torch.equal(noisy.measure(noisy.truth), clean.measure(clean.truth))
    assert not torch.equal(clean.y, noisy.y)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_level(kind):
    squares, stds = [], []
    for seed in range(40):
        problem = KINDS[kind](noise=0.2, seed=seed)
        residual = problem.y - problem.measure(problem.truth)
        squares.append(float(residual.square().mean()) / problem.noise_std**2)
        clean = problem.measure(problem.truth).square().mean().sqrt()
        stds.append(problem.noise_std / (0.2 * (1.0 if kind == "completion" else float(clean))))
    assert sum(squares) / 40 == pytest.approx(1, abs=0.1)
    assert stds == pytest.approx([1.0] * 40)


@pytest.mark.parametrize("shape", [(30, 30), (40, 12), (9, 25)])
@pytest.mark.parametrize("condition", [None, 1, 10.0, 1e6])
@pytest.mark.parametrize("rank", [2, 5])
def test_rank_condition_number_and_frobenius_norm(shape, condition, rank):
    count = shape[0] * shape[1] // 2
    for problem in (
        matrix_completion(shape, rank=rank, n_observed=count, seed=1, condition_number=condition),
        matrix_sensing(shape, rank=rank, n_measurements=7, seed=1, condition_number=condition),
    ):
        values = torch.linalg.svdvals(problem.truth)
        assert int((values > 1e-12 * values[0]).sum()) == rank == problem.true_rank
        assert float(torch.linalg.vector_norm(values)) == pytest.approx(math.sqrt(math.prod(shape)))
        if condition is not None:
            ratios = values[:rank] / values[0] * condition
            expected = torch.logspace(math.log10(condition), 0, rank, dtype=torch.float64)
            torch.testing.assert_close(ratios, expected, rtol=1e-9, atol=0)


def test_rank_one_and_full_rank():
    assert matrix_completion((3, 4), rank=1, n_observed=5, seed=0, condition_number=1).true_rank == 1
    full = matrix_completion((3, 4), rank=3, n_observed=12, seed=0)
    assert int(torch.linalg.matrix_rank(full.truth)) == 3
    assert bool(full.observed.all())


def test_truth_factors_are_the_truth_and_large_truths_are_factors_only():
    problem = matrix_completion((20, 15), rank=3, n_observed=150, seed=0)
    torch.testing.assert_close(problem.truth_factors.dense(), problem.truth)
    large = matrix_completion((6000, 6000), rank=3, n_observed=1500, seed=0)
    assert large.truth is None
    rows, cols = large.truth_factors.U[large.rows], large.truth_factors.V[large.cols]
    torch.testing.assert_close(large.y, (rows * cols).sum(1), rtol=1e-12, atol=1e-12)
    assert large.error(large.truth_factors) < 1e-14


@pytest.mark.slow
def test_gaussian_factors_give_gaussian_like_entries_without_preference_of_place():
    truths = torch.stack(
        [matrix_completion((6, 5), rank=2, n_observed=6, seed=seed).truth for seed in range(800)]
    )
    mean, square = truths.mean(0), truths.square().mean(0)
    assert float(mean.abs().max()) < 5 / math.sqrt(800)
    assert float((square - 1).abs().max()) < 0.4


def test_sensing_matrices_have_entries_of_the_promised_scale():
    problem = matrix_sensing((30, 20), rank=2, n_measurements=400, seed=0)
    A = problem.A * math.sqrt(600)
    assert float(A.std()) == pytest.approx(1, abs=0.01)
    assert float(A.mean()) == pytest.approx(0, abs=0.01)
    assert float(problem.y.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("nonzeros", [None, 1, 7, 50])
def test_regression_truth(nonzeros):
    problem = linear_regression(50, n_samples=30, seed=3, nonzeros=nonzeros)
    assert float(torch.linalg.vector_norm(problem.truth)) == pytest.approx(1)
    nonzero = problem.truth[problem.truth != 0]
    assert nonzero.numel() == (nonzeros or 50)
    if nonzeros is not None:
        torch.testing.assert_close(nonzero.abs(), torch.full_like(nonzero, 1 / math.sqrt(nonzeros)))
    assert problem.n_nonzero == nonzeros
    assert float(problem.X.std()) == pytest.approx(1, abs=0.1)


def test_sparse_supports_and_signs_vary():
    truths = [linear_regression(9, n_samples=2, seed=s, nonzeros=3).truth for s in range(60)]
    counts = torch.stack([t != 0 for t in truths]).sum(0)
    assert int(counts.min()) > 5
    assert {float(t.sign().sum()) for t in truths} == {-3.0, -1.0, 1.0, 3.0}


COMPLETION = {"shape": (10, 8), "rank": 2, "n_observed": 40, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank"),
        ({"rank": 9}, ValueError, "rank"),
        ({"rank": 2.0}, TypeError, "rank"),
        ({"n_observed": 0}, ValueError, "n_observed must be an integer from 1 to 80"),
        ({"n_observed": 81}, ValueError, "n_observed must be an integer from 1 to 80"),
        ({"n_observed": 4.5}, TypeError, "n_observed must be an integer from 1 to 80"),
        ({"condition_number": 0.5}, ValueError, "condition_number"),
        ({"condition_number": math.inf}, ValueError, "condition_number"),
        ({"condition_number": math.nan}, ValueError, "condition_number"),
        ({"condition_number": 5, "rank": 1}, ValueError, "condition_number"),
        ({"noise": -0.1}, ValueError, "noise"),
        ({"noise": math.nan}, ValueError, "noise"),
        ({"noise": "loud"}, TypeError, "noise"),
        ({"sampling": "gaussian"}, ValueError, "sampling must be 'uniform', 'nonuniform' or 'blocks'"),
        ({"min_per_line": -1}, ValueError, "min_per_line"),
        ({"min_per_line": 5}, ValueError, "min_per_line"),
        ({"seed": None}, TypeError, "seed"),
        ({"seed": "0"}, TypeError, "seed"),
        ({"seed": -3}, ValueError, "seed"),
        ({"shape": (10, 0)}, ValueError, "shape"),
        ({"shape": 10}, TypeError, "shape"),
        ({"dtype": torch.int64}, ValueError, "dtype must be a real floating type"),
        ({"dtype": "float32"}, TypeError, "dtype"),
    ],
)
def test_completion_refusals(arguments, error, message):
    options = {**COMPLETION, **arguments}
    with pytest.raises(error, match=message):
        matrix_completion(options.pop("shape"), **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: KINDS["sensing"](n_measurements=0), ValueError, "n_measurements"),
        (lambda: KINDS["sensing"](n_measurements=1.5), TypeError, "n_measurements"),
        (lambda: KINDS["sensing"](rank=16), ValueError, "rank"),
        (lambda: KINDS["sensing"](noise=math.inf), ValueError, "noise"),
        (lambda: KINDS["sensing"](seed=None), TypeError, "seed"),
        (lambda: linear_regression(0, n_samples=3, seed=0), ValueError, "dim"),
        (lambda: linear_regression(3.0, n_samples=3, seed=0), TypeError, "dim"),
        (lambda: KINDS["regression"](n_samples=0), ValueError, "n_samples"),
        (lambda: KINDS["regression"](nonzeros=0), ValueError, "nonzeros"),
        (lambda: KINDS["regression"](nonzeros=21), ValueError, "nonzeros"),
        (lambda: KINDS["regression"](nonzeros=2.5), TypeError, "nonzeros"),
        (lambda: KINDS["regression"](noise=True), TypeError, "noise"),
    ],
)
def test_other_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


# The two dense problems' maps.


def test_sensing_map_against_loops():
    problem = KINDS["sensing"](noise=0.3)
    generator = torch.Generator().manual_seed(5)
    W = torch.randn(20, 15, generator=generator, dtype=torch.float64)
    z = torch.randn(150, generator=generator, dtype=torch.float64)
    matrices = problem.A.view(150, 20, 15)
    oracle = torch.stack([(A * W).sum() for A in matrices])
    torch.testing.assert_close(problem.measure(W), oracle, rtol=1e-12, atol=1e-12)
    adjoint = sum(w * A for w, A in zip(z, matrices, strict=True))
    torch.testing.assert_close(problem.adjoint(z), adjoint, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(problem.measure(W) @ z, (W * problem.adjoint(z)).sum())
    torch.testing.assert_close(problem.loss(W), (oracle - problem.y).square().mean())
    distance = float((W - problem.truth).norm() / problem.truth.norm())
    assert problem.error(W) == pytest.approx(distance)
    flattened = SensingProblem(matrices, problem.y, (20, 15))
    assert torch.equal(flattened.A, problem.A)
    assert math.isnan(flattened.error(W))
    assert problem.oversampling(3) == pytest.approx(150 / (3 * 32))
    assert "20×15, 150 observed" in repr(problem)


def test_regression_map_against_loops():
    problem = KINDS["regression"](noise=0.3)
    generator = torch.Generator().manual_seed(5)
    w = torch.randn(20, generator=generator, dtype=torch.float64)
    z = torch.randn(15, generator=generator, dtype=torch.float64)
    oracle = torch.stack([(row * w).sum() for row in problem.X])
    torch.testing.assert_close(problem.measure(w), oracle)
    torch.testing.assert_close(problem.adjoint(z), sum(a * row for a, row in zip(z, problem.X, strict=True)))
    torch.testing.assert_close(problem.measure(w) @ z, w @ problem.adjoint(z))
    torch.testing.assert_close(problem.loss(w), (oracle - problem.y).square().mean())
    assert problem.error(w) == pytest.approx(float((w - problem.truth).norm()))
    assert math.isnan(RegressionProblem(problem.X, problem.y).error(w))
    assert "'regression 20 dense', 20, 15 observed" in repr(problem)


A, X, Y = torch.ones(3, 4), torch.ones(3, 2), torch.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SensingProblem(A[:0], Y[:0], (2, 2)), ValueError, "no entry is observed"),
        (lambda: SensingProblem(A, Y, (2, 3)), ValueError, r"A must have shape \(3, 6\)"),
        (lambda: SensingProblem(A[:2], Y, (2, 2)), ValueError, r"A must have shape \(3, 4\)"),
        (lambda: SensingProblem(A * math.nan, Y, (2, 2)), ValueError, "A: 12 of 12 entries are NaN"),
        (lambda: SensingProblem(A.double(), Y, (2, 2)), TypeError, "A must have the dtype"),
        (lambda: SensingProblem([[1.0]], Y, (2, 2)), TypeError, "A must be a torch.Tensor"),
        (lambda: SensingProblem(A, Y, (2, 2)).oversampling(3), ValueError, "rank"),
        (lambda: RegressionProblem(X[:0], Y[:0]), ValueError, "no entry is observed"),
        (lambda: RegressionProblem(X[:2], Y), ValueError, r"X must have shape \(3, 2\)"),
        (lambda: RegressionProblem(X[:, :0], Y), ValueError, "d ≥ 1"),
        (lambda: RegressionProblem(X, Y * math.inf), ValueError, "y: 3 of 3 entries are NaN or inf"),
        (lambda: RegressionProblem(X, Y, torch.ones(3)), ValueError, r"truth must have shape \(2,\)"),
    ],
)
def test_dense_problem_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numbers_of_numpy():
    def i(value):
        return np.int64(value)

    completion = matrix_completion(
        (i(20), i(15)),
        rank=i(2),
        n_observed=i(150),
        seed=i(0),
        condition_number=np.float32(4),
        noise=np.float64(0.5),
        min_per_line=i(1),
    )
    twin = matrix_completion(
        (20, 15), rank=2, n_observed=150, seed=0, condition_number=4.0, noise=0.5, min_per_line=1
    )
    assert torch.equal(completion.y, twin.y)
    assert type(completion.true_rank) is int
    assert type(completion.noise_std) is float
    sensing = matrix_sensing((i(4), i(3)), rank=i(1), n_measurements=i(9), seed=i(0), noise=np.float32(0))
    assert torch.equal(sensing.y, matrix_sensing((4, 3), rank=1, n_measurements=9, seed=0).y)
    regression = linear_regression(i(5), n_samples=i(4), nonzeros=i(2), seed=i(0))
    assert regression.n_nonzero == 2


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_condition_number_has_to_be_a_number(kind):
    with pytest.raises(TypeError, match="condition_number must be a finite number ≥ 1, got 'a'"):
        KINDS[kind](condition_number="a")
