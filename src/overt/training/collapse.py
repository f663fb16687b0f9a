"""Hold a penalty until the spectrum has collapsed."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from torch import Tensor

from overt._utils.checks import check_integer, check_number, is_integer, is_number, optional
from overt.training.schedules import Schedule


@dataclass(eq=False)
class HoldUntilCollapse(Schedule):
    """Hold the weight until the spectrum has collapsed to some rank k, release it to 0 for some steps, stop.

    A weight that falls from the first step on fails, since the spectrum has to collapse first; one that
    stays leaves the penalty's own bias. The spectrum counts as collapsed at rank k once, at `patience`
    consecutive checks,

    - k is the first rank with σ_{k+1} ≤ gap·σ_k, and k < min(m, n)/2;
    - σ_k stays within a factor 1 ± drift of what it was at the first of them: one that still falls is on its
      way to collapse itself, and the rank would be overestimated;
    - the training loss is at most `fit` times the mean of y²: a network that has learned its first few ranks
      and not yet the others has a gap, too.

    Parameters
    ----------
    gap
        In (0, 1).
    patience
        Number of consecutive checks, ≥ 1.
    drift
        Positive.
    release_steps
        Steps at weight 0 after the collapse, ≥ 0.
    fit
        Largest loss relative to the mean of y² at which a collapse counts, positive.
    hold
        Weight until then; None for the penalty's own.

    Attributes
    ----------
    rank : int or None
        k, once collapsed.
    collapsed_at : int or None
        The step at which it was found.

    Raises
    ------
    TypeError, ValueError
        An argument of another kind, or out of its range.

    Examples
    --------
    >>> import torch
    >>> from overt.training import HoldUntilCollapse
    >>> schedule = HoldUntilCollapse(patience=2, release_steps=100, hold=0.02)
    >>> spectrum = torch.tensor([5.0, 4.0, 1e-3, 1e-3, 1e-3, 1e-3])
    >>> [schedule.observe(step, spectrum, loss=1e-4) for step in (0, 25, 125)]
    [False, False, True]
    >>> schedule.rank, schedule.collapsed_at, schedule.weight(26)
    (2, 25, 0.0)
    """

    needs_spectrum = True

    gap: float = 1e-2
    patience: int = 10
    release_steps: int = 1000
    _: KW_ONLY
    drift: float = 0.01
    fit: float = 0.05
    hold: float | None = None

    def __post_init__(self) -> None:
        self.gap = check_number(self.gap, "gap", above=0, below=1)
        self.patience = check_integer(self.patience, "patience", least=1)
        self.release_steps = check_integer(self.release_steps, "release_steps", least=0)
        self.drift = check_number(self.drift, "drift", above=0, finite=False)
        self.fit = check_number(self.fit, "fit", above=0, finite=False)
        self.hold = optional(check_number, self.hold, "hold", least=0)
        self.reset()

    def reset(self) -> None:
        """Forget an earlier run."""
        self.rank = None
        self.collapsed_at: int | None = None
        self._candidate: int | None = None
        self._count = 0
        self._level = 0.0

    def weight(self, step: int) -> float | None:  # noqa: ARG002
        """`hold` before the collapse, 0 after it."""
        return self.hold if self.rank is None else 0.0

    def observe(self, step: int, singular_values: Tensor, loss: float) -> bool:
        """Count consecutive checks with the same gap; True `release_steps` after the collapse."""
        if self.collapsed_at is None:
            self._count_gap(singular_values.tolist() if loss <= self.fit else [])
            if self._count >= self.patience:
                self.rank, self.collapsed_at = self._candidate, step
        return self.collapsed_at is not None and step - self.collapsed_at >= self.release_steps

    def _count_gap(self, s: list[float]) -> None:
        k = self._gap_rank(s)
        if k is None:
            self._candidate, self._count = None, 0
        elif k == self._candidate and abs(s[k - 1] - self._level) <= self.drift * self._level:
            self._count += 1
        else:
            self._candidate, self._count, self._level = k, 1, s[k - 1]

    def _gap_rank(self, s: list[float]) -> int | None:
        """Smallest k < min(m, n)/2 behind which the spectrum drops."""
        return next((k for k in range(1, (len(s) + 1) // 2) if s[k] <= self.gap * s[k - 1]), None)

    def state_dict(self) -> dict[str, Any]:
        """The collapse and the count so far."""
        return {
            "rank": self.rank,
            "collapsed_at": self.collapsed_at,
            "candidate": self._candidate,
            "count": self._count,
            "level": self._level,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        integers = [state.get(name) for name in ("rank", "collapsed_at", "candidate")]
        count, level = state.get("count"), state.get("level")
        known = set(state) == set(self.state_dict()) and all(v is None or is_integer(v) for v in integers)
        if not (known and is_integer(count) and is_number(level)):
            raise ValueError(f"not a state of HoldUntilCollapse: {state}")
        self.rank, self.collapsed_at, self._candidate = integers
        self._count, self._level = count, float(level)
