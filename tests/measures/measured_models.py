"""Small models and plain definitions that the tests of the measure share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DOUBLE = torch.float64


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def drawn(module: nn.Module, seed: int = 0, dtype: torch.dtype = DOUBLE) -> nn.Module:
    """The module with normal parameters of its own, seeded draw."""
    generator = torch.Generator().manual_seed(seed)
    module.to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else parameter.numel())
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=DOUBLE) / fan**0.5)
    return module


def mlp(n_in: int = 6, hidden: int = 8, n_out: int = 3, **options: object) -> nn.Module:
    layers = nn.Sequential(nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, n_out))
    return drawn(layers, **options)  # type: ignore[arg-type]


def cnn(channels: int = 2, classes: int = 4, **options: object) -> nn.Module:
    """For images (channels, 8, 8), with batch normalization and dropout."""
    layers = nn.Sequential(
        nn.Conv2d(channels, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, classes),
    )
    return drawn(layers, **options)  # type: ignore[arg-type]


class Attention(nn.Module):
    """One block of self-attention over (tokens, width), then a linear head."""

    def __init__(self, tokens: int = 3, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(tokens * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unsqueeze(1).chunk(3, -1)
        y: Tensor = nn.functional.scaled_dot_product_attention(q, k, v).squeeze(1) + x
        result: Tensor = self.head(y.flatten(1))
        return result


def dense_jacobians(model: nn.Module, x: Tensor) -> Tensor:
    """Jacobians (n, K, D), one input after the other, by torch's own function."""

    def one(single: Tensor) -> Tensor:
        return model(single[None]).flatten()

    model.eval()
    rows = [torch.autograd.functional.jacobian(one, single) for single in x]
    return torch.stack([row.flatten(1) for row in rows])


def dense_measure(model: nn.Module, x: Tensor) -> Tensor:
    """M = E[JᵀJ], shape (D, D)."""
    J = dense_jacobians(model, x)
    return (J.mT @ J).mean(0)


def orthogonal(n: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(n, n, seed=seed))[0]
