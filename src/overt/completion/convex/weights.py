"""SoftImpute at one weight, and along a warm-started path of weights judged on held-out entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overt.completion.convex.proximal_steps import ProximalSteps, proximal_steps
from overt.completion.convex.shrinkage import dual_value_on_ray
from overt.completion.result import Completion, HistoryRow, Triplet, entries_at

_FEWEST = 10  # held-out entries below which their error says too little about the weight
_PATIENCE = 3  # weights without a better held-out error before the path ends
_PATH_TOLERANCE = 1e-3  # duality gap asked for on the way; the chosen weight is solved to `tolerance`


@dataclass(frozen=True)
class Solved:
    """A solution at one weight, in scaled units."""

    point: Triplet
    weight: float
    n_iter: int
    gap: float
    residual: float

    def row(self, scale: float) -> HistoryRow:
        """Numbers for the history."""
        return {
            "weight": self.weight * scale,
            "iterations": self.n_iter,
            "gap": self.gap,
            "rank": int(self.point[1].numel()),
            "residual": self.residual,
        }


@dataclass(frozen=True)
class Chosen:
    """The best weight of a path, as a share of the smallest one that gives zero, and what it achieved.

    ``error`` is NaN where held-out entries were too few to choose it.
    """

    ratio: float
    error: float = math.nan
    solved: Solved | None = None


def choose_weight(
    problem: Any,
    y: Tensor,
    ratios: Sequence[float],
    heldout: float,
    *,
    scale: float,
    max_rank: int | None,
    max_iter: int,
    seed: int,
    report: Callable[[Solved], None],
    history: list[HistoryRow],
) -> Chosen:
    """Walk the weights down on a part of the entries and keep the one that predicts the others best.

    ``y`` are the problem's observations over ``scale``, ``ratios`` falling weights as shares of the smallest
    one whose solution is zero. ``report`` receives every intermediate point; ``history`` grows by one row a
    weight, in the units of the data.
    """
    rows, cols, k = problem.rows, problem.cols, y.numel()
    n_out = max(0, min(max(round(heldout * k), min(_FEWEST, k // 4)), k - 1))
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed)).to(y.device)
    out, kept = order[:n_out], order[n_out:]
    predictable = torch.isin(rows[out], rows[kept]) & torch.isin(cols[out], cols[kept])
    chosen = Chosen(ratios[-1])
    if int(predictable.sum()) < _FEWEST:
        return chosen
    steps = proximal_steps(rows[kept], cols[kept], problem.shape, y[kept], max_rank=max_rank, seed=seed)
    largest = steps.norm(y[kept])
    if largest == 0:
        return chosen
    solved, best, since = None, math.inf, 0
    for ratio in ratios:
        solved = solve_weight(steps, y[kept], ratio * largest, solved, max_iter, _PATH_TOLERANCE, report)
        predicted = entries_at(solved.point, rows[out], cols[out])
        error = float((predicted - y[out]).square().mean().sqrt())
        history.append(solved.row(scale) | {"heldout_rmse": error * scale})
        since += 1
        if error < best:
            chosen, best, since = Chosen(ratio, error * scale, solved), error, 0
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
    report: Callable[[Solved], None],
) -> Solved:
    """Accelerated proximal gradient with restarts at one weight, to a relative duality gap."""
    current = Completion.zero(y, steps.shape).triplet if warm is None else warm.point
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
        report(Solved(current, weight, k, gap, residual))
        if gap <= tolerance:
            break
    residual = math.sqrt(float((y - values) @ (y - values)) / size)
    return Solved(current, weight, k, gap, residual)
