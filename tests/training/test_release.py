"""Hold, release, refit in a loop of one's own."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn

from overt.models import DeepLinear
from overt.penalties import SpectralPenalty, adapters_of
from overt.training import HoldReleaseRefit
from overt.training.projection import FixedRank, can_project

GENERATOR = torch.Generator().manual_seed(0)


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


class Adapted(nn.Module):
    def __init__(self, n: int, m: int, r: int) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Linear(n, r, bias=False), nn.Linear(r, m, bias=False)

    def forward(self, x):
        return self.lora_B(self.lora_A(x))


class Scripted(nn.Module):
    """Two matrices whose spectra the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.eye(6)), nn.Parameter(torch.eye(6))

    def set(self, a: list[float], b: list[float]) -> None:
        with torch.no_grad():
            self.a.copy_(torch.diag(torch.tensor(a)))
            self.b.copy_(torch.diag(torch.tensor(b)))


OPEN, TWO, ONE = [6.0, 5, 4, 3, 2, 1], [3.0, 2, 0.1, 0.1, 0.1, 0.1], [3.0, 0.2, 0.2, 0.1, 0.1, 0.1]


def scripted(**arguments):
    model = Scripted()
    return model, schedule_of(SpectralPenalty(model), patience=3, check_every=1, **arguments)


def schedule_of(penalty, **arguments):
    return HoldReleaseRefit(penalty, torch.optim.SGD(penalty.model.parameters(), lr=0.1), **arguments)


def test_released_once_all_have_stood_still():
    model, schedule = scripted(refit_steps=2)
    for a, b in ((OPEN, TWO), (TWO, OPEN), (TWO, ONE), (ONE, ONE), (TWO, TWO), (TWO, ONE), (TWO, ONE)):
        model.set(a, b)
        assert not schedule.step()
        assert (schedule.phase, schedule.penalty.weight) == ("hold", 1e-2)
        assert schedule.uncollapsed == tuple(n for n, s in (("a", a), ("b", b)) if s is OPEN)
    assert not schedule.step()
    assert (schedule.phase, schedule.ranks, schedule.released_at) == ("refit", {"a": 2, "b": 1}, 8)
    assert schedule.penalty.weight == 0.0
    assert [schedule.step() for _ in range(3)] == [False, True, True]
    assert schedule.phase == "done"
    ranks = [torch.linalg.matrix_rank(p.detach(), rtol=1e-5).item() for p in model.parameters()]
    assert ranks == [2, 1]


def test_what_still_falls_is_waited_for():
    model, schedule = scripted(drift=0.1)
    second = 2.0
    for _ in range(12):
        model.set([3.0, second, 1e-3, 1e-3, 1e-3, 1e-3], ONE)
        schedule.step()
        second *= 0.94
    assert schedule.phase == "hold"
    for _ in range(3):
        schedule.step()
    assert schedule.ranks == {"a": 2, "b": 1}


def test_a_loss_that_is_too_high_does_not_count():
    model, schedule = scripted(fit=0.5)
    model.set(TWO, ONE)
    for loss in (1.0, 0.4, 0.4, 1.0, 0.4, torch.tensor(0.4)):
        schedule.step(loss)
    assert schedule.phase == "hold"
    schedule.step(0.4)
    assert schedule.phase == "refit"
    with pytest.raises(ValueError, match=r"loss: fit=0\.5 is compared with it"):
        schedule.step()


@pytest.mark.slow
def test_rank_zero_and_tiny_values():
    model, schedule = scripted(refit_steps=None)
    model.set(OPEN, TWO)
    schedule.step()
    # What is left of a is noise of any shape; b has two directions, and zeros of different sizes.
    model.set([1e-7, 1e-9, 1e-9, 1e-12, 0.0, 0.0], [3.0, 2, 1e-5, 1e-9, 1e-15, 0.0])
    for _ in range(3):
        schedule.step()
    assert schedule.ranks == {"a": 0, "b": 2}
    assert not schedule.step()
    assert not model.a.any()
    assert not any(schedule.step() for _ in range(2000))


def test_half_of_the_directions_have_to_close_and_weight_zero_is_left_alone():
    model, schedule = scripted()
    model.set([3.0, 3, 3, 0.1, 0.1, 0.1], [5.0, 4, 4, 4, 4, 0.01])
    for _ in range(5):
        schedule.step()
    assert schedule.uncollapsed == ("a", "b")
    model.set(TWO, ONE)
    schedule.penalty.weight = 0.0
    for _ in range(5):
        schedule.step()
    assert schedule.phase == "hold"


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(9, 7, bias=False),
        lambda: nn.Linear(7, 9, bias=False),
        lambda: nn.Conv2d(2, 8, 3, bias=False),
        lambda: Adapted(9, 7, 5),
    ],
)
def test_projections_follow_the_best_ones(make):
    """After a small step W goes to a matrix of rank k, no further than the SVD's up to second order."""
    torch.manual_seed(0)
    model = make().double()
    penalty = SpectralPenalty(model)
    parameters = list(model.parameters())

    def matrix():
        (layer,) = penalty.penalized()
        W = layer.matrix()
        return layer, (W.dense() if hasattr(W, "dense") else W).detach().clone()

    layer, _ = matrix()
    kept = FixedRank(layer, 3)
    for step in range(5):
        with torch.no_grad():
            for p in parameters:
                p.add_(1e-3 * torch.randn(p.shape, generator=GENERATOR, dtype=p.dtype))
        layer, before = matrix()
        kept.retract(layer)
        _, after = matrix()
        S = torch.linalg.svdvals(before)
        assert torch.linalg.svdvals(after)[3] < 1e-12
        distance, least = torch.linalg.matrix_norm(after - before), torch.linalg.vector_norm(S[3:])
        assert least * (1 - 1e-9) <= distance < 1.001 * least, step


def test_tangent_part_of_a_gradient():
    """It is the one that the factors of W = Q C see, and 0 for a gradient that is normal."""
    model = nn.Linear(6, 5, bias=False).double()
    (layer,) = SpectralPenalty(model).penalized()
    kept = FixedRank(layer, 2)
    G = gaussian(5, 6)
    U, _, Vh = torch.linalg.svd(model.weight.detach())
    normal = U[:, 2:] @ gaussian(3, 4) @ Vh[2:]
    for given, expected in ((G, G - U[:, 2:] @ U[:, 2:].T @ G @ Vh[2:].T @ Vh[2:]), (normal, 0 * normal)):
        model.weight.grad = given.clone()
        kept.project_gradient()
        torch.testing.assert_close(model.weight.grad, expected, rtol=1e-10, atol=1e-12)


def test_what_cannot_be_projected_is_released_alone():
    convolution = nn.Sequential(nn.Conv1d(8, 8, 1)).double()
    (operator,) = SpectralPenalty(convolution, conv="operator", grid=4).penalized()
    (product,) = SpectralPenalty(DeepLinear((4, 4), scale=1.0, seed=0), of="product").penalized()
    norm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    (parametrized,) = SpectralPenalty(norm).penalized()
    assert not any(can_project(layer) for layer in (operator, product, parametrized))


def noisy(seed: int):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(16, 2, generator=generator) @ torch.randn(2, 16, generator=generator) / 4
    x = torch.randn(120, 16, generator=generator)
    return x, x @ truth.T + torch.randn(120, 16, generator=generator), truth


def run(seed: int, weight: float, *, release: bool, steps: int = 1500):
    torch.manual_seed(seed)
    model = nn.Linear(16, 16, bias=False)
    x, y, truth = noisy(seed)
    penalty = SpectralPenalty(model, weight=weight, every=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = HoldReleaseRefit(penalty, optimizer, refit_steps=None)
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y).square().mean() + penalty.penalty()).backward()
        optimizer.step()
        if release:
            schedule.step()
    error = torch.linalg.matrix_norm(model.weight.detach() - truth) / torch.linalg.matrix_norm(truth)
    return error.item(), schedule, model


def least_squares_of_rank(seed: int, rank: int) -> float:
    """Error of the exact reduced-rank regression, which the refit is to come to."""
    x, y, truth = noisy(seed)
    W = torch.linalg.lstsq(x, y).solution
    V = torch.linalg.svd(x @ W, full_matrices=False)[2][:rank]
    W = (W @ V.T @ V).T
    return (torch.linalg.matrix_norm(W - truth) / torch.linalg.matrix_norm(truth)).item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_refit_is_the_regression_of_the_rank_found(seed):
    held, _, _ = run(seed, 0.3, release=False)
    refit, schedule, model = run(seed, 0.3, release=True)
    assert schedule.ranks == {"weight": 2}
    assert torch.linalg.svdvals(model.weight.detach())[2] < 1e-5
    assert refit == pytest.approx(least_squares_of_rank(seed, 2), rel=2e-3)
    assert refit < 0.95 * held


@pytest.mark.slow
def test_adapters_are_released_at_their_rank():
    torch.manual_seed(0)
    x, y, _ = noisy(0)
    model = Adapted(16, 16, 8)
    penalty = SpectralPenalty(model, weight=0.3, norm_floor=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = HoldReleaseRefit(penalty, optimizer, refit_steps=100)
    for step in itertools.count():
        optimizer.zero_grad()
        ((model(x) - y).square().mean() + penalty.penalty()).backward()
        optimizer.step()
        if schedule.step():
            break
        assert step < 3000
    (adapter,) = adapters_of(model)
    assert list(schedule.ranks.values()) == [2]
    assert torch.linalg.svdvals(adapter.matrix().dense().detach())[2] < 1e-6


@pytest.mark.parametrize("stop", [4, 9])
def test_state(stop):
    def go(model, schedule, start, end):
        for step in range(start, end):
            model.set([3.0, 2 + 0.01 * step, 0.1, 0.1, 0.1, 0.1], ONE)
            schedule.step()

    model, whole = scripted(refit_steps=4)
    go(model, whole, 0, 12)
    model, first = scripted(refit_steps=4)
    go(model, first, 0, stop)
    _, second = scripted(refit_steps=4)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.penalty.model.load_state_dict(model.state_dict())
    go(second.penalty.model, second, stop, 12)
    assert second.state_dict() == whole.state_dict()
    assert second.penalty.weight == whole.penalty.weight == 0.0
    for found, right in zip(second.penalty.model.parameters(), whole.penalty.model.parameters(), strict=True):
        torch.testing.assert_close(found, right)
    with pytest.raises(ValueError, match="not a state of HoldReleaseRefit"):
        second.load_state_dict({"rank": 3})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gap": 1.0}, ValueError, r"gap must be a number in \(0, 1\)"),
        ({"patience": 0}, ValueError, "patience must be an integer ≥ 1"),
        ({"refit_steps": 0}, ValueError, "refit_steps must be an integer ≥ 1"),
        ({"check_every": 1.5}, TypeError, "check_every must be an integer"),
        ({"drift": 0}, ValueError, "drift must be a number > 0"),
        ({"fit": -1.0}, ValueError, "fit must be a number > 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    penalty = SpectralPenalty(Scripted())
    with pytest.raises(error, match=message):
        schedule_of(penalty, **arguments)
    with pytest.raises(TypeError, match="penalty must be a SpectralPenalty, got Scripted"):
        HoldReleaseRefit(penalty.model, torch.optim.SGD(penalty.model.parameters(), lr=0.1))
    for optimizer in (penalty, torch.optim.LBFGS(penalty.model.parameters())):
        with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer other than LBFGS"):
            HoldReleaseRefit(penalty, optimizer)
    assert "gap=0.1" in repr(schedule_of(penalty))
