"""Making one run: a single matrix under a penalty, with one thing changed in its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt import functional as F
from overt.linalg import orthonormal_basis, svd
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.adam.config import DescentConfig
from overt.studies.adam.steps import Stepper
from overt.studies.base import RunContext, RunOutput
from overt.studies.claims.vocabulary import RECOVERED
from overt.studies.shared.recovery import gap_rank, refit_record
from overt.studies.shared.stationarity import relative_gradient

CAP = 1.2  # Frobenius norm, over the one that the observations suggest, above which growth costs again
GROWN = 100.0  # a largest entry beyond this many observed ones counts as diverged
FITTED = 1e-14  # a relative loss at which a run without a penalty has ended
ADAM_LR = 3e-2  # of the Adam that lends its steps to an intervention


@dataclass(frozen=True)
class Instance:
    """The data at mean square 1, and the mask."""

    problem: CompletionProblem
    values: Tensor
    unit: float

    @property
    def observed(self) -> Tensor:
        """The mask."""
        return self.problem.observed

    @property
    def norm(self) -> float:
        """The Frobenius norm that the observations suggest."""
        return math.sqrt(self.observed.numel())


@dataclass(frozen=True)
class Gradient:
    """Both parts of the gradient at a matrix, its decomposition, and the two values."""

    data: Tensor
    penalty: Tensor
    U: Tensor
    S: Tensor
    Vh: Tensor
    loss: float
    value: float


def instance(config: DescentConfig) -> Instance:
    """The seed decides the matrix and the mask."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )
    unit = float(problem.y.square().mean().sqrt())
    return Instance(problem, problem.adjoint(problem.y) / unit, unit)


def gradient(W: Tensor, config: DescentConfig, given: Instance, scale: float = 1.0) -> Gradient:
    """Mean squared error and weight × ‖W‖_*/‖W‖_F, the norm below held between floor and cap."""
    miss = (W - given.values) * given.observed
    U, S, Vh = svd(W)
    total, norm = S.sum(), torch.linalg.vector_norm(S)
    held = norm.clamp(config.norm_floor * given.norm, CAP * given.norm)
    slopes = torch.ones_like(S) / held
    if held == norm:
        slopes = slopes - total * S / norm**3
    return Gradient(
        scale * 2 / config.n_observed * miss,
        scale * config.weight * (U * slopes) @ Vh,
        U,
        S,
        Vh,
        float(miss.square().sum()) / config.n_observed,
        float(total / held),
    )


def turning(step: Tensor, at: Gradient) -> float:
    """The share of a step's energy that turns singular vectors; NaN of no step."""
    total = float(step.square().sum())
    kept = float((at.U.mT @ step @ at.Vh.mT).diagonal().square().sum())
    return 1 - kept / total if total > 0 else math.nan


def changed(name: str, at: Gradient, own: Tensor, adams: Tensor) -> Tensor:
    """The penalty's step after a change, see ``interventions.CHANGES``; its own and Adam's are given."""
    if name == "keep_vectors":
        return (at.U * (at.U.mT @ own @ at.Vh.mT).diagonal()) @ at.Vh
    if name == "keep_space":
        # The participation ratio says how many directions lead; it needs no knowledge of the rank.
        k = max(1, math.ceil(float(F.participation_ratio(singular_values=at.S)) - 1e-9))
        U, Vh = at.U[:, :k], at.Vh[:k]
        return U @ (U.mT @ own @ Vh.mT) @ Vh
    if name == "gradient_direction":
        return _of_length(at.penalty, own)
    if name == "adam_length":
        return _of_length(at.penalty, adams)
    return adams if name == "adam_penalty" else own


def _of_length(direction: Tensor, like: Tensor) -> Tensor:
    size = float(torch.linalg.vector_norm(direction))
    return direction * (float(torch.linalg.vector_norm(like)) / size) if size > 0 else direction


class Descent:
    """One run.

    Parameters
    ----------
    config
    optimizer
        See ``Stepper``.
    change
        What is changed in its steps, see ``interventions.CHANGES``.
    scale
        Factor of the whole objective.
    to_the_end
        Go on to the end of the budget. Else a run ends once the refit has recovered the matrix at every check
        for as many steps as it took until then; the learning rate falls to zero meanwhile.
    """

    def __init__(
        self,
        config: DescentConfig,
        optimizer: str,
        change: str = "none",
        scale: float = 1.0,
        to_the_end: bool = False,
    ) -> None:
        self.config, self.change, self.scale, self.to_the_end = config, change, scale, to_the_end
        self.given = instance(config)
        self.own, self.lent = Stepper(optimizer), Stepper("adam")
        generator = torch.Generator().manual_seed(config.seed + 1_000_003)
        shape = (config.n, config.n)
        self.W = config.init_scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        draws = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
        turned = change == "turned"
        self.turn = (orthonormal_basis(draws[0]), orthonormal_basis(draws[1])) if turned else None
        self.recovery: int | None = None

    def __call__(self, context: RunContext) -> RunOutput:
        """Descend; give the record and what the steps were like on the way."""
        rows: list[dict[str, float]] = []
        signs: list[tuple[float, float]] = []
        status, step, check = "budget", 0, 0
        before: Gradient | None = None
        limit = GROWN * float(self.given.values.abs().max())
        while step < self.config.max_steps:
            at = gradient(self.W, self.config, self.given, self.scale)
            if before is not None:
                signs.append((at.loss - before.loss, at.value - before.value))
            before = at
            change = self._step(at, step)
            if step >= check:
                check = step + max(10, step // 16)
                rows.append(self._seen(step, at, change))
                if step % 500 < 10:
                    context.progress(f"step {step}, effective rank {rows[-1]['effective_rank']:.2f}")
                self._look(at, step)
                if self._over(at, step):
                    status = "converged"
                    break
            moved = self.W - change[0] - change[1]
            if not bool(torch.isfinite(moved).all()) or float(moved.abs().max()) > limit:
                status = "diverged"
                break
            self.W, step = moved, step + 1
        record = self._record(rows, signs) | {"status": status, "steps": step}
        if status == "diverged":
            record |= {"error": math.inf, "raw_error": math.inf, "recovery_step": None}
        names = ("step", "raw_error", "effective_rank", "penalty_turning")
        return RunOutput([record], {name: np.asarray([row[name] for row in rows]) for name in names})

    def _look(self, at: Gradient, step: int) -> None:
        """Note when an unbroken row of checks began at which the refit gives the truth."""
        problem = self.given.problem
        right = gap_rank(at.S, len(problem.y), problem.shape) == self.config.rank  # else it cannot
        if not (right and refit_record(self.W * self.given.unit, problem)["error"] <= RECOVERED):
            self.recovery = None
        elif self.recovery is None:
            self.recovery = max(1, step)

    def _over(self, at: Gradient, step: int) -> bool:
        if self.config.weight == 0 and at.loss <= FITTED:
            return True
        return (
            not self.to_the_end and self.recovery is not None and step >= self.recovery + _row(self.recovery)
        )

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: 1, and in the end linearly to 0."""
        left = 4 * (1 - step / self.config.max_steps)
        if self.recovery is not None and not self.to_the_end:
            left = min(left, 1 - (step - self.recovery) / _row(self.recovery))
        return max(0.0, min(1.0, left))

    def _left(self) -> float:
        """The relative gradient of the whole objective."""
        config, given = self.config, self.given

        def loss(W: Tensor) -> Tensor:
            return ((W - given.values) * given.observed).square().sum() / config.n_observed

        def penalty(W: Tensor) -> Tensor:
            held = torch.linalg.matrix_norm(W).clamp(config.norm_floor * given.norm, CAP * given.norm)
            value: Tensor = config.weight * F.nuclear_norm(W) / held
            return value

        return relative_gradient(self.W, loss, penalty if config.weight > 0 else None, unit=1.0)

    def _step(self, at: Gradient, step: int) -> tuple[Tensor, Tensor]:
        """What is taken from W, for the data and for the penalty."""
        config, factor = self.config, self._rate(step)
        if self.change == "alternation":
            fit = at.data * (config.n_observed / (2 * self.scale))
            size = float(torch.linalg.vector_norm(at.penalty))
            return fit, at.penalty * (factor * config.lr * self.given.norm / size if size > 0 else 0.0)
        data, penalty = self._split(self.own, at, factor * config.lr)
        lends = self.change.startswith("adam_")
        adams = self._split(self.lent, at, factor * ADAM_LR)[1] if lends else penalty
        return data, changed(self.change, at, penalty, adams)

    def _split(self, stepper: Stepper, at: Gradient, lr: float) -> tuple[Tensor, Tensor]:
        if self.turn is None:
            first, second = stepper.split(at.data, at.penalty)
        else:
            left, right = self.turn
            first, second = stepper.split(left @ at.data @ right.mT, left @ at.penalty @ right.mT)
            first, second = left.mT @ first @ right, left.mT @ second @ right
        return lr * first, lr * second

    def _seen(self, step: int, at: Gradient, change: tuple[Tensor, Tensor]) -> dict[str, float]:
        return {
            "step": step,
            "raw_error": self.given.problem.error(self.W * self.given.unit),
            "effective_rank": float(F.effective_rank(singular_values=at.S)),
            "penalty_turning": turning(change[1], at),
        }

    def _record(
        self, rows: Sequence[dict[str, float]], signs: Sequence[tuple[float, float]]
    ) -> dict[str, Any]:
        """The end, and what the steps were like until the matrix was recovered."""
        early = [
            row["penalty_turning"]
            for row in rows
            if row["step"] <= (self.recovery or math.inf) and not math.isnan(row["penalty_turning"])
        ]
        against = [a * b < 0 for a, b in signs]
        return refit_record(self.W * self.given.unit, self.given.problem) | {
            "recovery_step": self.recovery,
            "effective_rank": float(F.effective_rank(self.W)),
            "loss": gradient(self.W, self.config, self.given).loss,
            "relative_gradient": self._left(),
            "penalty_turning": sum(early) / max(1, len(early)),
            "against": sum(against) / max(1, len(against)),
        }


def _row(recovery: int) -> int:
    """How long a recovery must last, in steps."""
    return max(500, recovery)
