"""Making one run of the parts on explicit penalties: one matrix, one proxy of its rank."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from overt import functional as F
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunOutput
from overt.studies.claims.vocabulary import RECOVERED
from overt.studies.proxies.config import ProxyConfig
from overt.studies.proxies.functionals import PROXIES, gradient_norm
from overt.studies.shared.recovery import gap_rank, refit_record
from overt.studies.shared.stationarity import relative_gradient
from overt.studies.shared.training_runs import how
from overt.training import State, train

CAP, FLOOR = 1.2, 0.1  # of the norm that the observations suggest: the guards of scale-invariant proxies


class Recovery:
    """Notes since when the refit gives the truth at every check; ends a run where that lasts long enough.

    That is, for as many steps as it took, at least 500.
    """

    def __init__(self, problem: CompletionProblem, rank: int) -> None:
        self.problem, self.rank, self.next = problem, rank, 0
        self.step: int | None = None

    def __call__(self, state: State) -> bool:
        """At checks an eighth of the steps apart."""
        if state.step < self.next:
            return False
        self.next = state.step + max(25, state.step // 8)
        s = F.singular_values(state.W)
        right = gap_rank(s, len(self.problem.y), self.problem.shape) == self.rank  # else it cannot
        if not (right and refit_record(state.W, self.problem)["error"] <= RECOVERED):
            self.step = None
        elif self.step is None:
            self.step = max(1, state.step)
        return self.step is not None and state.step >= self.step + max(500, self.step)


def unit(config: ProxyConfig, problem: CompletionProblem) -> float:
    """The factor of the proxy at weight 1: both gradients are then of one size where training starts."""
    zero = torch.zeros(problem.shape, dtype=problem.y.dtype, requires_grad=True)
    problem.loss(zero).backward()  # type: ignore[no-untyped-call]
    assert zero.grad is not None
    filled = problem.y.new_zeros(problem.shape).index_put((problem.rows, problem.cols), problem.y)
    return float(zero.grad.norm()) / gradient_norm(PROXIES[config.proxy], filled, config.rank)


def execute(config: ProxyConfig) -> RunOutput:
    """Train, then refit."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )
    model = DeepLinear((config.n, config.n), scale=config.init_scale, seed=config.seed, dtype=torch.float64)
    penalty = _penalty(config, problem, model) if config.weight > 0 else None
    seen = Recovery(problem, config.rank)
    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        optimizer_options={"weight_decay": 0.0} if config.optimizer == "muon" else None,
        lr=config.lr,
        penalty=penalty,
        max_steps=config.max_steps,
        tolerance=1e-14,
        lr_schedule=lambda step: min(1.0, 4 * (1 - step / config.max_steps)),
        callback=seen,
    )
    return RunOutput([how(result) | _record(result.W, problem, penalty) | {"recovery_step": seen.step}])


def _penalty(config: ProxyConfig, problem: CompletionProblem, model: DeepLinear) -> SpectralPenalty:
    proxy = PROXIES[config.proxy]
    functional, options = proxy.bound(config.rank)
    scale = math.sqrt(config.n**2 * float(problem.y.square().mean())) if proxy.scale_invariant else None
    return SpectralPenalty(
        model,
        functional,
        of="product",
        weight=config.weight * unit(config, problem),
        options=options or None,
        norm_cap=scale and CAP * scale,
        norm_floor=scale and FLOOR * scale,
    )


def _record(W: Tensor, problem: CompletionProblem, penalty: SpectralPenalty | None) -> dict[str, Any]:
    size = float(problem.y.square().mean())
    extra = None if penalty is None else penalty.penalty
    return refit_record(W, problem) | {
        "loss": float(problem.loss(W)) / size,
        "effective_rank": float(F.effective_rank(W)),
        "relative_gradient": relative_gradient(W, problem.loss, extra, unit=size),
    }
