"""The settings of one run of the story."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig
from overt.studies.claims.evidence import number, select
from overt.studies.fields import OptimizerName, check_instance

Group = Literal[
    "depths",  # S1, S2: depths, the explicit route and the convex baseline over the number of observations
    "portrait",  # S2: one explicit run to the very end, for the picture of its spectrum
    "optimizers",  # S3: with the penalty as published
    "floored",  # S3: some of them again, with a floor under the norm
    "weights",  # S4: weight × learning rate
    "inits",  # S4: initialization × learning rate
    "nuclear",  # S5: nuclear norm and normalized nuclear norm under the same conditions
    "regression",  # S6
    "photograph",  # S7
    "movielens",  # S7
    "cost",  # S8
]


ROUTES = ("explicit, Adam", "explicit, IRLS")  # of the cost part; both have the answer only at their end

Method = Literal[
    "deep",
    "explicit",
    "nuclear_norm",
    "soft_impute",
    "irls",
    "gd",  # regression
    "diagonal",  # regression
    "l1_over_l2",  # regression
    "biases",  # MovieLens
    "race",  # cost: all of them
]


class StoryConfig(StudyConfig):
    """One run: a problem, a method, its settings, and a seed for the data and the initialization.

    Attributes
    ----------
    group : str
        The part of the story that asks for the run.
    method : str
        ``deep`` (a deep linear network, no penalty), ``explicit`` (depth 1, a penalty), or a baseline's name.
    n, rank, n_observed : int
        Of an n×n matrix; for regression the dimension, the number of non-zeros (0: dense) and of samples.
    depth : int
        Number of factors of a deep network.
    optimizer, lr : str, float
    functional, weight : str, float
        The penalty and its weight.
    init_scale : float
        Standard deviation of the entries of the end-to-end matrix at the start.
    norm_floor : float
        Floor under the Frobenius norm that the penalty divides by, see ``overt.completion.explicit``; 0 is
        the penalty as published.
    max_steps : int
    kept, height, width : float, int, int
        Share of the pixels that are kept, and the size of the photograph.
    early_refit : bool
        Whether the explicit route may refit before the spectrum has collapsed.
    quick : bool
        For the cost part: the small set of settings.
    """

    group: Group
    method: Method
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=0)
    n_observed: int = Field(default=2000, ge=1)
    depth: int = Field(default=1, ge=1)
    optimizer: OptimizerName = "adam"
    lr: float = Field(default=1e-2, gt=0)
    functional: Literal["normalized_nuclear_norm", "nuclear_norm"] = "normalized_nuclear_norm"
    weight: float = Field(default=1e-2, ge=0)
    init_scale: float = Field(default=1e-3, gt=0)
    norm_floor: float = Field(default=0.1, ge=0)
    max_steps: int = Field(default=20_000, ge=1)
    kept: float = Field(default=0.3, gt=0, le=1)
    height: int = Field(default=0, ge=0)
    width: int = Field(default=0, ge=0)
    early_refit: bool = True
    quick: bool = False

    @model_validator(mode="after")
    def _possible(self) -> StoryConfig:
        check_instance(self.n, self.rank, None if self.group == "regression" else self.n_observed)
        return self


def chosen_by_validation(runs: Any, method: str) -> dict[int, dict[str, Any]]:
    """Return for each seed the MovieLens record whose setting has the lowest validation error."""
    best: dict[int, dict[str, Any]] = {}
    for run in select(runs, group="movielens", method=method):
        record, seed = run.records[0], int(run.config["seed"])
        if seed not in best or number(record["validation_rmse"]) < number(best[seed]["validation_rmse"]):
            best[seed] = record
    return best
