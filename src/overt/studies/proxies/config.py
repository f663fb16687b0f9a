"""The settings of one run of the part on explicit penalties."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from overt._utils.checks import check_choice, check_number
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName, check_instance

PILOT = 1_000_003  # added to a seed for the seeds that settings are chosen on; no judged seed is that large


class PenaltyConfig(StudyConfig):
    """One run: a proxy under an optimizer, tuned on pilot seeds, then judged on others.

    Attributes
    ----------
    group : str
    proxy : str
        A name in ``functionals.PROXIES``.
    optimizer : str
    rates, weights : tuple of float
        The grid that is tuned over. A weight of 1 makes the proxy's gradient at the zero-filled observations
        as large as that of the loss at zero, so that one grid serves all proxies.
    pilot_seeds, judged_seeds, window_seeds : int
        How many of each; ``seed`` is the first judged one. With no window seeds there are no windows.
    window_weights, window_scales : tuple of float
        Weights and initialization scales of the windows, at the chosen learning rate (and weight).
    n, rank, n_observed, depth, init_scale, max_steps
        Of the matrix and the training.
    norm_cap : float
        The guard of scale-invariant proxies, in units of the norm that the observations suggest; 0 is none.
    """

    group: Literal["penalties"] = "penalties"
    proxy: str
    optimizer: OptimizerName = "adam"
    rates: tuple[float, ...] = Field(min_length=1)
    weights: tuple[float, ...] = Field(min_length=1)
    pilot_seeds: int = Field(default=2, ge=1)
    judged_seeds: int = Field(default=5, ge=1)
    window_seeds: int = Field(default=0, ge=0)
    window_weights: tuple[float, ...] = ()
    window_scales: tuple[float, ...] = ()
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=300, ge=1)
    depth: int = Field(default=1, ge=1)
    init_scale: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=2_000, ge=1)
    norm_cap: float = Field(default=1.2, ge=0)

    @field_validator("proxy")
    @classmethod
    def _known_proxy(cls, name: str) -> str:
        from overt.studies.proxies.functionals import PROXIES

        check_choice(name, "proxy", PROXIES)
        return name

    @field_validator("rates", "weights", "window_weights", "window_scales")
    @classmethod
    def _positive(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        for number, value in enumerate(values):
            check_number(value, f"{info.field_name}[{number}]", above=0)
        return values

    @model_validator(mode="after")
    def _possible(self) -> PenaltyConfig:
        check_instance(self.n, self.rank, self.n_observed)
        return self
