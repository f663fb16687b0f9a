"""Under-determined regression: which interpolating solution networks find, and the penalty in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import ended, fitted
from overt.studies.gunasekar2018.separable import NETWORKS, OWN, PENALTIES, STILL
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Lines, Panel

if TYPE_CHECKING:
    from overt.problems import RegressionProblem

YUN = "Yun, Krishnan & Mobahi 2021, arXiv 2010.02501 (underdetermined regression)"
FIT = 1e-6  # a relative loss: residuals of 1e-3, a fiftieth of the bars
SMALL = 1e-6  # the initialization that stands for an infinitesimal one
CONVOLUTIONS = ("convolution, depth 2", "convolution, depth 3")


class RegressionConfig(StudyConfig):
    """One run: a signal with a few active frequencies, and a network or a penalty.

    Attributes
    ----------
    n, n_observed, frequencies : int
        Length of the signal, number of Gaussian samples of it, and of its active frequencies.
    arm : str
        As in the part on separable data; fully connected at depth 2 only.
    init_scale : float
        Of networks. From up to 1e-3 gradient descent takes steps of one length, which cross the plateau near
        zero; their length falls by four decades over the second half of the run.
    weight, lr, max_steps
        Of the penalty, and of the training.
    """

    part: Literal["regression"] = "regression"
    n: int = Field(default=32, ge=4)
    n_observed: int = Field(default=16, ge=1)
    frequencies: int = Field(default=2, ge=1)
    arm: Literal[
        "convolution, depth 3",
        "convolution, depth 2",
        "full, depth 2",
        "penalty p = 1",
        "penalty p = ⅔",
        "weight 0",
    ] = "convolution, depth 2"
    init_scale: float = Field(default=SMALL, gt=0)
    weight: float = Field(default=0.0, ge=0)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=10_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> RegressionConfig:
        check_integer(self.n_observed, "n_observed", most=self.n - 1, remedy="give fewer samples than n")
        check_integer(self.frequencies, "frequencies", most=self.n // 2, remedy="n/2 is the most")
        return self


def _grids(seeds: int, steps: int, scales: tuple[float, ...]) -> list[Grid]:
    penalized = tuple({"arm": name, "weight": 0.0 if name == "weight 0" else 1e-3} for name in PENALTIES)
    return [
        Grid(seeds, arm=CONVOLUTIONS[::-1], init_scale=scales, max_steps=steps),
        Grid(seeds, arm="full, depth 2", max_steps=steps),
        Grid(seeds, settings=penalized, max_steps=steps),
    ]


EXCESS = Median("l1_excess", "excess of ‖ŵ‖₁ over its minimum", {"init_scale": SMALL}, each=("arm",))


class Regression(Part[RegressionConfig]):
    """Which interpolating solution does a linear network find from small weights?"""

    config = RegressionConfig
    grids = {"quick": _grids(6, 8_000, (SMALL,)), "full": _grids(20, 16_000, (SMALL, 1e-3, 0.3))}
    claims = (
        Claim(
            "C4",
            "In regression convolution finds the Fourier ℓ1 solution at every depth",
            "On under-determined regression from small initialization convolutional networks of depth 2 and "
            "3 come to the minimum of ‖ŵ‖₁, not of the quasi-norm ℓp, p = 2/L, that separable data would "
            "give, and fully connected networks to the minimum ‖w‖₂, whose ‖ŵ‖₁ is far above.",
            YUN,
            Rule(
                below(
                    Median(
                        "to_l2",
                        "distance to the minimum ℓ2 norm",
                        {"init_scale": SMALL, "arm": "full, depth 2"},
                    ),
                    0.05,
                ),
                below(EXCESS.at(arm=CONVOLUTIONS), 0.05),
                above(
                    Median(
                        "l2_solution_l1_excess",
                        "excess of ‖ŵ‖₁ of the minimum ℓ2 norm",
                        {"init_scale": SMALL, "arm": "full, depth 2"},
                    ),
                    0.15,
                ),
            ),
        ),
        Claim(
            "C7",
            "An explicit Fourier penalty finds the solution that convolution goes to",
            "In regression, too, ‖ŵ‖₁ as an explicit penalty on w itself comes within 5 % of the least ‖ŵ‖₁, "
            "and at weight zero the same steps stay above.",
            OWN,
            Rule(
                below(EXCESS.at(arm="penalty p = 1"), 0.05),
                below(
                    Ratio(
                        "l1_excess",
                        "excess of ‖ŵ‖₁",
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
        Dots(
            "solutions",
            "Regression: the Fourier ℓ1 norm of the solution",
            (
                Panel(EXCESS, "excess of ‖ŵ‖₁", log=True, reference=(0.05, "bar of C4")),
                Panel(Median("error", "relative error", {"init_scale": SMALL}), log=True),
            ),
            claim="C4",
            rows=("arm",),
        ),
        Lines(
            "initial-scale",
            "Regression over the size of the initial weights",
            (
                Panel(Median("l1_excess", "excess of ‖ŵ‖₁", {"arm": CONVOLUTIONS}), log=True),
                Panel(Median("exponent", "measured exponent", {"arm": CONVOLUTIONS})),
            ),
            claim="C4",
            x="init_scale",
            by="arm",
            log_x=True,
        ),
    )

    def execute(self, config: RegressionConfig, context: RunContext) -> RunOutput:
        """Train, and compare with the minimum norms."""
        import numpy as np
        import torch

        from overt.studies.gunasekar2018 import margins as mg
        from overt.studies.gunasekar2018.classification import network, penalized
        from overt.studies.shared.training_runs import how
        from overt.training import train

        context.progress(f"regression, {config.arm}")
        problem = signals(config)
        X, y = problem.X.numpy(), problem.y.numpy()
        short = X.T @ np.linalg.solve(X @ X.T, y)
        sparse, gap = mg.l1_interpolator(X, y)
        extra: dict[str, Any] = {}
        if config.arm in NETWORKS:
            architecture, depth = NETWORKS[config.arm]
            unit_speed, half = config.init_scale <= 1e-3, config.max_steps / 2
            result = train(
                network(architecture, config.n, depth, config.init_scale, config.seed),
                problem,
                optimizer="grouprmsprop" if unit_speed else "gd",
                lr=config.lr
                if unit_speed
                else config.lr / 2 / max(1.0, config.init_scale) ** (2 - 2 / depth),
                lr_schedule=(lambda step: float(10.0 ** (-4 * max(0.0, step / half - 1))))
                if unit_speed
                else None,
                max_steps=config.max_steps,
                tolerance=1e-14,
                checkpoint=context.directory / "run.safetensors",
            )
        else:
            start, unit = torch.from_numpy(short.copy()), float(problem.y.square().mean())
            p = PENALTIES[config.arm]
            result, extra = penalized(
                start, problem, p, config.weight, config.lr, config.max_steps, unit=unit
            )
        w = result.W.numpy()
        exact = w + X.T @ np.linalg.solve(X @ X.T, y - X @ w)  # norms are compared among exact solutions
        best = mg.fourier_norm(sparse, 1.0)
        record = how(result) | {
            "error": problem.error(torch.from_numpy(exact)),
            "loss": float(problem.loss(result.W)) / float(problem.y.square().mean()),
            "to_l2": float(np.linalg.norm(exact - short) / np.linalg.norm(short)),
            "to_l1": float(np.linalg.norm(exact - sparse) / np.linalg.norm(sparse)),
            "l1_excess": mg.fourier_norm(exact, 1.0) / best - 1,
            "l2_solution_l1_excess": mg.fourier_norm(short, 1.0) / best - 1,
            "exponent": mg.best_exponent(exact, X, inequality=False),
            "dual_gap": gap,
        }
        return RunOutput([record | extra])

    def ended(self, run: Run) -> bool:
        """Whether a network has fitted the data, or the penalized run is stationary."""
        return fitted(run, FIT) if run.config["arm"] in NETWORKS else ended(run, STILL)


def signals(config: RegressionConfig) -> RegressionProblem:
    """A signal with a few active frequencies, seen through Gaussian samples."""
    import math

    import torch

    from overt.problems import RegressionProblem

    generator = torch.Generator().manual_seed(config.seed)
    X = torch.randn(config.n_observed, config.n, generator=generator, dtype=torch.float64)
    spectrum = torch.zeros(config.n // 2 + 1, dtype=torch.complex128)
    places = 1 + torch.randperm(config.n // 2 - 1, generator=generator)[: config.frequencies]
    phases = 2 * math.pi * torch.rand(len(places), generator=generator, dtype=torch.float64)
    spectrum[places] = torch.polar(torch.ones_like(phases), phases)
    truth = torch.fft.irfft(spectrum, n=config.n)
    truth = truth / torch.linalg.vector_norm(truth)
    return RegressionProblem(X, X @ truth, truth=truth)
