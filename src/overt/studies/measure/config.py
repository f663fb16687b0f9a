"""The settings of one run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_choice, check_integer, message
from overt.studies.base import StudyConfig

Group = Literal[
    "collapse",  # M1, M2: linear models whose spectra are known otherwise
    "dynamics",  # M3–M6: one factor at a time around a reference, on Fashion-MNIST
    "alignment",  # M7–M13: convolutional and fully connected networks on three kinds of images
]
Model = Literal["linear", "convolution_1d", "convolution_2d", "diagonal", "fc", "conv"]
Data = Literal["real", "scrambled", "permuted"]
LINEAR: tuple[Model, ...] = ("linear", "convolution_1d", "convolution_2d", "diagonal")


class MeasureConfig(StudyConfig):
    """One run: a model, its data, its training, and how it is measured.

    Attributes
    ----------
    group : str
        The part of the study that asks for the run.
    model : str
        Of group ``collapse``: a deep ``linear`` network, a deep circular convolution of signals or of images,
        or a ``diagonal`` network. Otherwise ``fc`` (fully connected) or ``conv`` (3×3 convolutions,
        a 2×2 mean, a linear layer).
    depth : int
        Number of weight layers. All but the last layer of ``conv`` are convolutions.
    width : int
        Of the hidden layers of ``linear`` and ``fc``. 0: the width at which ``fc`` has the number of
        parameters that ``conv`` has at the same depth, side and channels.
    channels : int
        Of the last convolution; those before it have half as many.
    padding : str
        Of the convolutions: ``circular`` or ``zeros``.
    head : str
        ``flatten``: the last layer sees all positions; ``mean``: only the mean over them.
    activation : str
        ``relu``, or ``linear`` for none.
    scale : float
        Of the initial network end to end. On images it is relative to He et al. 2015: each layer's normal
        weights are multiplied by scale^{1/depth}.
    size, outputs_of_linear, teacher_rank : int
        Of group ``collapse``: length of an input (side, for images), outputs of the linear network, and
        number of modes of the map that is learned.
    data : str
        ``real`` images, images with ``scrambled`` phases, or with ``permuted`` pixels.
    side : int
        Side of the images after averaging blocks of the 28×28 pixels.
    n_train, n_measure : int
        Training images, and held-out images on which the network is measured.
    lr, momentum, batch_size : float, float, int
        Of stochastic gradient descent; a batch of 0 or more than ``n_train`` is the whole set.
    target_loss : float
        Training stops once the cross-entropy of all training images is no larger.
    check_every : int
        Steps between two looks at that cross-entropy.
    max_steps : int
        Training stops here at the latest.
    outputs : str
        What J is the Jacobian of: ``logits``, ``centred`` logits (less their mean) or ``probabilities``.
    p : float
        Exponent of the alignment.
    points : int
        How often the measure is taken between the first step and the last, at steps spaced evenly in the
        logarithm. Start and end are always measured.
    """

    group: Group
    model: Model = "fc"
    depth: int = Field(default=3, ge=1)
    width: int = Field(default=64, ge=0)
    channels: int = Field(default=32, ge=2)
    padding: Literal["circular", "zeros"] = "circular"
    head: Literal["flatten", "mean"] = "flatten"
    activation: Literal["relu", "linear"] = "relu"
    scale: float = Field(default=1.0, gt=0)
    size: int = Field(default=12, ge=4)
    outputs_of_linear: int = Field(default=10, ge=1)
    teacher_rank: int = Field(default=3, ge=1)
    data: Data = "real"
    side: int = Field(default=14, ge=4)
    n_train: int = Field(default=1000, ge=10)
    n_measure: int = Field(default=500, ge=10)
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    batch_size: int = Field(default=100, ge=0)
    target_loss: float = Field(default=0.2, gt=0)
    check_every: int = Field(default=1, ge=1)
    max_steps: int = Field(default=6000, ge=1)
    outputs: Literal["logits", "centred", "probabilities"] = "logits"
    p: float = Field(default=1.0, gt=0, lt=2)
    points: int = Field(default=12, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> MeasureConfig:
        if (self.group == "collapse") != (self.model in LINEAR):
            known = LINEAR if self.group == "collapse" else ("fc", "conv")
            check_choice(self.model, f"model in the group {self.group}", known)
        if 28 % self.side or self.side % 2:
            raise ValueError(message("side", "even and a divisor of 28, such as 14 or 28", self.side))
        if self.model == "conv":
            check_integer(self.depth, "depth", least=2, remedy="the last layer of model conv is linear")
        if self.model == "linear":
            check_integer(self.width, "width", least=1, remedy="0 is for model fc")
        return self
