"""The settings of one run of the study of Arora, Cohen, Hu & Luo (2019)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName, check_instance

Group = Literal[
    "completion",  # A1: depths over the number of observed entries
    "sensing",  # A2: depths over the number of measurements
    "scales",  # A3, A4: initialization scales, beside the minimum nuclear norm
    "dynamics",  # A5: gradient flow on synthetic entries
    "movielens",  # A6: gradient flow on MovieLens 100K
]
Regime = Literal["few", "between", "many"]


class Arora2019Config(StudyConfig):
    """One run: a problem, a network and how it is trained, and a seed for the data and the initialization.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    method : str
        ``deep`` (a deep linear network, trained in steps), ``flow`` (the same by gradient flow) or
        ``nuclear_norm`` (the convex baseline).
    regime : str
        Whether the rules count the run as one with few or many observations; set with the plan's sizes in
        view (about twice, and at least four times, the degrees of freedom), and kept when ``n_observed`` is
        overridden.
    n, rank, n_observed : int
        Of an n×n matrix. For MovieLens ``n_observed`` alone counts: ratings drawn from the 100 000.
    depth : int
        Number of layers.
    optimizer, lr, max_steps, tolerance
        Of the training in steps; it ends at a mean squared residual of ``tolerance`` × the mean square of y.
    init : str
        How the layers start, see `overt.models.DeepLinear`. Theory asks for balanced layers in a flow.
    init_scale : float
        Standard deviation of the entries of the end-to-end matrix at the start.
    width : int
        Of the hidden layers; 0 for full width.
    until : float
        A flow ends at a loss of ``until`` × the initial one.
    rtol : float
        Relative tolerance of the flow's solver.
    stencil : float
        Half-width of the finite differences of a flow, as a share of the solver's step. Where two singular
        values nearly meet they turn within a small part of a step, and a wide difference would miss it.
    leading : int
        How many singular values of a flow are followed.
    """

    group: Group
    method: Literal["deep", "flow", "nuclear_norm"] = "deep"
    regime: Regime = "few"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    depth: int = Field(default=2, ge=1)
    optimizer: OptimizerName = "gd"
    lr: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=5_000, ge=1)
    tolerance: float = Field(default=1e-6, gt=0)
    init: Literal["gaussian", "orthogonal", "identity", "balanced"] = "gaussian"
    init_scale: float = Field(default=1e-3, gt=0)
    width: int = Field(default=0, ge=0)
    until: float = Field(default=1e-3, gt=0, lt=1)
    rtol: float = Field(default=1e-11, gt=0, lt=1)
    stencil: float = Field(default=1e-4, gt=0, lt=0.1)
    leading: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Arora2019Config:
        if self.group == "movielens":
            check_integer(self.n_observed, "n_observed", most=99_999, remedy="MovieLens has 100 000 ratings")
            return self
        check_instance(self.n, self.rank, None if self.group == "sensing" else self.n_observed)
        if self.method == "flow":
            check_integer(self.leading, "leading", most=min(self.n, self.width or self.n))
        return self
