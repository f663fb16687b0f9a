"""A penalty on what a network is sensitive to, and one weight for all scales.

    python examples/jacobian_penalty.py

The target is a function of 2 of 20 directions of the inputs, with a little noise. A network that fits the
samples is sensitive to all 20 directions; p = 1 prefers fewer. Then the script repeats this with targets a
thousand times as large. The plain penalty grows with the units and would need another weight: a warning says
that with this one the network has become constant. The normalized one is a ratio of two norms of one spectrum
and gives the same network. It does not limit the size of the Jacobian. With five times the noise the size is
what has to be limited, and the plain penalty is better.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overt.penalties import JacobianPenalty

SIZE, DIRECTIONS, SAMPLES, NOISE = 20, 2, 200, 0.1
PENALTIES = {"none": (0.0, False), "plain": (3e-3, False), "normalized": (2e-2, True)}


class Scaled(nn.Module):
    """A network whose outputs are in the units of the targets."""

    def __init__(self, units: float) -> None:
        super().__init__()
        layers = nn.Linear(SIZE, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
        self.network = nn.Sequential(*layers)
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.units * self.network(x)
        return y


def data(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Inputs, and targets without noise."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.linalg.qr(torch.randn(SIZE, DIRECTIONS, generator=generator))[0]
    mix = torch.randn(DIRECTIONS, 3, generator=generator)
    x = torch.randn(count, SIZE, generator=generator.manual_seed(seed))
    return x, torch.tanh(2 * x @ seen) @ mix


def train(name: str, units: float, steps: int = 600) -> tuple[float, float]:
    """Train, and return the relative error on new data and the effective rank of the sensitivity."""
    weight, normalized = PENALTIES[name]
    torch.manual_seed(0)
    model = Scaled(units)
    penalty = JacobianPenalty(model, p=1.0, basis="eigen", weight=weight, normalized=normalized)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    x, clean = data(1, SAMPLES)
    noise = NOISE * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    y = units * (clean + noise)
    x.requires_grad_()  # lets the penalty use the outputs that the loss needs anyway
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = model(x)
        loss = nn.functional.mse_loss(outputs, y) / units**2 + penalty.penalty(x, outputs)
        loss.backward()
        optimizer.step()
    report = JacobianPenalty(model, weight=weight, normalized=normalized).report(x)
    new, wanted = data(3, 1000)
    with torch.no_grad():
        error = torch.linalg.vector_norm(model(new) / units - wanted) / torch.linalg.vector_norm(wanted)
    return float(error), report.effective_rank


def main() -> None:
    print("units  penalty     error  effective rank")
    for units in (1.0, 1000.0):
        for name in PENALTIES:
            error, rank = train(name, units)
            print(f"{units:5g}  {name:10}  {error:.3f}  {rank:.1f}")


if __name__ == "__main__":
    main()
