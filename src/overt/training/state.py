"""What a callback sees of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from overt import functional as F

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """A run at one step.

    Attributes
    ----------
    step
        Number of updates made so far.
    seconds
        Of training so far.
    W
        The end-to-end tensor, detached; it may share memory with the model's parameters, so copy it to keep
        it.
    loss
        Training loss.
    objective
        Loss and penalty.
    weight
        Of the penalty, 0 without one.
    """

    step: int
    seconds: float
    W: Tensor
    loss: float
    objective: float
    weight: float

    @cached_property
    def _spectrum(self) -> Tensor:
        with torch.no_grad():
            return F.singular_values(self.W)

    def singular_values(self) -> Tensor:
        """Singular values of W, descending; the sorted magnitudes of its entries if it is a vector."""
        if self.W.ndim < 2:
            return self.W.abs().sort(descending=True).values
        return self._spectrum

    def effective_rank(self) -> float:
        """exp of the entropy of the normalized singular values (Roy & Vetterli 2007)."""
        return float(F.effective_rank(singular_values=self.singular_values()))

    def nonzeros(self) -> int:
        """Entries of W above 1e-3 of the largest one in magnitude."""
        magnitudes = self.W.abs()
        return int((magnitudes > 1e-3 * magnitudes.max()).sum())
