"""What every problem keeps. A new one needs one line in CASES; a test fails while it has none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import overt.problems
from overt.problems import (
    Problem,
    linear_regression,
    matrix_completion,
    matrix_sensing,
    tensor_completion,
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RowSums(Problem):
    """A problem as a user writes it: the sums of the rows are known."""

    y: Tensor
    shape: tuple[int, ...]
    truth: Tensor | None = None
    name: str = "row sums"

    def measure(self, W: Tensor) -> Tensor:
        """The sums."""
        return W.sum(1)

    def adjoint(self, z: Tensor) -> Tensor:
        """Each entry of a row is the row's."""
        return z[:, None].expand(self.shape)


def row_sums(seed: int = 0) -> RowSums:
    truth = draw((4, 3), seed)
    return RowSums(truth.sum(1), (4, 3), truth)


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Instances without noise, of a seed.
CASES: dict[str, Callable[..., Problem]] = {
    "completion": lambda seed=0: matrix_completion((6, 5), rank=2, n_observed=20, seed=seed),
    "completion, one row": lambda seed=0: matrix_completion((1, 9), rank=1, n_observed=4, seed=seed),
    "sensing": lambda seed=0: matrix_sensing((5, 4), rank=1, n_measurements=12, seed=seed),
    "regression": lambda seed=0: linear_regression(7, n_samples=5, seed=seed, nonzeros=2),
    "tensor": lambda seed=0: tensor_completion((3, 4, 2), rank=1, n_observed=15, seed=seed),
    "a user's own": row_sums,
}
CHECKED = [name for name in CASES if name != "a user's own"]  # whose author checks no arguments


@pytest.fixture(params=CASES, ids=str)
def make(request: pytest.FixtureRequest) -> Callable[..., Problem]:
    return CASES[request.param]


@pytest.fixture
def problem(make: Callable[..., Problem]) -> Problem:
    return make()


def test_every_problem_is_here():
    public = [getattr(overt.problems, name) for name in overt.problems.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Problem)} - {Problem}
    assert {type(make()) for make in CASES.values()} == kinds | {RowSums}


# ---- the map ---------------------------------------------------------------------------------------------


def test_it_says_what_it_is(problem: Problem):
    assert isinstance(problem, Problem)
    assert problem.y.shape == (problem.n_observed,)
    assert problem.truth.shape == problem.shape
    assert (problem.dtype, problem.device) == (torch.float64, torch.device("cpu"))
    words = repr(problem)
    assert words.startswith(type(problem).__name__)
    assert "×".join(map(str, problem.shape)) in words
    assert f"{problem.n_observed} observed" in words
    assert "tensor(" not in words


def test_measure_is_linear(problem: Problem):
    V, W = draw(problem.shape, 1), draw(problem.shape, 2)
    measured = problem.measure(V)
    assert measured.shape == problem.y.shape
    assert measured.dtype == problem.dtype
    torch.testing.assert_close(problem.measure(2 * V - 3 * W), 2 * measured - 3 * problem.measure(W))
    assert not problem.measure(torch.zeros_like(V)).any()


def test_adjoint_is_the_adjoint_of_measure(problem: Problem):
    W, z = draw(problem.shape, 1), draw(problem.y.shape, 2)
    back = problem.adjoint(z)
    assert back.shape == problem.shape
    torch.testing.assert_close((problem.measure(W) * z).sum(), (W * back).sum())


def test_derivatives(problem: Problem):
    W = draw(problem.shape, 1).requires_grad_()
    assert torch.autograd.gradcheck(problem.measure, W)
    assert torch.autograd.gradcheck(problem.loss, W)
    assert torch.autograd.gradgradcheck(problem.loss, W)
    (gradient,) = torch.autograd.grad(problem.loss(W), W)
    residual = problem.measure(W.detach()) - problem.y
    torch.testing.assert_close(gradient, 2 / problem.n_observed * problem.adjoint(residual))


def test_nothing_is_changed(problem: Problem):
    W = draw(problem.shape, 1)
    before, y, truth = W.clone(), problem.y.clone(), problem.truth.clone()
    problem.loss(W), problem.error(W), problem.adjoint(problem.y)
    assert torch.equal(W, before)
    assert torch.equal(problem.y, y)
    assert torch.equal(problem.truth, truth)


# ---- loss and error --------------------------------------------------------------------------------------


def test_loss_is_the_mean_squared_residual(problem: Problem):
    W = draw(problem.shape, 1)
    loss = problem.loss(W)
    assert loss.shape == ()
    assert loss > 0
    torch.testing.assert_close(loss, (problem.measure(W) - problem.y).square().mean())


def test_the_truth_has_no_loss_and_no_error(problem: Problem):
    assert problem.loss(problem.truth).item() <= 1e-28
    assert problem.error(problem.truth) == 0.0
    assert problem.error(torch.zeros_like(problem.truth)) == pytest.approx(1.0)
    assert problem.error(3 * problem.truth) == pytest.approx(2.0)


def test_error_is_a_plain_number_without_a_graph(problem: Problem):
    W = draw(problem.shape, 1).requires_grad_()
    error = problem.error(W)
    assert type(error) is float
    expected = torch.linalg.vector_norm(W.detach() - problem.truth) / torch.linalg.vector_norm(problem.truth)
    assert error == pytest.approx(expected.item(), rel=1e-12)


def test_without_a_truth_the_error_is_not_known(problem: Problem):
    known = [field.name for field in dataclasses.fields(problem) if field.name.startswith("truth")]
    blind = dataclasses.replace(problem, **dict.fromkeys(known))
    assert math.isnan(blind.error(problem.truth))


# ---- precision and arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_to_another_precision_and_back(problem: Problem, dtype: torch.dtype):
    single = problem.to(dtype)
    assert type(single) is type(problem)
    assert single.dtype == single.truth.dtype == dtype
    assert single.shape == problem.shape
    assert (single.name, single.n_observed) == (problem.name, problem.n_observed)
    eps = torch.finfo(dtype).eps
    assert single.loss(single.truth) < 100 * eps**2 * problem.y.square().mean().clamp_min(1)
    double = single.to(torch.float64)
    torch.testing.assert_close(double.truth, problem.truth, rtol=eps, atol=0)
    again = problem.to(torch.float64)
    assert torch.equal(again.y, problem.y)


def test_a_seed_gives_one_instance(make: Callable[..., Problem]):
    assert torch.equal(make(seed=3).y, make(seed=3).y)
    assert not torch.equal(make(seed=3).y, make(seed=4).y)


def test_it_is_frozen(problem: Problem):
    with pytest.raises(AttributeError):
        problem.name = "other"


@pytest.mark.parametrize("make", CHECKED, indirect=True)
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda W: W[..., :-1], ValueError, "W must have shape"),
        (lambda W: W[None], ValueError, "W must have shape"),
        (lambda W: W.float(), TypeError, "dtype"),
        (lambda W: W.tolist(), TypeError, "W must be a torch.Tensor"),
        (lambda W: None, TypeError, "W must be a torch.Tensor"),
    ],
    ids=["too small", "too many dimensions", "another dtype", "a list", "nothing"],
)
def test_iterates_that_do_not_fit_are_refused_by_name(
    problem: Problem, wrong: Callable[[Tensor], Any], error: type[Exception], words: str
):
    for call in (problem.measure, problem.loss, problem.error):
        with pytest.raises(error, match=words):
            call(wrong(draw(problem.shape)))


@pytest.mark.parametrize("make", CHECKED, indirect=True)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [(lambda z: z[:-1], ValueError), (lambda z: z.float(), TypeError), (lambda z: None, TypeError)],
    ids=["too few", "another dtype", "nothing"],
)
def test_residuals_that_do_not_fit_are_refused_by_name(
    problem: Problem, wrong: Callable[[Tensor], Any], error: type[Exception]
):
    with pytest.raises(error, match="z must"):
        problem.adjoint(wrong(problem.y))


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("y", lambda p: p.y * math.nan, ValueError),
        ("y", lambda p: p.y[:, None], ValueError),
        ("y", lambda p: p.y.long(), TypeError),
        ("y", lambda p: p.y.tolist(), TypeError),
        ("truth", lambda p: p.truth[..., :-1], ValueError),
        ("truth", lambda p: p.truth.float(), TypeError),
        ("truth", lambda p: p.truth / 0, ValueError),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_name(
    problem: Problem, name: str, wrong: Callable[[Problem], Any], error: type[Exception]
):
    with pytest.raises(error, match=name):
        dataclasses.replace(problem, **{name: wrong(problem)})


def test_a_problem_without_observations_is_refused(problem: Problem):
    with pytest.raises(ValueError, match=r"no entry is observed|shape"):
        dataclasses.replace(problem, y=problem.y[:0])
