"""Damped Gauss–Newton steps on low-rank factors (Levenberg 1944, Marquardt 1963), for any measurements."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from overt.completion.refit.normal import balanced
from overt.completion.result import Completion

_STALL = 0.98  # a fit that keeps more than this share of its misfit over `patience` steps has stalled
_TRIALS = 8  # dampings tried in one step


@dataclass(frozen=True, eq=False)
class Point:
    """Factors U (m, r) and V (n, r), their misfit ``A(U Vᵀ) − y`` and the objective."""

    U: Tensor
    V: Tensor
    misfit: Tensor
    value: float


@dataclass(frozen=True)
class Limits:
    """When a fit is exact, and when to give up; see :func:`overt.completion.refit`."""

    tolerance: float
    max_iter: int = 60
    ridge: float = 0.0
    patience: int = 6


class Fit(ABC):
    """A least-squares problem in factors."""

    damping: float  # of the first step

    @abstractmethod
    def trial(self, at: Point, damping: float) -> tuple[Point, float]:
        """The point after one damped step, and the decrease of the objective that was promised."""

    @abstractmethod
    def relaxed(self, damping: float, ratio: float) -> float:
        """The damping after a step that kept the share ``ratio`` of its promise."""

    def descend(self, at: Point, size: float, limits: Limits) -> Completion:
        """Step until the misfit is at rounding, relative to the ``size`` of y, or stalls."""
        damping, n_iter, history = self.damping, 0, [{"step": 0, "residual": float(at.misfit.norm()) / size}]
        while n_iter < limits.max_iter and not _done(history, limits):
            relative = history[-1]["residual"]
            for _ in range(_TRIALS):
                following, promised = self.trial(at, damping * min(1.0, relative))
                if math.isfinite(following.value) and following.value < at.value:
                    break
                damping *= 8.0
            else:
                break
            damping = self.relaxed(damping, (at.value - following.value) / max(promised, 1e-300))
            at, n_iter = following, n_iter + 1
            history.append({"step": n_iter, "residual": float(at.misfit.norm()) / size})
        relative, rank = history[-1]["residual"], at.U.shape[1]
        exact = relative <= limits.tolerance
        message = f"the residual reached {relative:.1e}"
        if not exact:
            message = (
                f"the misfit stalled at {relative:.1e} of ‖y‖: the data is not exactly of rank {rank}, or "
                "the start lies outside the basin of the solution; try another rank or start"
            )
        converged = exact or (limits.ridge > 0 and n_iter < limits.max_iter)
        return Completion(*balanced(at.U, at.V), converged, n_iter, relative, 0.0, history, message)


def _done(history: list[dict[str, float]], limits: Limits) -> bool:
    """Whether the last misfit is at rounding, or has hardly fallen for some steps."""
    last = history[-1]["residual"]
    if last <= limits.tolerance or len(history) <= limits.patience:
        return last <= limits.tolerance
    return last > _STALL * history[-1 - limits.patience]["residual"]
