"""The settings of one run, and the runs of each preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName

Group = Literal[
    "entry",  # R1–R3: gradient flow on the 2×2 problem
    "perturbed",  # R4: the same with an observation of ε in the place of 0
    "descent",  # R7: gradient descent on the layers, as far as it gets
    "tensor",  # R5: tensor completion by CP factorization
    "which",  # R6: which functional of a solution is the least possible one
]
Runs = Iterator["RazinConfig"]


class RazinConfig(StudyConfig):
    """One run: a problem, a model, its settings, and a seed for the data and the initialization.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    depth : int
        Number of layers of the deep linear network.
    determinant : str
        Sign of the end-to-end determinant at the start of a 2×2 run.
    init, init_scale : str, float
        How layers start (see ``overt.DeepLinear``), and the standard deviation of end-to-end entries.
    upper, lower, corner : float
        The observed entries w_12, w_21 and w_22 of the 2×2 problem.
    loss_target, max_time, rtol : float
        The gradient flow's end and accuracy.
    optimizer, lr, max_steps : str, float, int
        Of runs in discrete steps.
    order, n, rank, n_observed, components : int
        Of the tensor or matrix to be completed: its order, size of each mode, rank, number of observed
        entries, and number of components of the CP factorization.
    """

    group: Group
    depth: int = Field(default=3, ge=2)
    determinant: Literal["positive", "negative"] = "positive"
    init: Literal["balanced", "gaussian"] = "balanced"
    init_scale: float = Field(default=1e-3, gt=0)
    upper: float = 1.0
    lower: float = 1.0
    corner: float = 0.0
    loss_target: float = Field(default=5e-7, gt=0, lt=0.1)
    max_time: float = Field(default=1e14, gt=0)
    rtol: float = Field(default=1e-6, gt=0, lt=1)
    optimizer: OptimizerName = "gd"
    lr: float = Field(default=5e-2, gt=0)
    max_steps: int = Field(default=20_000, ge=1)
    order: int = Field(default=3, ge=2)
    n: int = Field(default=8, ge=2)
    rank: int = Field(default=1, ge=1)
    n_observed: int = Field(default=300, ge=1)
    components: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> RazinConfig:
        if self.group in ("tensor", "which"):
            size = self.n**self.order if self.group == "tensor" else self.n**2
            check_integer(self.n_observed, "n_observed", most=size, remedy="there are no more entries")
        return self


def plan(preset: str, seed: int) -> list[RazinConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 10))
    parts = [
        which(quick, seeds),
        entry(seeds),
        tensor(quick, seeds[:3] if quick else seeds[:5]),
        descent(quick, seeds[:5]),
        perturbed(quick, seeds),
    ]
    return [run for part in parts for run in part]


def entry(seeds: range) -> Runs:
    """R1–R3: depths 2–4, either sign of the determinant."""
    for sign in ("positive", "negative"):
        for depth in (2, 3, 4):
            for seed in seeds:
                yield RazinConfig(group="entry", depth=depth, determinant=sign, seed=seed)


def perturbed(quick: bool, seeds: range) -> Runs:
    """R4: the third observation is ε."""
    for corner in (0.1, 0.03, 0.01) if quick else (0.3, 0.1, 0.03, 0.01, 0.003):
        for depth in (2, 3, 4):
            for seed in seeds:
                yield RazinConfig(group="perturbed", depth=depth, corner=corner, loss_target=1e-9, seed=seed)


def descent(quick: bool, seeds: range) -> Runs:
    """R7: the layers themselves by gradient descent; balanced at two rates, and not balanced."""
    for depth in (3,) if quick else (2, 3, 4):
        kinds: tuple[tuple[Literal["balanced", "gaussian"], float], ...] = (
            ("balanced", 5e-2),
            ("balanced", 5e-3),
            ("gaussian", 5e-2),
        )
        for init, lr in kinds:
            for seed in seeds if lr == 5e-2 or not quick else ():
                steps = 5_000 if quick else 20_000
                yield RazinConfig(group="descent", depth=depth, init=init, lr=lr, max_steps=steps, seed=seed)


def tensor(quick: bool, seeds: range) -> Runs:
    """R5: orders 3 and 4, rank 1 and 3, over the number of observations.

    The optimizer is the authors' (gradient descent of unit-length steps); scale, rate and budget are from a
    pilot on one instance of each order.
    """
    counts = {3: (150, 300), 4: (1000,)} if quick else {3: (60, 100, 150, 300), 4: (200, 500, 1000, 2000)}
    for order, observed in counts.items():
        for count in observed:
            for rank in (1, 3):
                for scale in (1e-4,) if quick else (1e-4, 1e-1):
                    for seed in seeds if scale == 1e-4 else seeds[:3]:
                        options: dict[str, Any] = {"order": order, "rank": rank, "n_observed": count}
                        yield RazinConfig(
                            group="tensor",
                            components=64 if order == 3 else 128,
                            init_scale=scale,
                            optimizer="grouprmsprop",
                            lr=1e-2,
                            max_steps=2_000 if quick and order == 3 else 4_000,
                            seed=seed,
                            **options,
                        )


def which(quick: bool, seeds: range) -> Runs:
    """R6: 20×20 of rank 2, where many and where few entries are observed."""
    for count in (160,) if quick else (200, 160, 120):
        for seed in seeds:
            yield RazinConfig(
                group="which", n=20, rank=2, n_observed=count, lr=1.0, max_steps=10_000, seed=seed
            )
