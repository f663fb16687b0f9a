"""A penalty's own pass: in evaluation mode whatever asks for it, without a trace, and row by row."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as tf
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from overt import CompositionPenalty, JacobianPenalty, measure


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / max(1, p[0].numel()) ** 0.5)
    return model.double()


def jacobian_penalty(model, **settings):
    return JacobianPenalty(model, p=2.0, basis="identity", weight=1.0, **settings)


def chain_penalty(model, estimator):
    return CompositionPenalty([model], 1.0, estimator=estimator)


PENALTIES = {
    "jacobian": jacobian_penalty,
    "chain": lambda model: chain_penalty(model, "denoising"),
    "chain, twice differentiated": lambda model: chain_penalty(model, "vjp"),
}
each_penalty = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)


# ---- inputs that depend on one another -------------------------------------------------------------------


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.run = nn.LSTM(4, 3)

    def forward(self, x):
        return self.run(x)[0].flatten(1)


class Attending(nn.Module):
    """Inputs attend to one another, as in SetTransformers of a whole batch."""

    def forward(self, x):
        return (x @ x.T).softmax(1) @ x


class Centered(nn.Module):
    """Its outputs add up to one for each input: the sum of them has no gradient."""

    def forward(self, x):
        return (x - x.mean(0)).softmax(1)


MIXED = {
    "time first": (TimeFirst, (5, 6, 4)),
    "no running statistics": (lambda: nn.BatchNorm1d(4, track_running_stats=False), (5, 4)),
    "attention": (Attending, (5, 4)),
    "centered": (Centered, (5, 4)),
}


@each_penalty
@pytest.mark.parametrize("name", MIXED)
def test_inputs_that_depend_on_one_another_are_refused(make, name):
    build, shape = MIXED[name]
    model, x = build().double(), gaussian(*shape)
    with pytest.raises(ValueError, match="depends on the other inputs of its batch"):
        make(model)(x)
    with pytest.raises(ValueError, match="depends on the other inputs of its batch"):
        measure(model, x)
    with torch.no_grad(), pytest.raises(ValueError, match="depends on the other inputs"):
        make(model)(x)


@pytest.mark.parametrize("name", MIXED)
def test_so_are_outputs_that_are_there_already(name):
    build, shape = MIXED[name]
    model, x = build().double().eval(), gaussian(*shape).requires_grad_()
    with pytest.raises(ValueError, match="depends on the other inputs of its batch"):
        jacobian_penalty(model)(x, model(x))


def test_one_input_alone_tells_nothing_and_the_next_batch_does():
    penalty = jacobian_penalty(Attending().double())
    penalty(gaussian(1, 4))
    with pytest.raises(ValueError, match="depends on the other inputs"):
        penalty(gaussian(3, 4))
    share = jacobian_penalty(Attending().double(), share=0.1)
    with pytest.raises(ValueError, match="depends on the other inputs"):
        share(gaussian(3, 4))


class Counted(nn.Linear):
    passes = 0  # of the class: what a pass notes in the module is put back

    def forward(self, x):
        Counted.passes += 1
        return super().forward(x)


@each_penalty
@pytest.mark.parametrize("cut", [False, True])
def test_it_is_looked_at_once_for_each_state_of_the_model(make, cut):
    model = drawn(nn.Sequential(Counted(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)))
    penalty, counts = make(model), []
    if cut and make is not jacobian_penalty:
        penalty = CompositionPenalty(model, cuts=1, estimator=penalty.estimator)

    def step():
        Counted.passes = 0
        penalty(gaussian(5, 4)).backward()
        counts.append(Counted.passes)

    for mode in (True, True, False, False, True):
        model.train(mode)
        step()
    model[1] = nn.Tanh()
    step()
    step()
    later = counts[1]
    assert later == (1 if make is not PENALTIES["chain"] else 2)
    assert counts == [later + 2, later, later + 2, later, later, later + 2, later]


# ---- evaluation mode -------------------------------------------------------------------------------------


class DropPath(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        kept = torch.rand(len(x), 1) > 0.5 if self.training else torch.ones(())
        return x + self.inner(x) * kept


class FunctionalAttention(nn.Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.packed, self.rate = nn.Linear(4, 12), rate

    def forward(self, x):
        q, k, v = self.packed(x.reshape(len(x), 1, 2, 4)).chunk(3, -1)
        rate = self.rate if self.training else 0.0
        return tf.scaled_dot_product_attention(q, k, v, dropout_p=rate).flatten(1)


class Noisy(nn.Module):
    """A layer of one's own that is no layer of torch."""

    def forward(self, x):
        return x * (1 + torch.randn_like(x)) if self.training else x


class OwnStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        if not self.training:
            return (x - self.mean) * x
        self.mean.lerp_(x.detach().mean(0).to(self.mean), 0.5)
        return (x - x.mean(0)) * x


MODES = {
    "DropPath": (DropPath, (6, 4)),
    "attention's dropout in a function": (FunctionalAttention, (6, 8)),
    "noise of one's own": (Noisy, (6, 4)),
    "statistics of one's own": (OwnStatistics, (6, 4)),
    "feature dropout": (lambda: nn.FeatureAlphaDropout(0.5), (6, 4, 2)),
    "recurrent": (lambda: TimeLast(), (6, 5, 4)),
}


class TimeLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.run = nn.LSTM(4, 3, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x):
        return self.run(x)[0][:, -1]


@each_penalty
@pytest.mark.parametrize("name", MODES)
def test_training_mode_gives_what_evaluation_mode_gives(make, name):
    build, shape = MODES[name]
    model, x = drawn(build()), gaussian(*shape)
    wanted = make(model.eval())(x).item()
    assert make(model.train())(x).item() == pytest.approx(wanted, rel=1e-12)
    assert all(module.training for module in model.modules())


@each_penalty
@pytest.mark.parametrize(
    "noise",
    [
        lambda z: tf.dropout(z, 0.5),
        lambda z: tf.scaled_dot_product_attention(z[:, None], z[:, None], z[:, None], dropout_p=0.5)[:, 0],
        lambda z: z + torch.randn_like(z),
        lambda z: z * float(np.random.rand()),  # noqa: NPY002
        lambda z: z * random.random(),
    ],
    ids=["dropout", "attention", "latent", "numpy", "python"],
)
def test_noise_that_is_always_on_is_refused(make, noise):
    model = nn.Linear(4, 4).double()
    model.register_forward_hook(lambda module, args, y: noise(y))
    with pytest.raises(ValueError, match="two passes over the same inputs differ, in evaluation mode too"):
        make(model.eval())(gaussian(60, 4))  # so many that draws are not the same by chance


class CheckpointedNoise(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), inner)

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


@each_penalty
def test_checkpointed_parts_are_run_anew_only_where_the_mode_does_not_matter(make):
    x = gaussian(6, 4)
    noisy = drawn(CheckpointedNoise(Noisy()))
    with pytest.raises(ValueError, match="activation checkpointing"):
        make(noisy)(x)
    calm = drawn(CheckpointedNoise(nn.Tanh()))
    penalty, plain = make(calm), make(calm.inner)
    for _ in range(2):
        found, wanted = penalty(x), plain(x)
        torch.testing.assert_close(found, wanted)
        weight = calm.inner[0].weight
        for a, b in zip(torch.autograd.grad(found, weight), torch.autograd.grad(wanted, weight), strict=True):
            torch.testing.assert_close(a, b)


# ---- no trace --------------------------------------------------------------------------------------------


class Codebook(nn.Module):
    """Moves a table towards its inputs, in any mode and past autograd, and remembers more than that."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(4, dtype=torch.float64))
        self.register_buffer("first", None)
        self.steps, self.seen, self.cache, self.names = 0, [], {}, set()
        self.loss = torch.ones(())

    def forward(self, x):
        self.table.data.lerp_(x.detach().mean(0), 0.1)
        self.first = x.detach()
        self.steps += 1
        self.seen.append(self.steps)
        self.cache["keys"] = x
        self.names.add("x")
        self.loss, self.late = x.square().mean(), x
        return x.tanh()


TRACES = {
    "codebook": Codebook,
    "spectral norm": lambda: spectral_norm(nn.Linear(4, 4)),
    "spectral norm by hooks": lambda: hooked_spectral_norm(nn.Linear(4, 4)),
    "batch norm": lambda: nn.BatchNorm1d(4),
    "statistics of one's own": OwnStatistics,
    "generators": lambda: Drawing(),
}


class Drawing(nn.Module):
    def forward(self, x):
        torch.rand(1), np.random.rand(1), random.random()  # noqa: NPY002
        return x.tanh()


def trace_of(model):
    model = model.modules()
    rows = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    for module in model:
        kept = {key: held for key, held in vars(module).items() if not key.startswith("_")}
        rows.append({key: id(held) for key, held in kept.items()})
        rows.append([held.copy() for held in kept.values() if isinstance(held, (list, dict, set))])
        buffers = module._buffers.items()
        rows.append({key: (id(b), None if b is None else b.tolist()) for key, b in buffers})
    return rows


@each_penalty
@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("training", [True, False])
def test_no_trace_is_left(make, name, training):
    model, x = TRACES[name]().double().train(training), gaussian(6, 4)
    penalty = make(model)
    before = trace_of(model)
    values = []
    for _ in range(2):
        value = penalty.penalty(x)
        if value.requires_grad and any(p.requires_grad for p in model.parameters()):
            value.backward()
        values.append(penalty.value(x))
    assert trace_of(model) == before
    measure(model, x, "identity")
    assert trace_of(model) == before
    with pytest.raises((RuntimeError, ValueError), match="of its own"):
        make(nn.Sequential(model, Failing()))(x)
    assert trace_of(model) == before


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("of its own")


def test_buffers_that_modules_share_stay_shared():
    class Writing(nn.Module):
        def forward(self, x):
            self.count += 1
            return x * self.count.clone()

    first, second = Writing(), Writing()
    count = torch.zeros((), dtype=torch.float64)
    for module in (first, second):
        module.register_buffer("count", count)
    # x · 1 · 2 in every pass: each sees the other's step, and no pass sees that of the one before.
    found = jacobian_penalty(nn.Sequential(first, second), probes=50).value(gaussian(4, 4))
    assert found.item() == pytest.approx(4 * 2.0**2)
    assert first.count is second.count is count
    assert count == 0
