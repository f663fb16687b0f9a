"""The settings of the study's runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig
from overt.studies.fields import check_instance


class EntriesConfig(StudyConfig):
    """A deep linear network on the 2×2 problem.

    Attributes
    ----------
    depth : int
    determinant : str
        Sign of the end-to-end determinant at the start.
    init, init_scale : str, float
        How layers start (see ``overt.DeepLinear``), and the standard deviation of end-to-end entries.
    upper, lower, corner : float
        The observed entries w₁₂, w₂₁ and w₂₂.
    """

    depth: int = Field(default=3, ge=2)
    determinant: Literal["positive", "negative"] = "positive"
    init: Literal["balanced", "gaussian"] = "balanced"
    init_scale: float = Field(default=1e-3, gt=0)
    upper: float = 1.0
    lower: float = 1.0
    corner: float = 0.0


class FlowConfig(EntriesConfig):
    """The gradient flow's end and accuracy beside it."""

    loss_target: float = Field(default=5e-7, gt=0, lt=0.1)
    max_time: float = Field(default=1e14, gt=0)
    rtol: float = Field(default=1e-6, gt=0, lt=1)


class StepsConfig(EntriesConfig):
    """Gradient descent of rate ``lr`` on ℓ, for a time of ``horizon`` = steps × rate."""

    part: Literal["steps"] = "steps"
    lr: float = Field(default=1e-2, gt=0)
    horizon: float = Field(default=300.0, gt=0)


SMOOTH = ("effective rank", "normalized nuclear norm", "nuclear norm")


FUNCTIONALS = ("rank", *SMOOTH)


class WhichConfig(StudyConfig):
    """One network on an n×n matrix of a rank.

    The seed's instance is the first of ``draws`` whose minimum nuclear norm is below the truth's by more
    than ``apart``: elsewhere rank and norm have the same minimizer and cannot be told apart.
    """

    part: Literal["which"] = "which"
    depth: int = Field(default=3, ge=2)
    n: int = Field(default=20, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=160, ge=1)
    draws: int = Field(default=200, ge=1)
    apart: float = Field(default=0.01, ge=0, lt=1)
    init_scale: float = Field(default=1e-5, gt=0)
    lr: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=20_000, ge=1)
    descent_steps: int = Field(default=1_500, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> WhichConfig:
        check_instance(self.n, self.rank, self.n_observed)
        return self
