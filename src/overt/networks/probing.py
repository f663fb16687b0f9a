"""Random vector–Jacobian products v = Jᵀr with E[v vᵀ] = JᵀJ."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from overt.networks.jacobian import jacobian_rows, vector_jacobian

__all__ = ["Probing"]


class Probing:
    """Draws of v = Jᵀr for each input, r having independent signs (Hutchinson 1990).

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
            signs = torch.randint(0, 2, y.shape, generator=self._generator, dtype=torch.int8)
            cotangent = (signs.to(y.device).to(y.dtype) * 2).sub_(1)
            yield vector_jacobian(y, x, cotangent, retain=k < self.count - 1)
