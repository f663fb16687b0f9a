"""What both parts on explicit penalties have: the run, and what is asked of it."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from overt._utils.checks import check_choice
from overt.studies.base import StudyConfig
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.vocabulary import recovered
from overt.studies.fields import OptimizerName, check_instance

OURS = "nuclear / F"
TOLD = ("truncated nuclear", "truncated nuclear / F")  # the true rank is part of them
PLAIN = ("nuclear", "Schatten 1/2", "Schatten 2/3", "log-det", "truncated nuclear")
BLIND = (
    *PLAIN[:4],
    *(f"{name} / F" for name in PLAIN[:4]),
    "effective rank",
    "stable rank",
)
NAMES = (*BLIND, *TOLD)
SHARE = Share(recovered, "that are recovered", tuned=("lr", "weight"))
STEPS = Median(
    "recovery_step",
    "steps until the refit recovers the matrix for good",
    tuned=("lr", "weight"),
    over_time=True,
)


class ProxyConfig(StudyConfig):
    """One run: a proxy as a penalty on a single matrix.

    Attributes
    ----------
    proxy : str
        A name in ``functionals.PROXIES``.
    optimizer, lr, max_steps
        The learning rate falls linearly to zero over the last quarter.
    weight : float
        At 1 the proxy's gradient at the zero-filled observations is as large as that of the loss at zero, so
        that one grid serves all proxies.
    init_scale : float
        Standard deviation of the entries at the start.
    n, rank, n_observed
        Of the matrix.
    """

    proxy: str = OURS
    optimizer: OptimizerName = "adam"
    lr: float = Field(default=3e-2, gt=0)
    weight: float = Field(default=1e-1, ge=0)
    init_scale: float = Field(default=1e-3, gt=0)
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=3, ge=1)
    n_observed: int = Field(default=220, ge=1)
    max_steps: int = Field(default=2_500, ge=1)

    @field_validator("proxy")
    @classmethod
    def _known_proxy(cls, name: str) -> str:
        check_choice(name, "proxy", NAMES)
        return name

    @model_validator(mode="after")
    def _possible(self) -> ProxyConfig:
        check_instance(self.n, self.rank, self.n_observed)
        return self
