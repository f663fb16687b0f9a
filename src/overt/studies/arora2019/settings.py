"""The settings of runs that follow gradient flow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import StudyConfig


class FlowConfig(StudyConfig):
    """One gradient flow.

    Attributes
    ----------
    n_observed : int
        Entries of an n×n matrix of a rank, or ratings drawn from the 100 000 of MovieLens.
    depth, init, init_scale
        Number of layers, and how they start (see `overt.models.DeepLinear`). Theory asks for balanced ones.
    width : int
        Of the hidden layers; 0 for full width.
    until : float
        The flow ends at a loss of ``until`` × the initial one.
    rtol : float
        Relative tolerance of the solver.
    stencil : float
        Half-width of the finite differences, as a share of the solver's step. Where two singular values
        nearly meet they turn within a small part of a step, and a wide difference would miss it.
    leading : int
        How many singular values are followed.
    """

    n_observed: int = Field(default=2000, ge=1)
    depth: int = Field(default=2, ge=2)
    init: Literal["gaussian", "orthogonal", "identity", "balanced"] = "balanced"
    init_scale: float = Field(default=1e-3, gt=0)
    width: int = Field(default=0, ge=0)
    until: float = Field(default=1e-3, gt=0, lt=1)
    rtol: float = Field(default=1e-11, gt=0, lt=1)
    stencil: float = Field(default=1e-4, gt=0, lt=0.1)
    leading: int = Field(default=10, ge=1)
    max_steps: int = Field(default=10_000, ge=1)
