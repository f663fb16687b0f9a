"""Which functional a solution is stationary for, where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from overt import functional as F
from overt.completion import nuclear_norm_minimization
from overt.linalg import Factored
from overt.measures import infer_penalty
from overt.models import DeepDiagonal, DeepLinear
from overt.problems import linear_regression, matrix_completion, matrix_sensing
from overt.training import train

FEW = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
PAIRS = ((1 / 3, 1.0), (1 / 2, 2 / 3), (1 / 2, 2.0), (1.0, 2.0), (1.0, 4.0))
KNOWN = {
    "schatten ½": ("schatten_norm", 0.5, None, lambda W: F.schatten_norm(W, 0.5)),
    "effective rank": ("effective_rank", None, None, F.effective_rank),
    "normalized nuclear": ("normalized_schatten_norm", 1.0, 2.0, F.normalized_nuclear_norm),
}


def infer(W, problem, **options):
    return infer_penalty(W, problem, **{"exponents": FEW, "pairs": PAIRS, "references": 2, **options})


def smallest(function, problem, rank, seed=0):
    """A matrix of the given rank that fits the data with a locally smallest value of a functional.

    Augmented Lagrangian over the two factors; no gradient projection, so that nothing is assumed.
    """
    generator = torch.Generator().manual_seed(seed)
    m, n = problem.shape
    factors = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in (m, n)]
    factors = [f.requires_grad_() for f in factors]
    multiplier, stiffness = torch.zeros_like(problem.y), 3.0
    for _ in range(9):
        optimizer = torch.optim.LBFGS(
            factors, max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=0.0
        )

        def closure(optimizer=optimizer, multiplier=multiplier, stiffness=stiffness):
            optimizer.zero_grad()
            miss = problem.measure(factors[0] @ factors[1].mT) - problem.y
            loss = function(Factored(*factors)) + multiplier @ miss + stiffness / 2 * (miss @ miss)
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            miss = problem.measure(factors[0] @ factors[1].mT) - problem.y
            multiplier = multiplier + stiffness * miss
        stiffness *= 3
    return (factors[0] @ factors[1].mT).detach()


# ---- known answers -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_gradient_descent_from_zero_is_the_frobenius_norm(kind):
    if kind == "completion":
        problem, lr = matrix_completion((14, 12), rank=2, n_observed=80, seed=1), 20.0
    else:
        problem, lr = matrix_sensing((14, 12), rank=2, n_measurements=80, seed=1), 10.0
    model = DeepLinear((12, 14), scale=1e-12, seed=0, dtype=torch.float64)
    W = train(model, problem, optimizer="gd", lr=lr, max_steps=3000, tolerance=1e-20).W
    found = infer(W, problem)
    assert (found.best.name, found.best.p) == ("schatten_norm", 2.0)
    assert found.best.share < 1e-6
    assert found.p_low == found.p == found.p_high == 2.0
    assert found.member("schatten_norm", 1.0).ratio > 0.4
    assert found.warnings == ()


@pytest.mark.slow
def test_the_smallest_nuclear_norm_is_found_as_such():
    problem = matrix_completion((20, 16), rank=4, n_observed=110, seed=0)
    W = nuclear_norm_minimization(problem, tolerance=1e-9, max_iter=20_000).W
    found = infer(W, problem)
    assert problem.error(W) > 0.1  # else the data would determine it
    assert (found.best.name, found.best.p) == ("schatten_norm", 1.0)
    assert found.best.share < 1e-3
    assert found.p_low == found.p == found.p_high == 1.0
    assert found.rank < 16
    assert found.freedom > 5


def test_a_smooth_norm_between_the_two():
    problem = matrix_completion((14, 12), rank=2, n_observed=80, seed=2)
    start = problem.adjoint(problem.y)
    free = (~problem.observed).to(start)
    X = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.LBFGS([X], max_iter=2000, line_search_fn="strong_wolfe", tolerance_change=0.0)

    def closure():
        optimizer.zero_grad()
        loss = F.schatten_norm(start + free * X, 1.5)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = infer((start + free * X).detach(), problem, exponents=(0.5, 1.0, 1.3, 1.4, 1.5, 1.6, 1.7, 2.0))
    assert (found.best.name, found.best.p) == ("schatten_norm", 1.5)
    assert found.best.share < 1e-3
    assert (found.p_low, found.p_high) == (1.5, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_explicit_penalties_are_found_as_themselves(name):
    member, p, q, function = KNOWN[name]
    problem = matrix_sensing((10, 9), rank=3, n_measurements=38, seed=3)
    W = smallest(function, problem, rank=3)
    found = infer(W, problem)
    assert found.residual < 1e-4
    assert found.rank == 3
    assert found.freedom == pytest.approx(3 * (10 + 9 - 3) - 38, abs=4)
    assert found.best.share < 0.05
    assert (found.best.name, found.best.p, found.best.q) == (member, p, q)


DIAGONAL = {"kernel": (30.0, 1e-4, 1000), "between": (1e-2, 1e-2, 3000), "rich": (1e-6, 2e-2, 6000)}


def diagonal(regime):
    """A diagonal network of depth 2, judged beside the potential that its gradient flow minimizes.

    Woodworth et al. 2020, Theorem 1: the slope of the potential is arcsinh(w / 2α²), and α² is the scale
    here.
    """
    scale, lr, steps = DIAGONAL[regime]
    problem = linear_regression(30, n_samples=15, nonzeros=3, seed=0)
    model = DeepDiagonal(30, depth=2, scale=scale, dtype=torch.float64)
    w = train(model, problem, optimizer="gd", lr=lr, max_steps=steps, tolerance=1e-12).W

    def potential(s):
        z = s / (2 * scale)
        return (z * torch.asinh(z) - torch.sqrt(1 + z**2)).sum()

    return infer(w, problem, extra={"potential": potential}, exponents=(0.5, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0))


@pytest.mark.slow
def test_a_diagonal_network_from_a_large_start_has_the_smallest_l2_norm():
    found = diagonal("kernel")
    assert found.p == 2.0
    assert found.member("schatten_norm", 2.0).share < 1e-3
    assert found.member("potential").share < 1e-3


@pytest.mark.slow
def test_between_the_regimes_it_follows_the_known_potential_and_an_exponent_between():
    found = diagonal("between")
    assert found.best.name == "potential"
    assert found.best.share < 1e-2
    assert 1 < found.p < 2


@pytest.mark.slow
def test_a_diagonal_network_from_a_small_start_is_stationary_for_l1_not_l2():
    found = diagonal("rich")
    assert found.member("schatten_norm", 1.0).share < 0.15
    assert found.member("schatten_norm", 2.0).share > 0.5
    assert found.best is None  # as many entries as data: every concave function is stationary, too
    assert "determine W" in found.warnings[0]


# ---- where nothing can be told -----------------------------------------------------------------------------


def test_no_null_space():
    problem = matrix_completion((6, 5), rank=2, n_observed=30, seed=0)
    found = infer(problem.truth + torch.eye(6, 5, dtype=torch.float64), problem)
    assert found.best is None
    assert "no null space" in found.warnings[0]
    assert math.isnan(found.p)


def test_a_solution_that_the_data_determine():
    problem = matrix_completion((20, 20), rank=2, n_observed=200, seed=0)
    found = infer(problem.truth, problem)
    assert found.best is None
    assert found.rank == 2
    assert found.freedom < 0.5
    assert "rank 2" in found.warnings[0]
    assert found.member("schatten_norm", 0.5).share < 1e-4
    assert found.member("schatten_norm", 2.0).share > 0.3  # what is smooth at zero is judged all the same
    assert found.p_low == 0
    assert found.p_high in (0.75, 1.0)


def test_random_solutions_are_like_their_references():
    problem = matrix_sensing((14, 12), rank=3, n_measurements=40, seed=0)
    generator = torch.Generator().manual_seed(5)
    W = torch.randn(14, 12, generator=generator, dtype=torch.float64)
    found = infer(W, problem)
    assert found.best.ratio > 0.5
    assert any("not nearly stationary" in text for text in found.warnings)
    assert any("misses the data" in text for text in found.warnings)
    assert all(0.5 < row.ratio < 1.5 for row in found.members)


def test_a_flat_spectrum_has_no_exponent():
    problem = matrix_sensing((10, 10), rank=3, n_measurements=30, seed=0)
    found = infer(torch.eye(10, dtype=torch.float64), problem, references=2)
    assert any("not identified" in text for text in found.warnings)
    assert math.isnan(found.member("normalized_schatten_norm", 1.0, 2.0).share)
    assert math.isnan(found.p)


# ---- forms, refusals ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_forms_of_the_solution_and_the_table():
    problem = matrix_sensing((8, 7), rank=2, n_measurements=20, seed=0)
    U, V = torch.randn(8, 2, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    dense, factored = infer(U @ V.mT, problem), infer(Factored(U, V), problem)
    assert [row.share for row in dense.members] == pytest.approx([row.share for row in factored.members])
    single = infer((U @ V.mT).float(), problem.to(dtype=torch.float32))
    assert single.rank == 2
    assert single.best.ratio == pytest.approx(dense.best.ratio, abs=0.02)
    ratios = [row["ratio"] for row in dense.table]
    assert ratios == sorted(ratios)
    assert "warning" in str(dense) or dense.warnings == ()
    assert dense.best.label in str(dense)
    with pytest.raises(KeyError, match="no member"):
        dense.member("schatten_norm", 0.123)
    assert infer(U @ V.mT, problem) == dense  # the same seed, the same answer


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"W": torch.zeros(8, 7, dtype=torch.float64)}, ValueError, "W is zero"),
        ({"W": torch.full((8, 7), math.nan, dtype=torch.float64)}, ValueError, "NaN or infinite"),
        ({"W": torch.ones(3, 7)}, ValueError, "shape"),
        ({"W": [[1.0]]}, TypeError, r"^W\b"),
        ({"problem": 3}, TypeError, "problem must be a problem of overt.problems, with shape, y"),
        ({"zero": 0.0}, ValueError, "zero must be"),
        ({"references": -1}, ValueError, "references"),
        ({"exponents": (0.0, 1.0)}, ValueError, "exponents"),
        ({"pairs": ((2.0, 1.0),)}, ValueError, "pairs"),
    ],
)
def test_wrong_arguments_are_refused_in_words(change, error, message):
    problem = matrix_sensing((8, 7), rank=2, n_measurements=20, seed=0)
    arguments = {"W": torch.ones(8, 7, dtype=torch.float64), "problem": problem, **change}
    with pytest.raises(error, match=message):
        infer(arguments.pop("W"), arguments.pop("problem"), **arguments)
