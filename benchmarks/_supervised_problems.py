"""The structured problems of benchmarks/tables_supervised.py, with their dials, as splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from _supervised_data import Split, standardized
from overt import problems
from overt.problems import StructuredProblem


@dataclass(frozen=True)
class Dials:
    """What may be turned; None leaves it as the problem has it."""

    samples: int | None = None
    irrelevant: int | None = None
    rotated: bool | None = None


@dataclass(frozen=True)
class Structured:
    """A problem: how it is made, its training rows, its inputs of either kind, and whether it is rotated."""

    make: Callable[..., StructuredProblem]
    samples: int
    relevant: int
    irrelevant: int
    rotated: bool = False

    def split(self, seed: int, dials: Dials) -> Split:
        """Draw it; inputs and targets are standardized by the training rows."""
        samples, irrelevant, rotated = self.turned(dials)
        size = irrelevant if self.make is problems.noisy_digits else self.relevant + irrelevant
        drawn = self.make(size, n_samples=samples, seed=seed, rotated=rotated)
        return standardized(
            drawn.X.numpy(), drawn.y.numpy(), drawn.X_test.numpy(), drawn.y_test.numpy(), drawn.classes
        )

    def turned(self, dials: Dials) -> tuple[int, int, bool]:
        """Training rows, irrelevant inputs, rotated."""
        irrelevant = self.irrelevant if dials.irrelevant is None else dials.irrelevant
        return (
            dials.samples or self.samples,
            irrelevant if self.make is not problems.additive else 0,
            self.rotated if dials.rotated is None else dials.rotated,
        )

    def label(self, name: str, dials: Dials) -> str:
        """The name of a problem as it is set: a record's key."""
        samples, irrelevant, rotated = self.turned(dials)
        return f"{name}, {irrelevant} irrelevant, n = {samples}{', rotated' * rotated}"


PROBLEMS: Mapping[str, Structured] = {
    "staircase of 3": Structured(problems.staircase, 500, 3, 47),
    "parity of 3": Structured(problems.parity, 500, 3, 17),
    "digits": Structured(problems.noisy_digits, 100, 64, 200),
    "rank 3": Structured(problems.multi_index, 1000, 3, 57, rotated=True),
    "all inputs matter": Structured(problems.additive, 500, 50, 0),
}
