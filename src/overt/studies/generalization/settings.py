"""What the parts share: the settings of one run, which tunes a method on validation images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from overt._utils.checks import check_choice
from overt.studies.base import StudyConfig
from overt.studies.generalization.methods import METHODS

CAPTION = "Four settings of each method, one chosen on validation images; that network is tested once."
WORDS = {name: one.label for name, one in METHODS.items()} | {
    "mlp": "fully connected",
    "cnn": "convolutional",
}


def _known(method: str) -> str:
    check_choice(method, "method", METHODS)
    return method


class TunedConfig(StudyConfig):
    """All settings of one method are trained, one is chosen on validation, and that one is tested.

    Attributes
    ----------
    method : str
        One of `overt.studies.generalization.methods.METHODS`.
    settings : tuple of float
        Values of the method's one knob; empty for the method's own four.
    network : {"mlp", "cnn"}
    widths : tuple of int
        Of the hidden layers or channels; empty for (128, 128) and (16, 32).
    source : str
        ``fashion-mnist``, or a folder with idx files.
    n_train, n_validation, n_test : int
    lr, batch_size, max_steps
        Of every training by AdamW, where the knob says nothing else.
    seed : int
        Chooses the images, and draws the initialization, the batches and the probes.
    """

    method: Annotated[str, AfterValidator(_known)] = "nothing"
    settings: tuple[float, ...] = ()
    network: Literal["mlp", "cnn"] = "mlp"
    widths: tuple[int, ...] = ()
    source: str = "fashion-mnist"
    n_train: int = Field(default=500, ge=10)
    n_validation: int = Field(default=1000, ge=10)
    n_test: int = Field(default=10_000, ge=10)
    lr: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=50, ge=1)
    max_steps: int = Field(default=1000, ge=1)

    @property
    def knob(self) -> tuple[float, ...]:
        """The values that are tried."""
        return self.settings or METHODS[self.method].knob


SMALL = {"n_train": 200, "n_validation": 300, "n_test": 1000, "max_steps": 40, "lr": 3e-3}
SMALL_NETWORKS = ({"network": "cnn", "widths": (8, 16)}, {"network": "mlp", "widths": (32,)})
"""Settings of the quick preset: all parts work, and little is decided."""
