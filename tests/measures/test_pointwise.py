"""The spectra of Jacobians point by point, against Jacobians that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

import overt
from overt import functional as F
from overt import measure
from overt.measures import PointwiseSpectrum
from overt.measures.methods import pointwise as method


def points(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rectified():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).double()


def oracle(model, x):
    """Singular values of autograd's own Jacobians."""
    J = vmap(jacrev(lambda one: model(one[None])[0]))(x)
    return torch.linalg.svdvals(J.reshape(len(x), J.shape[1], -1)).detach()


@pytest.mark.parametrize("size", [3, 8])
def test_every_functional_is_the_mean_over_points_of_that_of_the_jacobian(size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(size, 9), nn.Tanh(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    x = points(20, size)
    s, values = measure(model, x, pointwise=True), oracle(model, x)
    torch.testing.assert_close(s.values, values, rtol=1e-9, atol=1e-13)
    for p in (0.5, 2 / 3, 1.0, 2.0):
        assert s.cost(p) == pytest.approx(values.pow(p).sum(1).mean().item())
    assert s.nuclear_norm == pytest.approx(s.cost(1.0))
    assert s.trace == pytest.approx(s.cost(2.0)) == pytest.approx(measure(model, x).trace)
    assert s.log_pseudo_determinant() == pytest.approx(values.log().sum(1).mean().item())
    assert s.rank() == min(size, 4)
    assert s.effective_rank == pytest.approx(F.effective_rank(singular_values=values).mean().item())
    assert s.mean(F.stable_rank) == pytest.approx(
        (values.square().sum(1) / values[:, 0].square()).mean().item()
    )
    assert s.mean(lambda singular_values: singular_values[:, 0]) == pytest.approx(values[:, 0].mean().item())
    assert s.n_samples == 20


@pytest.mark.parametrize("depth", [1, 3])
def test_of_a_linear_network_it_is_the_spectrum_of_the_product(depth):
    model = overt.DeepLinear((7, *[8] * (depth - 1), 5), scale=1.0, seed=0, dtype=torch.float64)
    s = measure(model, points(6, 7), pointwise=True)
    wanted = torch.linalg.svdvals(model.product().detach())
    torch.testing.assert_close(s.values, wanted.expand(6, 5), rtol=1e-10, atol=1e-10)
    common = measure(model, points(6, 7))
    for p in (2 / 3, 1.0, 2.0):
        assert s.cost(p) == pytest.approx(common.cost(p), rel=1e-10)
    assert s.effective_rank == pytest.approx(common.effective_rank, rel=1e-10)


def test_on_a_curve_each_point_has_fewer_directions_than_all_together():
    def around(x):
        return x / x.norm(dim=1, keepdim=True)

    x = points(200, 2)
    assert measure(around, x, pointwise=True).ranks(1e-9).unique().tolist() == [1]
    assert measure(around, x).effective_rank > 1.9


def test_the_rank_of_a_relu_network_is_that_of_its_linear_piece():
    model, x = rectified(), points(60, 6)
    found = measure(model, x, pointwise=True)
    active = (model[0](x) > 0).sum(1).clamp_max(4)
    assert torch.equal(found.ranks(), active)
    assert len(found.ranks().unique()) > 1
    assert found.rank() == pytest.approx(active.double().mean().item())
    assert float(found.margins().min()) > 1e6
    values = oracle(model, x)
    logs = [row[:rank].log().sum().item() for row, rank in zip(values, active.tolist(), strict=True)]
    assert found.log_pseudo_determinant() == pytest.approx(sum(logs) / len(logs))
    assert found.cost(0.1) == pytest.approx(
        sum(row[:rank].pow(0.1).sum().item() for row, rank in zip(values, active.tolist(), strict=True)) / 60
    )


def test_a_bottleneck_in_single_precision_has_its_width():
    model = overt.DeepLinear((40, 60, 3, 50, 30), scale=1.0, seed=0)
    found = measure(model, points(5, 40, dtype=torch.float32), pointwise=True)
    assert found.ranks().tolist() == [3] * 5
    assert found.ranks(0.99).tolist() == [1] * 5
    assert found.rtol == pytest.approx(4 * 40 * torch.finfo(torch.float32).eps)
    assert math.isfinite(found.log_pseudo_determinant())


def test_a_map_that_is_constant_has_rank_zero():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double()
    model[0].weight.data.zero_()
    model[0].bias.data.fill_(-1.0)
    found = measure(model, points(4, 3), pointwise=True)
    assert found.ranks().tolist() == [0] * 4
    numbers = [found.nuclear_norm, found.effective_rank, found.cost(0.5), found.log_pseudo_determinant()]
    assert numbers == [0.0] * 4
    assert "ranks=0" in repr(found)


def test_the_model_is_left_alone_and_modes_are_handled():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 2)
    ).double()
    x = points(8, 4)
    model(x).sum().backward()
    grads = [p.grad for p in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, x, pointwise=True)
    assert all(module.training for module in model.modules())
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="is in training mode"):
        measure(model, x, pointwise=True, train=True)


def test_inputs_in_batches_layers_outputs_and_ways_to_call_a_model():
    model, x = rectified(), points(10, 6)
    whole = measure(model, x, pointwise=True).values
    batches = measure(model, [(x[:3], None), (x[3:], None)], pointwise=True, max_samples=7).values
    torch.testing.assert_close(batches, whole[:7])
    torch.testing.assert_close(measure(lambda z: model(z), x, pointwise=True).values, whole)
    wrapped = nn.ModuleDict({"body": model})
    called = measure(wrapped, x, pointwise=True, forward=lambda m, z: m["body"](z)).values
    torch.testing.assert_close(called, whole)
    inner = measure(model, x, pointwise=True, layer="0").values
    torch.testing.assert_close(inner, torch.linalg.svdvals(model[0].weight.detach()).expand(10, 5))
    first = measure(model, x, pointwise=True, outputs=lambda y: y[:, :1]).values
    assert first.shape == (10, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(dtype):
    model, x = rectified(), points(10, 6)
    wanted = measure(model, x, pointwise=True).nuclear_norm
    found = measure(model.to(dtype), x.to(dtype), pointwise=True)
    assert found.values.dtype == torch.float32
    assert found.nuclear_norm == pytest.approx(wanted, rel=1e-5 if dtype == torch.float32 else 0.05)


def test_convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 5)).double()
    x = points(6, 1, 4, 4)
    torch.testing.assert_close(
        measure(model, x, pointwise=True).values, oracle(model, x), rtol=1e-9, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_parts_are_measured_without_compilation():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Tanh(), nn.Linear(8, 8))
    model = nn.Sequential(nn.Linear(4, 8), body, nn.Linear(8, 3))
    x = torch.randn(6, 4)
    expected = measure(model, x, pointwise=True).values
    model[1] = torch.compile(body, backend="aot_eager")
    model(x.clone().requires_grad_()).sum().backward()
    assert torch.allclose(measure(model, x, pointwise=True).values, expected)


def test_many_outputs_are_taken_by_forward_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 40)).double()
    passes = []
    model.register_forward_hook(lambda *event: passes.append(len(event[1][0])))
    x = points(4, 3)
    assert torch.allclose(measure(model, x, pointwise=True).values, oracle(model, x))
    assert len(passes) < 20


class _Counted(nn.Module):
    """Holds 10 000 numbers for the backward pass of each input; notes how many inputs come at once."""

    largest = 0  # of the class: what a pass notes in the module is put back

    def forward(self, x):
        _Counted.largest = max(_Counted.largest, len(x))
        return x.repeat(1, 5000).sin().sum(1, keepdim=True)


def test_chunks_are_sized_by_the_graph():
    model, x = _Counted(), torch.randn(200, 2, dtype=torch.float64)
    measure(model, x, pointwise=True, memory_budget=2 * 10**6)
    assert 2 <= _Counted.largest <= 25  # 10 000 numbers of 8 bytes for each input


# ---- what is refused -------------------------------------------------------------------------------------


def test_what_would_take_too_long_is_refused_before_it_starts(monkeypatch):
    model, x = rectified(), points(10, 6)
    monkeypatch.setattr(method, "MOST_WORK", 500.0)  # one decomposition is 4²·6
    with pytest.raises(ValueError, match=r"4×6, and 10 decompositions take 1e\+03 mult.*max_samples=5 fits"):
        measure(model, x, pointwise=True)
    assert measure(model, x, pointwise=True, max_samples=5).n_samples == 5
    monkeypatch.setattr(method, "MOST_WORK", 50.0)
    with pytest.raises(ValueError, match="even one input does not fit"):
        measure(model, x, pointwise=True)


def test_a_jacobian_that_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"memory_budget: the Jacobian of one input is 4×6 and takes 768 bytes"
    ):
        measure(rectified(), points(3, 6), pointwise=True, memory_budget=700)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"basis": "fourier"}, ValueError, "basis: pointwise=True is exact and in the eigenbasis"),
        ({"method": "sketch"}, ValueError, "method: pointwise=True is exact"),
        ({"memory_budget": 0}, ValueError, "memory_budget must be an integer ≥ 1, got 0"),
        ({"pointwise": 1}, TypeError, "pointwise must be True or False"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        measure(nn.Linear(2, 2), torch.randn(3, 2), **{"pointwise": True, **options})


def test_inputs_and_models_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="there is no batch"):
        measure(nn.Linear(2, 2), [], pointwise=True)
    with pytest.raises(TypeError, match=r"model must be callable, got 3; give a torch\.nn\.Module"):
        measure(3, torch.randn(3, 2), pointwise=True)
    with pytest.raises(ValueError, match="has NaN or"):
        measure(lambda x: (x - x).sqrt(), torch.randn(3, 2), pointwise=True)


def test_a_spectrum_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"values must have shape \(n, k\)"):
        PointwiseSpectrum(torch.ones(3))
    with pytest.raises(ValueError, match="values must not be negative"):
        PointwiseSpectrum(-torch.ones(3, 2))
    s = PointwiseSpectrum(torch.tensor([[1.0, 2.0]]))
    assert s.values.tolist() == [[2.0, 1.0]]
    for call in (s.rank, s.ranks, s.margins, s.log_pseudo_determinant):
        with pytest.raises(ValueError, match=r"rtol must be a number in \[0, 1\)"):
            call(1.0)
        with pytest.raises(TypeError, match="rtol"):
            call("small")
    with pytest.raises(ValueError, match="p must be"):
        s.cost(0)
    with pytest.raises(TypeError, match="functional must be callable"):
        s.mean("nuclear_norm")
    with pytest.raises(ValueError, match="functional must return one value for each of 1 points, got shape"):
        s.mean(lambda singular_values: singular_values)
