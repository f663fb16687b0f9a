"""How a penalty's weight and a learning rate change over the steps of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from torch import Tensor

from overt._utils.checks import check_integer, check_number, is_integer, is_number, optional


class Schedule(ABC):
    """The weight of a penalty over the steps of a run.

    A subclass overrides `weight`. One that reacts to the run also overrides `observe` and, if it keeps a
    state, `reset`, `state_dict` and `load_state_dict`. Its repr must name its settings, because a checkpoint
    is tied to them.

    Attributes
    ----------
    needs_spectrum : bool
        Whether `observe` is given singular values; otherwise, the default, an empty tensor.
    may_stall : bool
        Whether a run has converged once its objective no longer falls; False by default, since the objective
        changes with the weight.
    rank : int or None
        The rank at which the schedule ended the run, for the run's message.

    Examples
    --------
    >>> from overt.training import Schedule
    >>> class Halving(Schedule):
    ...     def weight(self, step):
    ...         return 0.5 ** (step // 1000)
    >>> Halving().weight(2500)
    0.25
    """

    needs_spectrum: ClassVar[bool] = False
    may_stall: ClassVar[bool] = False
    rank: int | None = None

    @abstractmethod
    def weight(self, step: int) -> float | None:
        """Weight for the step from `step` to `step` + 1; None leaves the penalty's own."""

    def reset(self) -> None:  # noqa: B027  (most schedules have nothing to forget)
        """Forget an earlier run; called once before the first step."""

    def observe(self, step: int, singular_values: Tensor, loss: float) -> bool:  # noqa: ARG002
        """Look at the run, every `Recording.check_every` steps; True ends it.

        `singular_values` descend; `loss` is the training loss divided by the mean of y².
        """
        return False

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, as JSON-able data."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; ValueError if it is something else."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {state}")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same weight throughout.

    Examples
    --------
    >>> from overt.training import Constant
    >>> Constant(0.02).weight(1000)
    0.02
    """

    may_stall = True

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", check_number(self.value, "value", least=0))

    def weight(self, step: int) -> float:  # noqa: ARG002
        """`value`."""
        return self.value


@dataclass(eq=False)
class HoldUntilCollapse(Schedule):
    """Hold the weight until the spectrum has collapsed to some rank k, then set it to 0 for some steps, stop.

    A weight that falls from the first step on fails, since the spectrum has to collapse first; a constant one
    leaves the penalty's bias. The spectrum counts as collapsed at rank k once, at `patience` consecutive
    checks,

    - k is the first rank with σ_{k+1} ≤ gap·σ_k, and k < min(m, n)/2;
    - σ_k stays within a factor 1 ± drift of its value at the first of them: if it still falls, it is about to
      collapse as well, and the rank would be overestimated;
    - the training loss is at most `fit` times the mean of y²: a network that has learned only its first few
      ranks has a gap, too.

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
        Largest loss at which a collapse counts, relative to the mean of y²; positive.
    hold
        Weight before the collapse; None for the penalty's own.

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
        # The smallest k < min(m, n)/2 behind which the spectrum drops.
        k = next((k for k in range(1, (len(s) + 1) // 2) if s[k] <= self.gap * s[k - 1]), None)
        if k is None:
            self._candidate, self._count = None, 0
        elif k == self._candidate and abs(s[k - 1] - self._level) <= self.drift * self._level:
            self._count += 1
        else:
            self._candidate, self._count, self._level = k, 1, s[k - 1]

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


@dataclass(frozen=True)
class Warmup:
    """A factor of the learning rate: linear up over `steps` steps, 1 after, a cosine to `final` at `total`.

    Parameters
    ----------
    steps
        Length of the warm-up, ≥ 0.
    total
        Step at which the decay has arrived at `final`; None for no decay.
    final
        In [0, 1].

    Examples
    --------
    >>> from overt.training import Warmup
    >>> factor = Warmup(10, total=110)
    >>> round(factor(4), 3), round(factor(60), 3), round(factor(110), 3)
    (0.5, 0.5, 0.0)
    """

    steps: int = 0
    total: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        steps = check_integer(self.steps, "steps", least=0)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "total", optional(check_integer, self.total, "total", least=steps + 1))
        object.__setattr__(self, "final", check_number(self.final, "final", least=0, most=1))

    def __call__(self, step: int) -> float:
        """Factor for the step from `step` to `step` + 1."""
        if step < self.steps:
            return (step + 1) / self.steps
        if self.total is None:
            return 1.0
        progress = min(1.0, (step - self.steps) / (self.total - self.steps))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))
