"""What a run is given: its problem, and its network at the start."""

from __future__ import annotations

import torch

from overt.models import DeepLinear
from overt.problems import CompletionProblem, SensingProblem, matrix_completion, matrix_sensing
from overt.studies.arora2019.config import Arora2019Config


def instance(config: Arora2019Config) -> CompletionProblem | SensingProblem:
    """The problem of a run: its seed decides the matrix, and what is seen of it.

    Masks that leave a row or column with fewer entries than the rank are redrawn: nothing could complete it.
    """
    shape = (config.n, config.n)
    if config.group == "sensing":
        return matrix_sensing(shape, rank=config.rank, n_measurements=config.n_observed, seed=config.seed)
    return matrix_completion(
        shape, rank=config.rank, n_observed=config.n_observed, seed=config.seed, min_per_line=config.rank
    )


def network(config: Arora2019Config, shape: tuple[int, ...]) -> DeepLinear:
    """The network of a run, at its start; the hidden layers are as wide as the smaller side by default."""
    m, n = shape
    width = config.width or min(m, n)
    sizes = (n, *(width,) * (config.depth - 1), m)
    return DeepLinear(sizes, init=config.init, scale=config.init_scale, seed=config.seed, dtype=torch.float64)
