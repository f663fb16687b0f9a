"""MovieLens 100K: thin layers with a penalty and at weight zero, tuned on validation ratings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Difference
from overt.studies.claims.quantities import Median
from overt.studies.part import Part
from overt.studies.plots import Dots, Panel
from overt.studies.shared.published import skipped_without_data

if TYPE_CHECKING:
    import torch

    from overt.problems import CompletionProblem
    from overt.problems.offsets import Offsets

__all__ = ["ARMS", "ML_TITLE", "Ratings", "RatingsConfig", "hold_out", "lead"]

STARS = (1.0, 5.0)
CHECK_EVERY = 10  # steps between two looks at the validation ratings
# The settings of each arm, as many for each: depth, learning rate, weight.
ARMS: Mapping[str, tuple[tuple[int, float, float], ...]] = {
    "depth 3": ((3, 5e-4, 0.0), (3, 1e-3, 0.0), (3, 2e-3, 0.0), (3, 4e-3, 0.0)),
    "penalty": ((2, 1e-3, 3e-4), (2, 1e-3, 1e-3), (2, 1e-3, 3e-3), (2, 2e-3, 1e-3)),
    "weight 0": ((2, 5e-4, 0.0), (2, 1e-3, 0.0), (2, 2e-3, 0.0), (2, 2.5e-4, 0.0)),
    "biases": (),
}
ML_TITLE = {"depth 3": "depth 3, no penalty", "penalty": "two factors, penalty", "weight 0": "two factors"}
RMSE = Median("test_rmse", "test RMSE (stars)")


def lead(over: str, **quantity: Any) -> Difference:
    """The test error of two penalized factors less that of another arm, on the same ratings."""
    return Difference(
        "test_rmse",
        f"test RMSE (stars), penalty less {over}",
        of_={"arm": "penalty"},
        over={"arm": over},
        **quantity,
    )


class RatingsConfig(StudyConfig):
    """One arm on one split; a tenth of the training ratings chooses its setting and its step.

    Attributes
    ----------
    split : str
        "published": the split u1 to u5 that the seed falls on; "random": 80 % and 20 % drawn by the seed. The
        seed draws the validation ratings and the initialization, too.
    arm : str
        What is trained, see `ARMS`: every arm has four settings. All predict what the biases of users and
        films leave.
    settings : int
        How many of the arm's settings are tried, from the second on if fewer than all.
    width, init_scale, max_steps
        Of the networks.
    """

    part: Literal["ratings"] = "ratings"
    split: Literal["published", "random"] = "published"
    arm: Literal["depth 3", "penalty", "weight 0", "biases"] = "penalty"
    settings: int = Field(default=4, ge=1, le=4)
    width: int = Field(default=100, ge=1)
    init_scale: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=200, ge=1)


class Ratings(Part[RatingsConfig]):
    """Does the penalty predict ratings as depth does, and better than the same factors without it?"""

    config = RatingsConfig
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "movielens",
            "MovieLens 100K",
            (Panel(RMSE),),
            caption="943 users, 1 682 films, one to five stars. All methods predict what is left after the "
            "biases of users and films; a tenth of the training ratings chooses the step and one of equally "
            "many settings of each. Published splits: two seeds for each of u1 to u5.",
            words=ML_TITLE,
            rows=("split", "arm"),
        ),
    )

    def execute(self, config: RatingsConfig, context: RunContext) -> RunOutput:
        """Train each setting of the arm; keep the step and the setting of the best validation error."""
        import torch

        from overt.problems import movielens_100k

        random = config.split == "random"
        name = "random" if random else f"u{config.seed % 5 + 1}"
        with skipped_without_data():
            full = movielens_100k(name, seed=config.seed if random else None, dtype=torch.float32)
        problem, validation = hold_out(full, config.seed)
        centred, offsets = problem.center("biases")
        judge = _Judge(offsets, validation, full)
        best: dict[str, Any] = judge(None) | {"status": "converged", "steps": 0, "setting": None}
        tried = ARMS[config.arm]
        for number in range(len(tried)) if config.settings >= len(tried) else range(1, config.settings + 1):
            found = _train(config, tried[number % len(tried)], centred, judge, context)
            if best["setting"] is None or found["validation_rmse"] < best["validation_rmse"]:
                best = found | {"setting": list(tried[number % len(tried)])}
        return RunOutput([best | {"split": name}])

    def ended(self, run: Run) -> bool:
        """Whether the validation ratings, and not the budget, chose the step."""
        return bool(run.records[0].get("best_step", 0) < run.config["max_steps"])


class _Judge:
    """Root mean square errors on validation and test ratings of offsets plus a matrix."""

    def __init__(
        self, offsets: Offsets, validation: tuple[torch.Tensor, ...], full: CompletionProblem
    ) -> None:
        assert full.heldout is not None
        self._offsets, self._parts = offsets, {"validation_rmse": validation, "test_rmse": full.heldout}

    def __call__(self, W: torch.Tensor | None) -> dict[str, Any]:
        return {name: self._rmse(W, *part) for name, part in self._parts.items()}

    def _rmse(
        self, W: torch.Tensor | None, rows: torch.Tensor, cols: torch.Tensor, truth: torch.Tensor
    ) -> float:
        guess = self._offsets.at(rows, cols) + (0.0 if W is None else W[rows, cols])
        return float((guess.clamp(*STARS) - truth).square().mean().sqrt())


class _ThinPenalty:
    """weight × ‖W‖_*/‖W‖_F of W = W₂W₁, from the two thin factors alone, with the floor of docs/penalties.md.

    The floor is a tenth of the norm of the residual ratings that are observed.
    """

    def __init__(self, model: Any, weight: float, floor: float) -> None:
        self.model, self.weight, self._floor = model, weight, floor

    def penalty(self, product: torch.Tensor | None = None) -> torch.Tensor:
        """The penalty, a 0-d tensor; the end-to-end matrix is not looked at."""
        from overt import Factored
        from overt import functional as F

        del product
        first, last = self.model.weights
        W = Factored(last, first.mT)
        # ‖W‖_F² = tr(W₂ᵀW₂ W₁W₁ᵀ)
        norm = ((last.mT @ last) * (first @ first.mT)).sum().clamp_min(1e-20).sqrt()
        value: torch.Tensor = F.normalized_nuclear_norm(W) * (norm / self._floor).clamp_max(1.0)
        return self.weight * value


def hold_out(problem: CompletionProblem, seed: int) -> tuple[CompletionProblem, tuple[torch.Tensor, ...]]:
    """Nine tenths of the training ratings, and the tenth that is kept out, drawn by the seed."""
    import torch

    from overt.problems import CompletionProblem

    order = torch.randperm(problem.n_observed, generator=torch.Generator().manual_seed(seed))
    out, kept = order[: problem.n_observed // 10], order[problem.n_observed // 10 :]
    rest = CompletionProblem(problem.rows[kept], problem.cols[kept], problem.y[kept], problem.shape)
    return rest, (problem.rows[out], problem.cols[out], problem.y[out])


def _train(
    config: RatingsConfig,
    setting: tuple[int, float, float],
    problem: CompletionProblem,
    judge: _Judge,
    context: RunContext,
) -> dict[str, Any]:
    import torch

    from overt.models import DeepLinear
    from overt.training import Recording, State, train

    depth, lr, weight = setting
    m, n = problem.shape
    sizes = (n, *(config.width,) * (depth - 1), m)
    model = DeepLinear(sizes, scale=config.init_scale, seed=config.seed, dtype=torch.float32)
    best: dict[str, Any] = {"validation_rmse": math.inf, "test_rmse": None}

    def watch(state: State) -> None:
        now = judge(state.W)
        if now["validation_rmse"] < best["validation_rmse"]:
            best.update(now, best_step=state.step)

    context.progress(f"{config.arm}, lr {lr:g}, weight {weight:g}")
    floor = 0.1 * float(problem.y.norm())
    result = train(
        model,
        problem,
        lr=lr,
        penalty=_ThinPenalty(model, weight, floor) if weight > 0 else None,
        max_steps=config.max_steps,
        recording=Recording(per_decade=1, check_every=CHECK_EVERY, error_targets=()),
        callback=watch,
    )
    return best | {"steps": result.steps, "seconds": result.seconds, "status": "stopped"}
