"""The settings of one run, and the names of the penalties and optimizers of the paper's experiments."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from overt._utils.checks import check_choice, message
from overt.studies.base import StudyConfig
from overt.studies.fields import OptimizerName, check_instance

Group = Literal[
    "depths",  # Z4, Z5: depths with and without the penalty over the observations, n = 100, rank 5 and 10
    "optimizers",  # Z1, Z2, Z3
    "penalties",  # Z6
    "relu",  # Z7
    "movielens",  # Z8 (published splits), Z9 (random splits)
]
Method = Literal["train", "nuclear_norm", "soft_impute", "optspace", "biases"]
Split = Literal["none", "u1", "u2", "u3", "u4", "u5", "random"]

THIRD, TWO_THIRDS = 1 / 3, 2 / 3

# Name in figures → functional and its exponents.
PENALTIES: dict[str, dict[str, Any]] = {
    "nuclear / Frobenius": {"functional": "normalized_nuclear_norm"},
    "nuclear": {"functional": "nuclear_norm"},
    "Schatten 1/2": {"functional": "schatten_norm", "p": 0.5},
    "Schatten 1/3": {"functional": "schatten_norm", "p": THIRD},
    "Schatten 2/3": {"functional": "schatten_norm", "p": TWO_THIRDS},
    "S 1/2 / S 2/3": {"functional": "normalized_schatten_norm", "p": 0.5, "q": TWO_THIRDS},
    "S 1/3 / S 2/3": {"functional": "normalized_schatten_norm", "p": THIRD, "q": TWO_THIRDS},
    "S 1/3 / S 1/2": {"functional": "normalized_schatten_norm", "p": THIRD, "q": 0.5},
}
PLAIN = ("gd", "momentum")
ADAPTIVE = ("adam", "amsgrad", "adamw", "nadam", "radam", "adamax", "rmsprop", "adagrad", "adadelta")
OPTIMIZERS = (*ADAPTIVE, *PLAIN, "lbfgs")


class ZhaoConfig(StudyConfig):
    """One run: a matrix or MovieLens, a network, a penalty, an optimizer and a seed.

    Attributes
    ----------
    group : str
        The slice of the study that asks for the run.
    method : str
        ``train``: the network with the penalty (none at weight 0); otherwise a baseline's name.
    n, rank, n_observed : int
        Of an n×n matrix, scaled to ‖W‖_F = n.
    depth : int
        Number of layers; all have width n, on MovieLens ``width``.
    activation : {"linear", "relu"}
        Between the layers.
    functional, p, q : str, float, float
        Penalty by its name in ``overt.functional``, and its exponents where it has them (0: none).
    weight, optimizer, lr, init_scale, max_steps
        Of the training; the weight stays constant.
    norm_cap : float
        The guard of scale-invariant penalties in units of the norm that the observations suggest; 0 is no
        guard, as published.
    split : str
        Of MovieLens 100K.
    width : int
        Of the hidden layers on MovieLens: depth 2 is two thin factors, depth 1 the full 943×1682 matrix.
    """

    group: Group
    method: Method = "train"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    depth: int = Field(default=1, ge=1)
    activation: Literal["linear", "relu"] = "linear"
    functional: str = "normalized_nuclear_norm"
    p: float = Field(default=0.0, ge=0)
    q: float = Field(default=0.0, ge=0)
    weight: float = Field(default=1e-2, ge=0)
    optimizer: OptimizerName = "adam"
    lr: float = Field(default=1e-2, gt=0)
    init_scale: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=5_000, ge=1)
    norm_cap: float = Field(default=0.0, ge=0)
    split: Split = "none"
    width: int = Field(default=100, ge=1)

    @property
    def options(self) -> dict[str, float]:
        """The exponents that the functional takes."""
        return {name: value for name, value in (("p", self.p), ("q", self.q)) if value > 0}

    @field_validator("functional")
    @classmethod
    def _known_functional(cls, name: str) -> str:
        from overt import functional

        known = sorted(set(functional.__all__) - {"singular_values", "log_det"})
        check_choice(name, "functional", known)
        return name

    @model_validator(mode="after")
    def _possible(self) -> ZhaoConfig:
        check_instance(self.n, self.rank, self.n_observed)
        needed = {"schatten_norm": (True, False), "normalized_schatten_norm": (True, True)}
        if (self.p > 0, self.q > 0) != needed.get(self.functional, (False, False)):
            raise ValueError(
                f"functional {self.functional!r} does not take p={self.p:g} and q={self.q:g}; 0 means none"
            )
        if (self.group == "movielens") != (self.split != "none"):
            expected = "a split of MovieLens 100K in the group movielens, and 'none' elsewhere"
            raise ValueError(message("split", expected, self.split))
        return self


def penalty_name(config: Any) -> str:
    """The name of a stored configuration's penalty in figures and verdicts."""
    chosen = {key: config[key] for key in ("functional", "p", "q")}
    for name, fields in PENALTIES.items():
        if chosen == {"p": 0.0, "q": 0.0, **fields}:
            return name
    return str(config["functional"]).replace("_", " ")
