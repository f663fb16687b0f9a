"""The answer to the inverse question."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stationarity:
    """How nearly stationary a solution is for one functional.

    Attributes
    ----------
    name, p, q
        The functional, as in ``overt.functional``, and its exponents (None where it has none).
    share
        ‖P_null (G + Z)‖ / ‖G‖ with the best Z of the subdifferential: 0 stationary, at most 1. NaN where the
        gradient vanishes.
    reference, reference_low, reference_high
        Median and range of the share at random solutions; NaN where there are none.
    """

    name: str
    p: float | None
    q: float | None
    share: float
    reference: float
    reference_low: float
    reference_high: float

    @property
    def ratio(self) -> float:
        """share / reference, so 1 is chance; the share itself if there is no reference."""
        return self.share / self.reference if self.reference > 0 else self.share

    @property
    def label(self) -> str:
        """The name with the exponents."""
        exponents = [f"{x:.3g}" for x in (self.p, self.q) if x is not None]
        return f"{self.name}({', '.join(exponents)})" if exponents else self.name


@dataclass(frozen=True)
class InferredPenalty:
    """The result of `infer_penalty`.

    Attributes
    ----------
    members
        One row a functional.
    best
        The row of lowest ratio; None if no functional can be named, see `warnings`.
    p, p_low, p_high
        The Schatten exponent (of ℓ_p for a vector) of lowest ratio, and its interval over resampled
        directions of the null space. If `best` is None because the data determine W, `p` is NaN and the
        interval goes from 0 to the largest exponent whose share is at most 0.1. All are NaN if the non-zero
        values are nearly equal.
    pairs
        The exponents (p, q) of S_p/S_q that have the lowest ratio in at least one in twenty resamples, most
        frequent first.
    rank
        Number of values of the spectrum that count as non-zero.
    freedom
        Estimated dimension of the set of solutions with as many non-zeros.
    residual
        ‖𝒜(W) − y‖ / ‖y‖.
    warnings
        Reasons for doubt.
    """

    members: tuple[Stationarity, ...]
    best: Stationarity | None
    p: float
    p_low: float
    p_high: float
    pairs: tuple[tuple[float, float], ...]
    rank: int
    freedom: float
    residual: float
    warnings: tuple[str, ...]

    def member(self, name: str, p: float | None = None, q: float | None = None) -> Stationarity:
        """The row of one functional; KeyError where it was not tried."""
        for row in self.members:
            if row.name == name and _same(row.p, p) and _same(row.q, q):
                return row
        raise KeyError(f"no member {name!r} with p={p}, q={q}; there are {[m.label for m in self.members]}")

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows as plain data, the lowest ratio first."""
        names = ("name", "p", "q", "share", "reference", "reference_low", "reference_high", "ratio")
        return [{name: getattr(row, name) for name in names} for row in self._sorted()]

    def __str__(self) -> str:
        lines = [f"{'functional':34s} {'share':>9s} {'reference':>9s} {'ratio':>9s}"]
        for row in self._sorted():
            lines.append(f"{row.label:34s} {row.share:9.2e} {row.reference:9.2e} {row.ratio:9.2e}")
        lines.append(
            f"rank {self.rank}, freedom {self.freedom:.0f}, p = {self.p:.3g} "
            f"[{self.p_low:.3g}, {self.p_high:.3g}]"
        )
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _sorted(self) -> list[Stationarity]:
        return sorted(self.members, key=lambda m: (math.isnan(m.ratio), m.ratio))


def _same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < 1e-9
