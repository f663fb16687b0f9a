"""Pairs of residues and their sum, and the two small networks that learn it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from overt._utils.seeds import seeded
from overt.studies.shared.redrawn import redrawn

__all__ = ["Attention", "Pairs", "make_network", "pairs"]


@dataclass(frozen=True)
class Pairs:
    """Inputs (count, 2, p), one-hot residues a and b, with labels a + b mod p.

    Attributes
    ----------
    train, train_labels, test, test_labels : Tensor
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def pairs(modulus: int, share: float, seed: int) -> Pairs:
    """All p² pairs, a share of them to train on and the rest to test on."""
    residues = torch.arange(modulus)
    a, b = (one.flatten() for one in torch.meshgrid(residues, residues, indexing="ij"))
    x = nnf.one_hot(torch.stack((a, b), 1), modulus).float()
    y = (a + b) % modulus
    order = torch.randperm(modulus**2, generator=seeded(seed))
    kept, rest = order[: round(share * modulus**2)], order[round(share * modulus**2) :]
    return Pairs(x[kept], y[kept], x[rest], y[rest])


class Attention(nn.Module):
    """One block of attention and a hidden layer over a, b and a token that the answer is read from."""

    def __init__(self, modulus: int, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(modulus, width, bias=False)
        self.places = nn.Parameter(torch.zeros(2, width))
        self.answer = nn.Parameter(torch.zeros(width))
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.read = nn.Linear(width, modulus, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, p) of one-hot pairs (n, 2, p)."""
        tokens = torch.cat((self.embed(x) + self.places, self.answer.expand(len(x), 1, -1)), 1)
        q, k, v = (self._split(part) for part in self.mix(tokens).chunk(3, -1))
        scores = (q[:, :, -1:] @ k.mT) / math.sqrt(q.shape[-1])
        seen = (scores.softmax(-1) @ v).flatten(1)
        last = tokens[:, -1] + self.out(seen)
        last = last + self.down(self.up(last).relu())
        found: Tensor = self.read(last)
        return found

    def _split(self, part: Tensor) -> Tensor:
        n, count, width = part.shape
        return part.view(n, count, self.heads, width // self.heads).transpose(1, 2)


def make_network(kind: str, modulus: int, width: int, seed: int) -> nn.Module:
    """The untrained network: "mlp", one hidden layer of rectifiers, or "transformer"."""
    if kind == "transformer":
        return redrawn(Attention(modulus, width), seed)
    layers = (
        nn.Flatten(),
        nn.Linear(2 * modulus, width, bias=False),
        nn.ReLU(),
        nn.Linear(width, modulus, bias=False),
    )
    return redrawn(nn.Sequential(*layers), seed)
