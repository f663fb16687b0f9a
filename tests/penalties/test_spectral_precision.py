"""Which precision a spectral penalty is computed in: half precision, autocast, and the stated errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import SpectralPenalty


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Matrices(nn.Module):
    def __init__(self, *matrices: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(W.clone()) for W in matrices)


def test_bfloat16_is_for_the_iteration():
    model = Matrices(gaussian(4, 40).float())
    with pytest.raises(ValueError, match="precision='bfloat16' is for the polar iteration"):
        SpectralPenalty(model, method="gram", precision="bfloat16")
    # Where "auto" comes to a Gram matrix, that is float64 as ever.
    found = SpectralPenalty(model, precision="bfloat16").value()
    torch.testing.assert_close(found, SpectralPenalty(model).value(), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["svd", "gram"])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision(method, every, dtype):
    model = Matrices(gaussian(20, 12).to(dtype))
    penalty = SpectralPenalty(model, "nuclear_norm", weight=1.0, method=method, every=every)
    truth = F.nuclear_norm(model.weights[0].detach().double())
    assert penalty.penalty().dtype == torch.float32
    assert penalty.penalty().item() == pytest.approx(truth.item(), rel=1e-6)
    chain = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False)).to(dtype)
    product = chain[1].weight.detach().double() @ chain[0].weight.detach().double()
    of_product = SpectralPenalty(chain, "nuclear_norm", of="product", weight=1.0, method=method, every=every)
    assert of_product.penalty().item() == pytest.approx(F.nuclear_norm(product).item(), rel=1e-6)


class Adapted(nn.Module):
    """An adapter, for the autocast test."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Linear(9, 3, bias=False), nn.Linear(3, 7, bias=False)


AUTOCAST = [
    (Adapted, {"norm_floor": 1e3}),
    (Adapted, {"norm_cap": 1e-3}),
    (Adapted, {"functional": lambda W: (W @ W.mT).square().sum()}),
    (lambda: nn.Sequential(nn.Linear(8, 7, bias=False), nn.Linear(7, 6, bias=False)), {"of": "product"}),
    (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(8, 5)),
        {"functional": lambda W: (W @ W.mT).sum()},
    ),
]


@pytest.mark.parametrize(("make", "arguments"), AUTOCAST)
def test_autocast_does_not_reach_guards_products_and_callables(make, arguments):
    torch.manual_seed(0)
    penalty = SpectralPenalty(make(), **arguments)
    expected = penalty.value()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty.value()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("power", "precision", "error", "cosine"),
    [
        (1, "float32", 3e-3, 0.998),
        (1, "bfloat16", 3e-3, 0.998),
        (2, "float32", 1e-2, 0.6),
        (2, "bfloat16", 1e-2, 0.5),
    ],
)
def test_stated_error_for_power_laws(power, precision, error, cosine):
    """Of size 256, where the second one is mostly below a thousandth of the largest."""
    U, V = torch.linalg.qr(gaussian(256, 256))[0], torch.linalg.qr(gaussian(256, 256, seed=1))[0]
    S = torch.arange(1, 257, dtype=torch.float64) ** -float(power)
    penalty = SpectralPenalty(
        Matrices(((U * S) @ V.mT).float()), "nuclear_norm", method="polar", precision=precision
    )
    value = penalty.value()
    assert abs(value.item() / S.sum().item() - 1) < error
    (gradient,) = torch.autograd.grad(value, list(penalty.model.parameters()))
    found = torch.cosine_similarity(gradient.double().flatten(), (U @ V.mT).flatten(), dim=0)
    assert found > cosine
    assert power == 1 or found < 0.7  # as the documentation says
    pulls = torch.einsum("mk,mn,nk->k", U, gradient.double(), V)
    within = {"float32": 2e-3, "bfloat16": 4e-3}[precision]
    assert (pulls[S > 5e-2] - 1).abs().max() < within
    assert (pulls[S > 2e-3] - 1).abs().max() < (2e-3 if precision == "float32" else 3e-2)
