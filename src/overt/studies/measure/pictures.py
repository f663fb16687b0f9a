"""The images of a run: Fashion-MNIST, made smaller, rearranged and standardized."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overt.problems import ImageSet, image_classification, permute_pixels, scramble_phases
from overt.studies.measure.images import ImagesConfig
from overt.studies.shared.published import skipped_without_data

__all__ = ["Pictures", "load"]


@dataclass(frozen=True)
class Pictures:
    """Images (n, 1, side, side) with labels (n,) to train on, and held-out ones to measure on."""

    images: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


def load(config: ImagesConfig) -> Pictures:
    """The images of a run.

    Mean and standard deviation over all training pixels are set to 0 and 1. Both are the same before and
    after phases are scrambled or pixels permuted, so that the three kinds of images differ by an orthogonal
    map alone.

    Raises
    ------
    Skip
        Fashion-MNIST is out of reach.
    """
    with skipped_without_data():
        split = image_classification(
            n_train=config.n_train, n_validation=config.n_measure, n_test=1, seed=config.seed
        )
    train, held_out = (_prepared(part, config) for part in (split.train, split.validation))
    mean, std = train.images.mean(), train.images.std()
    return Pictures(
        (train.images - mean) / std, train.labels, (held_out.images - mean) / std, held_out.labels
    )


def _prepared(images: ImageSet, config: ImagesConfig) -> ImageSet:
    block = images.images.shape[-1] // config.side
    small = replace(images, images=torch.nn.functional.avg_pool2d(images.images, block))
    if config.data == "permuted":
        return permute_pixels(small, seed=config.seed)
    return scramble_phases(small, seed=config.seed) if config.data == "scrambled" else small
