"""A photograph with pixels removed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from overt.problems import CompletionProblem
    from overt.studies.report.figures import Figure
    from overt.training import State

# As many settings for each network: learning rate, weight in units of the pixels' mean square.
SETTINGS: dict[str, tuple[tuple[float, float], ...]] = {
    "penalty": ((1e-2, 1e-2), (1e-2, 3e-2), (3e-2, 1e-2)),
    "depth 3": ((1e-3, 0.0), (3e-4, 0.0), (3e-3, 0.0)),
    "weight 0": ((1e-2, 0.0), (3e-3, 0.0), (3e-2, 0.0)),
}
PATIENCE = 500  # steps without a gain on the held out pixels, after which a network is stopped
RMSE = Median("rmse", "error on the removed pixels", each=("method",))


class PhotographConfig(StudyConfig):
    """One method on one mask; a tenth of the kept pixels chooses its step and one of its three settings.

    ``settings`` says how many of them are tried.
    """

    part: Literal["photograph"] = "photograph"
    height: int = Field(default=107, ge=2)
    width: int = Field(default=160, ge=2)
    kept: float = Field(default=0.3, gt=0, le=1)
    method: Literal["penalty", "depth 3", "weight 0", "nuclear_norm", "soft_impute"] = "penalty"
    settings: int = Field(default=3, ge=1, le=3)
    max_steps: int = Field(default=6_000, ge=1)


def _against(rival: str) -> Ratio:
    return Ratio(
        "rmse",
        f"error on the removed pixels, penalty / {rival}",
        of_={"method": "penalty"},
        over={"method": rival},
    )


def pictures(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The pictures of the lowest seed."""
    import numpy as np

    from overt.studies.report.figures import Figure, encode_png

    own = sorted(part.own(runs), key=lambda run: (run.config["seed"], run.config["method"]))
    shown = [run for run in own if "picture" in run.arrays and run.config["seed"] == own[0].config["seed"]]
    if not shown:
        return None
    first = shown[0].arrays
    holes = np.where(first["observed"].astype(bool), first["truth"], np.nan)
    images = [("observed", encode_png(holes))]
    for run in shown:
        words = f"{run.config['method'].replace('_', ' ')}: PSNR {run.records[0]['psnr']:.1f} dB"
        images.append((words, encode_png(run.arrays["picture"])))
    images.append(("the photograph", encode_png(first["truth"])))
    data = [{"method": run.config["method"], "psnr": run.records[0]["psnr"]} for run in shown]
    caption = f"Seed {shown[0].config['seed']}. PSNR is measured on the removed pixels alone."
    return Figure("pictures", "A photograph with pixels removed", caption, images=images, data=data)


class Photograph(Part[PhotographConfig]):
    """Does the penalty fill a photograph as well as depth does, and better than without it?"""

    config = PhotographConfig
    grids = {
        "quick": [
            Grid(6, method=tuple(SETTINGS), settings=1, height=54, width=80),
            Grid(6, method=("nuclear_norm", "soft_impute"), settings=1, height=54, width=80),
        ],
        "full": [Grid(10, method=tuple(SETTINGS)), Grid(10, method=("nuclear_norm", "soft_impute"))],
    }
    claims = (
        Claim(
            "S7",
            "The penalty fills a photograph as well as depth, and better than at weight zero",
            "With 30 % of the pixels kept the error of one layer with the penalty on the removed pixels is "
            "within 0.1 dB of that of depth 3, and below that of one layer at weight zero. All are stopped "
            "and tuned on the same held out pixels.",
            "Own measurement",
            Rule(below(_against("depth 3"), 10 ** (0.1 / 20)), below(_against("weight 0"), 1.0)),
            kind="own",
        ),
    )
    figures = (
        pictures,
        Dots("photograph", "Error on the removed pixels", (Panel(RMSE),), claim="S7", rows=("method",)),
    )

    def execute(self, config: PhotographConfig, context: RunContext) -> RunOutput:
        """Fill the removed pixels."""
        from overt.completion import nuclear_norm_minimization, soft_impute
        from overt.problems import photograph, psnr

        problem = photograph(kept=config.kept, seed=config.seed, size=(config.height, config.width))
        truth = problem.truth
        assert truth is not None
        if config.method in SETTINGS:
            W, record = _trained(config, problem, context)
        else:
            solve = nuclear_norm_minimization if config.method == "nuclear_norm" else soft_impute
            found = solve(problem)
            W = found.W
            record = {"status": "converged" if found.converged else "budget", "steps": found.n_iter}
        W = W.clamp(0.0, 1.0)
        removed = ~problem.observed
        record |= {
            "rmse": float((W - truth)[removed].square().mean().sqrt()),
            "psnr": psnr(W[removed], truth[removed]),
        }
        arrays = {
            "picture": W.float().numpy(),
            "truth": truth.float().numpy(),
            "observed": problem.observed.numpy(),
        }
        return RunOutput([record], arrays)

    def ended(self, run: Run) -> bool:
        """Whether the held out pixels, and not the budget, ended the training at every setting."""
        return bool(run.records[0]["status"] != "budget")


def _trained(
    config: PhotographConfig, problem: CompletionProblem, context: RunContext
) -> tuple[Tensor, dict[str, Any]]:
    """The matrix of the best step and setting, by the pixels that are held out."""
    from overt.problems import CompletionProblem
    from overt.studies.shared.completion_runs import Arm, model_of, penalty_of
    from overt.studies.shared.movielens import hold_out
    from overt.training import Recording, train

    unit = float(problem.y.square().mean().sqrt())
    rest, (rows, cols, values) = hold_out(problem, config.seed)
    scaled = CompletionProblem(rest.rows, rest.cols, rest.y / unit, rest.shape)
    best: dict[str, Any] = {"validation": math.inf}
    lowest, at = math.inf, 0

    def watch(state: State) -> bool:
        nonlocal lowest, at
        now = float((state.W[rows, cols] * unit - values).square().mean().sqrt())
        if now < lowest:
            lowest, at = now, state.step
        if now < best["validation"]:
            best.update(validation=now, best_step=state.step, W=state.W.detach().clone(), setting=number)
        return state.step >= at + PATIENCE

    steps, budget = 0, False
    for number in range(config.settings):
        lowest, at = math.inf, 0
        lr, weight = SETTINGS[config.method][number]
        depth = 3 if config.method == "depth 3" else 1
        arm = Arm(config.seed, depth, weight, "adam", lr, config.max_steps)
        model = model_of(scaled, arm)
        context.progress(f"{config.method}, lr {lr:g}, weight {weight:g}")
        result = train(
            model,
            scaled,
            lr=lr,
            penalty=penalty_of(model, scaled, arm),
            max_steps=config.max_steps,
            recording=Recording(per_decade=1, check_every=10, error_targets=()),
            callback=watch,
        )
        steps += result.steps
        budget = budget or result.status == "budget"
    W: Tensor = best.pop("W") * unit
    return W, best | {"status": "budget" if budget else "stopped", "steps": steps}
