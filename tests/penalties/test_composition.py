"""The composition penalty: an upper bound of E Σ σ(J)^{2/L}, tight at balance."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap
from torch.nn.utils.parametrizations import spectral_norm

from overt import CompositionPenalty

ESTIMATORS = ("denoising", "vjp")
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def x(count=12, size=6, seed=1):
    return torch.randn(count, size, generator=generator(seed), dtype=torch.float64)


def linear(W):
    layer = nn.Linear(W.shape[1], W.shape[0], bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(W)
    return layer


def balanced(W, pieces):
    """Factors W_L … W_1 = W with W_{l+1}ᵀW_{l+1} = W_l W_lᵀ."""
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    root = torch.diag(s ** (1 / pieces))
    return [linear(root @ Vh)] + [linear(root) for _ in range(pieces - 2)] + [linear(U @ root)]


def power(J, p):
    """Σ σ^p of each matrix, by hand."""
    return torch.linalg.svdvals(J).pow(p).sum(-1)


def network(inplace=False):
    torch.manual_seed(1)
    layers = [nn.Linear(6, 5), nn.ReLU(inplace), nn.Linear(5, 4), nn.ReLU(inplace), nn.Linear(4, 3)]
    return nn.Sequential(*layers).double()


def smooth():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double()


# ---- what it bounds --------------------------------------------------------------------------------------


@each_estimator
@pytest.mark.parametrize("pieces", [2, 3, 4, 6])
def test_it_is_the_quasi_norm_of_a_balanced_product(pieces, estimator):
    W = torch.randn(6, 6, generator=generator(), dtype=torch.float64)
    penalty = CompositionPenalty(balanced(W, pieces), weight=1.0, estimator=estimator)
    assert penalty.p == 2 / pieces
    # Draws in whole blocks of six have no error for linear maps.
    assert penalty.penalty(x()).item() == pytest.approx(power(W, 2 / pieces).item(), rel=1e-9)


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_it_bounds_that_of_any_product(pieces, seed):
    sizes = torch.randint(2, 7, (pieces + 1,), generator=generator(seed)).tolist()
    factors = [
        linear(torch.randn(b, a, generator=generator(seed + 10 * k), dtype=torch.float64))
        for k, (a, b) in enumerate(pairwise(sizes))
    ]
    product = torch.eye(sizes[0], dtype=torch.float64)
    for factor in factors:
        product = factor.weight.detach() @ product
    value = CompositionPenalty(factors, weight=1.0).value(x(60, sizes[0])).item()
    wanted = sum(factor.weight.square().sum().item() for factor in factors) / pieces
    assert value == pytest.approx(wanted)  # 60 inputs are whole blocks of all sizes
    exact = power(product, 2 / pieces).item()
    assert exact <= wanted * (1 + 1e-12)
    if pieces == 1:
        assert exact == pytest.approx(wanted)


@pytest.mark.parametrize("cuts", [(2,), (2, 4), (1, 2, 4)])
@each_estimator
def test_it_bounds_the_pointwise_measure_of_a_network(cuts, estimator):
    model, points = smooth(), x(30)
    penalty = CompositionPenalty(model, weight=1.0, cuts=cuts, estimator=estimator)
    value = torch.stack([penalty.terms(points, call).mean() for call in range(100)]).mean().item()
    terms, z = [], points
    for part in penalty.parts:
        terms.append(vmap(jacrev(part))(z).square().sum((1, 2)).mean().item())
        z = part(z)
    assert value == pytest.approx(sum(terms) / len(terms), rel=0.02)
    pointwise = power(vmap(jacrev(model))(points), penalty.p).mean().item()
    assert pointwise <= value


@pytest.mark.slow
def test_minimizing_it_over_the_factors_shrinks_singular_values():
    """min ½‖gh − A‖² + λ·½(‖g‖² + ‖h‖²) is A with its singular values shrunk by λ (Srebro 2004)."""
    A = torch.randn(5, 6, generator=generator(), dtype=torch.float64)
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    h, g = linear(torch.diag(s**0.2) @ Vh), linear(U @ torch.diag(s**0.8))
    weight = s[2].item()
    penalty = CompositionPenalty([h, g], weight=weight)
    optimizer = torch.optim.SGD([h.weight, g.weight], lr=0.02)
    for _ in range(2000):
        optimizer.zero_grad()
        ((g.weight @ h.weight - A).square().sum() / 2 + penalty.penalty(x(30))).backward()
        optimizer.step()
    wanted = U @ torch.diag((s - weight).clamp_min(0)) @ Vh
    assert ((g.weight @ h.weight - wanted).norm() / wanted.norm()).item() < 0.02


def test_the_denoising_estimate_tends_to_the_derivative():
    model, points = smooth(), x(6000)
    exact = CompositionPenalty(model, 1.0, cuts=2, estimator="vjp").penalty(points).item()
    errors = [
        abs(CompositionPenalty(model, 1.0, cuts=2, sigma=sigma).penalty(points).item() / exact - 1)
        for sigma in (1.0, 0.1, 0.01)
    ]
    assert errors[0] > 0.05
    assert errors[1] < 0.02
    assert errors[2] < 0.01


# ---- pieces ----------------------------------------------------------------------------------------------


@each_estimator
def test_a_list_and_a_cut_sequential_are_the_same(estimator):
    model = smooth()
    cut = CompositionPenalty(model, 1.0, cuts=(2, 4), estimator=estimator)
    listed = CompositionPenalty([model[:2], model[2:4], model[4]], 1.0, estimator=estimator)
    nested = CompositionPenalty(nn.Sequential(model[:2], model[2:4], model[4]), 1.0, estimator=estimator)
    values = [penalty.penalty(x()).item() for penalty in (cut, listed, nested)]
    assert values[0] == values[1] == values[2]
    assert [row.name for row in cut.report(x())] == [name for name, _ in model.named_parameters()]
    assert CompositionPenalty(model, cuts=2).p == CompositionPenalty(model, cuts=(2,)).p == 1


def test_a_layer_that_is_replaced_later_counts():
    model = smooth()
    penalty = CompositionPenalty(model, 1.0, cuts=2)
    before = penalty.value(x()).item()
    model[0] = nn.Linear(6, 8).double()
    assert penalty.value(x()).item() != before
    assert penalty.value(x()).item() == CompositionPenalty(model, 1.0, cuts=2).value(x()).item()


@each_estimator
def test_one_module_may_be_several_pieces(estimator):
    W = torch.randn(6, 6, generator=generator(), dtype=torch.float64) / 3
    block = linear(W)
    shared = CompositionPenalty([block, block], 1.0, estimator=estimator)
    value = shared.penalty(x())
    apart = [linear(W), linear(W)]
    other = CompositionPenalty(apart, 1.0, estimator=estimator).penalty(x())
    assert value.item() == other.item()
    value.backward()
    other.backward()
    torch.testing.assert_close(block.weight.grad, apart[0].weight.grad + apart[1].weight.grad)
    (row,) = shared.report(x())
    assert row.name == "0.weight"


@each_estimator
def test_convolutional_pieces(estimator):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh())
    decoder = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1), nn.Flatten())
    model = nn.Sequential(encoder, decoder).double()
    points = x(20, 16).reshape(20, 1, 4, 4)
    penalty = CompositionPenalty(model, 1.0, estimator=estimator)
    terms = torch.stack([penalty.terms(points, call) for call in range(60)]).mean(0)
    z = encoder(points)
    for term, part, given in zip(terms, (encoder, decoder), (points, z), strict=True):
        J = vmap(jacrev(lambda one, part=part: part(one[None])[0]))(given)
        assert term.item() == pytest.approx(J.flatten(1).square().sum(1).mean().item(), rel=0.03)
    assert all(
        g is not None for g in torch.autograd.grad(penalty.penalty(points), list(model.parameters())[::2])
    )


@each_estimator
@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (1, 3), (2, 3, 4)])
def test_layers_that_work_in_place_change_nothing(cuts, estimator):
    found = []
    for inplace in (False, True):
        model = network(inplace)
        value = CompositionPenalty(model, 1.0, cuts=cuts, estimator=estimator).penalty(x())
        found.append([value, *torch.autograd.grad(value, [model[0].weight, model[4].weight])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@each_estimator
def test_the_inputs_and_buffers_stay_as_they_are(estimator):
    torch.manual_seed(0)
    first = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm1d(6), nn.Linear(6, 4))
    model = nn.Sequential(first, spectral_norm(nn.Linear(4, 3))).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given, state = x(), torch.get_rng_state()
    CompositionPenalty(model, estimator=estimator).penalty(given).backward()
    assert torch.equal(given, x())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_a_piece_whose_buffers_move_at_each_pass_is_one_function_in_both():
    """Spectral norms make a step of power iteration at each pass in training mode."""
    torch.manual_seed(0)
    parts = [spectral_norm(nn.Linear(6, 6)).double(), spectral_norm(nn.Linear(6, 3)).double()]
    exact = CompositionPenalty(parts, 1.0, estimator="vjp").terms(x(), 0)
    torch.testing.assert_close(CompositionPenalty(parts, 1.0).terms(x(), 0), exact)


# ---- gradients and numbers -------------------------------------------------------------------------------


@each_estimator
@pytest.mark.parametrize("cuts", [(2,), (2, 4)])
def test_the_gradient_is_that_of_the_value(cuts, estimator):
    model = smooth()
    penalty = CompositionPenalty(model, 1.0, cuts=cuts, estimator=estimator, sigma=0.3)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(penalty.value(x()), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        slope, h = [], 1e-6
        with torch.no_grad():
            for sign in (1, -2):
                parameter.view(-1)[0] += sign * h
                slope.append(penalty.value(x()).item())
            parameter.view(-1)[0] += h
        found = 0.0 if gradient is None else gradient.view(-1)[0].item()
        assert found == pytest.approx((slope[0] - slope[1]) / (2 * h), abs=1e-7)


def test_the_step_follows_the_size_of_the_inputs():
    """In other units of the inputs the penalty is that of the map in these units, whatever its size."""
    model, scale = smooth(), 1e-6
    other = nn.Sequential(linear(torch.eye(6, dtype=torch.float64) / scale), *model)
    for estimator in ESTIMATORS:
        terms = [
            CompositionPenalty(part, 1.0, cuts=cuts, estimator=estimator).terms(points, 0)
            for part, cuts, points in ((model, 2, x()), (other, 3, scale * x()))
        ]
        torch.testing.assert_close(terms[0] / torch.tensor([scale**2, 1.0]), terms[1], rtol=1e-6, atol=0)


@each_estimator
def test_inputs_that_are_all_zero(estimator):
    h, g = linear(torch.ones(4, 6, dtype=torch.float64)), linear(torch.ones(3, 4, dtype=torch.float64))
    penalty = CompositionPenalty([h, g], 1.0, estimator=estimator)
    value = penalty.penalty(torch.zeros(12, 6, dtype=torch.float64))
    assert value.item() == pytest.approx(18.0)
    value.backward()
    torch.testing.assert_close(h.weight.grad, torch.ones(4, 6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@each_estimator
def test_other_dtypes(dtype, estimator):
    model = smooth()
    wanted = CompositionPenalty(model, 1.0, cuts=(2, 4), estimator=estimator).penalty(x(30)).item()
    value = CompositionPenalty(model.to(dtype), 1.0, cuts=(2, 4), estimator=estimator).penalty(
        x(30).to(dtype)
    )
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(wanted, rel=1e-3 if dtype == torch.float32 else 0.05)
    value.backward()
    assert model[0].weight.grad.isfinite().all()


def test_mixed_precision_of_the_step_does_not_reach_it():
    model = smooth().float()
    wanted = CompositionPenalty(model, 1.0, cuts=2).penalty(x(30).float()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert CompositionPenalty(model, 1.0, cuts=2).penalty(x(30).float()).item() == wanted


@each_estimator
def test_looking_does_not_count(estimator):
    penalty, twin = (CompositionPenalty(smooth(), 1.0, cuts=2, estimator=estimator) for _ in range(2))
    for count in range(3):
        assert penalty.penalty(x()).item() == twin.penalty(x()).item()
        with torch.no_grad():
            assert penalty.penalty(x()).item() == pytest.approx(penalty.value(x()).item())
        assert int(penalty.calls) == count + 1


# ---- what is refused -------------------------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.first, self.form = nn.Linear(6, 6).double(), form

    def forward(self, z):
        return self.form(self.first(z))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"estimator": "exact"}, ValueError, "estimator"),
        ({"sigma": 0}, ValueError, "sigma"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"cuts": 5}, ValueError, r"cuts must be increasing indices below 5, got \(5,\); this nn\.Seq"),
        ({"cuts": (2, 2)}, ValueError, "increasing"),
        ({"cuts": (3, 2)}, ValueError, "increasing"),
        ({"cuts": 0}, ValueError, "cuts must be a tuple"),
        ({"cuts": "2"}, TypeError, "cuts must be a tuple"),
        ({"cuts": None}, ValueError, r"Tanh has no parameters .*say where to cut, as in cuts=\(2, 4\)"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        CompositionPenalty(smooth(), **{"cuts": 2, **options})


@pytest.mark.parametrize(
    ("parts", "error", "match"),
    [
        ([], ValueError, "one module or more"),
        (nn.Sequential(), ValueError, "there is no layer"),
        (Pair(torch.relu), TypeError, "parts must be a sequence .* give its pieces in the order"),
        ([nn.Linear(6, 6), 3], TypeError, r"parts\[1\] must be"),
        ([nn.Linear(6, 6), torch.relu], TypeError, r"parts\[1\] must be"),
    ],
)
def test_what_is_no_chain_is_refused(parts, error, match):
    with pytest.raises(error, match=match):
        CompositionPenalty(parts)


def test_cuts_of_a_list_are_refused():
    with pytest.raises(ValueError, match=r"cuts: only an nn\.Sequential is cut"):
        CompositionPenalty([smooth()], cuts=2)


@each_estimator
@pytest.mark.parametrize(
    ("form", "error", "match"),
    [
        (lambda y: (y, y), TypeError, "got tuple; wrap it in one"),
        (lambda y: y > 0, TypeError, "got one of torch.bool"),
        (lambda y: y[:2], ValueError, "for n = 12 inputs, got shape"),
        (lambda y: y.mean(), ValueError, "for n = 12 inputs, got shape"),
        (lambda y: y * torch.nan, ValueError, "not finite"),
    ],
)
def test_pieces_that_return_something_else_are_refused(form, error, match, estimator):
    parts = [smooth()[:0], Pair(form)] if match == "not finite" else [nn.Identity(), Pair(form)]
    with pytest.raises(error, match=match):
        CompositionPenalty(parts, estimator=estimator).penalty(x())


@each_estimator
def test_inputs_that_cannot_be_meant_are_refused(estimator):
    penalty = CompositionPenalty(smooth(), cuts=2, estimator=estimator)
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        penalty.penalty(torch.zeros(3, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match="not finite"):
        penalty.penalty(x() * torch.nan)
