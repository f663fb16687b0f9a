"""Which exponent of the Jacobian penalty where the target depends on few of the inputs?

    python examples/few_directions.py

Two minutes on one thread. Targets on the cube {−1, 1}⁵⁰ that depend on three of the fifty inputs (a
staircase, x₁ + x₁x₂ + x₁x₂x₃) and, as a control, on all of them. The same network and optimizer for every
method, four settings each, of which the best on a fifth of the training data is tested. Of every run the
network counts that was best on validation at 20 times.
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import Tensor, nn

from overt.penalties import JacobianPenalty

SIZE, SAMPLES, WIDTH, STEPS, BATCH, NOISE = 50, 500, 96, 1000, 64, 0.1
METHODS: dict[str, tuple[float, tuple[float, ...]]] = {  # p, and four weights; 0 is AdamW's weight decay
    "AdamW": (0.0, (0.0, 1.0, 3.0, 10.0)),
    "p = 2": (2.0, (1e-3, 1e-2, 3e-2, 1e-1)),
    "p = 1": (1.0, (3e-3, 1e-2, 3e-2, 1e-1)),
    "p = 2/3": (2 / 3, (3e-3, 1e-2, 3e-2, 1e-1)),
}


def few(x: Tensor) -> Tensor:
    """Three of the inputs."""
    return x[:, 0] + x[:, 0] * x[:, 1] + x[:, 0] * x[:, 1] * x[:, 2]


def all_inputs(x: Tensor) -> Tensor:
    """Products of neighbours: every input matters as much as any other."""
    return (x * x.roll(1, 1)).sum(1) / SIZE**0.5 + x.sum(1) / SIZE**0.5


TARGETS = {"three inputs": few, "all inputs": all_inputs}


def data(target: str, seed: int) -> list[Tensor]:
    """Inputs and targets of deviation 1: to train on, to choose by, and without noise to test on."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 2, (SAMPLES + 2000, SIZE), generator=generator) * 2.0 - 1
    y = TARGETS[target](x)[:, None]
    y = y / y.std()
    noisy = y + NOISE * torch.randn(y.shape, generator=generator)
    held = SAMPLES // 5
    return [x[held:SAMPLES], noisy[held:SAMPLES], x[:held], noisy[:held], x[SAMPLES:], y[SAMPLES:]]


def train(parts: list[Tensor], p: float, weight: float, seed: int) -> tuple[float, float]:
    """The smallest error on validation, and the test error of that network."""
    x, y, x_chosen, y_chosen, x_test, y_test = parts
    torch.manual_seed(seed)
    layers = [nn.Linear(SIZE, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)]
    model = nn.Sequential(*layers)
    penalty = JacobianPenalty(model, p, "identity", weight) if p else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0 if p else weight)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    draws, best = torch.Generator().manual_seed(seed), (float("inf"), float("inf"))
    for step in range(STEPS):
        rows = torch.randint(len(x), (BATCH,), generator=draws)
        batch = x[rows].requires_grad_()
        outputs = model(batch)
        loss = nn.functional.mse_loss(outputs, y[rows])
        if penalty is not None:
            loss = loss + penalty.penalty(batch, outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            with torch.no_grad():
                errors = [
                    nn.functional.mse_loss(model(a), b) for a, b in ((x_chosen, y_chosen), (x_test, y_test))
                ]
            best = min(best, (float(errors[0]), float(errors[1])))
    return best


def main(seeds: int = 3) -> None:
    warnings.filterwarnings("ignore", message="the Jacobian's size")  # too large a weight is not chosen
    print("target        method    test error (mean of", seeds, "seeds; each)        weights chosen")
    for target in TARGETS:
        for method, (p, weights) in METHODS.items():
            found, chosen = [], []
            for seed in range(seeds):
                parts = data(target, seed)
                (_, error), weight = min((train(parts, p, weight, seed), weight) for weight in weights)
                found.append(error)
                chosen.append(weight)
            each = " ".join(f"{error:.4f}" for error in found)
            print(f"{target:13} {method:9} {sum(found) / seeds:.4f}  ({each})  {chosen}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
