"""The training loop: what it returns, when it ends, what it refuses."""

from __future__ import annotations

import math
import os
import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from overt import functional as F
from overt.models import DeepDiagonal, DeepLinear
from overt.penalties import SpectralPenalty, VectorPenalty
from overt.problems import CompletionProblem, linear_regression, matrix_completion, matrix_sensing
from overt.training import Constant, Recording, State, Stopping, Warmup, log_spaced, train
from overt.training.state import Snapshots


def completion(**options):
    return matrix_completion((8, 6), rank=1, n_observed=36, seed=0, **options)


def deep(*sizes: int, scale: float = 1e-2, seed: int = 0, dtype=torch.float64) -> DeepLinear:
    return DeepLinear(sizes, scale=scale, seed=seed, dtype=dtype)


class Vector(nn.Module):
    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())

    def product(self) -> Tensor:
        return self.w


class Square:
    """The least that can be trained on: no y, no observed entries."""

    shape = (2, 2)

    def loss(self, W: Tensor) -> Tensor:
        return (W - 1).square().mean()

    def error(self, W: Tensor) -> float:
        return float((W - 1).norm())


# ---- one loop for every problem --------------------------------------------------------------------------


@pytest.mark.slow
def test_completion_converges_and_the_trace_says_what_happened():
    problem, model = completion(), deep(6, 8, 8)
    result = train(model, problem, lr=1e-2, max_steps=3000, recording=Recording(leading=4), tolerance=1e-10)
    assert result.status == "converged", result.message
    assert result.converged
    assert result.trace.column("step") == sorted({*result.trace.column("step")})
    recorded, planned = result.trace.column("step"), log_spaced(3000)
    assert recorded[:-1] == [step for step in planned if step < result.steps]
    assert recorded[-1] == result.steps
    last, W = result.trace[-1], result.W
    torch.testing.assert_close(W, model.product())
    assert not W.requires_grad
    assert last["loss"] == float(problem.loss(W)) <= 1e-10 * float(problem.y.square().mean())
    assert last["error"] == problem.error(W)
    assert last["objective"] == last["loss"]
    assert last["weight"] == 0.0
    assert last["max_abs"] == float(W.abs().max())
    torch.testing.assert_close(torch.tensor(last["singular_values"]).double(), torch.linalg.svdvals(W)[:4])
    for name in ("effective_rank", "normalized_nuclear_norm", "stable_rank", "nuclear_norm"):
        assert last[name] == pytest.approx(float(getattr(F, name)(W)), rel=1e-9)


@pytest.mark.slow
def test_sensing_converges():
    problem = matrix_sensing((6, 5), rank=1, n_measurements=28, seed=0)
    targets = Recording(error_targets=(1e-1,))
    result = train(deep(5, 6, 6), problem, lr=1e-2, max_steps=4000, recording=targets, tolerance=1e-4)
    assert result.status == "converged", result.message
    assert problem.error(result.W) < 0.1
    assert 0.1 in result.hits


def test_regression_records_functionals_of_the_vector():
    problem = linear_regression(6, n_samples=12, nonzeros=2, seed=0)
    result = train(
        Vector(torch.zeros(6, dtype=torch.float64)), problem, optimizer="gd", lr=0.2, max_steps=2000
    )
    assert result.status == "converged"
    row = result.trace[-1]
    assert "singular_values" not in row
    assert row["nonzeros"] == 2
    assert row["l1"] == pytest.approx(float(problem.truth.abs().sum()), rel=1e-4)
    assert row["l1_over_l2"] == pytest.approx(row["l1"] / row["l2"])


def test_gd_on_underdetermined_regression_finds_the_least_norm():
    problem = linear_regression(20, n_samples=8, seed=1)
    result = train(
        Vector(torch.zeros(20, dtype=torch.float64)),
        problem,
        optimizer="gd",
        lr=0.1,
        max_steps=20_000,
        tolerance=1e-22,
    )
    assert result.status == "converged", result.message
    torch.testing.assert_close(result.W, torch.linalg.pinv(problem.X) @ problem.y, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_deep_diagonal_from_small_init_is_sparser_than_the_least_norm():
    problem = linear_regression(40, n_samples=25, nonzeros=3, seed=0)
    model = DeepDiagonal(40, 2, 1e-6, dtype=torch.float64)
    result = train(model, problem, optimizer="gd", lr=0.2, max_steps=2500, tolerance=1e-6)
    least = torch.linalg.pinv(problem.X) @ problem.y
    assert problem.error(result.W) < 0.05 < problem.error(least)
    assert result.W.abs().sum() < 0.9 * least.abs().sum()


def test_anything_with_shape_loss_and_error_can_be_trained_on():
    result = train(nn.Linear(2, 2, bias=False), Square(), optimizer="gd", lr=1.0, max_steps=500)
    assert result.status == "converged"
    torch.testing.assert_close(result.W, torch.ones(2, 2), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_small_deep_network_recovers_a_low_rank_matrix_and_depth_one_does_not():
    problem = matrix_completion((30, 30), rank=2, n_observed=400, seed=0)
    flat = train(deep(30, 30, scale=1e-3), problem, lr=1e-2, max_steps=1500, tolerance=1e-8)
    assert flat.converged
    assert problem.error(flat.W) > 0.5
    result = train(deep(30, 30, 30, 30, 30, scale=1e-3), problem, lr=1e-3, max_steps=2000)
    assert problem.error(result.W) < 0.05
    assert result.trace[-1]["effective_rank"] < 2.5 < flat.trace[-1]["effective_rank"]


# ---- with a penalty --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_objective_is_loss_plus_penalty_and_ends_by_stalling():
    problem, model = completion(), deep(6, 8, scale=1e-3)
    penalty = SpectralPenalty(model, of="product", weight=0.05)
    stopping = Stopping(stall_steps=500)
    result = train(model, problem, lr=1e-2, penalty=penalty, max_steps=20_000, stopping=stopping)
    assert result.status == "converged"
    assert "has not fallen" in result.message
    row = result.trace[-1]
    assert row["weight"] == 0.05
    assert row["objective"] == pytest.approx(row["loss"] + 0.05 * row["normalized_nuclear_norm"], rel=1e-9)
    assert row["effective_rank"] < 1.05


def test_small_loss_is_no_convergence_while_a_penalty_is_at_work():
    problem = completion()
    model = deep(6, 8)
    model.weights[0].data.copy_(problem.truth)
    penalty = SpectralPenalty(model, of="product", weight=1e-3)
    assert train(model, problem, max_steps=3, penalty=penalty).status == "budget"
    penalty.weight = 0.0
    model.weights[0].data.copy_(problem.truth)
    result = train(model, problem, max_steps=3, penalty=penalty)
    assert (result.status, result.steps) == ("converged", 0)


def test_penalty_of_the_weights_of_a_deep_network():
    problem, model = completion(), deep(6, 8, 8)
    penalty = SpectralPenalty(model, of="weights", weight=0.05)
    row = train(model, problem, penalty=penalty, max_steps=3).trace[-1]
    assert row["objective"] == pytest.approx(row["loss"] + penalty.penalty().item(), rel=1e-9)


@pytest.mark.slow
def test_vector_penalty_makes_a_sparse_solution():
    problem = linear_regression(20, n_samples=14, nonzeros=2, seed=0)
    model = Vector(1e-3 * torch.ones(20, dtype=torch.float64))
    result = train(model, problem, lr=1e-2, penalty=VectorPenalty(model, weight=0.2), max_steps=2500)
    assert result.trace[-1]["l1_over_l2"] < 1.5
    least = torch.linalg.pinv(problem.X) @ problem.y
    assert problem.error(result.W) < 0.1 * problem.error(least)


def test_the_weight_has_its_old_value_after_a_run():
    model = deep(6, 8)
    penalty = SpectralPenalty(model, weight=0.3)
    result = train(model, completion(), penalty=penalty, schedule=Constant(0.1), max_steps=2)
    assert result.trace.column("weight") == [0.1] * 3
    assert penalty.weight == 0.3

    def fail(state: State) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        train(model, completion(), penalty=penalty, schedule=Constant(0.1), max_steps=2, callback=fail)
    assert penalty.weight == 0.3


def test_lr_schedule_scales_the_steps():
    model = Vector(torch.zeros(4, dtype=torch.float64))
    problem = linear_regression(4, n_samples=4, seed=0)
    gradient = 2 * problem.adjoint(problem.measure(model.w.detach()) - problem.y) / 4
    seen = []
    train(
        model,
        problem,
        optimizer="gd",
        lr=0.1,
        lr_schedule=Warmup(10),
        max_steps=2,
        recording=Recording(check_every=1),
        callback=lambda state: seen.append(state.W.clone()),
    )
    torch.testing.assert_close(seen[1], -0.1 * 0.1 * gradient)
    assert (seen[2] - seen[1]).norm() > 1.5 * seen[1].norm()


# ---- the ends --------------------------------------------------------------------------------------------


def test_divergence_by_a_growing_loss():
    problem, model = completion(), deep(6, 8, scale=1.0)
    stopping = Stopping(blow_up=math.inf)
    result = train(model, problem, optimizer="gd", lr=100.0, max_steps=10_000, stopping=stopping)
    assert result.status == "diverged"
    assert "the training loss grew" in result.message
    assert "lower lr" in result.message
    assert bool(torch.isfinite(result.W).all())
    torch.testing.assert_close(result.W, model.product())
    assert result.steps < 100
    assert all(math.isfinite(loss) for loss in result.trace.column("loss"))
    assert result.trace[-1]["step"] == result.steps - 1


@pytest.mark.parametrize("lr", [1e30, 1e200])
def test_divergence_by_overflow_keeps_the_last_finite_state(lr):
    problem, model = completion(), deep(6, 8, 8, scale=1.0)
    result = train(model, problem, optimizer="gd", lr=lr, max_steps=100)
    assert result.status == "diverged"
    assert bool(torch.isfinite(result.W).all())
    assert result.trace[-1]["step"] == result.steps - 1
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_divergence_by_a_nan_that_the_loss_does_not_see():
    """An unobserved entry becomes NaN: the loss stays finite, a decomposition refuses the matrix."""
    problem, model = completion(), deep(6, 8)
    row, col = (~problem.observed).nonzero()[0].tolist()

    def poison(state: State) -> None:
        if state.step == 15:  # not a step that is recorded
            model.weights[0].data[row, col] = math.nan

    for penalty in (None, SpectralPenalty(model, of="product", weight=1e-3)):
        model.weights[0].data.fill_(0.1)
        recording = Recording(check_every=5)
        result = train(model, problem, penalty=penalty, max_steps=50, recording=recording, callback=poison)
        assert result.status == "diverged"
        assert "finite" in result.message
        assert bool(torch.isfinite(result.W).all())


def test_divergence_by_a_spike_goes_back_to_a_state_without_it():
    problem, model = completion(), deep(6, 8)
    row, col = (~problem.observed).nonzero()[0].tolist()
    largest = float(problem.y.abs().max())

    def spike(state: State) -> None:
        if state.step == 20:
            model.weights[0].data[row, col] = 150 * largest

    options = {"recording": Recording(check_every=10), "callback": spike}
    result = train(model, problem, max_steps=100, **options)
    assert result.status == "diverged"
    assert "largest entry" in result.message
    assert float(result.W.abs().max()) < 100 * largest
    model = deep(6, 8)
    assert train(model, problem, max_steps=50, stopping=Stopping(blow_up=1e6), **options).status == "budget"


@pytest.mark.slow
def test_the_published_blow_up_is_noticed_or_prevented():
    """With few observations the penalty alone grows a spike; with a norm cap it does not."""
    problem = matrix_completion((10, 10), rank=1, n_observed=22, seed=0)
    reach = []
    for cap in (None, 1.5 * float(torch.linalg.matrix_norm(problem.truth))):
        model = deep(10, 10, scale=1e-3)
        row, col = (~problem.observed).nonzero()[0].tolist()
        model.weights[0].data[row, col] = 50.0  # large already: the penalty gains by letting it grow
        penalty = SpectralPenalty(model, of="product", weight=1.0, norm_cap=cap)
        result = train(model, problem, lr=1.0, penalty=penalty, max_steps=400)
        reach.append(float(result.W.abs().max()))
    assert reach[0] > 50.0
    assert reach[1] < 0.5 * reach[0]


def test_a_warm_start_at_the_solution_is_no_divergence():
    problem, model = completion(), deep(6, 8)
    model.weights[0].data.copy_(problem.truth)
    result = train(model, problem, tolerance=0.0, lr=0.1, max_steps=50)
    assert result.status in {"budget", "converged"}


def test_no_movement_is_convergence():
    problem = linear_regression(2, n_samples=6, noise=0.1, seed=0)
    result = train(
        Vector(torch.zeros(2, dtype=torch.float64)),
        problem,
        optimizer="gd",
        lr=0.3,
        max_steps=20_000,
        tolerance=1e-30,
    )
    assert result.status == "converged"
    assert "no parameter moved" in result.message
    torch.testing.assert_close(result.W, torch.linalg.pinv(problem.X) @ problem.y)


def test_budgets():
    result = train(deep(6, 8), completion(), max_steps=0)
    assert (result.status, result.steps, len(result.trace)) == ("budget", 0, 1)
    result = train(deep(6, 8, 8), completion(), lr=1e-6, max_steps=10**7, max_seconds=0.05)
    assert result.status == "budget"
    assert "max_seconds" in result.message
    assert 0.05 <= result.seconds < 5


def test_callback_sees_the_state_and_can_stop():
    states: list[State] = []

    def watch(state: State) -> bool:
        states.append(state)
        assert state.singular_values().shape == (6,)
        return state.step == 20

    recording = Recording(check_every=10)
    result = train(deep(6, 8), completion(), max_steps=100, recording=recording, callback=watch)
    assert (result.status, result.steps) == ("stopped", 20)
    assert [state.step for state in states] == [0, 10, 20]
    assert result.trace[-1]["step"] == 20
    assert 1 < states[0].effective_rank() <= 6


@pytest.mark.slow
def test_error_targets_are_hit_in_order():
    problem = completion()
    recording = Recording(error_targets=[0.05, 0.5, 1e-9], check_every=5)
    result = train(deep(6, 8, 8, 8), problem, lr=1e-2, max_steps=3000, recording=recording)
    (step_half, seconds_half), (step, seconds) = result.hits[0.5], result.hits[0.05]
    assert 0 < step_half < step <= result.steps
    assert 0 < seconds_half < seconds <= result.seconds
    assert step_half % 5 == 0
    assert 1e-9 not in result.hits


@pytest.mark.slow
def test_the_clock_leaves_out_what_is_not_training():
    def slow(state: State) -> None:
        time.sleep(0.1)

    started = time.perf_counter()
    recording = Recording(check_every=5)
    result = train(deep(6, 8), completion(), max_steps=20, recording=recording, callback=slow)
    assert time.perf_counter() - started >= 0.5
    assert result.seconds <= time.perf_counter() - started - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lbfgs", "muon", "grouprmsprop", "momentum", "adafactor"])
def test_every_kind_of_optimizer_goes_through_the_loop(optimizer):
    result = train(deep(6, 8, 8, scale=0.1), completion(), optimizer=optimizer, lr=0.05, max_steps=60)
    assert result.trace[-1]["loss"] < 0.5 * result.trace[0]["loss"]


def test_single_precision_and_frozen_layers():
    model = deep(6, 8, 8, dtype=torch.float32)
    model.weights[0].requires_grad_(False)
    before = model.weights[0].clone()
    result = train(model, completion().to(dtype=torch.float32), lr=1e-2, max_steps=50)
    assert result.W.dtype == torch.float32
    assert torch.equal(before, model.weights[0])
    assert result.trace[-1]["loss"] < result.trace[0]["loss"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device():
    problem = completion().to(device="cuda")
    result = train(deep(6, 8, 8).cuda(), problem, lr=1e-2, max_steps=3000)
    assert result.status == "converged"
    assert result.W.device.type == "cuda"


def test_progress_shows_step_loss_and_rank(capsys):
    train(deep(6, 8), completion(), max_steps=30, progress=True)
    shown = capsys.readouterr().err
    assert "step 30/30" in shown
    assert "loss" in shown
    assert "effective rank" in shown
    problem = linear_regression(3, n_samples=3, seed=0)
    train(Vector(torch.zeros(3, dtype=torch.float64)), problem, max_steps=3, progress=True)
    assert "nonzeros" in capsys.readouterr().err


# ---- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_steps": -1}, ValueError, "max_steps must be an integer ≥ 0, got -1"),
        ({"max_steps": 1.5}, TypeError, "max_steps must be an integer"),
        ({"max_seconds": -1.0}, ValueError, "max_seconds"),
        ({"lr": 0.0}, ValueError, "lr must be a finite number > 0, got 0.0"),
        ({"lr": math.nan}, ValueError, "lr must be a finite number"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be a number ≥ 0"),
        ({"tolerance": math.nan}, ValueError, "tolerance"),
        ({"optimizer": "adan"}, ValueError, "unknown optimizer"),
        ({"optimizer_options": {"beta": 1}}, ValueError, "has no option beta"),
        ({"penalty": 3}, TypeError, r"must be an object with a weight and a method penalty\(W\), got 3"),
        ({"optimizer_options": 3}, TypeError, "optimizer_options must be a mapping"),
        ({"stopping": {}}, TypeError, r"stopping must be an overt\.training\.Stopping, got {}"),
        ({"recording": 3}, TypeError, r"recording must be an overt\.training\.Recording, got 3"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be the path of a file, got 3"),
        ({"schedule": Constant(1.0)}, ValueError, "there is no penalty"),
        ({"callback": 3}, TypeError, "callback must be callable"),
        ({"lr_schedule": 3}, TypeError, "lr_schedule must be callable"),
        ({"checkpoint": "/no/such/folder/run.st"}, ValueError, "does not exist"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        train(deep(6, 8), completion(), **{"max_steps": 1, **arguments})


@pytest.mark.parametrize(
    ("build", "arguments", "error", "message"),
    [
        (Stopping, {"blow_up": 0.0}, ValueError, "blow_up must be a number > 0"),
        (Stopping, {"stall_steps": 0}, ValueError, "stall_steps must be an integer ≥ 1"),
        (Stopping, {"stall_tolerance": "small"}, TypeError, "stall_tolerance must be a number ≥ 0"),
        (Recording, {"check_every": 0}, ValueError, "check_every"),
        (Recording, {"leading": 0}, ValueError, "leading"),
        (Recording, {"per_decade": 0}, ValueError, "per_decade"),
        (Recording, {"per_decade": 1.5}, TypeError, "per_decade must be an integer"),
        (Recording, {"checkpoint_seconds": -1}, ValueError, "checkpoint_seconds must be a number ≥ 0"),
        (Recording, {"error_targets": (0.0,)}, ValueError, "error_targets"),
        (Recording, {"error_targets": math.inf}, ValueError, "error_targets must be a finite number"),
        (Recording, {"error_targets": "abc"}, TypeError, "error_targets must be a .* > 0, got 'abc'"),
        (Recording, {"error_targets": None}, TypeError, "error_targets must be a .* > 0, got None"),
        (Recording, {"error_targets": [0.1, "a"]}, TypeError, "error_targets must be a .*, got 'a'"),
    ],
)
def test_wrong_ways_to_stop_and_to_record(build, arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


def test_what_does_not_fit_is_refused_in_words():
    problem = completion()
    with pytest.raises(ValueError, match=r"has shape \(6, 8\) but the problem asks for \(8, 6\)"):
        train(deep(8, 6), problem)
    with pytest.raises(TypeError, match=r"must have the dtype .* torch\.float64, got torch\.float32"):
        train(deep(6, 8, dtype=torch.float32), problem)
    with pytest.raises(TypeError, match="model must be"):
        train(problem, problem)
    with pytest.raises(ValueError, match="no end-to-end matrix"):
        train(nn.ReLU(), problem)
    with pytest.raises(ValueError, match="nothing to train"):
        train(deep(6, 8).requires_grad_(False), problem)
    model = deep(6, 8)
    with pytest.raises(ValueError, match="watches another model"):
        train(model, problem, penalty=SpectralPenalty(deep(6, 8)))
    with pytest.raises(TypeError, match="schedule must be"):
        train(model, problem, penalty=SpectralPenalty(model), schedule=0.1)
    model.weights[0].data[0, 0] = math.inf
    with pytest.raises(ValueError, match="NaN or infinite at the start"):
        train(model, problem)


def test_an_error_of_the_problem_itself_is_not_taken_for_a_divergence():
    class Broken(Square):
        calls = 0

        def loss(self, W: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 2:
                raise ValueError("broken on purpose")
            return super().loss(W)

    with pytest.raises(ValueError, match="broken on purpose"):
        train(nn.Linear(2, 2, bias=False), Broken(), max_steps=3)


def test_a_problem_of_zeros_has_a_unit_of_loss():
    rows, cols = torch.tensor([0, 1]), torch.tensor([0, 1])
    problem = CompletionProblem(rows, cols, torch.zeros(2, dtype=torch.float64), (2, 2))
    result = train(deep(2, 2, scale=1e-9), problem, max_steps=10, stopping=Stopping(blow_up=1e12))
    assert result.status in {"converged", "diverged"}


def test_a_saturated_optimizer_has_not_converged():
    model = deep(6, 8, 8)
    result = train(model, completion(), penalty=SpectralPenalty(model, weight=1e300), lr=1.0, max_steps=100)
    assert result.status == "diverged"
    assert "optimizer's state became NaN or infinite" in result.message
    assert result.W.isfinite().all()


def test_a_checkpoint_is_a_file(tmp_path):
    for folder in (tmp_path, str(tmp_path), ""):
        with pytest.raises(ValueError, match=r"must be the path of a file, got '.+'; that is a folder"):
            train(deep(6, 8), completion(), checkpoint=folder, max_steps=1)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_checkpoint_is_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="that is a pipe or a device"):  # and does not wait for a writer
        train(deep(6, 8), completion(), checkpoint=tmp_path / "pipe", max_steps=1)


@pytest.mark.slow
def test_one_error_target():
    recording = Recording(error_targets=0.9, check_every=5)
    one = train(deep(6, 8), completion(), lr=1e-2, max_steps=500, recording=recording)
    assert list(one.hits) == [0.9]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer_options": {"lr": 0.1}}, ValueError, "give it as lr="),
        ({"lr_schedule": lambda step: -1.0}, ValueError, r"lr_schedule\(0\) must be a finite number ≥ 0"),
        ({"lr_schedule": lambda step: math.nan}, ValueError, r"lr_schedule\(0\) must be a finite number ≥ 0"),
        ({"lr_schedule": lambda step: math.inf}, ValueError, r"lr_schedule\(0\) must be a finite number ≥ 0"),
    ],
)
def test_more_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        train(deep(6, 8), completion(), **{"max_steps": 1, **arguments})


@pytest.mark.parametrize("problem", [None, 3, torch.zeros(8, 6), Square])
def test_what_is_no_problem(problem):
    with pytest.raises(TypeError, match="problem must be an object with shape, loss, error"):
        train(deep(6, 8), problem)


def test_a_penalty_needs_a_weight():
    class Weightless:
        def penalty(self, W: Tensor) -> Tensor:
            return W.sum()

    with pytest.raises(TypeError, match=r"penalty\.weight must be a finite number ≥ 0, got None"):
        train(deep(6, 8), completion(), penalty=Weightless())


def test_gradients_are_switched_on_and_inference_is_refused():
    plain = train(deep(6, 8), completion(), max_steps=20)
    with torch.no_grad():
        switched = train(deep(6, 8), completion(), max_steps=20)
    assert torch.equal(switched.W, plain.W)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode rules out"):
        train(deep(6, 8), completion(), max_steps=20)


def test_numbers_of_numpy(tmp_path):
    i, f = np.int64, np.float32
    options = {
        "lr": f(0.25),
        "max_steps": i(20),
        "max_seconds": i(60),
        "tolerance": f(0),
        "stopping": Stopping(f(0), i(10), i(100)),
        "recording": Recording(i(5), i(3), np.array([0.1, 0.01]), i(5), i(0)),
    }
    own = {
        **{name: options[name].item() for name in ("lr", "max_steps", "max_seconds", "tolerance")},
        "stopping": Stopping(0, 10, 100),
        "recording": Recording(5, 3, [0.1, 0.01], 5, 0),
    }
    assert options["stopping"] == own["stopping"]
    assert options["recording"] == own["recording"]
    path = tmp_path / "run"
    result = train(deep(6, 8), completion(), checkpoint=path, **options)
    resumed = train(deep(6, 8), completion(), checkpoint=path, **own)
    assert torch.equal(result.W, resumed.W)
    model = deep(6, 8)
    penalty = SpectralPenalty(model)
    assert train(model, completion(), penalty=penalty, schedule=Constant(f(0.5)), max_steps=i(3)).steps == 3
    assert Warmup(i(10), total=i(20), final=f(0.5))(i(20)) == 0.5


def test_copies_to_go_back_to_have_no_graph():
    """Each step's copy extended a graph that reached back to the first: 0.4 MiB a step at 3 × 100×100."""
    model = DeepLinear((4, 4, 4), seed=0)
    kept = Snapshots(list(model.parameters()), 0)
    for step in range(3):
        with torch.no_grad():
            model.weights[0] += 1
        kept.keep_finite(step)
        assert kept.keep_checked(step)
    assert all(one.grad_fn is None and not one.requires_grad for one in (*kept._finite, *kept._checked))
    before = model.weights[0].detach().clone()
    with torch.no_grad():
        model.weights[0] += 1
    assert kept.restore(checked=False) == 2
    assert torch.equal(model.weights[0], before)
    assert model.weights[0].requires_grad
