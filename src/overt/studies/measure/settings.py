"""The settings of runs on linear models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import StudyConfig


class CollapseConfig(StudyConfig):
    """One linear model, trained by gradient descent towards a map of a few modes of size one.

    Attributes
    ----------
    model : str
        A deep ``linear`` network (a ``bottleneck`` is one), a deep circular convolution of signals or of
        images, or a ``diagonal`` network.
    depth, width, scale : int, int, float
        Layers, width of the hidden ones, size of the start end to end. Starts are balanced; the diagonal
        network starts at zero, as close to balanced as it can be.
    size, outputs, teacher_rank : int
        Length of an input (side, for images), outputs of the linear network, modes of the map.
    lr, max_steps, points
        Of gradient descent, and how often the measure is taken.
    """

    part: Literal["collapse"] = "collapse"
    model: Literal["linear", "bottleneck", "convolution, 1-D", "convolution, 2-D", "diagonal"] = "linear"
    depth: int = Field(default=3, ge=1)
    width: int = Field(default=15, ge=1)
    scale: float = Field(default=1e-2, gt=0)
    size: int = Field(default=12, ge=4)
    outputs: int = Field(default=10, ge=1)
    teacher_rank: int = Field(default=3, ge=1)
    lr: float = Field(default=0.1, gt=0)
    max_steps: int = Field(default=1000, ge=1)
    points: int = Field(default=8, ge=0)
