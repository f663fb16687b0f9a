"""Comparisons of two arms, seed by seed: ratios and differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from overt.studies.base import Estimate, Run
from overt.studies.claims.quantities import (
    Ended,
    Median,
    MissingRunsError,
    Quantity,
    Setting,
    Value,
    Where,
    alternatives,
    matches,
    worded,
)
from overt.studies.claims.statistics import Span

__all__ = ["Difference", "Ratio"]

SMALLEST = 1e-16  # an exact recovery has an error of rounding size; zero would make a ratio infinite


@dataclass(frozen=True)
class _Paired(Quantity):
    """A comparison of two arms, seed by seed.

    A run of the first arm that diverged has the worst number; one of the second is no evidence, whatever it
    would have been. So name the arm that a claim speaks for first, and ask for a small ratio or difference.

    Attributes
    ----------
    of_, over : mapping
        The settings of the first arm and of the one it is compared with, besides ``where``.
    baseline : str or callable, optional
        The number of the second arm, where it is another one.
    """

    of_: Where = field(default_factory=dict)
    over: Where = field(default_factory=dict)
    baseline: Value | None = None

    def chosen(self, runs: Iterable[Run]) -> list[Run]:
        return [run for run in super().chosen(runs) if self._in(run, self.of_) or self._in(run, self.over)]

    def selects(self, config: Where) -> bool:
        inside = any(all(matches(config.get(k), v) for k, v in arm.items()) for arm in (self.of_, self.over))
        return super().selects(config) and inside

    def settings(self, runs: Sequence[Run], ended: Ended) -> list[Setting]:
        some = super().chosen(runs)
        for arm in (self.of_, self.over):
            if not any(self._in(run, arm) for run in some):
                raise MissingRunsError(self._lacking(some or runs, {**({} if some else self.where), **arm}))
        return super().settings(runs, ended)

    def estimate(self, runs: Sequence[Run], ended: Ended) -> Estimate:
        first = self._best([run for run in runs if self._in(run, self.of_)], ended, self.value)
        second = self._best([run for run in runs if self._in(run, self.over)], ended, self.baseline)
        if not first or set(first) != set(second):
            raise MissingRunsError(f"the arms of a comparison have other seeds ({self.label})")
        unknown = Span(self.least, math.inf, math.inf)
        pairs = {seed: (first[seed], second[seed]) for seed in first}
        return self.of(
            {seed: self.compared(a, unknown if math.isinf(b.low) else b) for seed, (a, b) in pairs.items()}
        )

    def _best(self, runs: Sequence[Run], ended: Ended, value: Any) -> dict[int, Span]:
        one = Median(
            self.value if value is None else value,
            self.label,
            tuned=self.tuned,
            least=self.least,
            over_time=self.over_time,
            budget=self.budget,
            lost_counts=self.lost_counts,
        )
        return one.best(runs, ended)

    @staticmethod
    def _in(run: Run, arm: Where) -> bool:
        return all(matches(run.config.get(k), v) for k, v in arm.items())

    def compared(self, first: Span, second: Span) -> Span:
        """One seed's comparison."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        arms = [
            ", ".join(f"{worded(k)} {alternatives(v)}" for k, v in arm.items())
            for arm in (self.of_, self.over)
        ]
        sides = f"{arms[0]} against {arms[1]}" if any(arms) else ""
        said = super().words
        return f"{said}, {sides}" if sides else said


@dataclass(frozen=True)
class Ratio(_Paired):
    """The median over seeds of the first arm's number over the second's."""

    statistic: ClassVar[str] = "median ratio"

    def compared(self, first: Span, second: Span) -> Span:
        a, b = first.held(SMALLEST), second.held(SMALLEST)
        return Span(
            _over(a.low, b.high, 0.0), _over(a.value, b.value, math.nan), _over(a.high, b.low, math.inf)
        )


@dataclass(frozen=True)
class Difference(_Paired):
    """The median over seeds of the first arm's number less the second's."""

    statistic: ClassVar[str] = "median difference"

    def compared(self, first: Span, second: Span) -> Span:
        return Span(
            _less(first.low, second.high, -math.inf),
            _less(first.value, second.value, math.nan),
            _less(first.high, second.low, math.inf),
        )


def _over(a: float, b: float, unknown: float) -> float:
    return unknown if math.isinf(a) and math.isinf(b) else a / b


def _less(a: float, b: float, unknown: float) -> float:
    return unknown if math.isinf(a) and math.isinf(b) and a * b > 0 else a - b
