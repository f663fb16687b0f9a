"""The settings of one network of the zoo."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import StudyConfig


class PredictConfig(StudyConfig):
    """One network: how it is built, trained to a loss, and measured.

    Attributes
    ----------
    family : str
        Fully connected, or convolutional (3×3, stride 2) with one linear layer on top.
    depth, width : int
        Hidden layers, and the units or channels of each.
    lr, batch_size, momentum, weight_decay : float
        Of stochastic gradient descent; the learning rate stays constant.
    penalty : str
        ``"jacobian"``: P_1 of M = E[JᵀJ] in the eigenbasis; ``"nuclear"``: the nuclear norm of each weight.
    jacobian_weight, nuclear_weight : float
        Weights of these penalties beside the mean cross-entropy.
    n_train : int
        Training images, which the seed chooses; a smaller set is part of a larger one.
    target_loss, max_steps, check_every : float, int, int
        Training ends when the cross-entropy on the training set is at or below the target, which is looked at
        every so many steps. A network that does not get there is left out and counted.
    source : str
        ``"fashion-mnist"``, or a folder with idx files.
    pool : int
        Images are averaged over squares of so many pixels.
    n_test : int
        Test images that the generalization gap is measured on.
    noise_draws, error_rise : int, float
        Random perturbations of the weights for the flatness measures, and the training error that defines it.
    sam_radius : float
        Length of the step along the gradient for the sharpness of Foret et al. 2021.
    """

    part: Literal["zoo"] = "zoo"
    family: Literal["mlp", "cnn"] = "mlp"
    depth: int = Field(default=2, ge=1, le=8)
    width: int = Field(default=64, ge=1)
    lr: float = Field(default=0.03, gt=0)
    batch_size: int = Field(default=32, ge=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    penalty: Literal["none", "jacobian", "nuclear"] = "none"
    jacobian_weight: float = Field(default=1e-3, ge=0)
    nuclear_weight: float = Field(default=5e-4, ge=0)
    n_train: int = Field(default=300, ge=10)
    target_loss: float = Field(default=0.1, gt=0)
    max_steps: int = Field(default=4000, ge=1)
    check_every: int = Field(default=20, ge=1)
    source: str = "fashion-mnist"
    pool: int = Field(default=2, ge=1)
    n_test: int = Field(default=10_000, ge=1)
    noise_draws: int = Field(default=8, ge=1)
    error_rise: float = Field(default=0.1, gt=0, lt=1)
    sam_radius: float = Field(default=0.05, gt=0)
