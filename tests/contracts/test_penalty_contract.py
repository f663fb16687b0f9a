"""What every penalty keeps. A new one needs one line in CASES; a test fails while it has none."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import overt.penalties
from overt.penalties import CompositionPenalty, JacobianPenalty, Penalty, SpectralPenalty, VectorPenalty


def network() -> nn.Sequential:
    """With what a penalty must leave alone: statistics of batch norm, and dropout, which draws."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 4)]
    return nn.Sequential(*layers).double()


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False)).double()


def batch(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Squares(Penalty):
    """A penalty as a user writes it."""

    def value(self, product: Tensor | None = None) -> Tensor:
        """Σ θ²."""
        return torch.stack([p.square().sum() for p in self.model.parameters()]).sum()


def composition(model: nn.Sequential, **settings: Any) -> CompositionPenalty:
    """The network in two halves."""
    return CompositionPenalty(model, cuts=3, **settings)


@dataclass(frozen=True)
class Case:
    """A penalty, how it is made, and what of the contract is not for it.

    Attributes
    ----------
    make
        Takes the model and settings.
    model
        Makes the model.
    settings
        Of the penalty in all tests.
    others
        Settings that ``describe()`` must tell apart from these and from each other.
    takes_inputs
        Whether ``penalty(x)`` wants a batch.
    differentiated
        Whether the gradient is that of the value. That of a reweighting is so at its fixed point only.
    """

    make: Callable[..., Penalty]
    model: Callable[[], nn.Sequential] = network
    settings: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()
    takes_inputs: bool = False
    differentiated: bool = True

    def penalty(self, model: nn.Module, **settings: Any) -> Penalty:
        return self.make(model, **{"weight": 0.5, **self.settings, **settings})

    def inputs(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        return (batch(seed, dtype),) if self.takes_inputs else ()


JACOBIAN = (
    {"p": 0.5},
    {"every": 2},
    {"share": 0.5},
    {"outputs": "probabilities"},
    {"seed": 1},
    {"momentum": 0.0},
)
CASES = {
    "spectral": Case(
        SpectralPenalty,
        others=(
            {"functional": "nuclear_norm"},
            {"functional": "schatten_norm", "options": {"p": 0.5}},
            {"norm_cap": 3.0},
            {"norm_floor": 0.1},
            {"layers": "0"},
            {"layer_weights": {"0": 2.0}},
            {"method": "svd"},
        ),
    ),
    "spectral, every third": Case(SpectralPenalty, settings={"every": 3}, others=({"every": 4},)),
    "spectral of the product": Case(SpectralPenalty, chain, {"of": "product"}, ({"of": "weights"},)),
    "vector, ratio": Case(VectorPenalty, chain, others=({"p": 0.5}, {"q": 3.0}, {"norm_cap": 1.0})),
    "vector, power": Case(VectorPenalty, chain, {"p": 1.5, "q": None}, ({"p": 0.5},)),
    "jacobian, identity": Case(
        JacobianPenalty, settings={"basis": "identity", "p": 2.0}, others=JACOBIAN, takes_inputs=True
    ),
    "jacobian, eigen": Case(
        JacobianPenalty,
        settings={"p": 1.0},
        others=({"basis": "fourier"}, {"normalized": True}, {"rank": 3}, {"refresh": 2}),
        takes_inputs=True,
        differentiated=False,
    ),
    "composition": Case(
        composition, others=({"estimator": "vjp"}, {"seed": 1}, {"sigma": 0.05}), takes_inputs=True
    ),
    "composition, twice differentiated": Case(
        composition, settings={"estimator": "vjp"}, others=({"estimator": "denoising"},), takes_inputs=True
    ),
    "composition of a list": Case(
        lambda model, **settings: CompositionPenalty([model], **settings), takes_inputs=True
    ),
    "a user's own": Case(Squares),
}


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_every_penalty_is_here():
    public = [getattr(overt.penalties, name) for name in overt.penalties.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Penalty)} - {Penalty}
    assert {type(case.penalty(case.model())) for case in CASES.values()} == kinds | {Squares}


def step(penalty: Penalty, model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """One step along the penalty's own force."""
    model.zero_grad()
    value = penalty.penalty(*inputs)
    value.backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p.sub_(0.05 * p.grad)
    return float(value.detach())


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- value and weight ------------------------------------------------------------------------------------


def test_value_is_a_scalar_and_not_negative(case: Case):
    value = case.penalty(case.model()).value(*case.inputs())
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.isfinite()
    assert value >= 0
    assert value.requires_grad


def test_penalty_is_weight_times_value(case: Case):
    penalty = case.penalty(case.model(), weight=0.25)
    with torch.no_grad():
        expected = 0.25 * penalty.value(*case.inputs())
        torch.testing.assert_close(penalty.penalty(*case.inputs()), expected)
        torch.testing.assert_close(penalty(*case.inputs()), expected)


def test_weight_zero_is_a_zero_that_can_be_added(case: Case):
    model = case.model()
    penalty = case.penalty(model, weight=0.0)
    zero = penalty.penalty(*case.inputs())
    assert zero.shape == ()
    assert zero.dtype == torch.float64
    assert zero == 0
    model.eval()
    model(batch()).sum().backward()
    alone = [copy.copy(p.grad) for p in model.parameters()]
    model.zero_grad()
    (model(batch()).sum() + zero).backward()
    for gradient, p in zip(alone, model.parameters(), strict=True):
        assert gradient is p.grad is None or torch.equal(gradient, p.grad)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    assert penalty.penalty(*case.inputs()) == 0  # nothing is looked at


def test_weights_that_cannot_be_meant_are_refused(case: Case):
    out_of_range = (-1.0, float("nan"), float("inf"))
    penalty = case.penalty(case.model(), weight=0.5)
    for weight in (*out_of_range, "1", True, None, torch.ones(2)):
        error = ValueError if any(weight is one for one in out_of_range) else TypeError
        with pytest.raises(error, match="weight must be"):
            case.penalty(case.model(), weight=weight)
        with pytest.raises(error, match="weight must be"):
            penalty.weight = weight
        assert penalty.weight == 0.5


def test_weights_may_be_any_real_number(case: Case):
    for weight in (np.float32(0.5), np.int64(2), 3, 0):
        penalty = case.penalty(case.model(), weight=weight)
        assert type(penalty.weight) is float
        assert penalty.weight == weight


def test_gradients_reach_the_parameters(case: Case):
    model = case.model()
    case.penalty(model, weight=1.0).penalty(*case.inputs()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name].differentiated], indirect=True)
def test_gradient_against_finite_differences(case: Case):
    model, inputs = case.model(), case.inputs()
    penalty = case.penalty(model)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(penalty.value(*inputs), parameters, allow_unused=True)
    generator, h, slope = torch.Generator().manual_seed(1), 1e-5, 0.0
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for p, direction in zip(parameters, directions, strict=True):
                p.add_(sign * h * direction)
            values.append(penalty.value(*inputs).item())
    for gradient, direction in zip(gradients, directions, strict=True):
        slope += 0.0 if gradient is None else float((gradient * direction).sum())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_near_double(case: Case, dtype: torch.dtype):
    model = case.model()
    expected = case.penalty(copy.deepcopy(model)).value(*case.inputs()).item()
    value = case.penalty(model.to(dtype)).value(*case.inputs(dtype=dtype))
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# ---- settings --------------------------------------------------------------------------------------------


def test_descriptions_are_plain_and_tell_settings_apart(case: Case):
    settings = [{}, {"weight": 0.75}, *case.others]
    described = [case.penalty(case.model(), **one).describe() for one in settings]
    words = [json.dumps(one, sort_keys=True, allow_nan=False) for one in described]
    assert len(set(words)) == len(settings)
    assert words[0] == json.dumps(case.penalty(case.model()).describe(), sort_keys=True)
    assert {one["penalty"] for one in described} == {type(case.penalty(case.model())).__name__}
    assert [one["weight"] for one in described[:2]] == [0.5, 0.75]


def test_repr_is_readable(case: Case):
    words = repr(case.penalty(case.model()))
    assert words.startswith(type(case.penalty(case.model())).__name__)
    assert "weight=0.5" in words
    assert "tensor(" not in words


def test_what_is_no_module_is_refused(case: Case):
    make = CompositionPenalty if case.make is composition else case.make
    for model in (None, 3, torch.ones(2, 2), chain().forward):
        with pytest.raises(TypeError, match=r"must be a .*torch\.nn\.Module"):
            make(model, weight=1.0)


def test_lazy_layers_need_a_forward_pass_first(case: Case):
    model = case.model()
    model[0] = nn.LazyLinear(5)
    with pytest.raises(ValueError, match=r"uninitialized.*run one forward pass first"):
        case.penalty(model)


# ---- what is kept and what is left alone -----------------------------------------------------------------


def test_the_model_is_held_and_not_owned(case: Case):
    model = case.model()
    penalty = case.penalty(model)
    both = nn.ModuleDict({"model": model, "penalty": penalty})
    assert len(list(both.parameters())) == len(list(model.parameters()))
    assert list(penalty.parameters()) == []
    assert not set(dict(model.named_modules()).values()) & {*penalty.modules()} - {penalty}
    assert {p.data_ptr() for p in penalty.model.parameters()} <= {p.data_ptr() for p in model.parameters()}


def test_nothing_but_the_penalty_itself_is_changed(case: Case):
    model, inputs = case.model(), case.inputs()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    penalty = case.penalty(model)
    before, grads = copied(model.state_dict()), [p.grad is None for p in model.parameters()]
    modes, hooks = [m.training for m in model.modules()], [len(m._forward_hooks) for m in model.modules()]
    random = torch.get_rng_state()
    for _ in range(2):
        penalty.penalty(*inputs)
        penalty.value(*inputs)
        if hasattr(penalty, "report"):
            penalty.report(*inputs)
    assert same(before, model.state_dict())
    assert grads == [p.grad is None for p in model.parameters()]
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert modes == [m.training for m in model.modules()]
    assert hooks == [len(m._forward_hooks) for m in model.modules()]
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    for given, again in zip(inputs, case.inputs(), strict=True):
        assert torch.equal(given, again)
        assert not given.requires_grad


def test_looking_changes_nothing(case: Case):
    model = case.model()
    penalty = case.penalty(model)
    step(penalty, model, case.inputs())
    before = copied(penalty.state_dict())
    with torch.no_grad():
        looked = penalty.penalty(*case.inputs(seed=1))
    assert not looked.requires_grad
    penalty.value(*case.inputs(seed=1))
    assert same(before, penalty.state_dict())
    penalty.weight = 0.0
    penalty.weight = 0.5
    assert same(before, penalty.state_dict())


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_stored_penalty_goes_on_bit_for_bit(case: Case, stop: int):
    whole, first, second = case.model(), case.model(), case.model()
    penalty = case.penalty(whole)
    values = [step(penalty, whole, case.inputs(k)) for k in range(7)]
    penalty = case.penalty(first)
    for k in range(stop):
        step(penalty, first, case.inputs(k))
    state = {"model": copied(first.state_dict()), "penalty": copied(penalty.state_dict())}
    resumed = case.penalty(second)
    second.load_state_dict(state["model"])
    resumed.load_state_dict(state["penalty"])
    assert [step(resumed, second, case.inputs(k)) for k in range(stop, 7)] == values[stop:]


def pickled(model: nn.Module, penalty: Penalty) -> Penalty:
    return pickle.loads(pickle.dumps(penalty))  # noqa: S301


def copied_together(model: nn.Module, penalty: Penalty) -> Penalty:
    return copy.deepcopy((model, penalty))[1]


@pytest.mark.parametrize("copied_by", [copied_together, pickled])
def test_a_copy_goes_on_alike_with_a_model_of_its_own(
    case: Case, copied_by: Callable[[nn.Module, Penalty], Penalty]
):
    model = case.model()
    penalty = case.penalty(model)
    step(penalty, model, case.inputs())
    twin = copied_by(model, penalty)
    assert {id(p) for p in twin.model.parameters()}.isdisjoint(map(id, model.parameters()))
    before, state = copied(model.state_dict()), copied(penalty.state_dict())
    found = step(twin, twin.model, case.inputs(1))
    assert same(before, model.state_dict())
    assert same(state, penalty.state_dict())
    assert step(penalty, model, case.inputs(1)) == found


def test_a_copy_alone_watches_the_same_model(case: Case):
    model = case.model()
    penalty = case.penalty(model)
    step(penalty, model, case.inputs())
    twin = copy.deepcopy(penalty)
    assert twin.model is penalty.model
    assert {id(p) for p in twin.parameters()}.isdisjoint(map(id, model.parameters()))
    assert same(copied(penalty.state_dict()), twin.state_dict())
    state = copied(penalty.state_dict())
    step(twin, model, case.inputs(1))
    assert same(state, penalty.state_dict())
