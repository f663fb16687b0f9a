"""The settings of one run of the study of Adam and the penalty."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig
from overt.studies.fields import check_instance

Group = Literal[
    "optimizers",  # A1, A2: every optimizer over its learning rates, left alone
    "interventions",  # A3–A5: one thing changed
    "rotations",  # A6: the same matrix in other coordinates
    "scales",  # A7: the whole objective times a constant
    "weights",  # A8: gradient descent with stronger penalties
]
Optimizer = Literal[
    "gd",
    "momentum",
    "normalized_gd",
    "grouprmsprop",
    "sign",
    "rmsprop",
    "adam",
    "adam_beta1_0",
    "muon",
    "shampoo",
]
Intervention = Literal[
    "none",
    "keep_vectors",  # of the penalty's step only what leaves the singular vectors of W as they are
    "keep_space",  # of the penalty's step only what stays in the leading column and row space of W
    "only_leaving",  # of the penalty's step only what keep_vectors would remove
    "keep_space_all",  # as keep_space, of the whole step
    "gradient_direction",  # the penalty's step has the optimizer's length and the gradient's direction
    "adam_penalty",  # the data's step is the optimizer's, the penalty's step is Adam's
    "adam_length",  # the penalty's step has Adam's length and the gradient's direction
    "adam_entries",  # the penalty's gradient, on observed and unobserved entries each of Adam's length
    "adam_data",  # the data's step is Adam's, the penalty's step is the optimizer's
    "alternation",  # fit the data exactly, then shrink by a step along the penalty's gradient
]


class AdamConfig(StudyConfig):
    """One run: a completion problem, an optimizer of a single matrix under a penalty, one intervention.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    optimizer, lr : str, float
        How steps are made; the learning rate falls linearly to zero over the last quarter.
    intervention : str
        What is changed in them.
    adam_lr : float
        Learning rate of the Adam that lends its steps to an intervention.
    n, rank, n_observed : int
        Of an n×n matrix.
    functional, weight : str, float
        The penalty, and its weight beside the mean squared error on data of mean square 1.
    init_scale : float
        Standard deviation of the entries at the start.
    max_steps : int
    rotated : bool
        Whether the optimizer sees Q₁ W Q₂ᵀ with random orthogonal Q₁ and Q₂ in place of W.
    objective_scale : float
        Factor of the whole objective.
    beta1, beta2, eps, alpha : float
        Of Adam; alpha is the decay of RMSprop and GroupRMSprop, whose default is torch's.
    """

    group: Group
    optimizer: Optimizer = "adam"
    lr: float = Field(default=3e-2, gt=0)
    intervention: Intervention = "none"
    adam_lr: float = Field(default=3e-2, gt=0)
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=300, ge=1)
    functional: Literal[
        "normalized_nuclear_norm", "effective_rank", "participation_ratio", "stable_rank", "nuclear_norm"
    ] = "normalized_nuclear_norm"
    weight: float = Field(default=1e-2, ge=0)
    init_scale: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=3000, ge=1)
    rotated: bool = False
    objective_scale: float = Field(default=1.0, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-12, gt=0)
    alpha: float = Field(default=0.99, ge=0, lt=1)

    @model_validator(mode="after")
    def _possible(self) -> AdamConfig:
        # Each row needs as many entries as the rank.
        check_instance(self.n, self.rank, self.n_observed, least=self.rank * self.n)
        return self
