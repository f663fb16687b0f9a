"""The settings of one run, and the runs of each preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName

Group = Literal[
    "minimum",  # W1: gradient descent on w itself, from zero
    "scale",  # W2–W5: depth × initial weight α, enough samples for ℓ1
    "few",  # W6: depth from a small α, too few samples for ℓ1
    "explicit",  # W7: penalties in the place of depth, enough samples and too few
]
Runs = Iterator["WoodworthConfig"]

ALPHAS = {2: (1e-4, 1e-2, 1e-1, 1.0, 3.0), 3: (1e-2, 1e-1, 0.3, 1.0, 3.0), 4: (3e-2, 1e-1, 0.3, 1.0, 3.0)}
QUICK_ALPHAS = {2: (1e-4, 1e-1, 3.0), 3: (1e-2, 1e-1, 3.0), 4: (3e-2, 3.0)}
FEW = 20
ENOUGH = 40


class WoodworthConfig(StudyConfig):
    """One run: a regression problem, a parametrization or penalty, and a seed for the data.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    n, n_observed, nonzeros : int
        Number of unknowns, of samples, and of non-zero coordinates of the truth (0: dense).
    depth, alpha : int, float
        w = u^D − v^D with every coordinate of u and v at α at the start; depth 1 is w itself, from zero.
    p, q : float, float or None
        The explicit penalty ‖w‖_p / ‖w‖_q, or ‖w‖_p^p where q is None.
    weight : float
        Of the penalty.
    threshold : float
        Coordinates above this part of the largest one are kept at the end of a penalized run.
    optimizer, lr, max_steps : str, float, int
        With ``gd``, ``lr`` of unpenalized runs is divided by D² max(1, α)^{2D−2}, the size of the curvature.
        With ``grouprmsprop``, gradient descent at unit speed, it is the length of a step, which falls by four
        decades over the second half of the run.
    """

    group: Group
    n: int = Field(default=100, ge=2)
    n_observed: int = Field(default=ENOUGH, ge=1)
    nonzeros: int = Field(default=5, ge=0)
    depth: int = Field(default=1, ge=1)
    alpha: float = Field(default=0.1, gt=0)
    p: float = Field(default=1.0, gt=0)
    q: float | None = None
    weight: float = Field(default=0.0, ge=0)
    threshold: float = Field(default=0.05, ge=0, lt=1)
    optimizer: OptimizerName = "gd"
    lr: float = Field(default=5e-2, gt=0)
    max_steps: int = Field(default=15_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> WoodworthConfig:
        check_integer(self.n_observed, "n_observed", most=self.n - 1, remedy="give fewer samples than n")
        check_integer(self.nonzeros, "nonzeros", most=self.n)
        return self


def plan(preset: str, seed: int) -> list[WoodworthConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 10))
    parts = [few(quick, seeds), scale(quick, seeds), explicit(quick, seeds), minimum(seeds)]
    return [run for part in parts for run in part]


def pace(depth: int, alpha: float, quick: bool) -> dict[str, Any]:
    """Optimizer, rate and budget, from a pilot on one instance.

    Plain gradient descent spends its time on the plateau near zero, which is as long as α^{2−D}; at unit
    speed it follows the same flow across it. Where α is not small a unit step is too long beside the weights.
    """
    if alpha <= (0.01 if depth == 2 else 0.1):
        return {"optimizer": "grouprmsprop", "lr": 1e-2, "max_steps": 5_000 if quick else 8_000}
    return {"optimizer": "gd", "lr": 5e-2, "max_steps": 15_000}


def minimum(seeds: range) -> Runs:
    """W1: a dense and a sparse truth."""
    for nonzeros in (0, 5):
        for seed in seeds:
            yield WoodworthConfig(group="minimum", nonzeros=nonzeros, max_steps=10_000, seed=seed)


def scale(quick: bool, seeds: range) -> Runs:
    """W2–W5."""
    for depth, alphas in sorted((QUICK_ALPHAS if quick else ALPHAS).items(), reverse=True):
        for alpha in alphas:
            for seed in seeds:
                yield WoodworthConfig(
                    group="scale", depth=depth, alpha=alpha, seed=seed, **pace(depth, alpha, quick)
                )


def few(quick: bool, seeds: range) -> Runs:
    """W6: too few samples for ℓ1."""
    for depth, alpha in ((4, 3e-2), (3, 1e-2)):
        for seed in seeds:
            settings = pace(depth, alpha, quick) | {"max_steps": 5_000 if quick else 16_000}
            yield WoodworthConfig(
                group="few", n_observed=FEW, depth=depth, alpha=alpha, seed=seed, **settings
            )


def explicit(quick: bool, seeds: range) -> Runs:
    """W7. Rate and weight are from a pilot on three instances, one setting for all penalties."""
    for count in (ENOUGH, FEW):
        for p, q in ((1.0, None), (2 / 3, None), (0.5, None), (1.0, 2.0)):
            for seed in seeds:
                yield WoodworthConfig(
                    group="explicit",
                    n_observed=count,
                    p=p,
                    q=q,
                    weight=1e-2,
                    optimizer="adam",
                    lr=1e-2,
                    max_steps=2_000 if quick else 3_000,
                    seed=seed,
                )
