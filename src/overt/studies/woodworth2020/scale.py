"""Depth and the size of the initial weights: from the kernel to the rich regime."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import fitted
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

PAPER = "Woodworth et al. 2020, arXiv 2002.09277"
ALPHAS = {2: (1e-4, 1e-2, 1e-1, 1.0, 3.0), 3: (1e-2, 1e-1, 0.3, 1.0, 3.0), 4: (3e-2, 1e-1, 0.3, 1.0, 3.0)}
SMALLEST = {2: 1e-4, 3: 1e-2, 4: 3e-2}
FIT = 1e-6  # a relative loss at which the data are fitted: residuals of 1e-3, a twentieth of the finest bar
ACCURACY = 1e-3  # of an excess of a norm, which the fit limits

TO_Q = Median("to_prediction", "relative distance to the minimizer of Q_α", each=("depth", "alpha"))
TO_L2 = Median("to_l2", "relative distance to the minimum ℓ2 norm", each=("depth", "alpha"))
EXCESS = Median("l1_excess", "excess of ‖w‖₁ over its minimum", each=("depth", "alpha"))


def nearer_of_the_norms(run: Run) -> float:
    """The distance to the nearer of the ℓ1 and ℓ2 minimizers over that to the minimizer of Q_α."""
    record = run.records[0]
    return float(min(record["to_l1"], record["to_l2"]) / record["to_prediction"])


class ScaleConfig(StudyConfig):
    """One network: w = u^D − v^D with u = v = ``alpha`` at the start, D the ``depth``."""

    part: Literal["scale"] = "scale"
    n: int = Field(default=100, ge=2)
    n_observed: int = Field(default=40, ge=1)
    nonzeros: int = Field(default=5, ge=0)
    depth: int = Field(default=2, ge=2)
    alpha: float = Field(default=0.1, gt=0)
    max_steps: int = Field(default=15_000, ge=1)


class Scale(Part[ScaleConfig]):
    """Which solution does a network find, by its depth and the size of its initial weights?"""

    config = ScaleConfig
    grids = {
        "quick": [Grid(6, depth=d, alpha=(SMALLEST[d], 0.1, 3.0), max_steps=8_000) for d in (4, 3, 2)],
        "full": [Grid(10, depth=d, alpha=ALPHAS[d]) for d in (4, 3, 2)],
    }
    claims = (
        Claim(
            "W2",
            "Depth 2 minimizes Q_α",
            "For w = u² − v² with u = v = α at the start, gradient flow converges to the interpolating "
            "solution of minimum Q_α(w) = α² Σ q(w_i/α²) with q(z) = 2 − √(4 + z²) + z·arcsinh(z/2).",
            f"{PAPER}, theorem 1",
            Rule(
                below(TO_Q.at(depth=2), 0.02),
                above(
                    Median(
                        nearer_of_the_norms,
                        "distance to the nearer of the ℓ1 and ℓ2 minimizers / distance to that of Q_α",
                        {"depth": 2, "alpha": 0.1},
                    ),
                    10,
                    refuted=1,
                ),
            ),
        ),
        Claim(
            "W3",
            "Depths 3 and 4 minimize Q_α of their depth",
            "For w = uᴰ − vᴰ with D > 2 the functional is αᴰ Σ q_D(w_i/αᴰ), q_D′ the inverse of h_D(z), "
            "which is 1 − z less 1 + z, each raised to the power −D/(D−2).",
            f"{PAPER}, theorem 3",
            Rule(below(TO_Q.at(depth=(3, 4)), 0.02)),
        ),
        Claim(
            "W4",
            "Large weights give the minimum ℓ2 norm, small ones the minimum ℓ1 norm",
            "A large initialization gives the minimum ℓ2 norm (kernel regime), a small one the minimum ℓ1 "
            "norm (rich regime), at every depth of two or more.",
            f"{PAPER}, theorem 2 and its analogue for D > 2, figure 1",
            Rule(
                below(TO_L2.at(alpha=3.0), 0.1),
                *(below(EXCESS.at(depth=d, alpha=a), 0.05) for d, a in SMALLEST.items()),
            ),
        ),
        Claim(
            "W5",
            "Depth 3 enters the rich regime from larger weights than depth 2",
            "Depth 2 needs an exponentially small α to come close to the ℓ1 minimizer, depth 3 a "
            "polynomially small one: at the same α depth 3 is closer.",
            f"{PAPER}, section 5 (order of the transition for D = 2 and D > 2)",
            Rule(
                below(
                    Ratio(
                        "l1_excess",
                        "excess of ‖w‖₁",
                        {"alpha": 0.1},
                        of_={"depth": 3},
                        over={"depth": 2},
                        least=ACCURACY,
                    ),
                    0.5,
                )
            ),
        ),
    )
    figures = (
        Lines(
            "regimes",
            "From the kernel to the rich regime",
            (
                Panel(EXCESS, log=True, reference=(0.05, "bar of W4")),
                Panel(TO_L2, reference=(0.1, "bar of W4")),
            ),
            claim="W4",
            x="alpha",
            by="depth",
            log_x=True,
            x_label="initial weight α",
        ),
        Lines(
            "prediction",
            "The minimizer of Q_α is where gradient descent ends",
            (
                Panel(TO_Q, log=True, limits=(1e-9, 3.0), reference=(0.02, "bar")),
                Panel(
                    Median("to_l1", "relative distance to the minimizer of ℓ1"), log=True, limits=(1e-9, 3.0)
                ),
            ),
            claim="W2",
            x="alpha",
            by="depth",
            log_x=True,
            x_label="initial weight α",
        ),
    )

    def execute(self, config: ScaleConfig, context: RunContext) -> RunOutput:
        """Descend, and compare with what theory predicts."""
        from overt.problems import linear_regression
        from overt.studies.woodworth2020.bias import q_minimizer
        from overt.studies.woodworth2020.networks import compared, descend, distance

        problem = linear_regression(
            config.n, n_samples=config.n_observed, seed=config.seed, nonzeros=config.nonzeros or None
        )
        result = descend(problem, config.depth, config.alpha, config.max_steps, context)
        predicted = q_minimizer(problem.X.numpy(), problem.y.numpy(), config.alpha, config.depth)
        record = compared(result.W, problem, result)
        return RunOutput([record | {"to_prediction": distance(result.W.detach().numpy(), predicted)}])

    def ended(self, run: Run) -> bool:
        """Whether the data were fitted."""
        return fitted(run, FIT)
