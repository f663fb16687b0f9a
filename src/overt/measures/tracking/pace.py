"""When to record: at log-spaced steps, as long as it costs no more than its share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from overt._utils.checks import check_integer, check_number, message, optional

DEFAULT_CLOCK = time.perf_counter


class Pace:
    """Decides which steps are recorded, and keeps account of the time; parameters as of `SpectrumTracker`.

    Steps 0 and round(10^{i/per_decade}) are due, or those in ``at``. The first recording also loads libraries
    and compiles kernels, so its time beyond the second one counts as set-up. The second recording is made as
    soon as the training has taken as long as the first.
    """

    def __init__(
        self, per_decade: int, at: Iterable[int] | None, budget: float | None, clock: Callable[[], float]
    ) -> None:
        self._per_decade = check_integer(per_decade, "per_decade", least=1)
        self._at = None if at is None else _check_at(at)
        self._budget = optional(check_number, budget, "budget", above=0, remedy="a share such as 0.05")
        self._clock = clock
        self._began = self.now()
        self._earlier = 0.0  # seconds of training before this process
        self._last_cost = 0.0
        self._count = 0
        self._next = 0 if self._at is None else self._after(-1)
        self.spent = 0.0  # without set-up
        self.setup = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, without recording."""
        return self._earlier + self.now() - self._began

    @property
    def share(self) -> float:
        """Seconds of recording, without set-up, for each second of training; 0 before there are any."""
        training = self.seconds
        return self.spent / training if training > 0 else 0.0

    def due(self, step: int) -> bool:
        """Whether this step, or one before it, is to be recorded."""
        return step >= self._next

    def passed(self, step: int) -> None:
        """Make the next due step the one after this."""
        self._next = self._after(step)

    def refusal(self) -> str | None:
        """Why this step may not be recorded; None if it may."""
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
        """Count the time since `began` as recording; returns it."""
        cost = self.now() - began
        self.spent += cost
        self._began += cost
        return cost

    def settle(self, cost: float) -> None:
        """Close the account of a recording that took `cost` seconds in all."""
        self._count += 1
        if self._count == 2:
            self.setup = max(0.0, self._last_cost - cost)
            self.spent -= self.setup
        self._last_cost = cost

    def now(self) -> float:
        """The time, once all work on a GPU has finished."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return self._clock()

    def state_dict(self) -> dict[str, Any]:
        """The account as plain data, for a resumed run."""
        return {
            "seconds": self.seconds,
            "spent": self.spent,
            "setup": self.setup,
            "cost": self._last_cost,
            "count": self._count,
            "next": self._next,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the account of `state_dict`."""
        earlier, spent, setup, cost = (float(state[name]) for name in ("seconds", "spent", "setup", "cost"))
        self._count, self._next = int(state["count"]), int(state["next"])
        self._earlier, self._began = earlier, self.now()
        self.spent, self.setup, self._last_cost = spent, setup, cost

    def _after(self, step: int) -> int:
        if self._at is not None:
            return next((at for at in self._at if at > step), 2**62)
        if step < 1:
            return step + 1
        i = math.floor(math.log10(step) * self._per_decade)
        while round(10 ** (i / self._per_decade)) <= step:
            i += 1
        return round(10 ** (i / self._per_decade))


def check_step(value: Any, name: str = "step") -> int:
    """`value`, which may be a 0-d array or tensor, as an int ≥ 0; TypeError or ValueError otherwise."""
    return check_integer(value.item() if getattr(value, "ndim", None) == 0 else value, name, least=0)


def _check_at(at: object) -> list[int]:
    if isinstance(at, (str, bytes)) or not isinstance(at, Iterable):
        raise TypeError(message("at", "an iterable of steps, such as [0, 10, 100]", at))
    return sorted({check_step(step, "each step of at") for step in at})
