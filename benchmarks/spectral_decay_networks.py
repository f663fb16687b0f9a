"""What the length of SpectralDecay's steps does to small networks: effective rank and accuracy.

    python benchmarks/spectral_decay_networks.py [--quick] [--threads N] [--out FILE.json]

8×8 digits of scikit-learn: 600 images to train on, 400 steps of 64 images, a cosine for the learning rate,
and AdamW (2e-3) or SGD with momentum (0.05) inside. Penalized are the hidden layers; their effective ranks
are summed and divided by the largest that is possible. Length 0 is the same training without the steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from _report import parser, print_table, write_json
from overt import functional as F
from overt.optim import SpectralDecay

IMAGES, BATCH, STEPS = 600, 64, 400
LENGTHS = (0.0, 1e-3, 3e-3, 1e-2)
INSIDE: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=2e-3),
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
}


class Transformer(nn.Module):
    """The rows of an image are its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, 32)
        self.place = nn.Parameter(0.02 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.blocks(self.embedding(x.view(-1, 8, 8)) + self.place).mean(1))
        return found


def connected() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def convolutional() -> nn.Module:
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
    ends = (nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10))
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), first, nn.ReLU(), second, nn.ReLU(), *ends)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "fully connected": (connected, ["0", "2"]),
    "convolutional": (convolutional, ["1", "3"]),
    "transformer": (Transformer, ["blocks.*"]),
}


def trained(network: str, inside: str, length: float, seed: int, steps: int) -> tuple[float, float]:
    """Accuracy on the other images, and the share of the largest effective rank."""
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    x = (x - x.mean(0)) / (x.std(0) + 1e-2)
    generator = torch.Generator().manual_seed(seed)
    train, test = torch.randperm(len(x), generator=generator).split([IMAGES, len(x) - IMAGES])
    torch.manual_seed(seed)
    make, layers = NETWORKS[network]
    model = make()
    optimizer = SpectralDecay(INSIDE[inside](model), model, layers=layers, length=length, every=5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = train[torch.randint(IMAGES, (BATCH,), generator=generator)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        accuracy = float((model.eval()(x[test]).argmax(1) == y[test]).double().mean())
        matrices = [W.flatten(1) for W in optimizer.penalty.matrices()]
        ranks = sum(float(F.effective_rank(W)) for W in matrices)
    return accuracy, ranks / sum(min(W.shape) for W in matrices)


def main() -> None:
    options = parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads or 1)
    seeds, steps = (1, 20) if options.quick else (3, STEPS)
    rows: list[dict[str, Any]] = []
    for network in NETWORKS:
        for inside in INSIDE:
            for length in LENGTHS:
                began = time.process_time()
                found = [trained(network, inside, length, seed, steps) for seed in range(seeds)]
                accuracies, ranks = zip(*found, strict=True)
                rows.append(
                    {
                        "network": network,
                        "inside": inside,
                        "length": length,
                        "seeds": seeds,
                        "accuracy": statistics.mean(accuracies),
                        "share of effective rank": statistics.mean(ranks),
                        "cpu seconds": time.process_time() - began,
                    }
                )
            print_table(rows[-len(LENGTHS) :])
    write_json(options.out, "spectral_decay_networks", rows, {"steps": steps, "quick": options.quick})


if __name__ == "__main__":
    main()
