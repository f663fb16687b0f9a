"""What the parts on images share: their settings, and when a run has ended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer, message
from overt.studies.base import Run, StudyConfig

CAPTION = (
    "Fashion-MNIST averaged to 14×14, trained by SGD to a given cross-entropy, measured on held-out images."
)


class ImagesConfig(StudyConfig):
    """One network on images, trained to a given loss and measured along the way.

    Attributes
    ----------
    model : str
        ``fc`` (fully connected) or ``conv`` (3×3 convolutions, a 2×2 mean, a linear layer).
    depth : int
        Number of weight layers. All but the last layer of ``conv`` are convolutions.
    width : int
        Of the hidden layers of ``fc``. 0: the width at which it has the number of parameters that ``conv``
        has at the same depth, side and channels.
    channels : int
        Of the last convolution; those before it have half as many.
    padding : str
        Of the convolutions: ``circular`` or ``zeros``.
    head : str
        ``flatten``: the last layer sees all positions; ``mean``: only the mean over them.
    activation : str
        ``relu``, or ``linear`` for none.
    scale : float
        Of the initial network end to end, relative to He et al. 2015: each layer's normal weights are
        multiplied by scale^{1/depth}.
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

    model: Literal["fc", "conv"] = "fc"
    depth: int = Field(default=3, ge=1)
    width: int = Field(default=64, ge=0)
    channels: int = Field(default=32, ge=2)
    padding: Literal["circular", "zeros"] = "circular"
    head: Literal["flatten", "mean"] = "flatten"
    activation: Literal["relu", "linear"] = "relu"
    scale: float = Field(default=1.0, gt=0)
    data: Literal["real", "scrambled", "permuted"] = "real"
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
    def _possible(self) -> ImagesConfig:
        if 28 % self.side or self.side % 2:
            raise ValueError(message("side", "even and a divisor of 28, such as 14 or 28", self.side))
        if self.model == "conv":
            check_integer(self.depth, "depth", least=2, remedy="the last layer of model conv is linear")
        return self


def reached(run: Run) -> bool:
    """Whether the run came to the training loss at which networks are compared, or diverged."""
    return bool(run.records[0]["status"] != "budget")
