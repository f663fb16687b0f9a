"""Penalties inside torch.compile without a graph break, with backends that need no compiler."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.penalties import SpectralPenalty

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("functional", "method", "backend"),
    [
        ("normalized_nuclear_norm", "polar", "eager"),
        ("normalized_nuclear_norm", "polar", "aot_eager"),
        ("effective_rank", "gram", "aot_eager"),
        ("nuclear_norm", "svd", "aot_eager"),
    ],
)
def test_compiled_value_and_gradient_are_the_eager_ones(functional, method, backend):
    net = model()
    penalty = SpectralPenalty(net, functional, weight=0.1, method=method)
    x = torch.randn(4, 12)

    def objective(x):
        return net(x).square().mean() + penalty.penalty()

    expected = objective(x)
    expected.backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    torch._dynamo.reset()
    value = torch.compile(objective, backend=backend, fullgraph=True)(x)
    value.backward()
    torch.testing.assert_close(value, expected)
    for p, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)
