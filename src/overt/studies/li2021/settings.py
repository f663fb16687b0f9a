"""The settings of the study's runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig
from overt.studies.fields import check_instance


class InstanceConfig(StudyConfig):
    """The completion of an n×n matrix.

    Attributes
    ----------
    condition_number : float
        The true singular values are a geometric sequence from this to 1; 0 for a product of two Gaussian
        factors, whose values are close to each other: a flow from 1e-14 is then still far from the limit.
    epsilon : float
        Size of a new direction in the greedy algorithm.
    """

    n: int = Field(default=20, ge=2)
    rank: int = Field(default=3, ge=2)
    n_observed: int = Field(default=240, ge=1)
    condition_number: float = Field(default=9.0, ge=0)
    epsilon: float = Field(default=1e-6, gt=0, lt=1)

    @model_validator(mode="after")
    def _possible(self) -> InstanceConfig:
        check_instance(self.n, self.rank, self.n_observed)
        return self


class FlowsConfig(InstanceConfig):
    """One gradient flow.

    Attributes
    ----------
    depth, init, init_scale
        Layers, how they start, and the standard deviation of the product's entries at the start.
    until : float
        The flow ends at a loss of ``until`` × the initial one.
    rtol, max_steps
        Relative tolerance of the flow's solver, and its budget.
    near : float
        The loss counts as on a plateau within this relative distance of a critical point's loss.
    """

    part: Literal["flows"] = "flows"
    depth: int = Field(default=2, ge=2)
    init: Literal["gaussian", "orthogonal", "identity", "balanced"] = "balanced"
    init_scale: float = Field(default=1e-3, gt=0)
    until: float = Field(default=1e-6, gt=0, lt=1)
    rtol: float = Field(default=1e-9, gt=0, lt=1)
    max_steps: int = Field(default=20_000, ge=1)
    near: float = Field(default=0.05, gt=0, lt=1)


class PathConfig(InstanceConfig):
    """Adam on the matrix itself with a penalty, trained at one weight after another, the smallest first.

    Attributes
    ----------
    method : str
        "path", or "weight 0": the same training once, without the penalty.
    smallest, largest, number
        The weights of the path, log-spaced.
    functional : str
        Its norm is kept from below and above, as scale-invariant functionals need.
    init_scale, lr, max_steps
        Of the training at each weight, whose rate falls to zero.
    """

    part: Literal["path"] = "path"
    method: Literal["path", "weight 0"] = "path"
    smallest: float = Field(default=3e-3, gt=0)
    largest: float = Field(default=3.0, gt=0)
    number: int = Field(default=12, ge=2)
    functional: Literal["normalized_nuclear_norm", "effective_rank"] = "normalized_nuclear_norm"
    init_scale: float = Field(default=1e-3, gt=0)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=3_000, ge=1)

    @property
    def weight(self) -> float:
        """The largest of the path; 0 without a penalty."""
        return max(self.weights)

    @property
    def weights(self) -> list[float]:
        """In the order of training."""
        if self.method == "weight 0":
            return [0.0]
        step = (self.largest / self.smallest) ** (1 / (self.number - 1))
        return [self.smallest * step**k for k in range(self.number)]
