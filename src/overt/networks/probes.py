"""Random cotangents r of the outputs with E[r rᵀ] = I, one for each input, for vector–Jacobian products."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from overt.linalg import orthonormal_basis
from overt.networks.jacobian import jacobian_rows, vector_jacobian

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


def draw_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent random signs of the shape of a tensor, drawn on the CPU (Hutchinson 1990)."""
    signs = torch.randint(0, 2, like.shape, generator=generator, dtype=torch.int8)
    return (signs.to(like.device).to(like.dtype) * 2).sub_(1)


def seed_of_call(seed: int, call: int, process: int = 0) -> int:
    """A seed for each call and process: a resumed run draws what it would have drawn."""
    return (seed * 1_000_003 + call * 1009 + process) % 2**63


class Probing:
    """Random products v = Jᵀr with E[v vᵀ] = JᵀJ for each input, r having independent signs.

    Signs have the smallest variance of |u·v|² among the distributions with independent entries. Where there
    are no more outputs than probes, the outputs themselves take the place of the draws: that costs less and
    leaves no randomness of probes.

    Parameters
    ----------
    outputs
        Number K of outputs.
    probes
        Number of draws for each input.
    seed
        Draws are made on the CPU, in the order of the chunks: they depend on the seed, the batches and the
        memory budget, not on the device.

    Attributes
    ----------
    all_outputs : bool
        Whether outputs are taken instead of draws.
    count : int
        Vectors v for each input.
    weight : float
        M is the mean over inputs of ``weight`` · Σ v vᵀ.
    """

    def __init__(self, outputs: int, probes: int, seed: int) -> None:
        self.all_outputs = outputs <= probes
        self.count = outputs if self.all_outputs else probes
        self.weight = 1.0 if self.all_outputs else 1.0 / probes
        self._generator = torch.Generator().manual_seed(seed)

    def draws(self, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """``count`` tensors of the shape of x."""
        if self.all_outputs:
            yield from jacobian_rows(y, x)
            return
        for k in range(self.count):
            cotangent = draw_signs(y, self._generator)
            yield vector_jacobian(y, x, cotangent, retain=k < self.count - 1)
