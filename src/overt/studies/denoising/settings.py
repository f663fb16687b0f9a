"""The settings of one run of denoising."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import StudyConfig

__all__ = ["LEAST_STEPS", "SETTINGS", "CompareConfig"]

LEAST_STEPS = 1000  # of a training that says where a method ends; a shorter one is cut short

# The values of each method's one knob. The pointwise penalty has none, nor have its two controls.
SETTINGS: dict[str, tuple[float, ...]] = {
    "pointwise": (1.0,),  # times σ²
    "frobenius": (1.0, 2.0, 4.0),  # times σ²
    "bottleneck": (6.0, 12.0, 24.0),  # units
    "stein": (5e-4, 1e-3, 2e-3),  # learning rate
    "wiener": (1.0,),
    "weight 0": (1.0,),
}


class CompareConfig(StudyConfig):
    """One method on one set of noisy points: each of its settings is trained, Stein's estimate chooses.

    Attributes
    ----------
    method : str
        "pointwise", E‖J‖_* at weight σ² with no setting; "frobenius", E‖J‖_F² of three weights; "bottleneck",
        of three widths; "stein", trained on Stein's estimate itself, with three learning rates; "wiener", the
        linear filter; "weight 0", nothing. See `SETTINGS`.
    data : {"manifold", "images"}
    sigma : float
        Of the noise, in units of the coordinates' standard deviation; all methods know it.
    dim, intrinsic : int
        Of the space and of the manifold in it.
    source : str
        ``fashion-mnist``, or a folder with idx files.
    width : int
        Of the network's three hidden layers.
    n_train, n_validation, n_test, max_steps
        Noisy points to train on, noisy points for Stein's estimate, clean points for the score, steps.
    """

    part: Literal["compare"] = "compare"
    method: Literal["pointwise", "frobenius", "bottleneck", "stein", "wiener", "weight 0"] = "pointwise"
    data: Literal["manifold", "images"] = "manifold"
    sigma: float = Field(default=0.5, gt=0)
    dim: int = Field(default=64, ge=2)
    intrinsic: int = Field(default=3, ge=1)
    source: str = "fashion-mnist"
    width: int = Field(default=192, ge=1)
    n_train: int = Field(default=2000, ge=10)
    n_validation: int = Field(default=500, ge=10)
    n_test: int = Field(default=1000, ge=10)
    max_steps: int = Field(default=1800, ge=1)
