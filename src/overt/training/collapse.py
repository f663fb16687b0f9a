"""Hold a penalty until the spectrum has collapsed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from overt.training.schedules import check_nonnegative, check_positive_int, is_number

__all__ = ["HoldUntilCollapse"]


class HoldUntilCollapse:
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
    ValueError
        An argument out of its range.

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

    def __init__(
        self,
        gap: float = 1e-2,
        patience: int = 10,
        release_steps: int = 1000,
        *,
        drift: float = 0.01,
        fit: float = 0.05,
        hold: float | None = None,
    ) -> None:
        if not (is_number(gap) and 0 < gap < 1):
            raise ValueError(f"gap must be in (0, 1), got {gap!r}")
        for name, value in (("drift", drift), ("fit", fit)):
            if not (is_number(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if hold is not None:
            check_nonnegative(hold, "hold")
        self.gap, self.drift, self.fit, self.hold = float(gap), float(drift), float(fit), hold
        self.patience = check_positive_int(patience, "patience")
        self.release_steps = check_positive_int(release_steps, "release_steps", least=0)
        self.reset()

    def reset(self) -> None:
        """Forget an earlier run."""
        self.rank: int | None = None
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
        if (
            set(state) != set(self.state_dict())
            or not all(value is None or _is_int(value) for value in integers)
            or not (isinstance(count, int) and _is_int(count))
            or not (isinstance(level, (int, float)) and is_number(level))
        ):
            raise ValueError(f"no state of HoldUntilCollapse: {state}")
        self.rank, self.collapsed_at, self._candidate = integers
        self._count, self._level = count, float(level)

    def __repr__(self) -> str:
        return (
            f"HoldUntilCollapse(gap={self.gap!r}, patience={self.patience}, "
            f"release_steps={self.release_steps}, drift={self.drift!r}, fit={self.fit!r}, hold={self.hold!r})"
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
