"""A penalty in a plain PyTorch loop: hold the weight until the spectra have collapsed, then release it.

    python examples/plain_pytorch.py

Two linear layers learn a map of rank 3 from noisy data. The normalized nuclear norm of their matrices is
added to the loss. Once the ranks stand still the weight is set to zero for some steps, so that the penalty's
own bias on what it kept can go.
"""

from __future__ import annotations

import torch
from torch import nn

from overt.penalties import SpectralPenalty

RANK, WIDTH, SAMPLES = 3, 32, 512


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, noisy targets and clean targets."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(WIDTH, RANK, generator=generator)
    right = torch.randn(RANK, WIDTH, generator=generator)
    x = torch.randn(SAMPLES, WIDTH, generator=generator)
    clean = x @ (left @ right).T / WIDTH**0.5
    return x, clean + torch.randn(clean.shape, generator=generator), clean


def train(weight: float, steps: int = 1500) -> float:
    """Train, print what the penalty did, and return the error on new data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False))
    penalty = SpectralPenalty(model, "normalized_nuclear_norm", weight=weight, layers=nn.Linear, every=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    x, y, _ = data(seed=0)
    ranks: list[int] = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y) + penalty.penalty()
        loss.backward()
        if step % 100 == 99:
            report = penalty.report()
            ranks.append(sum(row.rank for row in report))
            if penalty.weight > 0 and len(ranks) > 3 and len(set(ranks[-4:])) == 1:
                print(f"step {step + 1}: the ranks stand still, the weight is released\n{report}")
                penalty.weight = 0.0
        optimizer.step()
        if weight > 0 and penalty.weight == 0.0 and step % 100 == 99 and len(ranks) > 6:
            break
    with torch.no_grad():
        _, _, clean = data(seed=0)
        error = torch.linalg.vector_norm(model(x) - clean) / torch.linalg.vector_norm(clean)
    return float(error)


def main() -> None:
    plain, penalized = train(0.0), train(0.3)
    print(f"relative error of the clean signal: {plain:.3f} without the penalty, {penalized:.3f} with it")


if __name__ == "__main__":
    main()
