"""SoftImpute at one weight, and along a warm-started path of weights judged on held-out entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overt.completion.convex.proximal_steps import ProximalSteps, Triplet, proximal_steps
from overt.completion.convex.shrinkage import dual_value_on_ray
from overt.completion.result import HistoryRow

_PATIENCE = 3  # weights without a better held-out error before the path ends
_PATH_TOLERANCE = 1e-3  # duality gap asked for on the way; the chosen weight is solved to `tolerance`


@dataclass(frozen=True)
class Solved:
    """A solution at one weight, in scaled units, with its values at the observations."""

    point: Triplet
    observed: Tensor
    weight: float
    n_iter: int
    gap: float
    residual: float

    @classmethod
    def zero(cls, problem: Any) -> Solved:
        m, n = problem.shape
        empty = problem.y.new_zeros
        point = (empty(m, 0), empty(0), empty(0, n))
        return cls(point, torch.zeros_like(problem.y), 0.0, 0, 0.0, 0.0)

    def row(self, scale: float) -> HistoryRow:
        return {
            "weight": self.weight * scale,
            "iterations": self.n_iter,
            "gap": self.gap,
            "rank": int(self.point[1].numel()),
            "residual": self.residual,
        }


def weight_path(n_weights: int = 20, smallest: float = 1e-3) -> list[float]:
    """Shares of ``weight_max``, falling geometrically to ``smallest``."""
    return [smallest ** ((i + 1) / n_weights) for i in range(n_weights)]


@dataclass(frozen=True)
class Chosen:
    """The best weight of a path, as a share of the smallest one that gives zero, and what it achieved."""

    ratio: float
    error: float
    solved: Solved | None


def judged_path(
    kept: tuple[Tensor, Tensor, Tensor],
    out: tuple[Tensor, Tensor, Tensor],
    shape: tuple[int, int],
    ratios: Sequence[float],
    *,
    max_rank: int | None = None,
    max_iter: int = 500,
    seed: int = 0,
    report: Callable[[Solved, list[HistoryRow]], None] | None = None,
    history: list[HistoryRow] | None = None,
) -> Chosen:
    """Walk the weights down on the kept entries and keep the one that predicts the others best.

    Parameters
    ----------
    kept, out : (rows, cols, values)
        Entries to fit and entries to judge by.
    shape : (int, int)
    ratios : sequence of float
        Weights, falling, as shares of the smallest weight whose solution is zero.
    max_rank, max_iter, seed
        As in :func:`overt.completion.soft_impute`.
    report : callable, optional
        Receives every intermediate point and the history so far.
    history : list, optional
        Grows by one row a weight.
    """
    history = [] if history is None else history
    rows, cols, y = kept
    steps = proximal_steps(rows, cols, shape, y, max_rank=max_rank, seed=seed)
    largest = steps.norm(y)
    chosen = Chosen(ratios[-1], math.inf, None)
    if largest == 0:
        return Chosen(ratios[-1], math.nan, None)
    solved, since = None, 0
    for ratio in ratios:
        tell = None if report is None else lambda point: report(point, history)
        solved = solve_weight(steps, y, ratio * largest, solved, max_iter, _PATH_TOLERANCE, tell)
        predicted = steps.entries(solved.point, out[0], out[1])
        error = float((predicted - out[2]).square().mean().sqrt())
        history.append(solved.row(1.0) | {"heldout_rmse": error})
        since += 1
        if error < chosen.error:
            chosen, since = Chosen(ratio, error, solved), 0
        if since >= _PATIENCE:
            break
    return chosen


def solve_weight(
    steps: ProximalSteps,
    y: Tensor,
    weight: float,
    warm: Solved | None,
    max_iter: int,
    tolerance: float,
    report: Callable[[Solved], None] | None,
) -> Solved:
    """Accelerated proximal gradient with restarts at one weight, to a relative duality gap."""
    zero = (y.new_zeros(steps.shape[0], 0), y.new_zeros(0), y.new_zeros(0, steps.shape[1]))
    current = zero if warm is None else warm.point
    values = steps.observe(current)
    previous, previous_values, momentum = current, values, 1.0
    size = float(y @ y)
    objective, gap = math.inf, math.inf
    k = 0
    for k in range(1, max_iter + 1):
        following = 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
        beta = (momentum - 1) / following
        extrapolated = values + beta * (values - previous_values)
        point = steps.shrink(y - extrapolated, ((1 + beta, current), (-beta, previous)), weight)
        previous, previous_values = current, values
        current, values = point, steps.observe(point)
        misfit = y - values
        now = 0.5 * float(misfit @ misfit) + weight * float(current[1].sum())
        momentum = 1.0 if now > objective else following
        objective = now
        if k % 5 and k != max_iter:
            continue
        gap = abs(now - dual_value_on_ray(y, misfit, weight, steps.norm(misfit))) / max(0.5 * size, 1e-300)
        residual = math.sqrt(float(misfit @ misfit) / size)
        if report is not None:
            report(Solved(current, values, weight, k, gap, residual))
        if gap <= tolerance:
            break
    residual = math.sqrt(float((y - values) @ (y - values)) / size)
    return Solved(current, values, weight, k, gap, residual)
