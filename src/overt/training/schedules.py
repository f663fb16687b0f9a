"""How a penalty's weight and a learning rate change over the steps of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from overt._utils.checks import check_integer, check_number, optional


class Schedule(ABC):
    """The weight of a penalty over the steps of a run.

    A subclass overrides `weight`. One that reacts to the run overrides `observe` as well, and where it keeps
    a state, `reset`, `state_dict` and `load_state_dict`. Its repr must name its settings: a checkpoint is
    tied to them.

    Attributes
    ----------
    needs_spectrum : bool
        Whether `observe` is given singular values; False by default, it then gets an empty tensor.
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
        """What has to be stored to go on later, as JSON-able data."""
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


@dataclass(frozen=True)
class Geometric(Schedule):
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
            value = check_number(getattr(self, name), name, above=0, remedy="use Constant(0.0) for none")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "steps", check_integer(self.steps, "steps", least=1))

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
