"""A penalty on Jacobians that does not depend on the units of the inputs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from overt import JacobianPenalty
from overt.networks.distributed import own_rows
from overt.penalties.scaling import Scaling

UNITS = torch.tensor([1.0, 1e3, 1e-4, 60.0, 2.54], dtype=torch.float64)


def inputs(count=8, seed=0):
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x * torch.tensor([1.0, 2.0, 3.0, 0.0, 1.0]) + torch.tensor([0.0, 5.0, 0.0, 4.0, 1.0])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def in_other_units(model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight /= UNITS
    return other


@pytest.mark.parametrize("basis", ["identity", "eigen", "fourier"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("given", ["std", "tensor"])
def test_units_of_the_inputs_change_nothing(basis, normalized, given):
    model = network()
    scales = inputs(100).std(0).clamp_min(1e-3)
    found = []
    for one, units in ((model, torch.ones_like(UNITS)), (in_other_units(model), UNITS)):
        scaling = "std" if given == "std" else scales * units
        penalty = JacobianPenalty(one, 2 / 3, basis, 1.0, normalized=normalized, scaling=scaling)
        values = [penalty.penalty(inputs(seed=k) * units) for k in range(3)]
        gradients = torch.autograd.grad(values[-1], [one[0].bias, one[2].weight], retain_graph=True)
        (first,) = torch.autograd.grad(values[-1], one[0].weight)
        found.append(
            [*values, *gradients, first / units, penalty.spectrum(), penalty.value(inputs() * units)]
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_it_is_the_penalty_of_a_network_that_takes_scaled_inputs():
    model, x = network(), inputs(30)
    scales = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.1], dtype=torch.float64)
    inside = copy.deepcopy(model)
    with torch.no_grad():
        inside[0].weight *= scales
    for basis in ("identity", "eigen"):
        scaled = JacobianPenalty(model, 2 / 3, basis, 1.0, scaling=scales).penalty(x)
        plain = JacobianPenalty(inside, 2 / 3, basis, 1.0).penalty(x / scales)
        torch.testing.assert_close(scaled, plain)
    plain = JacobianPenalty(model, 2 / 3, "identity", 1.0)
    ones = JacobianPenalty(model, 2 / 3, "identity", 1.0, scaling=torch.ones(5))
    assert plain.penalty(x).item() == ones.penalty(x).item()


def test_without_it_units_matter():
    model, x = network(), inputs()
    one, other = (
        JacobianPenalty(m, 2 / 3, "identity", 1.0).penalty(z).item()
        for m, z in ((model, x), (in_other_units(model), x * UNITS))
    )
    assert other > 2 * one


def test_scales_are_the_deviations_of_all_inputs_so_far():
    scaling = Scaling("std")
    batches = [inputs(count, seed) for seed, count in enumerate((1, 4, 7, 30))]
    torch.testing.assert_close(scaling.scales(batches[2])[:3], batches[2].std(0, correction=0)[:3])
    for batch in batches:
        scaling.seen = scaling.after(batch, own_rows)
    wanted = torch.cat(batches).std(0, correction=0)
    wanted[3] = 4.0  # the size of what does not vary
    torch.testing.assert_close(scaling.scales(batches[0]), wanted)
    nothing = Scaling("std")
    nothing.seen = nothing.after(torch.zeros(3, 2), own_rows)
    assert nothing.scales(torch.zeros(3, 2)).tolist() == [1.0, 1.0]


def test_several_processes_have_the_deviations_of_all_their_inputs():
    parts = [inputs(count, seed) for seed, count in ((0, 3), (1, 9))]
    rows = []
    for part in parts:
        Scaling("std").after(part, lambda row: rows.append(row) or row)
    both = Scaling("std")
    for _ in range(2):
        both.seen = both.after(parts[0], lambda row: torch.cat(rows))
    torch.testing.assert_close(both.scales(parts[0])[:3], torch.cat(parts).std(0, correction=0)[:3])
    assert both.seen[0] == 24


def test_large_offsets_do_not_cost_the_digits():
    scaling, x = Scaling("std"), inputs(20) + 1e9
    for part in x.split(5):
        scaling.seen = scaling.after(part, own_rows)
    torch.testing.assert_close(scaling.scales(x)[:3], x.std(0, correction=0)[:3], rtol=1e-6, atol=0)


def test_looking_changes_nothing_and_a_stored_penalty_goes_on():
    model = network()
    penalty = JacobianPenalty(model, 2 / 3, "identity", 1.0, scaling="std")
    for k in range(3):
        penalty.penalty(inputs(seed=k))
    before = {name: value.clone() for name, value in penalty.state_dict().items()}
    with torch.no_grad():
        penalty.penalty(100 * inputs(seed=5))
    penalty.value(100 * inputs(seed=5))
    penalty.report(inputs(seed=2))
    assert all(torch.equal(before[name], value) for name, value in penalty.state_dict().items())
    resumed = JacobianPenalty(model, 2 / 3, "identity", 1.0, scaling="std")
    resumed.load_state_dict(penalty.state_dict())
    assert resumed.penalty(inputs(seed=4)).item() == penalty.penalty(inputs(seed=4)).item()


def test_images_and_other_dtypes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 3, 4)).float()
    x = torch.randn(5, 2, 3, 3)
    for scaling in ("std", torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(2, 1, 1)):
        value = JacobianPenalty(model, 1.0, "fourier", 1.0, scaling=scaling).penalty(x)
        assert value.dtype == torch.float32
        assert value.isfinite()
    half = JacobianPenalty(model.bfloat16(), 1.0, "identity", 1.0, scaling="std").penalty(x.bfloat16())
    assert half.isfinite()


def test_descriptions_tell_scales_apart():
    model = network()
    choices = [None, "std", torch.ones(5), 2 * torch.ones(5)]
    described = [str(JacobianPenalty(model, scaling=one).describe()) for one in choices]
    assert len(set(described)) == len(choices)
    assert not any("tensor(" in words for words in described)


@pytest.mark.parametrize(
    ("scaling", "error", "match"),
    [
        ("deviation", ValueError, "scaling must be 'std', a tensor of scales or None, got 'deviation'"),
        (2.0, TypeError, r"scaling must be 'std', a torch\.Tensor"),
        ([1.0, 2.0], TypeError, "scaling must be 'std'"),
        (torch.zeros(5), ValueError, "above 0.*never varies the scale 1"),
        (-torch.ones(5), ValueError, "above 0"),
        (torch.full((5,), torch.inf), ValueError, "scaling must hold finite"),
        (torch.full((5,), torch.nan), ValueError, "scaling must hold finite"),
        (torch.ones(5, dtype=torch.int64), TypeError, "scaling"),
        (torch.ones(4), ValueError, r"scaling: its shape \(4,\) does not fit inputs of shape \(5,\)"),
    ],
)
def test_scales_that_cannot_be_meant_are_refused(scaling, error, match):
    with pytest.raises(error, match=match):
        JacobianPenalty(network(), scaling=scaling).penalty(inputs())
