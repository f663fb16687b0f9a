"""How a penalty's weight and a learning rate change over the steps of a run."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Constant", "Geometric", "Schedule", "Warmup"]


@runtime_checkable
class Schedule(Protocol):
    """The weight of a penalty over the steps of a run, possibly by what the run does."""

    def reset(self) -> None:
        """Forget an earlier run; called once before the first step."""

    def weight(self, step: int) -> float | None:
        """Weight for the step from `step` to `step` + 1; None leaves the penalty's own."""

    def observe(self, step: int, singular_values: Tensor, loss: float) -> bool:
        """Look at the run, every ``check_every`` steps; True ends it.

        `singular_values` descend; `loss` is the training loss divided by the mean of y².
        """

    def state_dict(self) -> dict[str, Any]:
        """What has to be stored to go on later, as JSON-able data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; ValueError if it is something else."""


class _Stateless:
    """Shared by the schedules that depend on the step alone."""

    needs_spectrum = False

    def reset(self) -> None:
        """Nothing to forget."""

    def observe(self, step: int, singular_values: Tensor, loss: float) -> bool:  # noqa: ARG002
        """Never ends the run."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Accepts only an empty state."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {state}")


@dataclass(frozen=True)
class Constant(_Stateless):
    """The same weight throughout.

    Examples
    --------
    >>> from overt.training import Constant
    >>> Constant(0.02).weight(1000)
    0.02
    """

    value: float

    def __post_init__(self) -> None:
        check_nonnegative(self.value, "value")

    def weight(self, step: int) -> float:  # noqa: ARG002
        """`value`."""
        return self.value


@dataclass(frozen=True)
class Geometric(_Stateless):
    """From `start` to `end` by a constant factor a step, over `steps` steps, and `end` from then on.

    Examples
    --------
    >>> from overt.training import Geometric
    >>> [round(Geometric(1.0, 1e-4, steps=4).weight(t), 9) for t in (0, 1, 4, 9)]
    [1.0, 0.1, 0.0001, 0.0001]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if not (is_number(value) and math.isfinite(value) and value > 0):
                raise ValueError(
                    f"{name} must be a finite positive number, got {value!r}; use Constant(0.0) for none"
                )
        check_positive_int(self.steps, "steps")

    def weight(self, step: int) -> float:
        """start · (end / start)^{min(step, steps) / steps}."""
        return self.start * math.exp(math.log(self.end / self.start) * min(step, self.steps) / self.steps)


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
        check_positive_int(self.steps, "steps", least=0)
        if self.total is not None:
            check_positive_int(self.total, "total", least=self.steps + 1)
        if not (is_number(self.final) and 0 <= self.final <= 1):
            raise ValueError(f"final must be in [0, 1], got {self.final!r}")

    def __call__(self, step: int) -> float:
        """Factor for the step from `step` to `step` + 1."""
        if step < self.steps:
            return (step + 1) / self.steps
        if self.total is None:
            return 1.0
        progress = min(1.0, (step - self.steps) / (self.total - self.steps))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def is_number(value: object) -> bool:
    """Whether `value` is a real number, one of numpy's included, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_nonnegative(value: object, name: str) -> None:
    """Refuse what is no finite number ≥ 0."""
    if not (
        isinstance(value, numbers.Real) and is_number(value) and math.isfinite(value) and float(value) >= 0
    ):
        raise ValueError(f"{name} must be a finite number ≥ 0, got {value!r}")


def check_positive_int(value: object, name: str, *, least: int = 1) -> int:
    """`value` if it is an integer ≥ `least`, else ValueError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise ValueError(f"{name} must be an integer ≥ {least}, got {value!r}")
    return int(value)
