"""The state of a run: what a callback sees, what a checkpoint keeps, earlier parameters, and the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import check_choice, check_integer, check_number
from overt.training.trace import Trace, nonzeros

Status = Literal["converged", "diverged", "budget", "stopped"]


@dataclass(frozen=True)
class State:
    """What a callback sees of a run.

    Attributes
    ----------
    step
        Number of updates made so far.
    seconds
        Of training so far.
    W
        The end-to-end tensor, detached; copy it to keep it, for it may share memory with the parameters.
    loss
        Training loss.
    objective
        Loss and penalty.
    weight
        Of the penalty, 0 without one.
    """

    step: int
    seconds: float
    W: Tensor
    loss: float
    objective: float
    weight: float

    @cached_property
    def _spectrum(self) -> Tensor:
        with torch.no_grad():
            return F.singular_values(self.W)

    def singular_values(self) -> Tensor:
        """Singular values of W, descending; the sorted magnitudes of its entries if it is a vector."""
        if self.W.ndim < 2:
            return self.W.abs().sort(descending=True).values
        return self._spectrum

    def effective_rank(self) -> float:
        """exp of the entropy of the normalized singular values (Roy & Vetterli 2007)."""
        return float(F.effective_rank(singular_values=self.singular_values()))

    def summary(self, max_steps: int) -> str:
        """Step, loss, effective rank and seconds in one line."""
        matrix = self.W.ndim == 2
        rank = f"effective rank {self.effective_rank():.2f}" if matrix else f"nonzeros {nonzeros(self.W)}"
        return f"step {self.step}/{max_steps}  loss {self.loss:.3e}  {rank}  {self.seconds:.1f} s"


@dataclass
class RunState:
    """The progress of a run: all that a checkpoint holds besides the states of its parts.

    The fields of `TrainResult`, the penalty's weight, the least objective so far with its step (`best`), and
    the first finite training loss. `status` is None while the run goes on.
    """

    step: int = 0
    seconds: float = 0.0
    status: Status | None = None
    message: str = ""
    weight: float = 0.0
    best: tuple[float, int] = (math.inf, 0)
    first_loss: float | None = None
    hits: dict[float, tuple[int, float]] = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)

    def end(self, status: Status, message: str) -> None:
        """Set status and message, once."""
        if self.status is None:
            self.status, self.message = status, message

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        best, at = self.best
        return {
            **vars(self),
            "best": [best if math.isfinite(best) else None, at],
            "hits": [[target, step, seconds] for target, (step, seconds) in self.hits.items()],
            "trace": list(self.trace),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], max_steps: int) -> RunState:
        """The state that `plain` gave; KeyError, TypeError or ValueError if `data` is something else."""
        best, at = data["best"]
        first, status = data["first_loss"], data["status"]
        return cls(
            step=check_integer(data["step"], "step", least=0, most=max_steps),
            seconds=check_number(data["seconds"], "seconds"),
            status=None if status is None else check_choice(status, "status", Status),
            message=str(data["message"]),
            weight=check_number(data["weight"], "weight", least=0),
            best=(math.inf if best is None else check_number(best, "best"), check_integer(at, "best")),
            first_loss=None if first is None else check_number(first, "first_loss"),
            hits={
                check_number(target, "hits"): (check_integer(step, "hits"), check_number(seconds, "hits"))
                for target, step, seconds in data["hits"]
            },
            trace=Trace.from_rows(data["trace"]),
        )


class Snapshots:
    """Two copies of the parameters to go back to after a divergence, written at every step and every check.

    The objective of the first was finite. The second, of step `checked_step`, passed every check: an entry
    that is not observed may grow without bounds before a check notices.
    """

    def __init__(self, params: Sequence[Tensor], step: int) -> None:
        # Without their graph: each copy would extend one that reaches back to the first step.
        self._params = [p.detach() for p in params]
        self._finite, self._checked = ([p.clone() for p in self._params] for _ in range(2))
        self._finite_step = self.checked_step = step

    def keep_finite(self, step: int) -> None:
        """Keep the present parameters, whose objective is finite."""
        torch._foreach_copy_(self._finite, self._params)
        self._finite_step = step

    def keep_checked(self, step: int) -> bool:
        """Keep the present parameters, which passed every check; whether they moved since the last call."""
        moved = step == self.checked_step or not all(map(torch.equal, self._checked, self._params))
        torch._foreach_copy_(self._checked, self._params)
        self.checked_step = step
        return moved

    def restore(self, *, checked: bool) -> int:
        """Put a copy back into the parameters; its step."""
        torch._foreach_copy_(self._params, self._checked if checked else self._finite)
        return self.checked_step if checked else self._finite_step


class Clock:
    """Seconds of the training itself, without recording, evaluation, storing and display.

    On a CUDA device it waits for launched work before it pauses, so that this counts as training.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self._device = device
        self._seconds = seconds
        self._started: float | None = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        if self._started is None:
            return self._seconds
        return self._seconds + time.perf_counter() - self._started

    def set(self, seconds: float) -> None:
        """Go on from `seconds`; only while paused."""
        self._seconds = seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop for the time of a with block; pauses may be nested."""
        if self._started is None:
            yield
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds, self._started = self.seconds, None
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self._started = time.perf_counter()
