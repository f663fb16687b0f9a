"""Random directions v of the outputs with E[v vᵀ] = I, one for each input, for vector–Jacobian products."""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg import orthonormal_basis

__all__ = ["ORTHOGONAL_UP_TO", "draw_probes"]

ORTHOGONAL_UP_TO = 128
"""Number of outputs up to which the probes of a batch are drawn in orthogonal blocks."""


def draw_probes(count: int, outputs: int, *, generator: torch.Generator, like: Tensor) -> Tensor:
    """Probes in rows, shape (count, outputs), with E[v vᵀ] = I for each row.

    Up to `ORTHOGONAL_UP_TO` outputs they are √K times the rows of Haar-distributed orthogonal K×K matrices,
    drawn until there are enough: over each whole block Σ v vᵀ / K = I exactly, so for a map whose Jacobian is
    the same at all inputs, K inputs give its Gram matrix without error. With more outputs they are random
    signs (Hutchinson 1990).

    Drawn on the CPU in double precision, so that dtype and device do not change them.
    """
    if outputs > ORTHOGONAL_UP_TO:
        signs = torch.randint(0, 2, (count, outputs), generator=generator)
        return (2 * signs - 1).to(like)
    blocks = -(-count // outputs)
    gaussian = torch.randn(blocks, outputs, outputs, generator=generator, dtype=torch.float64)
    probes = orthonormal_basis(gaussian).mT.reshape(-1, outputs)[:count]
    scaled: Tensor = probes * outputs**0.5
    return scaled.to(like)
