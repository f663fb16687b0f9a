"""The settings of one run of the study of Li, Luo & Lyu (2021)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_number
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName, check_instance


class Li2021Config(StudyConfig):
    """One run: a gradient flow from a small start, or the explicit penalty at one weight.

    Attributes
    ----------
    group : str
        ``flow`` (L1–L3) or ``path`` (L4).
    n, rank, n_observed : int
        Of the completion of an n×n matrix.
    condition_number : float
        The true singular values are a geometric sequence from this to 1; 0 for a product of two Gaussian
        factors, whose values are close to each other: a flow from 1e-14 is then still far from the limit.
    depth, init, init_scale
        Layers, how they start, and the standard deviation of the product's entries at the start.
    until : float
        A flow ends at a loss of ``until`` × the initial one.
    rtol : float
        Relative tolerance of the flow's solver.
    max_steps : int
        Steps of the solver, or of the optimizer on the path.
    near : float
        The loss counts as on a plateau within this relative distance of a critical point's loss.
    epsilon : float
        Size of a new direction in the greedy algorithm.
    functional, weights, optimizer, lr
        Of the explicit penalty at depth 1: trained at one weight after another, the smallest first, with a
        learning rate that falls to a thousandth at each.
    """

    group: Literal["flow", "path"]
    n: int = Field(default=20, ge=2)
    rank: int = Field(default=3, ge=2)
    n_observed: int = Field(default=240, ge=1)
    condition_number: float = Field(default=9.0, ge=0)
    depth: int = Field(default=2, ge=1)
    init: Literal["gaussian", "orthogonal", "identity", "balanced"] = "balanced"
    init_scale: float = Field(default=1e-3, gt=0)
    until: float = Field(default=1e-6, gt=0, lt=1)
    rtol: float = Field(default=1e-9, gt=0, lt=1)
    max_steps: int = Field(default=20_000, ge=1)
    near: float = Field(default=0.05, gt=0, lt=1)
    epsilon: float = Field(default=1e-6, gt=0, lt=1)
    functional: str = "normalized_nuclear_norm"
    weights: tuple[float, ...] = ()
    optimizer: OptimizerName = "adam"
    lr: float = Field(default=1e-2, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Li2021Config:
        check_instance(self.n, self.rank, self.n_observed)
        if self.group == "path" and not self.weights:
            raise ValueError("weights must hold at least one weight in the group path, got none")
        for number, weight in enumerate(self.weights):
            check_number(weight, f"weights[{number}]", above=0)
        return self
