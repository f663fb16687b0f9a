"""Random products with the Jacobian of a batch, against the dense Jacobian, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.networks.batches import Batch
from overt.networks.jacobian import leaf
from overt.networks.probes import Probing, seed_of_call
from overt.networks.products import Products
from overt.networks.target import Target


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(n=4, outputs=3):
    layer = nn.Linear(n, outputs).double()
    with torch.no_grad():
        layer.weight.copy_(gaussian(outputs, n))
    return layer


@pytest.mark.parametrize("given", [True, False])
def test_products_of_whole_blocks_of_probes_have_the_gram_matrix_of_the_jacobian(given):
    model, x = linear(), leaf(gaussian(7, 4, seed=1))
    products = Products(Target(model), model)
    g = products(Batch(x), model(x) if given else None, share=0.8, probes=2, seed=0)
    assert g.shape == (2 * 6, 4)  # 80 % of seven inputs are six, two blocks of as many probes as outputs
    J = model.weight.detach()
    torch.testing.assert_close(g.T @ g / 12, J.T @ J)
    assert products(Batch(x), None, share=0.01, probes=1, seed=0).shape == (1, 4)
    assert g.requires_grad
    with torch.no_grad():
        assert not products(Batch(x), None, share=1.0, probes=1, seed=0).requires_grad


def test_outputs_that_do_not_belong_to_the_inputs_are_refused():
    model, x = linear(), leaf(gaussian(5, 4))
    y = model(x)
    products = Products(Target(model), model)
    for inputs, outputs in ((x.detach(), y), (x, y.detach()), (x, y[:3]), (x[:3], y), (x, "y")):
        with pytest.raises(ValueError, match="the model's outputs for x with their graph"):
            products(Batch(inputs), outputs, share=1.0, probes=1, seed=0)
    other = leaf(gaussian(5, 4))
    with pytest.raises(ValueError, match="do not depend on it"):
        products(Batch(x), model(other), share=1.0, probes=1, seed=0)
    with pytest.raises(ValueError, match="leave y out"):
        Products(Target(nn.Sequential(model), layer="0"), model)(Batch(x), y, share=1.0, probes=1, seed=0)
    mixing = nn.Sequential(model, nn.BatchNorm1d(3).double())
    with pytest.raises(ValueError, match="BatchNorm1d in training mode mixes"):
        Products(Target(mixing), mixing)(Batch(x), mixing(x), share=1.0, probes=1, seed=0)
    mixing.eval()
    Products(Target(mixing), mixing)(Batch(x), mixing(x), share=1.0, probes=1, seed=0)


def test_products_that_are_not_finite_are_refused_and_half_precision_is_widened():
    model, x = linear(), leaf(gaussian(5, 4))
    assert Products(Target(model), model)(Batch(x), None, share=1.0, probes=1, seed=0).dtype == torch.float64
    half = Products(Target(model.bfloat16()), model)
    assert half(Batch(x.bfloat16()), None, share=1.0, probes=1, seed=0).dtype == torch.float32
    for broken in (lambda z: z.sqrt() * 0, lambda z: z + torch.inf):
        with pytest.raises(ValueError, match="not finite on this batch"):
            Products(Target(broken), nn.Identity())(
                Batch(torch.zeros(2, 3)), None, share=1.0, probes=1, seed=0
            )


@pytest.mark.parametrize("probes", [1, 2, 3, 8])
def test_the_weight_of_draws_makes_their_sum_the_gram_matrix(probes):
    """With one output that is not constant, signs cannot add to the error."""
    x, w = leaf(gaussian(5, 4)), gaussian(4, seed=1)
    y = (x @ w)[:, None] * torch.tensor([0.0, 1.0, 0.0])
    probing = Probing(3, probes, seed=0)
    draws = list(probing.draws(x, y))
    assert len(draws) == probing.count == min(probes, 3)
    assert probing.all_outputs is (probes >= 3)
    total = sum(torch.einsum("ni,nj->nij", v, v) for v in draws)
    torch.testing.assert_close(probing.weight * total, torch.outer(w, w).expand(5, 4, 4))
    with pytest.raises(RuntimeError, match="second time"):  # the last draw lets go of the graph
        y.sum().backward()


def test_seeds_of_calls_and_processes_differ():
    seeds = {seed_of_call(s, call, process) for s in (0, 1, 7) for call in range(300) for process in range(8)}
    assert len(seeds) == 3 * 300 * 8
    for s in (2**63 - 1, 2**40):
        torch.Generator().manual_seed(seed_of_call(s, 10**6, 3))
