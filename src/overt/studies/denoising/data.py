"""Noisy points near a curved manifold, and noisy images, with their clean counterparts for the score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.seeds import seeded
from overt.studies.denoising.settings import CompareConfig
from overt.studies.shared.published import skipped_without_data

__all__ = ["Noisy", "noisy"]

FEATURES, FREQUENCY = 100, 1.5  # of the manifold: sines of random projections of its coordinates


@dataclass(frozen=True)
class Noisy:
    """What is seen, shape (points, D), and what is kept for the score alone.

    Attributes
    ----------
    train, validation, test : Tensor
        Noisy points, their coordinates of unit variance without the noise.
    clean : Tensor
        Of the test points.
    sigma : float
        Standard deviation of the noise in each coordinate, which is known.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    clean: Tensor
    sigma: float


def noisy(config: CompareConfig) -> Noisy:
    """The data of a run; all methods of one seed get the same."""
    generator = seeded(config.seed)
    counts = [config.n_train, config.n_validation, config.n_test]
    if config.data == "manifold":
        clean = manifold(sum(counts), config.dim, config.intrinsic, generator)
    else:
        clean = images(config)
    clean = (clean - clean[: config.n_train].mean(0)).float()
    clean = clean / clean[: config.n_train].std()
    seen = clean + config.sigma * torch.randn(clean.shape, generator=generator)
    train, validation, test = torch.split(seen, counts)
    return Noisy(train, validation, test, clean[-config.n_test :], config.sigma)


def manifold(count: int, dim: int, intrinsic: int, generator: torch.Generator) -> Tensor:
    """Points sin(z W + b) A of a curved manifold, z uniform; their span is all of the space."""
    z = 2 * torch.rand(count, intrinsic, generator=generator) - 1
    W = FREQUENCY * torch.randn(intrinsic, FEATURES, generator=generator)
    b = 2 * torch.pi * torch.rand(FEATURES, generator=generator)
    return torch.sin(z @ W + b) @ torch.randn(FEATURES, dim, generator=generator)


def images(config: CompareConfig) -> Tensor:
    """Images at half their resolution as vectors; those to score are the published test images."""
    from overt.problems import image_classification

    with skipped_without_data():
        split = image_classification(
            config.source,
            n_train=config.n_train,
            n_validation=config.n_validation,
            n_test=config.n_test,
            seed=config.seed,
        )
    whole = torch.cat([part.images for part in (split.train, split.validation, split.test)])
    return torch.nn.functional.avg_pool2d(whole, 2).flatten(1)
