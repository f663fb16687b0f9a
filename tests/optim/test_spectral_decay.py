"""The decoupled step against a slow oracle, with every optimizer inside, its guards, and its refusals."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from overt.models import DeepLinear
from overt.optim import SpectralDecay
from overt.optim.relative import relative_step
from overt.penalties import SpectralPenalty
from overt.training import HoldReleaseRefit, Warmup, make_optimizer, optimizer_names


class Experts(nn.Module):
    """A batch of three matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x):
        return x @ self.up[0].mT + self.up.square().sum()


class Adapted(nn.Module):
    """A low-rank adapter as PEFT holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Linear(5, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.scaling = 0.5

    def forward(self, x):
        return self.scaling * self.lora_B(self.lora_A(x))


class Gates(nn.Module):
    """A recurrent layer, whose parameters hold four matrices each."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(5, 3, batch_first=True)

    def forward(self, x):
        return self.inner(x[:, None])[0]


class Packed(nn.Module):
    """Attention, with three matrices in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(5, 1, batch_first=True)

    def forward(self, x):
        return self.inner(x[None], x[None], x[None])[0]


MODELS = {
    "gates": Gates,
    "packed": Packed,
    "linear": lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
    "experts": Experts,
    "adapter": Adapted,
    "kernel": lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.Flatten()),
    "groups": lambda: nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Conv1d(5, 10, 1, groups=5), nn.Flatten()),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 6)),
}
FUNCTIONALS = {
    "normalized_nuclear_norm": {},
    "participation_ratio": {},
    "effective_rank": {},
    "stable_rank": {},
    "nuclear_norm": {},
    "schatten_norm": {"p": 0.5},
    "log_det": {"eps": 0.1},
}


def made(name, dtype=torch.float64):
    torch.manual_seed(0)
    return MODELS[name]().to(dtype)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def backward(model):
    model.zero_grad()
    x = torch.linspace(-1, 1, 10, dtype=next(model.parameters()).dtype).reshape(2, 5)
    loss = model(x).square().mean()
    loss.backward()
    return loss


def by_hand(W, G, length):
    """The formula, for one matrix."""
    size = torch.linalg.vector_norm(G)
    if size == 0:
        return W
    norm = torch.linalg.vector_norm(W)
    moved = W - length * norm * G / size
    return moved * min(1.0, float(norm / torch.linalg.vector_norm(moved)))


def share(change, W):
    return float(torch.linalg.vector_norm(change) / torch.linalg.vector_norm(W))


def expected(model, functional, options, length):
    """What a step makes of each penalized parameter, from the value of the penalty and autograd."""
    penalty = SpectralPenalty(model, functional, options=options)
    names = [name for name, p in model.named_parameters() if p.ndim > 1]
    parameters = [model.get_parameter(name) for name in names]
    gradients = torch.autograd.grad(penalty.value(), parameters)
    found = {}
    for name, p, g in zip(names, parameters, gradients, strict=True):
        W = p.detach().clone()
        count = {Experts: 3, Gates: 4, Packed: 3 if "in_proj" in name else 1}.get(type(model), 1)
        members = (t.reshape(count, -1, t.shape[-1]) if count > 1 else t[None] for t in (W, g))
        moved = [by_hand(a, b, length) for a, b in zip(*members, strict=True)]
        found[name] = torch.stack(moved).reshape(W.shape)
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_a_step_is_that_of_the_formula(name, functional):
    model, options = made(name), FUNCTIONALS[functional]
    decay = SpectralDecay(sgd(model), model, functional, options=options, length=0.05)
    backward(model)
    plain = copy.deepcopy(model)
    for p, q in zip(plain.parameters(), model.parameters(), strict=True):
        p.grad = q.grad.clone()
    sgd(plain).step()
    wanted = expected(plain, functional, options, 0.05)
    decay.step()
    assert wanted
    for key, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), wanted.get(key, plain.get_parameter(key).detach()))


@pytest.mark.parametrize("model", [DeepLinear((5, 6, 4), scale=0.5, seed=0, dtype=torch.float64)])
def test_the_factors_of_a_product_are_stepped_by_the_gradient_of_the_product(model):
    decay = SpectralDecay(sgd(model, 1e-300), model, of="product", length=0.1)
    gradients = torch.autograd.grad(SpectralPenalty(model, of="product").value(), list(model.parameters()))
    wanted = [by_hand(p.detach(), g, 0.1) for p, g in zip(model.parameters(), gradients, strict=True)]
    model.product().sum().backward()
    decay.step()
    for p, W in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.detach(), W)


def test_weights_of_layers_are_factors_of_the_length():
    for name, weights in (("linear", {"2": 0.5}), ("experts", {"up[1]": 0.5}), ("experts", {"up[1]": 0})):
        model = made(name)
        decay = SpectralDecay(sgd(model, 1e-300), model, layer_weights=weights, length=0.1)
        before = [p.detach().clone() for p in model.parameters() if p.ndim > 1]
        backward(model)
        decay.step()
        after = [p.detach() for p in model.parameters() if p.ndim > 1]
        if name == "experts":
            before, after = before[0], after[0]
        first, second, *_ = (share(q - p, p) for p, q in zip(before, after, strict=True))
        assert second / first == pytest.approx(next(iter(weights.values())), rel=1e-2)


# ---- the optimizer inside --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_steps_as_alone_and_then_the_penalty(name):
    alone, model = (DeepLinear((5, 6), scale=0.5, seed=0, dtype=torch.float64) for _ in range(2))
    plain = make_optimizer(name, alone.parameters())
    decay = SpectralDecay(make_optimizer(name, model.parameters()), model, length=0.03)
    for _ in range(3):
        for net, optimizer in ((alone, plain), (model, decay)):

            def closure(net=net, optimizer=optimizer):
                optimizer.zero_grad()
                loss = (net.product() - 1).square().sum()
                loss.backward()
                return loss

            assert optimizer.step(closure).item() >= 0
        (W,) = alone.parameters()
        (G,) = torch.autograd.grad(SpectralPenalty(alone).value(), [W])
        relative_step(W, G, 0.03)
        torch.testing.assert_close(model.product(), alone.product())


def test_length_zero_is_the_optimizer_alone_and_decomposes_nothing(monkeypatch):
    model, alone = made("linear"), made("linear")
    decay, plain = SpectralDecay(sgd(model), model, length=0.0), sgd(alone)
    monkeypatch.setattr(decay.penalty, "penalty", lambda: pytest.fail("decomposed"))
    for _ in range(2):
        for net, optimizer in ((model, decay), (alone, plain)):
            backward(net)
            optimizer.step()
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p, q)


def moved_by(decay, model):
    """The relative length of the next step; the optimizer inside does not move."""
    before = model.weight.detach().clone()
    backward(model)
    model.weight.grad.zero_()
    decay.step()
    return share(model.weight.detach() - before, before)


def linear():
    torch.manual_seed(0)
    return nn.Linear(5, 6, bias=False).double()


def test_the_length_follows_the_learning_rate_down_and_its_schedule():
    model = linear()
    decay = SpectralDecay(sgd(model, 0.2), model, length=0.01)
    factors = [1.0, 0.5, 0.25, 0.0, 3.0]
    scheduler = torch.optim.lr_scheduler.LambdaLR(decay, lambda step: factors[step])
    for factor in factors:
        assert moved_by(decay, model) == pytest.approx(0.01 * min(1.0, factor), rel=1e-3)
        if factor < 3.0:
            scheduler.step()
    model = linear()
    decay = SpectralDecay(sgd(model), model, length=0.01, schedule=Warmup(4))
    assert [moved_by(decay, model) for _ in range(5)] == pytest.approx(
        [0.0025, 0.005, 0.0075, 0.01, 0.01], rel=1e-3
    )


def test_a_warm_up_that_was_there_first_does_not_set_the_length():
    model = linear()
    inner = sgd(model)
    torch.optim.lr_scheduler.LinearLR(inner, start_factor=0.1, total_iters=5)
    decay = SpectralDecay(inner, model, length=0.01)
    assert moved_by(decay, model) == pytest.approx(0.001, rel=1e-3)


def test_groups_have_lengths_of_their_own():
    model = made("linear")
    decay = SpectralDecay(torch.optim.SGD(model[0].parameters(), lr=1e-300), model, length=0.1)
    backward(model)
    last = model[2].weight.detach().clone()
    decay.step()
    assert torch.equal(model[2].weight, last)  # the optimizer does not train it
    decay.add_param_group({"params": model[2].parameters(), "length": 0.2})
    backward(model)
    decay.step()
    chord = 2 * math.sin(math.atan(0.2) / 2)  # a step of 0.2 across, and back to the old norm
    assert share(model[2].weight.detach() - last, last) == pytest.approx(chord, rel=1e-9)


def test_it_is_an_optimizer_for_hooks_scalers_and_copies():
    model = linear()
    decay = SpectralDecay(torch.optim.Adam(model.parameters(), fused=True), model, length=0.01)
    seen = []
    decay.register_step_pre_hook(lambda *_: seen.append("before"))
    decay.register_step_post_hook(lambda *_: seen.append("after"))
    backward(model)
    scaler = torch.amp.GradScaler("cpu")
    for p in model.parameters():
        p.grad *= scaler.scale(torch.ones(()))
    scaler.step(decay)
    assert seen == ["before", "after"]
    model.weight.grad.fill_(torch.inf)
    before = model.weight.detach().clone()
    scaler.update()
    scaler.step(decay)  # skipped as a whole
    assert torch.equal(model.weight, before)
    decay.zero_grad()
    assert model.weight.grad is None
    assert "length" in repr(decay)
    for other in (copy.deepcopy(decay), pickle.loads(pickle.dumps(decay))):  # noqa: S301
        (p,) = other.param_groups[0]["params"]
        assert p is other.penalty.model.weight
        assert p is not model.weight
        p.grad = torch.ones_like(p)
        other.step()


# ---- guards ----------------------------------------------------------------------------------------------


def test_steps_do_not_make_a_matrix_longer():
    model = linear()
    decay = SpectralDecay(sgd(model, 1e-300), model, length=0.9)
    norm = float(torch.linalg.vector_norm(model.weight.detach()))
    for _ in range(50):
        backward(model)
        decay.step()
        assert float(torch.linalg.vector_norm(model.weight.detach())) <= norm * (1 + 1e-9)


@pytest.mark.parametrize("size", [1e-150, 1e-12, 1e12])
def test_the_length_does_not_depend_on_the_size_of_the_matrix(size):
    model = linear()
    with torch.no_grad():
        model.weight *= size
    decay = SpectralDecay(sgd(model), model, length=0.01)
    assert moved_by(decay, model) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_zero_matrix_and_low_precision(dtype):
    model = linear().to(dtype)
    decay = SpectralDecay(sgd(model), model, length=0.1)
    assert moved_by(decay, model) == pytest.approx(0.1, rel=0.05)
    nn.init.zeros_(model.weight)
    backward(model)
    model.weight.grad.zero_()
    decay.step()
    assert not model.weight.any()


def test_no_gradient_no_step_and_weight_zero_no_step():
    model = linear()
    decay = SpectralDecay(sgd(model, 1e-300), model, length=0.1)
    before = model.weight.detach().clone()
    decay.step()
    assert torch.equal(model.weight, before)
    decay.penalty.weight = 0.0
    backward(model)
    decay.step()
    assert torch.equal(model.weight, before)


def test_it_stops_at_the_rank_found_and_refits():
    generator = torch.Generator().manual_seed(0)
    x, W = (torch.randn(shape, generator=generator) for shape in ((64, 8), (8, 8)))
    model = nn.Linear(8, 8, bias=False)
    y = x @ (W[:, :2] @ W[:2])
    decay = SpectralDecay(sgd(model, 0.2), model, length=0.03)
    schedule = HoldReleaseRefit(decay.penalty, decay, refit_steps=300)
    for _ in range(3000):
        decay.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        decay.step()
        if schedule.step():
            break
    assert (schedule.phase, schedule.ranks) == ("done", {"weight": 2})
    assert decay.penalty.weight == 0
    assert float(loss.detach()) < 1e-8


# ---- state -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "adapter", "experts"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_stored_run_goes_on_bit_for_bit(name, stop, tmp_path):
    def begun():
        model = made(name)
        inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
        decay = SpectralDecay(inner, model, length=0.05, every=4, schedule=lambda step: 1 - step / 20)
        return model, decay, torch.optim.lr_scheduler.ExponentialLR(decay, 0.9)

    def go(model, decay, scheduler, steps):
        for _ in range(steps):
            backward(model)
            decay.step()
            scheduler.step()

    whole = begun()
    go(*whole, 10)
    first = begun()
    go(*first, stop)
    torch.save([part.state_dict() for part in first], tmp_path / "run")
    second = begun()
    for part, state in zip(second, torch.load(tmp_path / "run"), strict=True):
        part.load_state_dict(state)
    go(*second, 10 - stop)
    for p, q in zip(second[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_state_of_an_optimizer_alone_is_taken_up():
    model = made("linear")
    plain = torch.optim.Adam(model.parameters())
    backward(model)
    plain.step()
    decay = SpectralDecay(torch.optim.Adam(model.parameters()), model, length=0.01)
    decay.load_state_dict(plain.state_dict())
    assert decay.param_groups[0]["length"] == 0.01
    assert decay.state[model[0].weight]["step"] == 1
    backward(model)
    decay.step()


def test_hooks_of_the_state_are_called():
    model = linear()
    decay = SpectralDecay(sgd(model), model)
    decay.register_state_dict_post_hook(lambda _, state: {**state, "more": 1})
    decay.register_load_state_dict_pre_hook(lambda _, state: {k: v for k, v in state.items() if k != "more"})
    state = decay.state_dict()
    assert state["more"] == 1
    decay.load_state_dict(state)


# ---- refusals --------------------------------------------------------------------------------------------


def test_wrong_input_is_refused():
    model, other = made("linear"), made("linear")
    for call, kind, words in (
        (lambda: SpectralDecay(model, model), TypeError, "optimizer must be a torch.optim.Optimizer"),
        (lambda: SpectralDecay(sgd(model), "net"), TypeError, "model must be"),
        (lambda: SpectralDecay(SpectralDecay(sgd(model), model), model), TypeError, "SpectralDecay already"),
        (lambda: SpectralDecay(sgd(other), model), ValueError, "trains none of the penalized"),
        (lambda: SpectralDecay(sgd(other), model, of="product"), ValueError, "end-to-end"),
        (lambda: SpectralDecay(sgd(model), model, length=1.0), ValueError, "length"),
        (lambda: SpectralDecay(sgd(model), model, length=-0.1), ValueError, "length"),
        (lambda: SpectralDecay(sgd(model), model, schedule=3), TypeError, "schedule"),
        (lambda: SpectralDecay(sgd(model), model, weight=1.0), TypeError, "weight"),
        (lambda: SpectralDecay(sgd(model), model, "nuclear_nrom"), ValueError, "functional"),
        (lambda: SpectralDecay(sgd(model), model, layers="9"), ValueError, "layers"),
    ):
        with pytest.raises(kind, match=words):
            call()
    decay = SpectralDecay(sgd(model), model, schedule=lambda step: -1.0)
    backward(model)
    with pytest.raises(ValueError, match=r"schedule\(0\)"):
        decay.step()
    decay.param_groups[0]["length"] = 2
    decay.schedule = None
    with pytest.raises(ValueError, match="length of a group"):
        decay.step()
    with pytest.raises(ValueError, match="not a state of SpectralDecay"):
        decay.load_state_dict({**decay.state_dict(), "spectral_decay": {"steps": 1}})
    state = decay.state_dict()
    state["spectral_decay"]["penalty"] = {"calls": torch.tensor(1)}
    with pytest.raises(ValueError, match="other layers"):
        decay.load_state_dict(state)


def test_a_refit_refuses_the_optimizer_inside_as_it_does_alone():
    model = linear()
    decay = SpectralDecay(torch.optim.LBFGS(model.parameters()), model)
    with pytest.raises(TypeError, match="other than LBFGS"):
        HoldReleaseRefit(decay.penalty, decay)
