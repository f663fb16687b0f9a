"""CompletionProblem: measurement map against a dense oracle, errors, offsets, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.linalg import Factored
from overt.problems import CompletionProblem, Problem, matrix_completion


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(m=5, n=7, k=12, seed=0, **fields):
    """A problem in an order that is not sorted."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randperm(m * n, generator=generator)[:k]
    truth = gaussian(m, n, seed=seed + 1)
    rows, cols = flat // n, flat % n
    return CompletionProblem(rows, cols, truth[rows, cols], (m, n), **{"truth": truth, **fields})


@given(m=st.integers(1, 8), n=st.integers(1, 8), seed=st.integers(0, 1000), data=st.data())
def test_measure_adjoint_loss_against_loops(m, n, seed, data):
    k = data.draw(st.integers(1, m * n))
    problem = make(m, n, k, seed)
    W = gaussian(m, n, seed=seed + 7).requires_grad_()
    z = gaussian(k, seed=seed + 8)
    pairs = list(zip(problem.rows.tolist(), problem.cols.tolist(), strict=True))
    seen = problem.measure(W)
    assert seen.tolist() == [W[i, j].item() for i, j in pairs]
    dense = torch.zeros(m, n, dtype=torch.float64)
    for (i, j), value in zip(pairs, z, strict=True):
        dense[i, j] = value
    assert torch.equal(problem.adjoint(z), dense)
    torch.testing.assert_close(seen @ z, (W * problem.adjoint(z)).sum(), rtol=1e-12, atol=1e-12)
    residual = [W[i, j].item() - y for (i, j), y in zip(pairs, problem.y.tolist(), strict=True)]
    loss = problem.loss(W)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(r * r for r in residual) / k, rel=1e-12)
    loss.backward()
    expected = problem.adjoint(2 / k * torch.tensor(residual, dtype=torch.float64))
    torch.testing.assert_close(W.grad, expected, rtol=1e-12, atol=1e-14)
    assert problem.observed.sum() == problem.n_observed == k
    assert all(problem.observed[i, j] for i, j in pairs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # from inside torch.func.jvp
def test_derivatives_of_first_and_second_order():
    problem = make()
    W = gaussian(5, 7, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(problem.measure, (W,))
    assert torch.autograd.gradcheck(problem.loss, (W,))
    assert torch.autograd.gradgradcheck(problem.loss, (W,))
    assert torch.autograd.gradcheck(problem.adjoint, (gaussian(12).requires_grad_(),))
    tangent = gaussian(5, 7, seed=4)
    _, derivative = torch.func.jvp(problem.loss, (W.detach(),), (tangent,))
    (gradient,) = torch.autograd.grad(problem.loss(W), W)
    torch.testing.assert_close(derivative, (gradient * tangent).sum())


def test_factored_input_equals_dense_input_without_forming_it(monkeypatch):
    problem = make(heldout=(torch.tensor([0]), torch.tensor([0]), torch.tensor([2.0]).double()))
    U, V = gaussian(5, 2).requires_grad_(), gaussian(7, 2, seed=1).requires_grad_()
    W = Factored(U, V)
    torch.testing.assert_close(problem.measure(W), problem.measure(W.dense()))
    dense_grads = torch.autograd.grad(problem.loss(W.dense()), (U, V))
    grads = torch.autograd.grad(problem.loss(W), (U, V))
    for a, b in zip(grads, dense_grads, strict=True):
        torch.testing.assert_close(a, b)
    assert problem.error(W) == pytest.approx(problem.error(W.dense()), rel=1e-12)
    assert problem.heldout_rmse(W) == pytest.approx(problem.heldout_rmse(W.dense()), rel=1e-12)
    monkeypatch.setattr("overt.problems.completion._GATHER", 6)  # three observations at a time
    torch.testing.assert_close(problem.measure(W), problem.measure(W.dense()))

    def refuse(self):
        raise AssertionError("the matrix was formed")

    monkeypatch.setattr(Factored, "dense", refuse)
    problem.loss(W)


def test_truth_known_only_as_factors(monkeypatch):
    monkeypatch.setattr("overt.problems.completion._BLOCK", 14)  # two rows at a time
    truth = Factored(gaussian(5, 2), gaussian(7, 2, seed=1))
    problem = make(truth=None, truth_factors=truth)
    W = Factored(gaussian(5, 3, seed=2), gaussian(7, 3, seed=3))
    norm = torch.linalg.matrix_norm
    oracle = float(norm(W.dense() - truth.dense()) / norm(truth.dense()))
    assert problem.error(W) == pytest.approx(oracle, rel=1e-12)
    assert problem.error(W.dense()) == pytest.approx(oracle, rel=1e-12)
    assert problem.error(truth) < 1e-14
    close = Factored(truth.U * (1 + 1e-12), truth.V)
    assert problem.error(close) == pytest.approx(1e-12, rel=0.01)  # no loss of digits by cancellation


def test_error_prefers_truth_then_heldout_then_nan():
    W = gaussian(5, 7, seed=9)
    problem = make()
    relative = float(torch.linalg.matrix_norm(W - problem.truth) / torch.linalg.matrix_norm(problem.truth))
    assert problem.error(W) == pytest.approx(relative, rel=1e-12)
    heldout = (torch.tensor([1, 4]), torch.tensor([2, 0]), torch.tensor([1.0, -1.0], dtype=torch.float64))
    rmse = math.sqrt(((W[1, 2].item() - 1) ** 2 + (W[4, 0].item() + 1) ** 2) / 2)
    assert make(truth=None, heldout=heldout).error(W) == pytest.approx(rmse, rel=1e-12)
    assert make(heldout=heldout).error(W) == pytest.approx(relative, rel=1e-12)
    assert make(heldout=heldout).heldout_rmse(W) == pytest.approx(rmse, rel=1e-12)
    assert math.isnan(make(truth=None).error(W))
    with pytest.raises(ValueError, match="no held-out"):
        make().heldout_rmse(W)
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert CompletionProblem.from_dense(zero, truth=zero).error(zero + 1) == pytest.approx(2)


def test_the_mask_is_formed_lazily_and_once():
    problem = make()
    problem.measure(gaussian(5, 7))
    assert "observed" not in vars(problem)
    assert problem.observed is problem.observed
    oracle = torch.zeros(5, 7, dtype=torch.bool)
    oracle[problem.rows, problem.cols] = True
    assert torch.equal(problem.observed, oracle)


def test_nothing_of_the_size_of_the_matrix_is_formed():
    # The dense matrix would have 10^18 entries.
    size = 10**9
    rows, cols = torch.tensor([0, size - 1, 5]), torch.tensor([size - 1, 0, 5])
    problem = CompletionProblem(rows, cols, torch.ones(3), (size, size))
    assert problem.oversampling(1) == pytest.approx(3 / (2 * size - 1))
    assert problem.n_observed == 3
    with pytest.raises(ValueError, match="repeat"):
        CompletionProblem(rows[[0, 1, 0]], cols[[0, 1, 0]], torch.ones(3), (size, size))


def test_from_dense():
    X = torch.tensor([[1.0, math.nan, 0.0], [math.nan, 5.0, math.nan]])
    problem = CompletionProblem.from_dense(X, name="holes")
    assert problem.rows.tolist() == [0, 0, 1]
    assert problem.cols.tolist() == [0, 2, 1]
    assert problem.y.tolist() == [1, 0, 5]
    assert (problem.name, problem.shape, problem.max_abs_observed) == ("holes", (2, 3), 5.0)
    masked = CompletionProblem.from_dense(torch.ones(2, 2), torch.eye(2, dtype=torch.bool))
    assert masked.n_observed == 2
    with pytest.raises(ValueError, match="NaN"):
        CompletionProblem.from_dense(X, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask"):
        CompletionProblem.from_dense(X, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(TypeError, match="mask"):
        CompletionProblem.from_dense(X, [[True]])
    with pytest.raises(ValueError, match="no entry is observed"):
        CompletionProblem.from_dense(torch.full((2, 2), math.nan))
    with pytest.raises(TypeError, match="X must be"):
        CompletionProblem.from_dense(torch.ones(3))


def test_to_converts_everything():
    heldout = (torch.tensor([0]), torch.tensor([0]), torch.tensor([2.0], dtype=torch.float64))
    factors = Factored(gaussian(5, 2), gaussian(7, 2))
    problem = make(heldout=heldout, truth_factors=factors, true_rank=2, noise_std=0.5, name="x").to(
        torch.float32
    )
    assert problem.dtype == problem.truth.dtype == problem.heldout[2].dtype == torch.float32
    assert problem.truth_factors.dtype == torch.float32
    assert problem.rows.dtype == torch.int64
    assert (problem.true_rank, problem.noise_std, problem.name) == (2, 0.5, "x")
    assert problem.loss(torch.zeros(5, 7)).dtype == torch.float32


def test_protocol_repr_and_int32_indices():
    problem = make()
    assert isinstance(problem, Problem)
    assert "5×7, 12 observed" in repr(problem)
    small = CompletionProblem(torch.tensor([1], dtype=torch.int32), torch.tensor([0]), torch.ones(1), (2, 2))
    assert small.rows.dtype == torch.int64


def test_oversampling():
    problem = matrix_completion((100, 80), rank=5, n_observed=1750, seed=0)
    assert problem.oversampling(5) == pytest.approx(1750 / (5 * 175))
    for rank in (0, 81):
        with pytest.raises(ValueError, match="rank"):
            problem.oversampling(rank)


ROWS, COLS, Y = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([1.0, 2.0])
EMPTY = torch.tensor([], dtype=torch.int64)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"rows": EMPTY, "cols": EMPTY, "y": torch.tensor([])}, ValueError, "no entry is observed"),
        ({"rows": torch.tensor([0, 2])}, ValueError, r"rows must lie in 0 … 1, got 2"),
        ({"cols": torch.tensor([0, -1])}, ValueError, r"cols must lie in 0 … 2, got -1"),
        ({"rows": torch.tensor([1, 1]), "cols": torch.tensor([0, 0])}, ValueError, r"the first is \(1, 0\)"),
        ({"rows": torch.tensor([0.0, 1.0])}, TypeError, "rows must hold integers"),
        ({"cols": torch.tensor([True, False])}, TypeError, "cols must hold integers"),
        ({"rows": [0, 1]}, TypeError, "rows must be a torch.Tensor"),
        ({"rows": torch.tensor([0])}, ValueError, r"rows must have shape \(2,\)"),
        ({"rows": torch.tensor([[0], [1]])}, ValueError, r"rows must have shape \(2,\)"),
        ({"y": torch.tensor([1.0, math.nan])}, ValueError, "y: 1 of 2 entries are NaN"),
        ({"y": torch.tensor([math.inf, math.nan])}, ValueError, "y: 2 of 2 entries are NaN"),
        ({"y": torch.tensor([1, 2])}, TypeError, "y must be a float64.* got torch.int64"),
        ({"y": torch.tensor([1.0, 2.0], dtype=torch.complex64)}, TypeError, "y must be real"),
        ({"y": [1.0, 2.0]}, TypeError, "y must be a torch.Tensor"),
        ({"y": torch.ones(1, 2)}, ValueError, r"y must have shape \(k,\), got \(1, 2\)"),
        ({"shape": (2,)}, ValueError, "shape"),
        ({"shape": (2, 3, 4)}, ValueError, "shape"),
        ({"shape": (2, 3.0)}, TypeError, "shape"),
        ({"shape": (2, 0)}, ValueError, "shape"),
        ({"shape": "23"}, TypeError, "shape"),
        ({"truth": torch.ones(3, 2)}, ValueError, "truth must have shape"),
        ({"truth": torch.ones(2, 3).double()}, TypeError, "truth must have the dtype of the observations"),
        ({"truth": torch.full((2, 3), math.nan)}, ValueError, "truth: 6 of 6 entries are NaN"),
        ({"truth_factors": Factored(torch.ones(3, 1), torch.ones(2, 1))}, ValueError, "truth_factors"),
        ({"truth_factors": torch.ones(2, 3)}, TypeError, "truth_factors"),
        ({"heldout": (ROWS, COLS)}, TypeError, "heldout must be a triple"),
        ({"heldout": (ROWS, COLS + 5, Y)}, ValueError, "heldout cols"),
        ({"heldout": (EMPTY, EMPTY, torch.tensor([]))}, ValueError, "heldout: there is no entry"),
        ({"heldout": (ROWS, COLS, Y * math.nan)}, ValueError, "heldout values"),
    ],
)
def test_refusals_name_the_argument(fields, error, message):
    with pytest.raises(error, match=message):
        CompletionProblem(**{"rows": ROWS, "cols": COLS, "y": Y, "shape": (2, 3), **fields})


@pytest.mark.parametrize("method", ["measure", "loss", "error"])
def test_iterates_that_do_not_fit_are_refused(method):
    call = getattr(make(), method)
    with pytest.raises(ValueError, match=r"W must have shape \(5, 7\), got \(7, 5\)"):
        call(gaussian(7, 5))
    with pytest.raises(ValueError, match="W must have shape"):
        call(Factored(gaussian(7, 2), gaussian(5, 2)))
    with pytest.raises(TypeError, match="to\\(dtype"):
        call(torch.zeros(5, 7))
    with pytest.raises(TypeError, match=r"W must be a torch.Tensor or overt.Factored, got \[\[1.0\]\]"):
        call([[1.0]])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    problem = make()
    W = gaussian(5, 7, seed=3)
    moved = problem.to(device="cuda")
    assert moved.loss(W.cuda()).item() == pytest.approx(problem.loss(W).item(), rel=1e-12)
    assert torch.equal(moved.adjoint(moved.y).cpu(), problem.adjoint(problem.y))
    with pytest.raises(ValueError, match="cuda"):
        CompletionProblem(problem.rows, problem.cols, problem.y.cuda(), (5, 7))
