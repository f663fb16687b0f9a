"""A run at one step: what a callback sees of it, and what a checkpoint keeps of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
        The end-to-end tensor, detached; it may share memory with the model's parameters, so copy it to keep
        it.
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

    def nonzeros(self) -> int:
        """Entries of W above 1e-3 of the largest one in magnitude."""
        return nonzeros(self.W)

    def summary(self, max_steps: int) -> str:
        """Step, loss, effective rank and seconds in one line."""
        matrix = self.W.ndim == 2
        rank = f"effective rank {self.effective_rank():.2f}" if matrix else f"nonzeros {self.nonzeros()}"
        return f"step {self.step}/{max_steps}  loss {self.loss:.3e}  {rank}  {self.seconds:.1f} s"


@dataclass
class RunState:
    """How far a run has come: all that a checkpoint holds besides its parts' own states.

    The fields of `TrainResult`, the penalty's weight, the least objective so far with its step (`best`), and
    the first training loss that was finite. `status` is None while the run goes on.
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
        """Say how the run ended; what was said first stays."""
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
        """The state that `plain` gave, of a run of at most `max_steps`.

        Raises
        ------
        KeyError, TypeError, ValueError
            `data` is something else.
        """
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
