"""The paths of reweighting: kernel ridge, then rounds of M in two bases, followed in all folds side by side.

Leave-one-out errors choose bandwidth and ridge of kernel ridge. Along a path they are too low, since M has
seen the labels: there settings, rounds, bases and kernels are compared by predictions of rows that a fold's
whole path has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overt.features.agop import agop
from overt.features.kernels import KernelName, multiplied
from overt.features.machine import Machine, fit_machine
from overt.features.members import Member
from overt.features.ridge import Choice, Trial, choose

__all__ = ["EXPONENTS", "Compared", "compare", "root_of"]

KERNELS: tuple[KernelName, ...] = ("laplace", "gaussian")
EXPONENTS = {"eigen": 0.5, "identity": 1.0, "screen": 1.0}  # α of M in each basis
_PILOT = 500  # rows on which bandwidths and ridges are compared
_FEW = 350  # rows of a fold up to which all folds choose them; above, one fold is enough
_GRADIENTS = 2000  # rows at which M is averaged on the way
_WORSE = 1.05  # a path ends after two rounds that are worse than its best by this factor
_BEHIND = 1.25  # or when its error is this factor above the best of all ...
_FALLING = 0.85  # ... and its last round has not lowered it by this factor
_LONGER = 0.98  # the best path goes on, twice as long at most, while a round lowers its error by this factor


@dataclass(frozen=True)
class Compared:
    """Members, and their out-of-fold predictions, shape (members, n, k)."""

    members: tuple[Member, ...]
    predictions: Tensor


@dataclass(frozen=True)
class _Round:
    """One member and its models, one for each fold. Only the last one of a path is kept."""

    member: Member
    machines: tuple[Machine, ...]


def root_of(machine: Machine, X: Tensor, basis: str) -> Tensor:
    """The root of M^α by which the next round multiplies its inputs."""
    return agop(machine, X, most=_GRADIENTS).root(
        EXPONENTS[basis], "identity" if basis == "screen" else basis
    )


class _Folds:
    """Training and other rows of each fold, and what was fitted on them: members, out-of-fold predictions."""

    def __init__(self, X: Tensor, Y: Tensor, folds: Tensor) -> None:
        self.X, self.Y = X, Y
        count = int(folds.max()) + 1
        self.parts = [((folds != f).nonzero()[:, 0], (folds == f).nonzero()[:, 0]) for f in range(count)]
        self.variance = float(Y.square().mean())
        self.members: list[Member] = []
        self.predictions: list[Tensor] = []

    def add(
        self, kernel: KernelName, basis: str, number: int, roots: Sequence[Tensor | None], start: float = 1.0
    ) -> _Round:
        """Fit one member in all folds, with one bandwidth and one ridge."""
        choice = self._choose(kernel, number, roots, start)
        predictions, machines = torch.empty_like(self.Y), []
        for (seen, unseen), root in zip(self.parts, roots, strict=True):
            machine = fit_machine(self.X[seen], self.Y[seen], kernel, root, choice.bandwidth, choice.ridge)
            machines.append(machine)
            predictions[unseen] = machine.predict(self.X[unseen])
        error = float((predictions - self.Y).square().mean()) / self.variance
        member = Member(kernel, basis, number, choice.bandwidth, choice.ridge, error)
        self.members.append(member)
        self.predictions.append(predictions)
        return _Round(member, tuple(machines))

    def _choose(
        self, kernel: KernelName, number: int, roots: Sequence[Tensor | None], start: float
    ) -> Choice:
        """By leave-one-out before M has seen labels, by the rows that a fold has not seen afterwards."""
        trials, known = [], number > 0
        few = len(self.parts[0][0]) <= _FEW
        for (seen, unseen), root in zip(self.parts, roots, strict=True):
            some = seen[:_PILOT]
            others = (multiplied(self.X[unseen], root), self.Y[unseen]) if known else ()
            trials.append(Trial(multiplied(self.X[some], root), self.Y[some], *others))
            if not few:
                break
        return choose(trials, kernel, start)

    def roots(self, last: _Round, basis: str) -> list[Tensor]:
        """The next roots, one for each fold."""
        machines = zip(last.machines, self.parts, strict=True)
        return [root_of(machine, self.X[seen], basis) for machine, (seen, _) in machines]


class _Path:
    """Rounds of one kernel in one basis."""

    def __init__(self, folds: _Folds, first: _Round, basis: str) -> None:
        self.folds, self.basis, self.last = folds, basis, first
        self.errors, self.ended = [first.member.error], False

    def go_on(self, most: float) -> None:
        """One more round; ``most`` is the error above which the path falls behind."""
        before, number = self.last.member, len(self.errors)
        roots = self.folds.roots(self.last, self.basis)
        self.last = self.folds.add(before.kernel, self.basis, number, roots, before.bandwidth)
        error, best = self.last.member.error, min(self.errors)
        worse = error > _WORSE * best and self.errors[-1] > _WORSE * best
        behind = number > 1 and error > most and error > _FALLING * self.errors[-1]
        self.errors.append(error)
        self.ended = worse or behind

    @property
    def falling(self) -> bool:
        """Whether the last round still lowered the error."""
        return self.errors[-1] < _LONGER * self.errors[-2]


def compare(X: Tensor, Y: Tensor, folds: Tensor, rounds: int) -> Compared:
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
        The most rounds of a path; the best path may go on to twice as many.
    """
    found = _Folds(X, Y, folds)
    nothing: list[None] = [None] * len(found.parts)
    linear = found.add("linear", "none", 0, nothing)
    firsts = [found.add(kernel, "none", 0, nothing) for kernel in KERNELS]
    if rounds:
        screens = found.roots(linear, "screen")
        for kernel in KERNELS:
            found.add(kernel, "screen", 1, screens)
    paths = [_Path(found, first, basis) for first in firsts for basis in ("eigen", "identity")]
    for number in range(2 * rounds):
        going = [path for path in paths if not path.ended]
        if number >= rounds:
            best = min(paths, key=lambda path: min(path.errors))
            going = [best] if not best.ended and best.falling else []
        for path in going:
            path.go_on(_BEHIND * min(member.error for member in found.members))
    return Compared(tuple(found.members), torch.stack(found.predictions))
