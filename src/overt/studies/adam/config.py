"""What all parts have: the matrix and how it is fitted, learning rates, and what is asked of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.vocabulary import recovered
from overt.studies.fields import check_instance
from overt.studies.plots import Panel

Optimizer = Literal["gd", "momentum", "normalized_gd", "sign", "rmsprop", "adam", "adam_beta1_0", "muon"]
NAMES = {
    "gd": "gradient descent",
    "momentum": "momentum",
    "normalized_gd": "normalized GD",
    "sign": "sign descent",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adam_beta1_0": "Adam, β₁ = 0",
    "muon": "Muon",
}
# Three learning rates each, about the best of pilot runs with seeds that no preset uses.
RATES: dict[str, tuple[float, ...]] = {
    "muon": (2e-2, 1e-1, 3e-1),
    "gd": (30.0, 100.0, 300.0),
    "momentum": (3.0, 10.0, 30.0),
    "normalized_gd": (0.3, 1.0, 3.0),
    "sign": (3e-3, 1e-2, 3e-2),
    "rmsprop": (1e-2, 3e-2, 1e-1),
    "adam": (3e-2, 1e-1, 3e-1),
    "adam_beta1_0": (3e-2, 1e-1, 3e-1),
}
WEIGHT, FLOOR = 1e-2, 0.1
WITH = {"weight": WEIGHT}
STEPS = Median(
    "recovery_step",
    "steps until the refit recovers the matrix for good",
    WITH,
    tuned=("lr",),
    over_time=True,
)
SHARE = Share(recovered, "that are recovered", WITH, tuned=("lr",))
RAW = Median("raw_error", "relative error before the refit, where the run ended", WITH, tuned=("lr",))
PANELS = (
    Panel(STEPS, "steps", log=True, limits=(1.0, 1e4)),
    Panel(SHARE, "share recovered", limits=(0.0, 1.0)),
    Panel(RAW, "error before the refit", log=True, limits=(1e-2, 3.0)),
)
TENTH = 0.1  # of the steps: what takes ten times as long does not work the same way


def times_as_long(name: str, of: Mapping[str, Any], over: Mapping[str, Any], **where: Any) -> Ratio:
    """The ratio of the steps that two settings take, each at the best of its learning rates."""
    return Ratio(
        STEPS.value, f"steps, {name}", {**WITH, **where}, tuned=("lr",), over_time=True, of_=of, over=over
    )


def rates(optimizer: str, quick: bool) -> tuple[float, ...]:
    """All learning rates, or the middle one."""
    return RATES[optimizer][1:2] if quick else RATES[optimizer]


class DescentConfig(StudyConfig):
    """One run: a completion problem, and the descent of a single matrix under ‖W‖_*/‖W‖_F.

    Attributes
    ----------
    n, rank, n_observed : int
        Of an n×n matrix.
    lr, max_steps : float, int
        The learning rate falls linearly to zero over the last quarter of the budget.
    weight : float
        Of the penalty, beside the mean squared error on data of mean square 1.
    norm_floor : float
        The penalty's guard near zero, in units of the norm that the observations suggest; 0 is none.
    init_scale : float
        Standard deviation of the entries at the start.
    """

    n: int = Field(default=40, ge=2)
    rank: int = Field(default=4, ge=1)
    n_observed: int = Field(default=500, ge=1)
    lr: float = Field(default=1e-1, gt=0)
    max_steps: int = Field(default=10_000, ge=1)
    weight: float = Field(default=WEIGHT, ge=0)
    norm_floor: float = Field(default=FLOOR, ge=0)
    init_scale: float = Field(default=1e-3, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> DescentConfig:
        # Each row needs as many entries as the rank.
        check_instance(self.n, self.rank, self.n_observed, least=self.rank * self.n)
        return self
