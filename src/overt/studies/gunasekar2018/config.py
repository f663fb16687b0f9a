"""The settings of one run, and the runs of each preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName

Group = Literal[
    "classify",  # G1–G3: networks on separable data
    "regress",  # G4: networks on under-determined regression
    "explicit",  # G5: classification with a Fourier penalty at depth 1
    "explicit_regress",  # G5: regression with it
]
Architecture = Literal["full", "convolution"]
Loss = Literal["exponential", "logistic"]
Runs = Iterator["GunasekarConfig"]


class GunasekarConfig(StudyConfig):
    """One run: data, an architecture or a penalty, and a seed for data and initialization.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    n, n_observed : int
        Length of the signals and number of samples, which is smaller.
    frequencies : int
        Active frequencies of the regression's truth.
    architecture, depth, init_scale : str, int, float
        ``full`` (fully connected, width n) or ``convolution`` (full-width circular filters).
    loss : str
        Of classification: ``exponential`` or ``logistic``.
    p, weight : float
        The explicit penalty weight × ‖ŵ‖_p^p in the Fourier domain.
    optimizer, lr, max_steps : str, float, int
        For networks on separable data ``lr`` is the growth of the vector's norm in a step: steps have
        length ∝ (1 + t/100)^{−(L−1)/L}, which lets the margin grow linearly at every depth L.
    """

    group: Group
    n: int = Field(default=20, ge=4)
    n_observed: int = Field(default=8, ge=1)
    frequencies: int = Field(default=2, ge=1)
    architecture: Architecture = "convolution"
    depth: int = Field(default=2, ge=1)
    init_scale: float = Field(default=0.1, gt=0)
    loss: Loss = "exponential"
    p: float = Field(default=1.0, gt=0)
    weight: float = Field(default=0.0, ge=0)
    optimizer: OptimizerName = "grouprmsprop"
    lr: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=8_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> GunasekarConfig:
        check_integer(self.n_observed, "n_observed", most=self.n - 1, remedy="give fewer samples than n")
        check_integer(self.frequencies, "frequencies", most=self.n // 2, remedy="n/2 is the most")
        return self


def plan(preset: str, seed: int) -> list[GunasekarConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 10))
    parts = [classify(quick, seeds), regress(quick, seeds), explicit(seeds)]
    return [run for part in parts for run in part]


def classify(quick: bool, seeds: range) -> Runs:
    """G1–G3; step size and budget are from a pilot on two instances."""
    steps = 4_000 if quick else 12_000
    networks: tuple[tuple[Architecture, int], ...] = (
        ("convolution", 3),
        ("convolution", 2),
        ("full", 3),
        ("full", 2),
    )
    losses: tuple[Loss, ...] = ("exponential",) if quick else ("exponential", "logistic")
    for architecture, depth in networks:
        for loss in losses:
            for seed in seeds:
                yield GunasekarConfig(
                    group="classify",
                    architecture=architecture,
                    depth=depth,
                    loss=loss,
                    max_steps=steps,
                    seed=seed,
                )


def regress(quick: bool, seeds: range) -> Runs:
    """G4; both architectures from a small initialization, and convolution from larger ones too.

    Three layers take longest from there: with 10 000 steps a full run ended before they fitted the data.
    """
    networks: tuple[tuple[Architecture, int], ...] = (("convolution", 3), ("convolution", 2), ("full", 2))
    for architecture, depth in networks:
        for scale in (1e-6,) if quick or architecture == "full" else (1e-6, 1e-3, 1.0):
            slow = depth == 3 and scale == 1e-6
            steps = 5_000 if quick else 40_000 if slow else 10_000
            for seed in seeds:
                yield GunasekarConfig(
                    group="regress",
                    architecture=architecture,
                    depth=depth,
                    init_scale=scale,
                    n=32,
                    n_observed=16,
                    optimizer="gd",
                    lr=2e-2,
                    max_steps=steps,
                    seed=seed,
                )


def explicit(seeds: range) -> Runs:
    """G5: one weight and rate for all."""
    for p in (1.0, 2 / 3):
        for seed in seeds:
            yield GunasekarConfig(
                group="explicit",
                depth=1,
                p=p,
                weight=1e-3,
                optimizer="adam",
                lr=1e-2,
                max_steps=3_000,
                seed=seed,
            )
            yield GunasekarConfig(
                group="explicit_regress",
                depth=1,
                p=p,
                weight=1e-3,
                optimizer="adam",
                lr=1e-2,
                n=32,
                n_observed=16,
                max_steps=3_000,
                seed=seed,
            )
