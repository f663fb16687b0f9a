"""A stack from rows: members compared on some of them, those with weight fitted on all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overt.features.folds import folds_of, settled
from overt.features.kernels import KernelName
from overt.features.machine import Machine, Stack, fit_machine
from overt.features.members import Member, Path
from overt.features.nystroem import fit_on_centres
from overt.features.path import compare, root_of
from overt.features.stacking import stack_weights

__all__ = ["EXACT_ROWS", "Fitted", "fit_stack"]

DOUBLE_ROWS = 2000  # above which paths are followed in single precision
EXACT_ROWS = 10_000  # up to which every training input is a centre
PATH_ROWS = 3000  # on which the paths are followed
_FOLDS = 3


@dataclass(frozen=True)
class Fitted:
    """The stack, all members, and out-of-fold predictions of the stack for ``rows`` of the data."""

    stack: Stack
    path: Path
    rows: Tensor
    predictions: Tensor

    @property
    def n_iter(self) -> int:
        """The most rounds of a member that has weight."""
        return max((member.round for member in self.path if member.weight > 0), default=0)


def fit_stack(
    X: Tensor,
    Y: Tensor,
    *,
    rounds: int,
    max_centers: int,
    random: np.random.RandomState,
) -> Fitted:
    """Compare, stack and refit.

    Parameters
    ----------
    X : Tensor, shape (n, d)
        Standardized.
    Y : Tensor, shape (n, k)
        Centred, in units of its spread.
    rounds : int
        The most rounds of a path; 0 for kernel ridge alone.
    max_centers : int
        How many training inputs are centres where there are more than ``EXACT_ROWS``.
    random : RandomState
    """
    order = torch.as_tensor(settled(X, Y, random)).to(X.device)
    some = order[:PATH_ROWS]
    single = len(X) > DOUBLE_ROWS
    x, y = (part[some].float() if single else part[some] for part in (X, Y))
    nothing = Stack((), (), Y.mean(0))
    if len(x) < 2 or not bool(Y.square().sum() > 0) or not bool(X.square().sum() > 0):
        return Fitted(nothing, Path(), some, nothing.predict(X[some]))
    compared = compare(x, y, folds_of(x, y, min(_FOLDS, len(x)), random), rounds)
    weights = stack_weights(compared.members, compared.predictions, y)
    path = Path(m.weighted(float(w)) for m, w in zip(compared.members, weights, strict=True))
    w = torch.as_tensor(weights).to(y)
    predictions = torch.einsum("j,jnk->nk", w, compared.predictions).to(Y)
    refit = _Refit(X[order], Y[order], max_centers, path)
    kept = [member for member in path if member.weight > 0]
    machines = tuple(refit.machine(member) for member in kept)
    stack = Stack(machines, tuple(member.weight for member in kept), torch.zeros_like(Y[0]))
    return Fitted(stack, path, some, predictions)


class _Refit:
    """Members fitted on all rows. Each round of a path is fitted once, on the rows that paths are given."""

    def __init__(self, X: Tensor, Y: Tensor, max_centers: int, path: Path) -> None:
        self.X, self.Y, self.max_centers = X, Y, max_centers
        self.members = {(*member.chain, member.round): member for member in path}
        self.small: dict[tuple[str, str, int], Machine] = {}
        self.roots: dict[tuple[str, str, int], Tensor | None] = {}

    def machine(self, member: Member) -> Machine:
        """The member on all rows."""
        if len(self.X) <= PATH_ROWS:
            return self._small(member.kernel, member.basis, member.round)
        root = self._root(member.kernel, member.basis, member.round)
        if len(self.X) <= EXACT_ROWS:
            return fit_machine(self.X, self.Y, member.kernel, root, member.bandwidth, member.ridge)
        return fit_on_centres(
            self.X, self.Y, member.kernel, root, member.bandwidth, member.ridge, self.max_centers
        )

    def _small(self, kernel: KernelName, basis: str, number: int) -> Machine:
        """The member on the rows of the paths."""
        key = kernel, basis, number
        if key not in self.small:
            member, root = self.members[key], self._root(*key)
            X, Y = self.X[:PATH_ROWS], self.Y[:PATH_ROWS]
            self.small[key] = fit_machine(X, Y, kernel, root, member.bandwidth, member.ridge)
        return self.small[key]

    def _root(self, kernel: KernelName, basis: str, number: int) -> Tensor | None:
        key = kernel, basis, number
        if number and key not in self.roots:
            if basis == "screen":
                before = self._small("linear", "none", 0)
            else:
                before = self._small(kernel, "none" if number == 1 else basis, number - 1)
            self.roots[key] = root_of(before, self.X[:PATH_ROWS], basis)
        return self.roots.get(key)
