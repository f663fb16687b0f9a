"""The settings of one run of modular addition."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import StudyConfig

__all__ = ["FEW", "KNOBS", "MANY", "LearningConfig"]

MANY, FEW = 0.7, 0.5  # shares of the pairs
# Three values of each method's one knob: of AdamW's weight decay, of the penalty's weight, or, where there is
# neither, of the learning rate, as a multiple of that of the others.
KNOBS: dict[str, tuple[float, float, float]] = {
    "weight decay": (0.3, 1.0, 2.0),
    "nuclear": (3e-4, 1e-3, 3e-3),
    "jacobian 2": (1e-3, 3e-3, 1e-2),
    "jacobian 1": (1e-3, 3e-3, 1e-2),
    "fourier 1": (1e-3, 3e-3, 1e-2),
    "weight 0": (0.3, 1.0, 3.0),
}


class LearningConfig(StudyConfig):
    """One network that learns a + b mod p from a share of the pairs, with one method at one setting.

    Attributes
    ----------
    network : {"mlp", "transformer"}
    modulus : int
        p.
    share : float
        Of all p² pairs, to train on.
    method : str
        AdamW with weight decay, or without it and with the nuclear norm of the weights, the squared Jacobian
        (p = 2), P₁ of M in the inputs' own basis ("jacobian 1") or the Fourier basis of each residue
        ("fourier 1"), or nothing ("weight 0").
    setting : int
        0 to 2: which of the three values of the method's one knob, see `KNOBS`.
    width : int
        Of the hidden layer, or of the tokens.
    max_steps : int
        A run ends when it generalizes.
    """

    part: Literal["learning"] = "learning"
    network: Literal["mlp", "transformer"] = "mlp"
    modulus: int = Field(default=31, ge=3)
    share: float = Field(default=MANY, gt=0, lt=1)
    method: Literal["weight decay", "nuclear", "jacobian 2", "jacobian 1", "fourier 1", "weight 0"] = (
        "weight decay"
    )
    setting: int = Field(default=1, ge=0, le=2)
    width: int = Field(default=128, ge=2)
    max_steps: int = Field(default=1_500, ge=1)

    @property
    def weight(self) -> float:
        """Of weight decay or of the penalty."""
        return 0.0 if self.method == "weight 0" else KNOBS[self.method][self.setting]

    @property
    def problem(self) -> tuple[str, int, float]:
        """What is learned, for which each method has its control."""
        return self.network, self.modulus, self.share
