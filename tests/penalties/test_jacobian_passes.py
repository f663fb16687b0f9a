"""The Jacobian penalty's own forward pass: random, recurrent, compiled, checkpointed and in-place layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from overt.linalg import make_basis
from overt.penalties import CompositionPenalty, JacobianPenalty

WORDS = "ignore:enable_nested_tensor:UserWarning"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.run = kind(5, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.run(x)[0][:, -1])


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(nn.functional.dropout(self.first(x), 0.5, self.training)).mean(1)


def encoder():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(5, 1, 8, dropout=0.5, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(35, 3))


@pytest.mark.filterwarnings(WORDS)
@pytest.mark.parametrize(
    "make", [encoder, Functional, *(lambda k=k: Recurrent(k) for k in (nn.LSTM, nn.GRU, nn.RNN))]
)
def test_the_global_random_state_neither_matters_nor_moves(make):
    model, x = make().double(), inputs(4, 7, 5)
    modes = [module.training for module in model.modules()]
    rates = [module.dropout for module in model.modules() if isinstance(module, nn.RNNBase)]
    values = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        value = JacobianPenalty(model, p=1.0, basis="identity", weight=1.0).penalty(x)
        assert torch.equal(state, torch.get_rng_state())
        value.backward()
        values.append(value.item())
    assert values[0] == values[1]
    assert [module.training for module in model.modules()] == modes
    assert [module.dropout for module in model.modules() if isinstance(module, nn.RNNBase)] == rates
    if make is not Functional:
        evaluated = JacobianPenalty(model.eval(), p=1.0, basis="identity", weight=1.0).penalty(x)
        assert values[0] == pytest.approx(evaluated.item(), rel=1e-9)


@pytest.mark.parametrize("make", [lambda: nn.ReLU(inplace=True), lambda: nn.ELU(inplace=True)])
def test_a_first_layer_may_work_in_place(make):
    torch.manual_seed(0)
    model = nn.Sequential(make(), nn.Linear(5, 3)).double()
    x = inputs(6, 5)
    before = x.clone()
    value = JacobianPenalty(model, p=2.0, weight=1.0).penalty(x)
    assert torch.equal(x, before)
    apart = nn.Sequential(type(model[0])(), model[1])
    assert value.item() == pytest.approx(JacobianPenalty(apart, p=2.0, weight=1.0).penalty(x).item())


class Checkpointed(nn.Module):
    def __init__(self, *between, checkpointed=True):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 9), *between, nn.Linear(9, 9), nn.ReLU())
        self.head, self.checkpointed = nn.Linear(9, 3), checkpointed

    def forward(self, x):
        h = checkpoint(self.body, x, use_reentrant=False) if self.checkpointed else self.body(x)
        return self.head(h)


@pytest.mark.parametrize("inplace", [False, True])
def test_activation_checkpointing_with_rectifiers_changes_nothing(inplace):
    found = []
    for checkpointed in (False, True):
        model = Checkpointed(nn.ReLU(inplace), checkpointed=checkpointed).double()
        value = JacobianPenalty(model, p=1.0, weight=1.0).penalty(inputs(5, 6))
        found.append([value, *torch.autograd.grad(value, [model.body[0].weight, model.head.weight])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_activation_checkpointing_with_dropout_is_refused_in_words():
    model = Checkpointed(nn.Dropout(0.5)).double()
    with pytest.raises(ValueError, match="activation checkpointing"):
        JacobianPenalty(model).penalty(inputs(5, 6))
    assert model.body[1].training
    JacobianPenalty(model.eval()).penalty(inputs(5, 6)).backward()
    model = Checkpointed(nn.Dropout(0.0)).double()
    JacobianPenalty(model).penalty(inputs(5, 6)).backward()


def test_activation_checkpointing_of_a_recurrent_layer_is_refused_where_it_drops():
    model, x = Recurrent(nn.GRU).double(), inputs(4, 7, 5)
    forward = lambda m, z: checkpoint(m, z, use_reentrant=False)  # noqa: E731
    with pytest.raises(ValueError, match="activation checkpointing"):
        JacobianPenalty(model, forward=forward).penalty(x)
    assert (model.run.dropout, model.run.training) == (0.5, True)
    JacobianPenalty(model.eval(), forward=forward).penalty(x).backward()
    model.train().run.dropout = 0.0
    JacobianPenalty(model, forward=forward).penalty(x).backward()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)).double()


# The compiler looks at .grad of what crosses from one compiled part to the next.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_step_runs_the_penalty_as_it_is():
    model, x = network(), inputs(8, 6)
    penalty = JacobianPenalty(model, p=1.0, weight=1.0)
    composed = CompositionPenalty(model, 1.0, cuts=2)

    @torch.compile(backend="aot_eager")
    def objective(x):
        return model(x).square().mean() + penalty.penalty(x) + composed(x)

    found = objective(x)
    wanted = (
        model(x).square().mean()
        + JacobianPenalty(model, p=1.0, weight=1.0).penalty(x)
        + CompositionPenalty(model, 1.0, cuts=2).penalty(x)
    )
    torch.testing.assert_close(found, wanted)
    parameters = list(model.parameters())[:-1]
    for a, b in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
def test_compiled_parts_run_eagerly():
    model, x = network(), inputs(8, 6)
    wanted = JacobianPenalty(model, p=1.0, weight=1.0).penalty(x)
    within = nn.Sequential(model[0], torch.compile(model[1:4], backend="aot_eager"), model[4])
    found = JacobianPenalty(within, p=1.0, weight=1.0).penalty(x)
    torch.testing.assert_close(found, wanted)
    found.backward()
    parts = [torch.compile(part, backend="aot_eager") for part in (model[:2], model[2:])]
    value = CompositionPenalty(parts, 1.0).penalty(x)
    torch.testing.assert_close(value, CompositionPenalty(model, 1.0, cuts=2).penalty(x))
    value.backward()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_a_value(context):
    model = network()
    wanted = JacobianPenalty(model, p=1.0).value(inputs(8, 6)).item()
    with context():
        penalty = JacobianPenalty(model, p=1.0, weight=2.0)
        value = penalty.penalty(inputs(8, 6))
        assert value.item() == pytest.approx(2 * wanted)
        assert not value.requires_grad
        assert CompositionPenalty(model, cuts=2).penalty(inputs(8, 6)).item() > 0
    assert penalty.moments is None


def test_a_basis_that_is_made_already_is_taken_and_what_is_none_refused():
    model, x = network(), inputs(8, 6)
    for options in ({"dims": (1,)}, {}):
        made = make_basis("fourier", (2, 3), **options)
        shaped = nn.Sequential(nn.Flatten(), model)
        found = JacobianPenalty(shaped, basis=made).penalty(x.reshape(8, 2, 3))
        named = JacobianPenalty(shaped, basis="fourier", **options).penalty(x.reshape(8, 2, 3))
        assert found.item() == named.item()
    with pytest.raises(ValueError, match="dims"):
        JacobianPenalty(model, basis=made, dims=(0,))
    with pytest.raises(ValueError, match="made for inputs of shape"):
        JacobianPenalty(model, basis=made).penalty(x)
    with pytest.raises(TypeError, match=r"basis must be a name, a matrix as a torch\.Tensor"):
        JacobianPenalty(model, basis=torch.eye(6).numpy())


class Several(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.first, self.form = nn.Linear(6, 3), form

    def forward(self, x):
        return self.form(self.first(x))


def test_outputs_that_cannot_be_meant_are_refused_with_a_remedy_that_there_is():
    x = inputs(4, 6)
    for form in (lambda y: (y, y), lambda y: {"a": y}):
        model = Several(form).double()
        with pytest.raises(TypeError, match=r"pick the tensor with outputs=lambda y: y\[0\], or with"):
            JacobianPenalty(model).penalty(x)
        with pytest.raises(TypeError, match=r"parts\[0\]: expected a module that returns a tensor"):
            CompositionPenalty([model, nn.Identity()]).penalty(x)
    pair = Several(lambda y: (y, y)).double()
    picked = JacobianPenalty(pair, outputs=lambda y: y[0]).penalty(x)
    called = JacobianPenalty(pair, forward=lambda model, x: model(x)[1]).penalty(x)
    assert picked.item() == called.item()
    picked.backward()
    with pytest.raises(ValueError, match="do not depend"):
        JacobianPenalty(Several(torch.Tensor.detach).double()).penalty(x)
    rectified = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    with pytest.raises(ValueError, match="not finite"):
        JacobianPenalty(rectified).penalty(x * torch.nan)


def test_large_entries_are_no_infinite_ones():
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight.fill_(2e38)
    with pytest.raises(ValueError, match="not finite"):
        JacobianPenalty(model, p=1.0, basis="identity").penalty(torch.ones(4, 6))
    half = nn.Linear(784, 3, dtype=torch.float16)
    with torch.no_grad():
        half.weight.fill_(40.0)  # the sum of the products is beyond the largest float16
    assert JacobianPenalty(half, p=2.0).penalty(torch.zeros(8, 784, dtype=torch.float16)).isfinite()
