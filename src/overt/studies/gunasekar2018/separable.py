"""Separable data: which margin networks maximize, and the explicit penalty in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below, between
from overt.studies.claims.vocabulary import ended
from overt.studies.part import Grid, Part
from overt.studies.paths import Curve, Paths
from overt.studies.plots import Dots, Panel

if TYPE_CHECKING:
    from overt.studies.gunasekar2018.classification import SeparableProblem
    from overt.training import TrainResult

PAPER = "Gunasekar, Lee, Soudry & Srebro 2018, arXiv 1806.00468"
OWN = "Own hypothesis, in the sense of Zhao 2022"
EARLY = 30.0  # a margin at which a network has separated the data: a loss of 1e-13
STILL = 5e-2  # of the gradient of the whole objective: a twentieth of the penalty's, the size of the bars
WARMUP = 100  # steps over which the first step length is kept

NETWORKS: dict[str, tuple[str, int]] = {
    "convolution, depth 3": ("convolution", 3),
    "convolution, depth 2": ("convolution", 2),
    "full, depth 3": ("full", 3),
    "full, depth 2": ("full", 2),
}
PENALTIES = {"penalty p = 1": 1.0, "penalty p = ⅔": 2 / 3, "weight 0": 1.0}
Arm = Literal[
    "convolution, depth 3",
    "convolution, depth 2",
    "full, depth 3",
    "full, depth 2",
    "penalty p = 1",
    "penalty p = ⅔",
    "weight 0",
]


def predicted(arm: str) -> float:
    """The exponent that theory predicts: 2/L for convolution, 2 for full connection."""
    architecture, depth = NETWORKS[arm]
    return 2 / depth if architecture == "convolution" else 2.0


def off(run: Run) -> float:
    """How far the measured exponent is from the predicted one."""
    return abs(float(run.records[0]["exponent"]) - predicted(run.config["arm"]))


def off_early(run: Run) -> float:
    """How far the measured exponent was from the predicted one at a margin of 30."""
    return abs(float(run.records[0]["early_exponent"]) - predicted(run.config["arm"]))


class SeparableConfig(StudyConfig):
    """One run: Gaussian samples with random labels, and a network or a penalty.

    Attributes
    ----------
    n, n_observed : int
        Length of the signals and number of samples, which is smaller.
    arm : str
        A network: fully connected of width n, or of full-width circular filters. Or Adam on the vector
        itself, squared hinge loss, from the ℓ2 solution with Σ|ŵ|ᵖ (ŵ in the Fourier domain), or without.
    loss : str
        Of networks.
    init_scale : float
        Of networks.
    weight : float
        Of the penalty.
    lr : float
        For networks the growth of the vector's norm in a step: steps have length ∝ (1 + t/100)^{−(L−1)/L},
        which lets the margin grow linearly at every depth L. For Adam its rate, which falls to zero.
    max_steps : int
    """

    part: Literal["separable"] = "separable"
    n: int = Field(default=20, ge=4)
    n_observed: int = Field(default=8, ge=1)
    arm: Arm = "convolution, depth 2"
    loss: Literal["exponential", "logistic"] = "exponential"
    init_scale: float = Field(default=0.1, gt=0)
    weight: float = Field(default=0.0, ge=0)
    lr: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=12_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> SeparableConfig:
        check_integer(self.n_observed, "n_observed", most=self.n - 1, remedy="give fewer samples than n")
        return self


def _grids(seeds: int, steps: int, losses: tuple[str, ...]) -> list[Grid]:
    penalized = tuple({"arm": name, "weight": 0.0 if name == "weight 0" else 1e-3} for name in PENALTIES)
    return [
        Grid(seeds, arm=tuple(NETWORKS), loss=losses, max_steps=steps),
        Grid(seeds, settings=penalized, lr=1e-2, max_steps=steps),
    ]


EXPONENT = Median("exponent", "measured exponent", {"loss": "exponential"}, each=("arm",))
EXCESS = Median("l1_excess", "excess of ‖ŵ‖₁ per margin over its minimum", {"loss": "exponential"})
CONVOLUTIONS = ("convolution, depth 2", "convolution, depth 3")
FULL = ("full, depth 2", "full, depth 3")


class Separable(Part[SeparableConfig]):
    """Which margin does a linear network maximize on separable data?"""

    config = SeparableConfig
    grids = {
        "quick": _grids(6, 8_000, ("exponential",)),
        "full": _grids(20, 12_000, ("exponential", "logistic")),
    }
    claims = (
        Claim(
            "C1",
            "Fully connected networks find the ℓ2 margin",
            "On separable data gradient descent on a linear fully connected network of any depth converges "
            "in direction to the hard-margin support vector machine.",
            f"{PAPER}, theorem 1",
            Rule(
                below(
                    Median(
                        "angle_l2",
                        "angle to the ℓ2 margin's direction, in degrees",
                        {"loss": "exponential", "arm": FULL},
                        each=("arm",),
                    ),
                    5,
                ),
                below(
                    Median(
                        "l2_excess",
                        "excess of ‖w‖₂ per margin over its minimum",
                        {"loss": "exponential", "arm": FULL},
                        each=("arm",),
                    ),
                    0.01,
                ),
            ),
        ),
        Claim(
            "C2",
            "Convolution of depth 2 goes to the Fourier ℓ1 margin",
            "On separable data gradient descent on a full-width linear convolutional network of depth 2 "
            "converges in direction to the solution of minimum ‖ŵ‖₁ (Fourier domain) of margin one. "
            "Coordinates that the solution does not use fall only as a power of the margin, so the excess of "
            "‖ŵ‖₁ per margin falls as slowly as 1/log of it: it must be small beside the ℓ2 solution's, and "
            "falling.",
            f"{PAPER}, theorem 2 with L = 2, where the stationary point is the minimum",
            Rule(
                below(
                    Ratio(
                        "l1_excess",
                        "excess of ‖ŵ‖₁ per margin / that of the ℓ2 solution",
                        {"loss": "exponential", "arm": "convolution, depth 2"},
                        baseline="l2_solution_l1_excess",
                    ),
                    0.5,
                ),
                below(
                    Ratio(
                        "l1_excess",
                        "excess of ‖ŵ‖₁ per margin at the end / at a margin of 30",
                        {"loss": "exponential", "arm": "convolution, depth 2"},
                        baseline="early_l1_excess",
                    ),
                    1,
                ),
            ),
        ),
        Claim(
            "C3",
            "The exponent is 2/L",
            "With depth L the limit is a first-order stationary point of the bridge penalty ℓp, p = 2/L, in "
            "the Fourier domain; for fully connected networks it is that of ℓ2 at every depth. The exponent "
            "is the p for which the trained direction is closest to stationary (Karush, Kuhn and Tucker, "
            "multipliers by non-negative least squares).",
            f"{PAPER}, theorems 1 and 2",
            Rule(
                *(
                    between(EXPONENT.at(arm=arm), predicted(arm) - 0.25, predicted(arm) + 0.25)
                    for arm in NETWORKS
                ),
                below(
                    Median(
                        "residual",
                        "residual of the conditions at p = 2/L",
                        {"loss": "exponential", "arm": CONVOLUTIONS},
                        each=("arm",),
                    ),
                    0.1,
                ),
            ),
        ),
        Claim(
            "C6",
            "At depth 3 the exponent is still on its way to 2/L",
            "The limit is approached like 1/log of the margin: at depth 3 the measured exponent is nearer to "
            "⅔ at the end than at a margin of 30.",
            "Own hypothesis",
            Rule(
                below(
                    Ratio(
                        off,
                        "distance of the exponent from 2/L at the end / at a margin of 30",
                        {"loss": "exponential", "arm": "convolution, depth 3"},
                        baseline=off_early,
                        least=0.01,
                    ),
                    1,
                )
            ),
            kind="own",
        ),
        Claim(
            "C5",
            "An explicit Fourier penalty finds the margin that convolution goes to",
            "Σ|ŵ|ᵖ as an explicit penalty on w itself does what the architecture does: with p = 1 ‖ŵ‖₁ per "
            "margin is at most 5 % above its minimum, with p = ⅔ ‖ŵ‖⅔ per margin is at most 5 % above that "
            "of the depth-3 network; at weight zero the same steps stay above.",
            OWN,
            Rule(
                below(EXCESS.at(arm="penalty p = 1"), 0.05),
                below(
                    Ratio(
                        "bridge",
                        "‖ŵ‖⅔ per margin",
                        {"loss": "exponential"},
                        of_={"arm": "penalty p = ⅔"},
                        over={"arm": "convolution, depth 3"},
                    ),
                    1.05,
                ),
                below(
                    Ratio(
                        "l1_excess",
                        "excess of ‖ŵ‖₁ per margin",
                        {"loss": "exponential"},
                        of_={"arm": "penalty p = 1"},
                        over={"arm": "weight 0"},
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
    )
    figures = (
        Paths(
            "margins",
            "Norms per margin while the margin grows",
            (
                Curve("l1_excess", "excess of the Fourier ℓ1 norm", {"loss": "exponential"}, log=True),
                Curve("l2_excess", "excess of the ℓ2 norm", {"loss": "exponential"}, log=True),
            ),
            x="margin",
            by="arm",
            claim="C2",
            caption="How far a norm of the trained vector per margin is above the least that any separating "
            "vector has. Convolution goes to the least Fourier ℓ1 norm or beyond it to a sparser one, full "
            "connection to the least ℓ2.",
        ),
        Dots(
            "exponents",
            "The measured exponent of the bridge penalty",
            (Panel(EXPONENT.at(arm=tuple(NETWORKS)), "exponential loss", limits=(0.3, 2.4)),),
            claim="C3",
            caption="The p for which the trained direction is closest to a first-order stationary point of "
            "the norm ℓp in the Fourier domain. Predicted: 2/L for convolution, 2 for full connection.",
            rows=("arm",),
        ),
        Dots(
            "penalty-margin",
            "A Fourier penalty in the place of the architecture",
            (Panel(EXCESS, "separable data", log=True),),
            claim="C5",
            rows=("arm",),
        ),
    )

    def execute(self, config: SeparableConfig, context: RunContext) -> RunOutput:
        """Train, and compare with the margins' solutions."""
        import numpy as np

        from overt.studies.gunasekar2018.classification import SeparableProblem, separable
        from overt.studies.gunasekar2018.references import References
        from overt.studies.shared.training_runs import how

        data = separable(config.n, config.n_observed, config.seed, config.loss)
        if config.arm in NETWORKS:
            references = References(data)
            result, path, early = _trained(config, data, references, context)
            p = predicted(config.arm)
        else:
            references, p = References(data), PENALTIES[config.arm]
            hinge = SeparableProblem(data.X, data.y, "squared_hinge")
            result, early = _penalized(config, hinge, references, p)
            path = []
        w = result.W.numpy()
        record = how(result) | references.compare(w) | references.stationary(w, p) | early
        seen = np.array(path, dtype=np.float64).reshape(-1, 3).T
        return RunOutput([record], dict(zip(("margin", "l1_excess", "l2_excess"), seen, strict=True)))

    def ended(self, run: Run) -> bool:
        """Whether a network has a margin of 30, or a penalized run is stationary."""
        if run.config["arm"] in NETWORKS:
            return bool(run.records[0]["status"] == "diverged" or run.records[0]["margin"] >= EARLY)
        return ended(run, STILL)


def _trained(
    config: SeparableConfig, problem: SeparableProblem, references: Any, context: RunContext
) -> tuple[TrainResult, list[tuple[float, float, float]], dict[str, Any]]:
    """A network, as far as the budget takes it; margin and excesses on the way, its state at margin 30."""
    import numpy as np

    from overt.studies.gunasekar2018.classification import network
    from overt.training import State, train

    path: list[tuple[float, float, float]] = []
    early: dict[str, Any] = {"early_l1_excess": None, "early_exponent": None}
    wanted = set(np.unique(np.geomspace(25, config.max_steps, 40).astype(int) // 25 * 25).tolist())

    def watch(state: State) -> None:
        if state.step not in wanted:
            return
        w = state.W.numpy()
        row = references.compare(w)
        path.append((row["margin"], row["l1_excess"], row["l2_excess"]))
        if row["margin"] >= EARLY and early["early_exponent"] is None:
            early["early_l1_excess"] = row["l1_excess"]
            early["early_exponent"] = references.stationary(w, 1.0)["exponent"]
        context.progress(f"step {state.step}, margin {row['margin']:.3g}")

    architecture, depth = NETWORKS[config.arm]
    result = train(
        network(architecture, config.n, depth, config.init_scale, config.seed),
        problem,
        optimizer="grouprmsprop",
        lr=(config.lr * WARMUP) ** (1 / depth) / (depth * WARMUP),
        lr_schedule=lambda step: float((1 + step / WARMUP) ** (1 / depth - 1)),
        max_steps=config.max_steps,
        tolerance=0.0,
        callback=watch,
    )
    return result, path, early


def _penalized(
    config: SeparableConfig, problem: SeparableProblem, references: Any, p: float
) -> tuple[TrainResult, dict[str, Any]]:
    import torch

    from overt.studies.gunasekar2018.classification import penalized

    start = torch.from_numpy(references.l2.copy())
    return penalized(start, problem, p, config.weight, config.lr, config.max_steps, unit=1.0)
