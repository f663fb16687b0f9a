"""A penalty in a plain PyTorch loop: hold it until the ranks settle, release it, refit at these ranks.

    python examples/plain_pytorch.py

Two linear layers learn a map of rank 3 from noisy data, three times: without a penalty, with the normalized
nuclear norm of their matrices to the end, and with the same penalty on a schedule. The schedule sets the
weight to zero once the ranks no longer change, and keeps the matrices at these ranks from then on. So the
noise cannot come back, and the penalty's bias on what it kept disappears.
"""

from __future__ import annotations

import torch
from torch import nn

from overt.penalties import SpectralPenalty
from overt.training import HoldReleaseRefit

RANK, WIDTH, SAMPLES, STEPS = 3, 32, 512, 3000


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, noisy targets and clean targets."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(WIDTH, RANK, generator=generator)
    right = torch.randn(RANK, WIDTH, generator=generator)
    x = torch.randn(SAMPLES, WIDTH, generator=generator)
    clean = x @ (left @ right).T / WIDTH**0.5
    return x, clean + torch.randn(clean.shape, generator=generator), clean


def train(weight: float, *, release: bool) -> float:
    """Train, print what the penalty did, and return the error on the clean targets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False))
    penalty = SpectralPenalty(model, "normalized_nuclear_norm", weight=weight, layers=nn.Linear, every=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = HoldReleaseRefit(penalty, optimizer, refit_steps=None)
    x, y, clean = data(seed=0)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y) + penalty.penalty()
        loss.backward()
        optimizer.step()
        if release:
            schedule.step()
            if schedule.released_at == step + 1:
                print(f"step {step + 1}: released at ranks {schedule.ranks}")
    print(penalty.report())
    with torch.no_grad():
        return float(torch.linalg.vector_norm(model(x) - clean) / torch.linalg.vector_norm(clean))


def main() -> None:
    for name, weight, release in (("no penalty", 0.0, False), ("held", 1.0, False), ("released", 1.0, True)):
        print(f"{name}: relative error of the clean signal {train(weight, release=release):.3f}\n")


if __name__ == "__main__":
    main()
