"""The settings of one run: a method, its tuning on the validation images, and one test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt.studies.base import StudyConfig

Group = Literal[
    "main",  # every method at one training-set size
    "sizes",  # fewer methods over the training-set size
    "units",  # pixels in other units, at the same weights
    "cost",  # seconds per step, all methods in one process
]
MethodName = Literal[
    "nothing",
    "early_stopping",
    "weight_decay",
    "dropout",
    "nuclear_norm",
    "normalized_nuclear_norm",
    "overparameterized",
    "composition",
    "jacobian",
]


class GeneralizationConfig(StudyConfig):
    """One run: all settings of one method are trained, one is chosen on validation, and that one is tested.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    method : str
    p, basis, normalized : float, str, bool
        Of ``jacobian``.
    factors : int
        Of ``overparameterized``: linear layers per layer.
    settings : tuple of float
        Values of the method's one knob (see ``methods.py``); empty for the method's own four.
    network : {"mlp", "cnn"}
    widths : tuple of int
        Of the hidden layers or channels; empty for (128, 128) and (16, 32).
    source : str
        ``fashion-mnist``, or a folder with idx files.
    view : {"plain", "permuted", "scrambled"}
        Images as they are; with their pixels in another order; or with random phases.
    n_train, n_validation, n_test : int
    optimizer, lr, batch_size, max_steps
        Of every training, where the knob says nothing else.
    units : float
        The pixels are multiplied by it, and the network begins with the division by it.
    seed : int
        Chooses the images, and draws the initialization, the batches and the probes.
    """

    group: Group = "main"
    method: MethodName = "nothing"
    p: float = Field(default=2.0, gt=0, le=2)
    basis: Literal["eigen", "fourier", "identity"] = "eigen"
    normalized: bool = False
    factors: int = Field(default=2, ge=1)
    settings: tuple[float, ...] = ()
    network: Literal["mlp", "cnn"] = "mlp"
    widths: tuple[int, ...] = ()
    source: str = "fashion-mnist"
    view: Literal["plain", "permuted", "scrambled"] = "plain"
    n_train: int = Field(default=500, ge=10)
    n_validation: int = Field(default=1000, ge=10)
    n_test: int = Field(default=10_000, ge=10)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=50, ge=1)
    max_steps: int = Field(default=1000, ge=1)
    units: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> GeneralizationConfig:
        if self.normalized and self.p == 2:
            raise ValueError("the normalized penalty with p = 2 is the constant 1; choose p < 2")
        return self
