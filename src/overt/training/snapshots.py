"""Earlier states of the parameters, to go back to after a divergence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Snapshots:
    """Two copies of the parameters: the newest of finite objective, and the newest that passed every check.

    The first is written at every step. The second is older but sure: an entry that no datum sees may have
    grown beyond all bounds before a check notices. `checked_step` is the step of the second.
    """

    def __init__(self, params: Sequence[Tensor], step: int) -> None:
        self._params = list(params)
        self._finite, self._checked = ([p.detach().clone() for p in params] for _ in range(2))
        self._finite_step = self.checked_step = step

    def keep_finite(self, step: int) -> None:
        """The present state has a finite objective."""
        torch._foreach_copy_(self._finite, self._params)
        self._finite_step = step

    def keep_checked(self, step: int) -> bool:
        """The present state passed every check; whether it differs from the one before that did."""
        moved = step == self.checked_step or not all(map(torch.equal, self._checked, self._params))
        torch._foreach_copy_(self._checked, self._params)
        self.checked_step = step
        return moved

    @torch.no_grad()
    def restore(self, *, checked: bool) -> int:
        """Put an earlier state back into the parameters; returns its step."""
        torch._foreach_copy_(self._params, self._checked if checked else self._finite)
        return self.checked_step if checked else self._finite_step
