"""Jacobian penalties: the gradient of P_p(M), collapse on linear networks, reweighting, cost dials, state."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import overt
from overt import functional as F
from overt.penalties import JacobianPenalty
from overt.problems import matrix_completion

EXACT = {"momentum": 0.0, "floor": 1e-12, "refresh": 1, "weight": 1.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(n_in=6, n_out=5, seed=0):
    return overt.DeepLinear((n_in, n_out), scale=1.0, seed=seed, dtype=torch.float64)


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)


def moment(model, x):
    """M by all Jacobians, differentiable in the parameters."""
    J = torch.stack(
        [torch.autograd.functional.jacobian(lambda z: model(z[None])[0], one, create_graph=True) for one in x]
    )
    return (J.mT @ J).mean(0)


def direct(M, basis, p):
    if basis == "eigen":
        s = torch.linalg.eigvalsh(M)
        return s[s > 1e-9 * s.max()].pow(p / 2).sum()
    U = torch.eye(len(M), dtype=M.dtype)
    if basis == "fourier":
        U = torch.fft.fft(U, norm="ortho")
    elif isinstance(basis, torch.Tensor):
        U = basis
    return (U @ M.to(U.dtype) @ U.mH).diagonal().real.pow(p / 2).sum()


def rotation(n=6):
    return torch.linalg.qr(torch.randn(n, n, generator=generator(9), dtype=torch.float64))[0]


@pytest.mark.parametrize("p", [2 / 3, 1.0, 2.0])
@pytest.mark.parametrize("basis", ["eigen", "fourier", "identity", rotation()], ids=str)
def test_the_gradient_is_that_of_the_definition_on_a_linear_network(basis, p):
    model = linear()
    penalty = JacobianPenalty(model, p=p, basis=basis, **EXACT)
    found = penalty.penalty(torch.randn(10, 6, dtype=torch.float64, generator=generator()))
    W = model.product()
    wanted = direct(W.mT @ W, basis, p)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
    ours, theirs = (torch.autograd.grad(y, model.weights[0])[0] for y in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_p_two_over_depth_it_is_the_schatten_quasi_norm_of_the_product(depth):
    model = overt.DeepLinear((6, *[7] * (depth - 1), 5), scale=1.0, seed=depth, dtype=torch.float64)
    p = 2 / depth
    penalty = JacobianPenalty(model, p=p, basis="eigen", **{**EXACT, "floor": 1e-14})
    value = penalty.penalty(torch.randn(5, 6, dtype=torch.float64, generator=generator()))
    wanted = F.schatten_norm(model.product(), p) ** p
    assert value.item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("shape", [(12,), (4, 6)])
@pytest.mark.parametrize("depth", [2, 3])
def test_on_circular_convolutions_it_is_a_quasi_norm_of_the_fourier_coefficients(shape, depth):
    model = overt.DeepCircularConvolution(
        shape if len(shape) > 1 else shape[0], depth=depth, scale=1.0, seed=1, dtype=torch.float64
    )
    p = 2 / depth
    penalty = JacobianPenalty(model, p=p, basis="fourier", **EXACT)
    value = penalty.penalty(torch.randn(math.prod(shape), *shape, dtype=torch.float64, generator=generator()))
    h = torch.fft.fftn(model.product())  # the filter's coefficients are the map's singular values
    assert value.item() == pytest.approx(h.abs().pow(p).sum().item(), rel=1e-6)


@pytest.mark.slow
def test_the_gradient_of_a_network_is_that_of_the_definition_on_average_over_probes():
    model, x = network(), torch.randn(6, 8, dtype=torch.float64, generator=generator())
    M = moment(model, x)
    wanted = torch.autograd.grad(direct(M, "identity", 1.0), list(model.parameters()), allow_unused=True)
    penalty = JacobianPenalty(model, p=1.0, basis="identity", probes=400, **EXACT)
    found = torch.autograd.grad(penalty.penalty(x), list(model.parameters()), allow_unused=True)
    for ours, theirs in zip(found, wanted, strict=True):
        if theirs is None or float(theirs.norm()) == 0:  # the last bias
            assert ours is None or float(ours.norm()) == 0
        else:
            assert float((ours - theirs).norm() / theirs.norm()) < 0.15


def test_gradients_agree_with_finite_differences():
    model, x = network(), torch.randn(5, 8, dtype=torch.float64, generator=generator())
    weight = model[0].weight

    def value(change):
        probe = copy.deepcopy(model)
        with torch.no_grad():
            probe[0].weight += change
        return JacobianPenalty(probe, p=2.0, basis="eigen", **EXACT).penalty(x)

    direction = torch.randn(weight.shape, generator=generator(3), dtype=torch.float64)
    step = 1e-5
    numeric = (value(step * direction) - value(-step * direction)) / (2 * step)
    (gradient,) = torch.autograd.grad(
        JacobianPenalty(model, p=2.0, basis="eigen", **EXACT).penalty(x), weight
    )
    assert float((gradient * direction).sum()) == pytest.approx(numeric.item(), rel=1e-6)


def test_many_directions_as_a_sketch_give_what_the_whole_matrix_gives(monkeypatch):
    model = linear(20, 4)
    x = torch.randn(8, 20, dtype=torch.float64, generator=generator())
    whole = JacobianPenalty(model, p=1.0, basis="eigen", **EXACT).penalty(x)
    monkeypatch.setattr("overt.penalties.moments.DENSE_UP_TO", 10)
    sketch = JacobianPenalty(model, p=1.0, basis="eigen", rank=8, **EXACT)
    found = sketch.penalty(x)
    assert type(sketch.moments).__name__ == "SketchMoments"
    assert found.item() == pytest.approx(whole.item(), rel=1e-6)
    a, b = (torch.autograd.grad(y, model.weights[0])[0] for y in (found, whole))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_a_sketch_with_too_few_directions_keeps_the_trace(monkeypatch):
    monkeypatch.setattr("overt.penalties.moments.DENSE_UP_TO", 10)
    model = linear(20, 12)
    penalty = JacobianPenalty(model, p=1.0, basis="eigen", rank=3, weight=1.0, momentum=0.5)
    for k in range(4):
        penalty.penalty(torch.randn(12, 20, dtype=torch.float64, generator=generator(k)))
    assert float(penalty.moments.trace()) == pytest.approx(model.product().square().sum().item(), rel=1e-9)
    s = F.singular_values(model.product()).detach()
    torch.testing.assert_close(penalty.spectrum(), s[:3], rtol=0.05, atol=0)


@pytest.mark.slow
def test_the_fixed_point_of_the_reweighting_is_the_minimizer_of_the_direct_penalty():
    """min ½‖W − A‖² + λ‖W‖_* is A with singular values shrunk by λ (Cai, Candès & Shen 2010, Theorem 2.1)."""
    A = torch.randn(5, 6, generator=generator(2), dtype=torch.float64)
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    weight = float(s[2])
    wanted = U @ torch.diag((s - weight).clamp_min(0)) @ Vh
    model = linear()
    penalty = JacobianPenalty(model, p=1.0, weight=weight, momentum=0.5, floor=1e-8, refresh=1)
    x = torch.randn(5, 6, dtype=torch.float64, generator=generator())
    W = model.weights[0]
    for k in range(3000):
        (gradient,) = torch.autograd.grad((W - A).square().sum() / 2 + penalty.penalty(x), W)
        with torch.no_grad():
            W -= (0.05 if k < 1500 else 0.005) * gradient
    assert ((W - wanted).norm() / wanted.norm()).item() < 0.02
    spectrum = F.singular_values(W).detach()
    assert float(spectrum[2]) < 0.02 * float(spectrum[0])


def test_the_normalized_form_does_not_change_with_scale_and_is_the_normalized_nuclear_norm():
    model = linear()
    x = torch.randn(10, 6, dtype=torch.float64, generator=generator())
    values = []
    for scale in (1.0, 1e-3, 1e3):
        with torch.no_grad():
            model.weights[0].mul_(scale)
        penalty = JacobianPenalty(model, p=1.0, normalized=True, **EXACT)
        value = penalty.penalty(x)
        (gradient,) = torch.autograd.grad(value, model.weights[0])
        values.append(value.item())
        assert abs((gradient * model.weights[0]).sum().item()) < 1e-5
        wanted = F.normalized_nuclear_norm(model.product())
        (theirs,) = torch.autograd.grad(wanted, model.weights[0])
        torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))
        with torch.no_grad():
            model.weights[0].div_(scale)
    assert values == pytest.approx([F.normalized_nuclear_norm(model.product()).item()] * 3, rel=1e-5)


def test_every_and_share_keep_the_mean_force():
    model, x = network(), torch.randn(8, 8, dtype=torch.float64, generator=generator())
    often = JacobianPenalty(model, p=2.0, weight=1.0)
    seldom = JacobianPenalty(model, p=2.0, weight=1.0, every=4)
    values = [seldom.penalty(x).item() for _ in range(8)]
    assert [value > 0 for value in values] == [True, False, False, False] * 2
    first = often.penalty(x).item()
    assert values[0] == pytest.approx(4 * first)
    part = JacobianPenalty(model, p=2.0, weight=1.0, share=0.25)
    whole = JacobianPenalty(model, p=2.0, weight=1.0)
    assert part.penalty(x).item() == whole.penalty(x[:2]).item()


def test_outputs_that_are_there_already_give_the_same_penalty():
    model, x = network(), torch.randn(8, 8, dtype=torch.float64, generator=generator())
    own = JacobianPenalty(model, p=1.0).penalty(x)
    given = x.clone().requires_grad_()
    shared = JacobianPenalty(model, p=1.0).penalty(given, model(given))
    assert own.item() == shared.item()
    (a,), (b,) = (torch.autograd.grad(value, model[0].weight) for value in (own, shared))
    torch.testing.assert_close(a, b)


def test_layers_that_mix_or_draw_are_put_aside_and_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    model(torch.randn(20, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    x = torch.randn(6, 8)
    value = JacobianPenalty(model, p=2.0, weight=1.0, probes=300).penalty(x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    evaluated = copy.deepcopy(model).eval()
    assert value.item() == pytest.approx(moment(evaluated, x).trace().item(), rel=0.05)
    x.requires_grad_()
    with pytest.raises(ValueError, match="BatchNorm1d in training mode"):
        JacobianPenalty(model).penalty(x, model(x))


def test_a_resumed_penalty_goes_on_as_it_would_have(tmp_path):
    for basis, model, shape in (("fourier", network(), (8,)), ("eigen", linear(300, 4), (300,))):
        batches = [torch.randn(5, *shape, dtype=torch.float64, generator=generator(k)) for k in range(6)]
        straight = JacobianPenalty(model, basis=basis)
        wanted = [straight.penalty(x).item() for x in batches]
        first = JacobianPenalty(model, basis=basis)
        for x in batches[:3]:
            first.penalty(x)
        torch.save(first.state_dict(), tmp_path / "state")
        second = JacobianPenalty(model, basis=basis)
        second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
        assert [second.penalty(x).item() for x in batches[3:]] == wanted[3:]


def test_float32_and_mixed_precision_agree_with_double():
    x = torch.randn(8, 8, dtype=torch.float64, generator=generator())
    wide = JacobianPenalty(network(), p=1.0, weight=1.0).penalty(x).item()
    narrow = JacobianPenalty(network(dtype=torch.float32), p=1.0, weight=1.0).penalty(x.float())
    assert narrow.dtype == torch.float32
    assert narrow.item() == pytest.approx(wide, rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = JacobianPenalty(network(dtype=torch.float32), p=1.0, weight=1.0).penalty(x.float())
    assert mixed.item() == pytest.approx(wide, rel=0.05)


def test_a_map_without_any_sensitivity_is_finite():
    model = nn.Linear(4, 3)
    nn.init.zeros_(model.weight)
    for normalized in (False, True):
        value = JacobianPenalty(model, p=0.5, normalized=normalized).penalty(torch.randn(5, 4))
        (gradient,) = torch.autograd.grad(value, model.weight)
        assert math.isfinite(value.item())
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_images_have_a_spectrum_of_their_shape():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    penalty = JacobianPenalty(model, p=1.0, basis="fourier")
    with pytest.raises(RuntimeError, match="before the first"):
        penalty.spectrum()
    penalty.penalty(torch.rand(5, 1, 6, 6)).backward()
    assert penalty.spectrum().shape == (36,)
    assert model[0].weight.grad is not None
    with pytest.raises(ValueError, match="at first"):
        penalty.penalty(torch.rand(5, 1, 7, 7))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"p": 0}, ValueError, r"p must be a number in \(0, 2\], got 0"),
        ({"p": 2.5}, ValueError, r"p must be a number in \(0, 2\], got 2.5"),
        ({"p": "1"}, TypeError, "p must be a number"),
        ({"p": 2, "normalized": True}, ValueError, "constant"),
        ({"basis": "laplace"}, ValueError, "basis"),
        ({"basis": 3}, TypeError, "basis"),
        ({"basis": torch.ones(3, 3)}, ValueError, "orthonormal"),
        ({"share": 0}, ValueError, "share"),
        ({"every": 0}, ValueError, "every"),
        ({"every": 1.5}, TypeError, "every"),
        ({"probes": True}, TypeError, "probes"),
        ({"momentum": 1}, ValueError, "momentum"),
        ({"floor": 0}, ValueError, "floor"),
        ({"weight": -1}, ValueError, "weight"),
        ({"outputs": "odds"}, ValueError, "outputs"),
        ({"layer": "nowhere"}, ValueError, "layer"),
        ({"dims": (0,)}, ValueError, "dims"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        JacobianPenalty(network(), **options)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (None, TypeError, r"give the batch of inputs, penalty\(x\)"),
        (torch.zeros(3, 8, dtype=torch.int64), TypeError, "embeddings"),
        (torch.zeros(0, 8, dtype=torch.float64), ValueError, "a batch .* that is not empty"),
        (torch.full((2, 8), math.nan, dtype=torch.float64), ValueError, "not finite"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(x, error, match):
    with pytest.raises(error, match=match):
        JacobianPenalty(network()).penalty(x)


def test_weight_zero_is_free_and_outputs_without_inputs_are_told():
    penalty = JacobianPenalty(network(), weight=0.0)
    assert penalty.penalty(torch.randn(3, 8, dtype=torch.float64)).item() == 0
    assert penalty.moments is None

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.w.expand(len(x), 2)

    with pytest.raises(ValueError, match="do not depend"):
        JacobianPenalty(Constant()).penalty(torch.randn(3, 8))


@pytest.mark.slow
def test_on_a_linear_problem_it_replaces_depth():
    """Depth 1 with p = 2/3, the cost of depth 3, recovers what gradient descent at depth 3 does."""
    problem = matrix_completion((30, 30), rank=2, n_observed=300, seed=0, min_per_line=2)
    flat = overt.DeepLinear((30, 30), scale=1e-3, seed=0, dtype=torch.float64)
    penalty = JacobianPenalty(flat, p=2 / 3, basis="eigen", weight=1e-3, momentum=0.0, floor=1e-6, refresh=1)
    optimizer = torch.optim.Adam(flat.parameters(), lr=2e-2)
    x = torch.eye(30, dtype=torch.float64)
    for step in range(2000):
        penalty.weight = 1e-3 if step < 1400 else 1e-3 * 10 ** (-4 * (step - 1400) / 600)
        optimizer.zero_grad()
        (problem.loss(flat.product()) + penalty.penalty(x)).backward()
        optimizer.step()
    deep = overt.DeepLinear((30, 30, 30, 30), scale=1e-3, seed=0, dtype=torch.float64)
    found = overt.training.train(deep, problem, optimizer="gd", lr=2.0, max_steps=4000)
    alone = overt.DeepLinear((30, 30), scale=1e-3, seed=0, dtype=torch.float64)
    plain = overt.training.train(alone, problem, optimizer="adam", lr=2e-2, max_steps=1000)
    error = problem.error(flat.product().detach())
    assert error < 0.03
    assert problem.error(found.W) < 0.1
    assert problem.error(plain.W) > 0.5
    assert float(F.effective_rank(flat.product().detach())) < 2.1


class Attention(nn.Module):
    """One layer of attention, whose fused kernels have no second derivative."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        h = self.embed(x)
        return self.head(self.attend(h, h, h, need_weights=False)[0]).mean(1)


def test_attention_is_differentiated_twice_or_refused_in_words():
    model, x = Attention(), torch.randn(4, 5, 6, generator=generator())
    JacobianPenalty(model, p=1.0, basis="identity", weight=1.0).penalty(x).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.attend.in_proj_weight.grad.abs().sum() > 0
    x.requires_grad_()
    with pytest.raises(ValueError, match="fused attention kernel"):
        JacobianPenalty(model, p=1.0, basis="identity").penalty(x, model(x))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        y = model(x)
    JacobianPenalty(model, p=1.0, basis="identity").penalty(x, y).backward()


class Rectifiers(nn.Module):
    """The spellings of max(x, 0)."""

    def __init__(self, spelling):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.spelling = nn.Linear(8, 16), nn.Linear(16, 3), spelling

    def forward(self, x):
        return self.last(self.spelling(self.first(x)))


@pytest.mark.parametrize(
    "spelling",
    [
        torch.relu,
        torch.relu_,
        nn.functional.relu,
        lambda x: nn.functional.relu(x, inplace=True),
        lambda x: nn.functional.relu(input=x),
        lambda x: x.relu(),
        lambda x: x.relu_(),
        nn.ReLU(),
        nn.ReLU(inplace=True),
    ],
)
def test_rectifiers_hand_no_zeros_to_the_forward_pass(spelling):
    model = Rectifiers(spelling).double()
    x = torch.randn(8, 8, dtype=torch.float64, generator=generator())
    seen = []

    def watch(module, inputs, output):
        output.register_hook(seen.append)

    hook = model.first.register_forward_hook(watch)
    value = JacobianPenalty(model, p=1.0).penalty(x)
    hook.remove()
    seen.clear()
    own = torch.autograd.grad(value, [model.first.weight, model.last.weight])
    assert all(g is None for g in seen)
    given = x.clone().requires_grad_()
    plain = nn.Sequential(model.first, nn.ReLU(), model.last)
    shared = JacobianPenalty(plain, p=1.0).penalty(given, plain(given))
    for a, b in zip(own, torch.autograd.grad(shared, [model.first.weight, model.last.weight]), strict=True):
        torch.testing.assert_close(a, b)


def test_outputs_that_are_there_are_mapped_as_the_penalty_says():
    model, x = network(), torch.randn(8, 8, dtype=torch.float64, generator=generator(), requires_grad=True)
    own = JacobianPenalty(model, p=1.0, outputs="probabilities").penalty(x)
    assert own.item() == JacobianPenalty(model, p=1.0, outputs="probabilities").penalty(x, model(x)).item()
    assert own.item() != JacobianPenalty(model, p=1.0).penalty(x).item()
    with pytest.raises(ValueError, match="leave y out"):
        JacobianPenalty(model, p=1.0, layer="0").penalty(x, model(x))


@pytest.mark.slow
def test_a_compiled_model_is_differentiated_as_the_eager_one():
    model, x = network(), torch.randn(8, 8, dtype=torch.float64, generator=generator())
    compiled = torch.compile(model, backend="aot_eager")
    eager = JacobianPenalty(model, p=1.0).penalty(x)
    value = JacobianPenalty(compiled, p=1.0).penalty(x)
    assert value.item() == eager.item()
    value.backward()
    x = x.clone().requires_grad_()
    with pytest.raises(ValueError, match="compiled backward"):
        JacobianPenalty(compiled, p=1.0).penalty(x, compiled(x))
