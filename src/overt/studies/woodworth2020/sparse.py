"""Explicit penalties in the place of depth, on the same instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import ended, fitted
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

if TYPE_CHECKING:
    from torch import Tensor

    from overt.problems import RegressionProblem
    from overt.training import TrainResult

PAPER = "Woodworth et al. 2020, arXiv 2002.09277"
OWN = "Own hypothesis, in the sense of Zhao 2022"
ENOUGH, FEW = 40, 20
STILL = 5e-2  # of the gradient of the whole objective: a twentieth of the penalty's, the size of the bars
FIT = 1e-4  # a relative loss: residuals of 1e-2, a fifth of what the refit takes for zero
PENALTIES: dict[str, tuple[float, float | None]] = {
    "ℓ1": (1.0, None),
    "ℓ⅔": (2 / 3, None),
    "ℓ½": (0.5, None),
    "ℓ1/ℓ2": (1.0, 2.0),
}
SPARSER = ("ℓ⅔", "ℓ½", "ℓ1/ℓ2")
DEPTHS = {"depth 3": 3, "depth 4": 4}
SMALL = {"depth 3": 1e-2, "depth 4": 3e-2}  # the smallest α


def l1_misses(run: Run) -> bool:
    """Are of instances whose ℓ1 minimizer misses the truth (error above 0.1)."""
    return bool(run.records[0]["l1_error"] > 0.1)


def to_l1_over_error(run: Run) -> float:
    """The distance to the ℓ1 minimizer over that to the truth, before the refit."""
    return float(run.records[0]["to_l1"] / run.records[0]["raw_error"])


class SparseConfig(StudyConfig):
    """One run: a sparse regression problem, and depth or a penalty.

    Attributes
    ----------
    n, n_observed, nonzeros : int
        Of the problem.
    method : str
        "depth 3" or "depth 4": w = u^D − v^D from u = v = α; else Adam on w itself from the minimum norm
        solution with a penalty ‖w‖_p^p or ‖w‖₁/‖w‖₂, or without ("weight 0").
    strength : int
        0, 1 or 2: which of the three values that each method is tuned over, of the weight or of α.
    threshold : float
        The refit of every method: least squares on the coordinates above this part of the largest one.
    lr, max_steps
        Of Adam, whose rate falls to zero; of depth only the steps.
    """

    part: Literal["sparse"] = "sparse"
    n: int = Field(default=100, ge=2)
    n_observed: int = Field(default=ENOUGH, ge=1)
    nonzeros: int = Field(default=5, ge=1)
    method: Literal["depth 3", "depth 4", "ℓ1", "ℓ⅔", "ℓ½", "ℓ1/ℓ2", "weight 0"] = "ℓ1/ℓ2"
    strength: int = Field(default=1, ge=0, le=2)
    threshold: float = Field(default=0.05, ge=0, lt=1)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=12_000, ge=1)

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return 0.0 if self.method == "weight 0" else (1e-3, 1e-2, 1e-1)[self.strength]

    @property
    def alpha(self) -> float:
        """The initial weights of a network."""
        return SMALL[self.method] * (1.0, 3.0, 10.0)[self.strength]


def _grids(seeds: int, strengths: tuple[int, ...], steps: int) -> list[Grid]:
    samples, tuned = (FEW, ENOUGH), (*DEPTHS, *PENALTIES)
    return [
        Grid(seeds, n_observed=samples, method=tuned, strength=strengths, max_steps=steps),
        Grid(seeds, n_observed=samples, method="weight 0", strength=1, max_steps=steps),
    ]


ERROR = Median("error", "relative error after the refit", each=("method",), tuned=("strength",))


class Sparse(Part[SparseConfig]):
    """Do explicit penalties on w find the sparse truth that depth finds, and from how few samples?"""

    config = SparseConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, (1,), 6_000),
        "full": _grids(20, (0, 1, 2), 12_000),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "W6",
            "Depth implies ℓ1, not ℓp with p = 2/D",
            "In the rich regime the implicit bias is ℓ1 at every depth, and not the quasi-norm ℓp with "
            "p = 2/D that weight decay on the layers amounts to: where ℓ1 misses the truth, networks end "
            "near ℓ1's solution.",
            f"{PAPER}, section 5 (limit of Q_α for D > 2)",
            Rule(
                below(
                    Median(
                        to_l1_over_error,
                        "distance to the ℓ1 minimizer / distance to the truth",
                        {"n_observed": FEW, "method": tuple(DEPTHS), "strength": 0},
                        each=("method",),
                        only=l1_misses,
                    ),
                    0.5,
                )
            ),
        ),
        Claim(
            "W7",
            "Explicit penalties find the sparse truth that depth finds",
            "With enough samples ‖w‖_p^p for p = 1, ⅔ and ½ and ‖w‖₁/‖w‖₂ as explicit penalties on w itself "
            "find the truth, which without them (weight 0) the same steps and the same refit do not.",
            OWN,
            Rule(
                below(ERROR.at(n_observed=ENOUGH, method=tuple(PENALTIES)), 0.05),
                *(
                    below(
                        Ratio(
                            "error",
                            f"error after the refit, {name} / weight 0",
                            {"n_observed": ENOUGH},
                            tuned=("strength",),
                            of_={"method": name},
                            over={"method": "weight 0"},
                        ),
                        0.5,
                    )
                    for name in PENALTIES
                ),
            ),
            kind="own",
        ),
        Claim(
            "W8",
            "Sparser penalties find the truth from fewer samples than depth",
            "Where ℓ1 misses the truth, at least one of ‖w‖_p^p with p = ⅔ or ½ and ‖w‖₁/‖w‖₂ halves the "
            "error of depth 3, both tuned over three settings and refitted alike.",
            OWN,
            Rule(
                *(
                    below(
                        Ratio(
                            "error",
                            f"error after the refit, {name} / depth 3",
                            {"n_observed": FEW},
                            only=l1_misses,
                            tuned=("strength",),
                            of_={"method": name},
                            over={"method": "depth 3"},
                        ),
                        0.5,
                        refuted=1,
                    )
                    for name in SPARSER
                ),
                some=True,
            ),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "explicit",
            "Explicit penalties in the place of depth",
            tuple(
                Panel(
                    ERROR.at(n_observed=samples),
                    f"{samples} samples",
                    log=True,
                    limits=(1e-16, 3.0),
                    reference=(0.05, "bar of W7"),
                )
                for samples in (FEW, ENOUGH)
            ),
            claim="W7",
            caption="Each method at the best of three settings; all are refitted by least squares on the "
            "coordinates above 5 % of the largest.",
            rows=("method",),
        ),
    )

    def execute(self, config: SparseConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.problems import linear_regression
        from overt.studies.woodworth2020.networks import compared, descend

        problem = linear_regression(
            config.n, n_samples=config.n_observed, seed=config.seed, nonzeros=config.nonzeros
        )
        gradient: dict[str, Any] = {}
        if config.method in DEPTHS:
            result = descend(problem, DEPTHS[config.method], config.alpha, config.max_steps, context)
        else:
            result, gradient = _penalized(config, problem, context)
        record = compared(result.W, problem, result) | gradient
        record["raw_error"] = record["error"]
        record["error"] = problem.error(_refit(result.W, problem, config.threshold))
        return RunOutput([record])

    def ended(self, run: Run) -> bool:
        """Whether the data are fitted, or the whole objective is stationary."""
        return fitted(run, FIT) if run.config["method"] in DEPTHS else ended(run, STILL)


def _penalized(
    config: SparseConfig, problem: RegressionProblem, context: RunContext
) -> tuple[TrainResult, dict[str, Any]]:
    """Adam on w, its rate falling to zero.

    The start is the minimum norm solution: near zero a ratio of norms, which does not know the scale, would
    swamp the data.
    """
    import torch

    from overt.penalties import VectorPenalty
    from overt.studies.shared.penalized import Coordinates
    from overt.studies.shared.stationarity import relative_gradient
    from overt.studies.woodworth2020.bias import minimum_norm
    from overt.training import Stopping, train

    model = Coordinates(torch.from_numpy(minimum_norm(problem.X.numpy(), problem.y.numpy())))
    p, q = PENALTIES.get(config.method, (1.0, None))
    penalty = VectorPenalty(model, p, q, weight=config.weight) if config.weight > 0 else None
    result = train(
        model,
        problem,
        optimizer="adam",
        lr=config.lr,
        penalty=penalty,
        max_steps=config.max_steps,
        tolerance=1e-14,
        stopping=Stopping(stall_steps=config.max_steps),
        lr_schedule=lambda step: max(0.0, 1 - step / config.max_steps),
        checkpoint=context.directory / "run.safetensors",
    )
    extra = None if penalty is None else penalty.penalty
    left = relative_gradient(
        result.W,
        problem.loss,
        extra,
        unit=float(problem.y.square().mean()),
        negligible=config.threshold,
    )
    return result, {"relative_gradient": left}


def _refit(w: Tensor, problem: RegressionProblem, threshold: float) -> Tensor:
    """Least squares on the coordinates that are left; w itself where they are more than the samples."""
    import torch

    from overt.linalg.decompositions import least_squares

    kept = (w.abs() > threshold * w.abs().max()).nonzero()[:, 0]
    if len(kept) > problem.n_observed:
        return w
    refitted = torch.zeros_like(w)
    refitted[kept] = least_squares(problem.X[:, kept], problem.y)
    return refitted
