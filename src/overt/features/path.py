"""The paths of reweighting: kernel ridge, then rounds of M in two bases, followed in all folds side by side.

Leave-one-out errors along a path are too low, since M has seen the labels. So bandwidth and ridge of each round
come from them, and what compares rounds, bases and kernels are predictions of rows that a fold's whole path
has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overt.features.agop import agop
from overt.features.kernels import KernelName, multiplied
from overt.features.machine import Machine, fit_machine
from overt.features.members import Member
from overt.features.ridge import Choice, choose

__all__ = ["EXPONENTS", "Compared", "compare", "root_of"]

KERNELS: tuple[KernelName, ...] = ("laplace", "gaussian")
EXPONENTS = {"eigen": 0.5, "identity": 1.0, "screen": 1.0}  # α of M in each basis
_PILOT = 600  # rows on which bandwidths and ridges are compared
_GRADIENTS = 2000  # rows at which M is averaged on the way
_WORSE = 1.02  # a path ends when two rounds in a row are worse than the best one by this factor


@dataclass(frozen=True)
class Compared:
    """Members, and their out-of-fold predictions, shape (members, n, k)."""

    members: tuple[Member, ...]
    predictions: Tensor


@dataclass(frozen=True)
class _Round:
    """One member's models, one for each fold, and its predictions of the rows each has not seen."""

    member: Member
    machines: tuple[Machine, ...]
    predictions: Tensor


def root_of(machine: Machine, X: Tensor, basis: str) -> Tensor:
    """The root of M^α by which the next round multiplies its inputs."""
    return agop(machine, X, most=_GRADIENTS).root(
        EXPONENTS[basis], "identity" if basis == "screen" else basis
    )


class _Folds:
    """Training and other rows of each fold, and the members that were fitted on them."""

    def __init__(self, X: Tensor, Y: Tensor, folds: Tensor) -> None:
        self.X, self.Y = X, Y
        count = int(folds.max()) + 1
        self.parts = [((folds != f).nonzero()[:, 0], (folds == f).nonzero()[:, 0]) for f in range(count)]
        self.variance = float(Y.square().mean())
        self.rounds: list[_Round] = []

    def add(
        self, kernel: KernelName, basis: str, number: int, roots: Sequence[Tensor | None], start: Choice | None
    ) -> _Round:
        """Fit one member in all folds; the first fold chooses bandwidth and ridge for all."""
        predictions, machines, choice = torch.empty_like(self.Y), [], None
        for (seen, unseen), root in zip(self.parts, roots, strict=True):
            X, Y = self.X[seen], self.Y[seen]
            if choice is None:
                pilot = multiplied(X[:_PILOT], root)
                choice = choose(pilot, Y[:_PILOT], kernel, start.bandwidth if start else None)
            machines.append(fit_machine(X, Y, kernel, root, choice.bandwidth, choice.ridge))
            predictions[unseen] = machines[-1].predict(self.X[unseen])
        assert choice is not None  # there are folds
        error = float((predictions - self.Y).square().mean()) / self.variance
        member = Member(kernel, basis, number, choice.bandwidth, choice.ridge, error)
        self.rounds.append(_Round(member, tuple(machines), predictions))
        return self.rounds[-1]

    def roots(self, last: _Round, basis: str) -> list[Tensor]:
        """The next roots, one for each fold."""
        machines = zip(last.machines, self.parts, strict=True)
        return [root_of(machine, self.X[seen], basis) for machine, (seen, _) in machines]

    def follow(self, first: _Round, basis: str, rounds: int) -> None:
        """Rounds of one kernel in one basis, until they get worse."""
        best, worse, last = first.member.error, 0, first
        for number in range(1, rounds + 1):
            before = Choice(last.member.bandwidth, last.member.ridge, 0.0)
            last = self.add(first.member.kernel, basis, number, self.roots(last, basis), before)
            worse = worse + 1 if last.member.error > _WORSE * best else 0
            best = min(best, last.member.error)
            if worse == 2:
                return


def compare(
    X: Tensor, Y: Tensor, folds: Tensor, rounds: int, tick: Callable[[], None] = lambda: None
) -> Compared:
    """Out-of-fold predictions of all members.

    Parameters
    ----------
    X : Tensor, shape (n, d)
        Standardized.
    Y : Tensor, shape (n, k)
        Centred.
    folds : Tensor of int, shape (n,)
        The fold of each row, at least two.
    rounds : int
        The most rounds of a path.
    """
    found = _Folds(X, Y, folds)
    nothing: list[None] = [None] * len(found.parts)
    linear = found.add("linear", "none", 0, nothing, None)
    screens = found.roots(linear, "screen") if rounds else []
    for kernel in KERNELS:
        first = found.add(kernel, "none", 0, nothing, None)
        tick()
        if rounds:
            found.add(kernel, "screen", 1, screens, None)
        for basis in ("eigen", "identity"):
            found.follow(first, basis, rounds)
            tick()
    predictions = torch.stack([one.predictions for one in found.rounds])
    return Compared(tuple(one.member for one in found.rounds), predictions)
