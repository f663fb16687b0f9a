"""When to record: at log-spaced steps, as long as it costs no more than its share."""

from __future__ import annotations

import math
import numbers
import operator
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch

__all__ = ["Pace"]


class Pace:
    """Decides which steps are recorded, and keeps the account.

    The first recording also pays for what happens once: libraries that are loaded, kernels that are compiled.
    What it took beyond the second one is set-up, and no forecast of what a recording costs. The second, which
    tells this, is made as soon as the training has taken as long as the first.

    Parameters
    ----------
    per_decade
        Steps 0 and round(10^{i/per_decade}) are due.
    at
        These steps, ints ≥ 0, are due instead.
    budget
        Seconds of recording allowed for each second of training; None for no bound.
    clock
        Seconds, of any origin.
    """

    def __init__(
        self, per_decade: int, at: Iterable[int] | None, budget: float | None, clock: Callable[[], float]
    ) -> None:
        self._per_decade = check_count(per_decade, "per_decade")
        self._at = None if at is None else _check_at(at)
        self._budget = _check_budget(budget)
        self._clock = clock
        self._began = self._now()
        self._earlier = 0.0  # seconds of training before this process
        self._last_cost = 0.0
        self._count = 0
        self._next = 0 if self._at is None else self._after(-1)
        self.spent = 0.0  # without set-up
        self.setup = 0.0

    @property
    def seconds(self) -> float:
        """Of training so far, without recording."""
        return self._earlier + self._now() - self._began

    @property
    def share(self) -> float:
        """Seconds of recording, without set-up, for each second of training; 0 before there are any."""
        training = self.seconds
        return self.spent / training if training > 0 else 0.0

    def due(self, step: int) -> bool:
        """Whether a step to be recorded has come since the last one."""
        return step >= self._next

    def passed(self, step: int) -> None:
        """This step has been dealt with; the next due one comes after it."""
        self._next = self._after(step)

    def refusal(self) -> str | None:
        """Why recording has to wait; None if it has not."""
        if self._budget is None or self._count == 0:
            return None
        training = self.seconds
        if self._count == 1 and training >= self._last_cost:
            return None
        if self._count > 1 and self.spent + self._last_cost <= self._budget * training:
            return None
        return (
            f"recording took {self.spent:.3g} s so far and {self._last_cost:.3g} s last time, above "
            f"{self._budget:g} of {training:.3g} s of training"
        )

    def charge(self, began: float) -> float:
        """Book the time since `began` as recording; returns it."""
        cost = self._now() - began
        self.spent += cost
        self._began += cost
        return cost

    def settle(self, cost: float) -> None:
        """A recording is over and took so long in all."""
        self._count += 1
        if self._count == 2:
            self.setup = max(0.0, self._last_cost - cost)
            self.spent -= self.setup
        self._last_cost = cost

    def now(self) -> float:
        """The time, after what was launched on a GPU has finished."""
        return self._now()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "seconds": self.seconds,
            "spent": self.spent,
            "setup": self.setup,
            "cost": self._last_cost,
            "count": self._count,
            "next": self._next,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._earlier, self._began = float(state["seconds"]), self._now()
        self.spent, self.setup = float(state["spent"]), float(state["setup"])
        self._last_cost, self._count, self._next = (
            float(state["cost"]),
            int(state["count"]),
            int(state["next"]),
        )

    def _now(self) -> float:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return self._clock()

    def _after(self, step: int) -> int:
        if self._at is not None:
            return next((at for at in self._at if at > step), 2**62)
        if step < 1:
            return step + 1
        i = math.floor(math.log10(step) * self._per_decade)
        while round(10 ** (i / self._per_decade)) <= step:
            i += 1
        return round(10 ** (i / self._per_decade))


def check_count(value: object, name: str) -> int:
    """`value` as an int ≥ 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        raise ValueError(f"{name} must be an int ≥ 1, got {value!r}")
    return int(value)


def check_step(value: object, name: str = "step") -> int:
    """`value` as an int ≥ 0."""
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        with suppress(TypeError):  # as of an array of more than one number
            if (step := operator.index(value)) >= 0:
                return step
    raise ValueError(f"{name} must be an int ≥ 0, got {value!r}")


def _check_at(at: object) -> list[int]:
    if isinstance(at, (str, bytes)) or not isinstance(at, Iterable):
        raise TypeError(f"at must be an iterable of steps, such as [0, 10, 100], got {at!r}")
    return sorted({check_step(step, "each step of at") for step in at})


def _check_budget(budget: object) -> float | None:
    if budget is None:
        return None
    if isinstance(budget, bool) or not isinstance(budget, numbers.Real) or not 0 < float(budget) < math.inf:
        raise ValueError(
            f"budget must be a number above 0, such as 0.05, or None for no bound; got {budget!r}"
        )
    return float(budget)


DEFAULT_CLOCK = time.perf_counter
