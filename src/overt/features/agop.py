"""M of a kernel model: the average gradient outer product, as a matrix or as a factor.

M = (1/n) Σ_x ∇f(x) ∇f(x)ᵀ over the training inputs, summed over outputs (Radhakrishnan, Beaglehole, Pandit &
Belkin 2024, Science 383): what ``overt.measure`` measures of any model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.seeds import normal, seeded
from overt.features.machine import Machine, Stack, blocks
from overt.features.powers import factor_root, gram_root
from overt.linalg.decompositions import svd
from overt.linalg.gram import gram_factor

__all__ = ["MOST_COLUMNS", "Agop", "agop"]

MOST_COLUMNS = 2000  # of inputs for which M is formed; beyond, it is a factor of at most so many rows


@dataclass(frozen=True)
class Agop:
    """M, shape (d, d), or ``rows`` (q, d) with M = rowsᵀ rows."""

    matrix: Tensor | None
    rows: Tensor | None

    def root(self, alpha: float, basis: str) -> Tensor:
        """T with T Tᵀ = M^α, tr M^α = d: a vector in the identity basis, otherwise a matrix (d, r)."""
        if self.matrix is not None:
            return gram_root(self.matrix, alpha, basis)
        assert self.rows is not None  # one of the two is there
        return factor_root(self.rows, alpha, basis)

    def factor(self) -> Tensor:
        """F, shape (q, d) with q ≤ d, of M = Fᵀ F; its rows are orthogonal, the longest first."""
        if self.matrix is not None:
            return gram_factor(self.matrix)
        assert self.rows is not None  # one of the two is there
        _, S, Vh = svd(self.rows)
        return S[:, None] * Vh


def agop(
    model: Machine | Stack, X: Tensor, *, most: int | None = None, outputs: Tensor | None = None
) -> Agop:
    """M of a model at the inputs X, shape (n, d), or at ``most`` of them, spread evenly.

    ``outputs`` (k,) multiplies the outputs.
    Where the inputs have more than ``MOST_COLUMNS`` columns, and the gradients more rows than that, the rows
    are mixed into so many by a Gaussian matrix, which leaves the expected M as it is.
    """
    if most is not None and len(X) > most:
        X = X[torch.linspace(0, len(X) - 1, most, device=X.device).round().long()]
    n, d = X.shape
    centres = model.width if isinstance(model, Stack) else len(model.centres)
    count = len(model.offset)
    few_rows = n * count <= min(d, MOST_COLUMNS)
    mixed = not few_rows and d > MOST_COLUMNS
    total, kept, generator = None, [], seeded(0)
    for part in blocks(n, max(centres, count * d)):
        G = model.gradients(X[part])
        G = (G if outputs is None else G * outputs[:, None]).flatten(0, 1)
        if few_rows:
            kept.append(G)
            continue
        if mixed:
            sketch = normal(MOST_COLUMNS, len(G), generator=generator) / MOST_COLUMNS**0.5
            added = sketch.to(G) @ G
        else:
            added = G.mT @ G
        total = added if total is None else total.add_(added)
    if few_rows:
        return Agop(None, torch.cat(kept) / n**0.5)
    assert total is not None  # there are inputs
    return Agop(None, total / n**0.5) if mixed else Agop(total / n, None)
